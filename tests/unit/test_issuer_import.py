"""Issuer imports from JSON and CSV; every invalid row is reported with its line."""

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
MAX_LOW_STAMPS = 999_999_999_999


def rows_of(*pairs: tuple[Rfc, int | None]) -> tuple[IssuerRow, ...]:
    return tuple(IssuerRow(rfc, low) for rfc, low in pairs)


def expect_rejection(read: Callable[[str], IssuerImport], text: str) -> TimbresError:
    with pytest.raises(TimbresError) as caught:
        read(text)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "body-invalid",
        400,
    )
    assert caught.value.field == "body"
    return caught.value


# ---------------------------------------------------------------------------- valid lists


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
        ([{"rfc": A, "low_stamps": MAX_LOW_STAMPS}], rows_of((A, MAX_LOW_STAMPS))),
        ([A, {"rfc": B, "low_stamps": 5}], rows_of((A, UNSET), (B, 5))),
        # Equal rows do not contradict each other.
        ([A, A.lower(), {"rfc": A}], rows_of((A, UNSET))),
        ([{"rfc": A, "low_stamps": 5}, {"rfc": A, "low_stamps": 5}], rows_of((A, 5))),
    ],
    ids=repr,
)
def test_valid_json(rows: list[Any], read: tuple[IssuerRow, ...]) -> None:
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
        (f"rfc;low_stamps;;\n{A};100;;\n{B};;;\n", rows_of((A, 100), (B, None))),
        (f"rfc\tlow_stamps\n{A}\t100\n{B}\n", rows_of((A, 100), (B, UNSET))),
        (f"{A};100\r{B};7\r", rows_of((A, 100), (B, 7))),
        # As spreadsheets write it.
        (f"\ufeffrfc,low_stamps\r\n{A},100\r\n", rows_of((A, 100))),
        (f"\ufeff{A}\n", rows_of((A, UNSET))),
        (f'"rfc","low_stamps"\n"{A}","1,000"\n', rows_of((A, 1000))),
        (f'"{A}";"1,000,000"\n{B};1,000\n', rows_of((A, 1_000_000), (B, 1000))),
        (f" {A} , 100 \n\t{B}\t,\t7\n", rows_of((A, 100), (B, 7))),
        (f'"{A}\n",100\n', rows_of((A, 100))),
        # Empty lines are ignored.
        (f"\n\n{A},100\n\n,\n  \n{B},7\n\n", rows_of((A, 100), (B, 7))),
        (f"\r\n \r\nrfc;low_stamps\r\n{A};100\r\n", rows_of((A, 100))),
        (f"{A},{MAX_LOW_STAMPS}\n", rows_of((A, MAX_LOW_STAMPS))),
        (f"{A},0007\n", rows_of((A, 7))),
        (f"{A},5\n{A.lower()},5\n", rows_of((A, 5))),
    ],
    ids=repr,
)
def test_valid_csv(text: str, read: tuple[IssuerRow, ...]) -> None:
    assert parse_csv(text) == IssuerImport(read, ())


# ------------------------------------------------------------------------------ invalid rows


@pytest.mark.parametrize(
    ("row", "field", "expected"),
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
        ({"rfc": A, "low_stamps": MAX_LOW_STAMPS + 1}, "low_stamps", "999,999,999,999"),
        ({"rfc": A, "low_stamps": 10**200}, "low_stamps", "999,999,999,999"),
        ({"rfc": B, "low_stamps": 7}, "low_stamps", f"{B} has a different threshold in line 1"),
        (B, "low_stamps", f"{B} has a different threshold in line 1"),
    ],
    ids=repr,
)
def test_invalid_rows_of_json(row: object, field: str, expected: str) -> None:
    first = {"rfc": B, "low_stamps": 1}
    read = parse_json(json.dumps([first, row, C]))
    assert read.rows == rows_of((B, 1), (C, UNSET))
    (invalid,) = read.invalid
    assert (invalid.line, invalid.field) == (2, field)
    assert expected in invalid.detail
    assert len(invalid.detail) < 200


