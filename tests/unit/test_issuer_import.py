"""Issuer imports, JSON and CSV; every invalid row is named, with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbres.domain.issuer_import import UNSET, InvalidRow, IssuerImport, IssuerRow
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.handlers.issuer_import_parser import MAX_ROWS, parse_csv, parse_json
from timbres.handlers.problem_details import status_code

A = Rfc("A&D061009TY8")
B = Rfc("ÑAD061009TY8")
C = Rfc("XYZW010101AAA")
MOST_LOW = 999_999_999_999


def rows_of(*pairs: tuple[Rfc, int | None]) -> tuple[IssuerRow, ...]:
    return tuple(IssuerRow(rfc, low) for rfc, low in pairs)


def refused(read: Callable[[str], IssuerImport], text: str) -> TimbresError:
    with pytest.raises(TimbresError) as caught:
        read(text)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "body-invalid",
        400,
    )
    assert caught.value.field == "body"
    return caught.value


# ---------------------------------------------------------------------------- good lists


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ([A], rows_of((A, UNSET))),
        ([A, B, C], rows_of((A, UNSET), (B, UNSET), (C, UNSET))),
        ([" a&d061009ty8 "], rows_of((A, UNSET))),
        ([{"rfc": A}], rows_of((A, UNSET))),
        ([{"rfc": A, "low_stamps": 100}], rows_of((A, 100))),
        ([{"low_stamps": 0, "rfc": A}], rows_of((A, 0))),
        ([{"rfc": A, "low_stamps": None}], rows_of((A, None))),
        ([{"rfc": A, "low_stamps": MOST_LOW}], rows_of((A, MOST_LOW))),
        ([A, {"rfc": B, "low_stamps": 5}], rows_of((A, UNSET), (B, 5))),
        # The same twice is no contradiction.
        ([A, A.lower(), {"rfc": A}], rows_of((A, UNSET))),
        ([{"rfc": A, "low_stamps": 5}, {"rfc": A, "low_stamps": 5}], rows_of((A, 5))),
    ],
    ids=repr,
)
def test_json_lists(rows: list[Any], read: tuple[IssuerRow, ...]) -> None:
    for text in (json.dumps(rows), f"\ufeff{json.dumps(rows)}"):
        assert parse_json(text) == IssuerImport(read, ())


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"{A}", rows_of((A, UNSET))),
        (f"{A}\n{B}\n", rows_of((A, UNSET), (B, UNSET))),
        (f"{A},100\n{B},\n{C}\n", rows_of((A, 100), (B, None), (C, UNSET))),
        (f"rfc\n{A}\n", rows_of((A, UNSET))),
        (f"rfc,low_stamps\n{A},100\n", rows_of((A, 100))),
        (f"RFC,Low_Stamps\r\n{A},100\r\n", rows_of((A, 100))),
        (f"low_stamps,rfc\n100,{A}\n,{B}\n", rows_of((A, 100), (B, None))),
        (f"rfc;low_stamps\n{A};100\n{B};\n", rows_of((A, 100), (B, None))),
        (f"{A};100\r{B};7\r", rows_of((A, 100), (B, 7))),
        # As sheets save it.
        (f"\ufeffrfc,low_stamps\r\n{A},100\r\n", rows_of((A, 100))),
        (f"\ufeff{A}\n", rows_of((A, UNSET))),
        (f'"rfc","low_stamps"\n"{A}","1,000"\n', rows_of((A, 1000))),
        (f'"{A}";"1,000,000"\n{B};1,000\n', rows_of((A, 1_000_000), (B, 1000))),
        (f" {A} , 100 \n\t{B}\t,\t7\n", rows_of((A, 100), (B, 7))),
        (f'"{A}\n",100\n', rows_of((A, 100))),
        # Lines of nothing are no rows.
        (f"\n\n{A},100\n\n,\n  \n{B},7\n\n", rows_of((A, 100), (B, 7))),
        (f"\r\n \r\nrfc;low_stamps\r\n{A};100\r\n", rows_of((A, 100))),
        (f"{A},{MOST_LOW}\n", rows_of((A, MOST_LOW))),
        (f"{A},0007\n", rows_of((A, 7))),
        (f"{A},5\n{A.lower()},5\n", rows_of((A, 5))),
    ],
    ids=repr,
)
def test_csv_lists(text: str, read: tuple[IssuerRow, ...]) -> None:
    assert parse_csv(text) == IssuerImport(read, ())


# ------------------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ("A&D061009TY", "rfc", "'A&D061009TY' is not a valid RFC"),
        ("", "rfc", "is not a valid RFC"),
        ("A", "rfc", "'A' is not a valid RFC"),
        ("XAXX010101000", "rfc", "public"),
        (7, "row", "an RFC or an object"),
        (None, "row", "an RFC or an object"),
        (True, "row", "an RFC or an object"),
        ([A], "row", "an RFC or an object"),
        ({}, "rfc", "a text"),
        ({"rfc": None}, "rfc", "a text"),
        ({"rfc": 7}, "rfc", "a text"),
        ({"rfc": [A]}, "rfc", "a text"),
        ({"low_stamps": 7}, "rfc", "a text"),
        ({"rfc": A, "low": 7}, "row", "'low' is not known: expected rfc, low_stamps"),
        ({"RFC": A}, "row", "'RFC' is not known"),
        ({"rfc": A, "low_stamps": -1}, "low_stamps", "'-1': expected a whole number"),
        ({"rfc": A, "low_stamps": -1.0}, "low_stamps", "'-1.0': expected a whole number"),
        ({"rfc": A, "low_stamps": -2}, "low_stamps", "'-2': expected"),
        ({"rfc": A, "low_stamps": 1.0}, "low_stamps", "'1.0': expected"),
        ({"rfc": A, "low_stamps": "100"}, "low_stamps", "'100': expected"),
        ({"rfc": A, "low_stamps": True}, "low_stamps", "'True': expected"),
        ({"rfc": A, "low_stamps": False}, "low_stamps", "'False': expected"),
        ({"rfc": A, "low_stamps": []}, "low_stamps", "'[]': expected"),
        ({"rfc": A, "low_stamps": float("nan")}, "low_stamps", "'nan': expected"),
        ({"rfc": A, "low_stamps": MOST_LOW + 1}, "low_stamps", "999,999,999,999"),
        ({"rfc": A, "low_stamps": 10**200}, "low_stamps", "999,999,999,999"),
        ({"rfc": B, "low_stamps": 7}, "low_stamps", f"{B} has a different threshold in line 1"),
        (B, "low_stamps", f"{B} has a different threshold in line 1"),
    ],
    ids=repr,
)
def test_bad_rows_of_json(row: object, field: str, says: str) -> None:
    first = {"rfc": B, "low_stamps": 1}
    read = parse_json(json.dumps([first, row, C]))
    assert read.rows == rows_of((B, 1), (C, UNSET))
    (bad,) = read.invalid
    assert (bad.line, bad.field) == (2, field)
    assert says in bad.detail
    assert len(bad.detail) < 200


def test_an_object_with_a_member_twice_is_read_as_neither_of_the_two() -> None:
    twice = f'{{"rfc": "{A}", "low_stamps": 1, "low_stamps": 2}}'
    inner = f'{{"rfc": "{A}", "low_stamps": {{"a": 1, "a": 2}}}}'
    read = parse_json(f'[{twice}, {inner}, {{"rfc": "{A}", "rfc": "{B}"}}, "{C}"]')
    assert read.rows == rows_of((C, UNSET))
    assert [(bad.line, bad.field) for bad in read.invalid] == [
        (1, "row"),
        (2, "low_stamps"),
        (3, "row"),
    ]
    assert all("a duplicate member" in bad.detail for bad in read.invalid)


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ("A&D061009TY,7", "rfc", "'A&D061009TY' is not a valid RFC"),
        (",7", "rfc", "is not a valid RFC"),
        ("XEXX010101000,7", "rfc", "foreigners"),
        (f"{A},7,", "row", "expected rfc, low_stamps, no more"),
        (f"{A},1,000", "row", "expected rfc, low_stamps, no more"),
        (f"{A},-1", "low_stamps", "'-1': expected a whole number"),
        (f"{A},1.5", "low_stamps", "'1.5': expected"),
        # A comma for decimals is no thousands.
        (f'{A},"1,5"', "low_stamps", "'1,5': expected"),
        (f'{A},"100,00"', "low_stamps", "'100,00': expected"),
        (f'{A},"1000,000"', "low_stamps", "'1000,000': expected"),
        (f'{A},","', "low_stamps", "',': expected"),
        (f"{A},1e3", "low_stamps", "'1e3': expected"),
        (f"{A},cien", "low_stamps", "'cien': expected"),
        (f"{A},٧", "low_stamps", "expected"),
        (f"{A},²", "low_stamps", "expected"),
        (f"{A},1000000000000", "low_stamps", "'1000000000000': expected"),
        (f"{A},{'9' * 5000}", "low_stamps", "expected"),
        (f"{B},7", "low_stamps", f"{B} has a different threshold in line 2"),
        (f"{B}", "low_stamps", f"{B} has a different threshold in line 2"),
        (f"{A};7", "rfc", "is not a valid RFC"),
        (f"rfc,{A}", "rfc", "'rfc' is not a valid RFC"),
        (f"{'A' * 140_000},7", "row", "not valid CSV: field larger"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_rows_of_csv(row: str, field: str, says: str) -> None:
    read = parse_csv(f"rfc,low_stamps\n{B},1\n{row}\n{C}\n")
    assert read.rows == rows_of((B, 1), (C, UNSET))
    (bad,) = read.invalid
    assert (bad.line, bad.field) == (3, field)
    assert says in bad.detail
    assert len(bad.detail) < 200


def test_a_row_is_named_by_the_line_on_which_it_begins() -> None:
    text = f'\n{A}\n\n"{B}\n\n{C}",7\nx\n"{C}\n"\ny'
    read = parse_csv(text)
    assert read.rows == rows_of((A, UNSET), (C, UNSET))
    assert [(bad.line, bad.field) for bad in read.invalid] == [(4, "row"), (7, "rfc"), (10, "rfc")]
    assert "closes in line 6" in read.invalid[0].detail


def test_a_quote_that_is_never_closed_is_named_where_it_opens() -> None:
    read = parse_csv(f'{A}\n"{B}\n{C}\n{C}\n')
    assert read.rows == rows_of((A, UNSET))
    assert [(bad.line, bad.field) for bad in read.invalid] == [(2, "row")]
    assert "or never" in read.invalid[0].detail


def test_every_bad_row_is_named() -> None:
    rows = [A if n % 3 else f"bad-{n}" for n in range(1, 301)]
    for read in (parse_json(json.dumps(rows)), parse_csv("\n".join(rows))):
        assert [bad.line for bad in read.invalid] == list(range(3, 301, 3))
        assert read.rows == rows_of((A, UNSET))


def test_of_two_rows_that_contradict_the_first_stands() -> None:
    read = parse_csv(f"{A},1\n{B},5\n{A},2\n{A},1\n{A}\n")
    assert read.rows == rows_of((A, 1), (B, 5))
    detail = f"{A} has a different threshold in line 1"
    assert read.invalid == (
        InvalidRow(3, "low_stamps", detail),
        InvalidRow(5, "low_stamps", detail),
    )


# ------------------------------------------------------------------------ no such lists


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        (A, "not valid JSON"),
        ("[", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        (f'["{A}",]', "not valid JSON"),
        (f'\ufeff\ufeff["{A}"]', "not valid JSON"),
        ("[" + "9" * 5000 + "]", "not valid JSON"),
        ("null", "not a JSON list"),
        ("7", "not a JSON list"),
        (f'"{A}"', "not a JSON list"),
        (f'{{"rfc": "{A}"}}', "not a JSON list"),
        ('{"a": 1, "a": 2}', "not a JSON list"),
        ("[]", "no rows"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_no_list_in_json(text: str, says: str) -> None:
    assert says in refused(parse_json, text).detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("\ufeff", "no rows"),
        ("\n\n  \n", "no rows"),
        (",,,\n", "no rows"),
        ("rfc\n", "no rows"),
        ("rfc,low_stamps\n\n", "no rows"),
        (f"rfc,name\n{A},x\n", "Invalid header"),
        (f"rfc,low_stamps,\n{A},7,\n", "Invalid header"),
        (f"rfc,rfc\n{A},{A}\n", "Invalid header"),
        (f"low_stamps,RFC,low_stamps\n7,{A},7\n", "Invalid header"),
    ],
    ids=repr,
)
def test_no_list_in_csv(text: str, says: str) -> None:
    assert says in refused(parse_csv, text).detail


def many(count: int) -> list[str]:
    return [f"ABC{n // 100:06d}{n % 100:02d}0" for n in range(count)]


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1])
@pytest.mark.parametrize("form", ["json", "csv", "csv with a header"])
def test_ten_thousand_rows_and_no_more(count: int, form: str) -> None:
    # Bad ones count too: it is the list that is too long.
    rows = [A, *many(count - 1)]
    text = json.dumps(rows) if form == "json" else "\n".join(rows)
    text = f"rfc\n{text}" if "header" in form else text
    read = parse_json if form == "json" else parse_csv
    if count > MAX_ROWS:
        assert "10,000" in refused(read, text).detail
        return
    found = read(text)
    assert found.rows[0] == IssuerRow(A, UNSET)
    assert len(found.rows) + len(found.invalid) == MAX_ROWS


# ------------------------------------------------------------------------------ any list

rfcs = st.from_regex(
    r"[A-ZÑ&]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9])[A-Z0-9]{2}[0-9A]", fullmatch=True
).filter(lambda rfc: rfc not in ("XAXX010101000", "XEXX010101000"))
lows = st.none() | st.integers(0, MOST_LOW) | st.just(UNSET)
rosters = st.lists(
    st.builds(IssuerRow, rfcs.map(Rfc), lows),
    min_size=1,
    max_size=10,
    unique_by=lambda one: one.rfc,
)


@given(rosters)
def test_any_list_written_as_json_reads_back(wanted: list[IssuerRow]) -> None:
    rows = [
        one.rfc if one.low_stamps is UNSET else {"rfc": one.rfc, "low_stamps": one.low_stamps}
        for one in wanted
    ]
    assert parse_json(json.dumps(rows)) == IssuerImport(tuple(wanted), ())


@given(
    rosters,
    st.sampled_from(",;"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_list_written_as_csv_reads_back(
    wanted: list[IssuerRow], delimiter: str, end: str, header: bool, grouped: bool, quoting: Any
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    if header:
        writer.writerow(["rfc", "low_stamps"])
    elif wanted[0].low_stamps is UNSET:
        # Nothing in the first line tells the delimiter.
        wanted = [IssuerRow(wanted[0].rfc, 7), *wanted[1:]]
    for one in wanted:
        low = one.low_stamps
        number = "" if low in (None, UNSET) else f"{low:,}" if grouped else str(low)
        writer.writerow([one.rfc] if low is UNSET else [one.rfc, number])
    assert parse_csv(out.getvalue()) == IssuerImport(tuple(wanted), ())


csv_texts = st.text(max_size=60) | st.lists(
    st.sampled_from([A, B, "rfc", "low_stamps", ",", ";", '"', "\n", "\r", "7", "-1", "x", "\0"]),
    max_size=25,
).map("".join)


@settings(max_examples=150)
@given(csv_texts)
def test_no_text_breaks_the_reader_of_csv(text: str) -> None:
    sound(parse_csv, text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_json(text: str) -> None:
    sound(parse_json, text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([A, B, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["rfc", "low_stamps", "x"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(json_values | st.lists(json_values, max_size=5))
def test_no_json_breaks_its_reader(value: object) -> None:
    sound(parse_json, json.dumps(value))


def sound(read: Callable[[str], IssuerImport], text: str) -> None:
    """Whatever was sent is refused as a whole, or each row of it is good or named."""
    try:
        found = read(text)
    except TimbresError:
        refused(read, text)
        return
    assert found.rows or found.invalid
    names = [entry.rfc for entry in found.rows]
    assert len(set(names)) == len(names)
    assert all(
        one.low_stamps in (None, UNSET) or 0 <= one.low_stamps <= MOST_LOW for one in found.rows
    )
    assert [bad.line for bad in found.invalid] == sorted(bad.line for bad in found.invalid)
    for bad in found.invalid:
        assert bad.line >= 1
        assert bad.field in ("rfc", "low_stamps", "row")
        assert bad.detail.isprintable()