def test_an_object_with_a_duplicate_member_is_rejected() -> None:
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
    ("row", "field", "expected"),
    [
        ("A&D061009TY,7", "rfc", "'A&D061009TY' is not a valid RFC"),
        (",7", "rfc", "is not a valid RFC"),
        ("XEXX010101000,7", "rfc", "foreigners"),
        (f"{A},7,,x", "row", "expected rfc, low_stamps, no more"),
        (f"{A},1,000", "row", "expected rfc, low_stamps, no more"),
        (f"{A},-1", "low_stamps", "'-1': expected a whole number"),
        (f"{A},1.5", "low_stamps", "'1.5': expected"),
        # A decimal comma is not a thousands separator.
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
def test_invalid_rows_of_csv(row: str, field: str, expected: str) -> None:
    read = parse_csv(f"rfc,low_stamps\n{B},1\n{row}\n{C}\n")
    assert read.rows == rows_of((B, 1), (C, UNSET))
    (invalid,) = read.invalid
    assert (invalid.line, invalid.field) == (3, field)
    assert expected in invalid.detail
    assert len(invalid.detail) < 200


def test_an_error_has_the_first_line_of_its_row() -> None:
    text = f'\n{A}\n\n"{B}\n\n{C}",7\nx\n"{C}\n"\ny'
    read = parse_csv(text)
    assert read.rows == rows_of((A, UNSET), (C, UNSET))
    assert [(bad.line, bad.field) for bad in read.invalid] == [(4, "row"), (7, "rfc"), (10, "rfc")]
    assert "closes in line 6" in read.invalid[0].detail


def test_an_open_quote_is_reported_with_its_line() -> None:
    read = parse_csv(f'{A}\n"{B}\n{C}\n{C}\n')
    assert read.rows == rows_of((A, UNSET))
    assert [(bad.line, bad.field) for bad in read.invalid] == [(2, "row")]
    assert "or never" in read.invalid[0].detail


def test_every_invalid_row_is_reported() -> None:
    rows = [A if n % 3 else f"bad-{n}" for n in range(1, 301)]
    for read in (parse_json(json.dumps(rows)), parse_csv("\n".join(rows))):
        assert [bad.line for bad in read.invalid] == list(range(3, 301, 3))
        assert read.rows == rows_of((A, UNSET))


def test_the_first_of_two_contradictory_rows_counts() -> None:
    read = parse_csv(f"{A},1\n{B},5\n{A},2\n{A},1\n{A}\n")
    assert read.rows == rows_of((A, 1), (B, 5))
    detail = f"{A} has a different threshold in line 1"
    assert read.invalid == (
        InvalidRow(3, "low_stamps", detail),
        InvalidRow(5, "low_stamps", detail),
    )


# ------------------------------------------------------------------------ invalid lists


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_invalid_json(text: str, expected: str) -> None:
    assert expected in expect_rejection(parse_json, text).detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no rows"),
        ("\ufeff", "no rows"),
        ("\n\n  \n", "no rows"),
        (",,,\n", "no rows"),
        ("rfc\n", "no rows"),
        ("rfc,low_stamps\n\n", "no rows"),
        (f"rfc,name\n{A},x\n", "Invalid header"),
        (f"rfc,low_stamps,,x\n{A},7,\n", "Invalid header"),
        (f"rfc,rfc\n{A},{A}\n", "Invalid header"),
        (f"low_stamps,RFC,low_stamps\n7,{A},7\n", "Invalid header"),
    ],
    ids=repr,
)
def test_invalid_csv(text: str, expected: str) -> None:
    assert expected in expect_rejection(parse_csv, text).detail


def many(count: int) -> list[str]:
    return [f"ABC{n // 100:06d}{n % 100:02d}0" for n in range(count)]


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1])
@pytest.mark.parametrize("form", ["json", "csv", "csv with a header"])
def test_at_most_10_000_rows_are_accepted(count: int, form: str) -> None:
    # Invalid rows count as well.
    rows = [A, *many(count - 1)]
    text = json.dumps(rows) if form == "json" else "\n".join(rows)
    text = f"rfc\n{text}" if "header" in form else text
    read = parse_json if form == "json" else parse_csv
    if count > MAX_ROWS:
        assert "10,000" in expect_rejection(read, text).detail
        return
    result = read(text)
    assert result.rows[0] == IssuerRow(A, UNSET)
    assert len(result.rows) + len(result.invalid) == MAX_ROWS


# ------------------------------------------------------------------------------ any list

rfcs = st.from_regex(
    r"[A-ZÑ&]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9])[A-Z0-9]{2}[0-9A]", fullmatch=True
).filter(lambda rfc: rfc not in ("XAXX010101000", "XEXX010101000"))
lows = st.none() | st.integers(0, MAX_LOW_STAMPS) | st.just(UNSET)
row_lists = st.lists(
    st.builds(IssuerRow, rfcs.map(Rfc), lows),
    min_size=1,
    max_size=10,
    unique_by=lambda row: row.rfc,
)


@given(row_lists)
def test_json_survives_a_round_trip(expected: list[IssuerRow]) -> None:
    rows = [
        row.rfc if row.low_stamps is UNSET else {"rfc": row.rfc, "low_stamps": row.low_stamps}
        for row in expected
    ]
    assert parse_json(json.dumps(rows)) == IssuerImport(tuple(expected), ())


@given(
    row_lists,
    st.sampled_from(",;"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_survives_a_round_trip(
    expected: list[IssuerRow], delimiter: str, end: str, header: bool, grouped: bool, quoting: Any
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    if header:
        writer.writerow(["rfc", "low_stamps"])
    elif expected[0].low_stamps is UNSET:
        # The first line would contain no delimiter.
        expected = [IssuerRow(expected[0].rfc, 7), *expected[1:]]
    for row in expected:
        low = row.low_stamps
        number = "" if low in (None, UNSET) else f"{low:,}" if grouped else str(low)
        writer.writerow([row.rfc] if low is UNSET else [row.rfc, number])
    assert parse_csv(out.getvalue()) == IssuerImport(tuple(expected), ())


csv_texts = st.text(max_size=60) | st.lists(
    st.sampled_from([A, B, "rfc", "low_stamps", ",", ";", '"', "\n", "\r", "7", "-1", "x", "\0"]),
    max_size=25,
).map("".join)


@settings(max_examples=150)
@given(csv_texts)
def test_any_csv_is_read_or_rejected(text: str) -> None:
    assert_consistent(parse_csv, text)


@given(st.text(max_size=40))
def test_any_text_is_read_as_json_or_rejected(text: str) -> None:
    assert_consistent(parse_json, text)


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
def test_any_json_is_read_or_rejected(value: object) -> None:
    assert_consistent(parse_json, json.dumps(value))


def assert_consistent(read: Callable[[str], IssuerImport], text: str) -> None:
    """Check that a list is rejected, or that each of its rows is valid or reported."""
    try:
        result = read(text)
    except TimbresError:
        expect_rejection(read, text)
        return
    assert result.rows or result.invalid
    names = [entry.rfc for entry in result.rows]
    assert len(set(names)) == len(names)
    assert all(
        row.low_stamps in (None, UNSET) or 0 <= row.low_stamps <= MAX_LOW_STAMPS
        for row in result.rows
    )
    assert [bad.line for bad in result.invalid] == sorted(bad.line for bad in result.invalid)
    for bad in result.invalid:
        assert bad.line >= 1
        assert bad.field in ("rfc", "low_stamps", "row")
        assert bad.detail.isprintable()
