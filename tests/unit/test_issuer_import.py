"""Issuer imports from JSON and CSV; every invalid row is reported with its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.issuer_import import UNSET, InvalidRow, IssuerImport, IssuerRow
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError
from timbres.handlers.issuer_import_parser import MAX_ROWS, parse_csv, parse_json

A = Rfc("A&D061009TY8")
B = Rfc("ÑAD061009TY8")
C = Rfc("XYZW010101AAA")
MAX_LOW_STAMPS = 999_999_999_999


def import_of(*rows: Any) -> IssuerImport:
    """Return the import of rows: an RFC, or an RFC and its threshold."""
    pairs = [(row, UNSET) if isinstance(row, str) else row for row in rows]
    return IssuerImport(tuple(IssuerRow(*pair) for pair in pairs), ())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([" a&d061009ty8 ", B], import_of(A, B)),
        ([{"low_stamps": 0, "rfc": A}, {"rfc": B}], import_of((A, 0), B)),
        ([{"rfc": A, "low_stamps": None}], import_of((A, None))),
        ([{"rfc": A, "low_stamps": MAX_LOW_STAMPS}], import_of((A, MAX_LOW_STAMPS))),
        # Equal rows do not contradict each other.
        ([A, A.lower(), {"rfc": A}], import_of(A)),
        ([{"rfc": A, "name": " Ñandú, S.A. "}], import_of((A, UNSET, "Ñandú, S.A."))),
        ([{"rfc": A, "name": "N\u0303" * 254}], import_of((A, UNSET, "Ñ" * 254))),
        ([{"rfc": A, "name": ""}], import_of((A, UNSET, None))),
    ],
    ids=repr,
)
def test_valid_json(rows: list[Any], expected: IssuerImport) -> None:
    for text in (json.dumps(rows), f"\ufeff{json.dumps(rows)}"):
        assert parse_json(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A},100\n{B},\n{C}\n", import_of((A, 100), (B, None), C)),
        (f"RFC,Low_Stamps\r\n{A},100\r\n", import_of((A, 100))),
        (f"low_stamps,rfc\n100,{A}\n,{B}\n", import_of((A, 100), (B, None))),
        (f'rfc,name\n{A},"Ñandú, S.A."\n', import_of((A, UNSET, "Ñandú, S.A."))),
        (f"rfc;low_stamps;;\n{A};100;;\n{B};;;\n", import_of((A, 100), (B, None))),
        (f"rfc\tlow_stamps\n{A}\t100\n{B}\n", import_of((A, 100), B)),
        (f"{A};100\r{B};7\r", import_of((A, 100), (B, 7))),
        # As spreadsheets write it.
        (f'\ufeff"rfc","low_stamps"\n"{A}","1,000"\n', import_of((A, 1000))),
        (f'"{A}";"1,000,000"\n{B};1,000\n', import_of((A, 1_000_000), (B, 1000))),
        (f" {A} , 100 \n\t{B}\t,\t0007\n", import_of((A, 100), (B, 7))),
        (f'"{A}\n",100\n', import_of((A, 100))),
        # Empty lines are ignored.
        (f"\r\n \r\nrfc;low_stamps\r\n;\r\n{A};100\r\n", import_of((A, 100))),
    ],
    ids=repr,
)
def test_valid_csv(text: str, expected: IssuerImport) -> None:
    assert parse_csv(text) == expected


def check_second_row_is_invalid(result: IssuerImport, line: int, field: str, expected: str) -> None:
    assert result.rows == import_of((B, 1), C).rows
    (invalid,) = result.invalid
    assert (invalid.line, invalid.field) == (line, field)
    assert expected in invalid.detail
    assert len(invalid.detail) < 200


INVALID_NUMBERS = [-1, 1.0, "100", True, [], float("nan"), MAX_LOW_STAMPS + 1]


@pytest.mark.parametrize(
    ("row", "field", "expected"),
    [
        ("A&D061009TY", "rfc", "'A&D061009TY' is not a valid RFC"),
        ("XAXX010101000", "rfc", "public"),
        *((row, "row", "an RFC or an object") for row in (7, None, [A])),
        *((row, "rfc", "a text") for row in ({}, {"rfc": 7})),
        ({"rfc": A, "low": 7}, "row", "'low' is not known: expected rfc, low_stamps, name"),
        *(
            ({"rfc": A, "name": name}, "name", "up to 254 characters")
            for name in ("x" * 255, "a\nb", 7)
        ),
        ({"rfc": B, "low_stamps": 1, "name": "x"}, "name", f"{B} has a different name in line 1"),
        *(
            ({"rfc": A, "low_stamps": value}, "low_stamps", f"'{str(value)[:20]}")
            for value in INVALID_NUMBERS
        ),
        ({"rfc": A, "low_stamps": -1}, "low_stamps", "from 0 to 999,999,999,999"),
        ({"rfc": B, "low_stamps": 7}, "low_stamps", f"{B} has a different threshold in line 1"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_rows_of_json(row: object, field: str, expected: str) -> None:
    result = parse_json(json.dumps([{"rfc": B, "low_stamps": 1}, row, C]))

    check_second_row_is_invalid(result, 2, field, expected)


def test_an_object_with_a_duplicate_member_is_rejected() -> None:
    twice = f'{{"rfc": "{A}", "low_stamps": 1, "low_stamps": 2}}'
    inner = f'{{"rfc": "{A}", "low_stamps": {{"a": 1, "a": 2}}}}'

    result = parse_json(f'[{twice}, {inner}, {{"rfc": "{A}", "rfc": "{B}"}}, "{C}"]')

    assert result.rows == import_of(C).rows
    fields = {row.line: row.field for row in result.invalid}
    assert fields == {1: "row", 2: "low_stamps", 3: "row"}
    assert all("a duplicate member" in row.detail for row in result.invalid)


@pytest.mark.parametrize(
    ("row", "field", "expected"),
    [
        ("A&D061009TY,7", "rfc", "'A&D061009TY' is not a valid RFC"),
        (f"{A},1,000", "row", "expected rfc, low_stamps, no more"),
        # A decimal comma is not a thousands separator.
        *(
            (f'{A},"{number}"', "low_stamps", f"'{number}': expected a whole number")
            for number in ("1,5", "1000,000", ",", "-1", "1.5", "1e3", "cien", "٧")
        ),
        (f"{A},{'9' * 5000}", "low_stamps", "expected"),
        (f"{B},7", "low_stamps", f"{B} has a different threshold in line 2"),
        (f"{A};7", "rfc", "is not a valid RFC"),
        (f"rfc,{A}", "rfc", "'rfc' is not a valid RFC"),
        (f"{'A' * 140_000},7", "row", "not valid CSV: field larger"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_rows_of_csv(row: str, field: str, expected: str) -> None:
    result = parse_csv(f"rfc,low_stamps\n{B},1\n{row}\n{C}\n")

    check_second_row_is_invalid(result, 3, field, expected)


def test_an_error_has_the_first_line_of_its_row() -> None:
    result = parse_csv(f'\n{A}\n\n"{B}\n\n{C}",7\nx\n"{C}\n"\ny\n"{B}\n{C}\n')

    assert result.rows == import_of(A, C).rows
    fields = {row.line: row.field for row in result.invalid}
    assert fields == {4: "row", 7: "rfc", 10: "rfc", 11: "row"}
    assert "closes in line 6" in result.invalid[0].detail
    assert "or never" in result.invalid[3].detail


def test_the_first_of_contradictory_rows_counts() -> None:
    result = parse_csv(f"{A},1\n{B},5\n{A},2\n{A},1\n{A}\n")

    detail = f"{A} has a different threshold in line 1"
    assert result.rows == import_of((A, 1), (B, 5)).rows
    assert result.invalid == tuple(InvalidRow(line, "low_stamps", detail) for line in (3, 5))


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        *((parse_json, text, "not valid JSON") for text in ("", f'["{A}",]', "[" * 100_000)),
        (parse_json, "[" + "9" * 5000 + "]", "not valid JSON"),
        *((parse_json, text, "not a JSON list") for text in ("null", f'"{A}"', '{"a": 1, "a": 2}')),
        (parse_json, "[]", "no rows"),
        *((parse_csv, text, "no rows") for text in ("", "\n\n  \n", ",,,\n", "rfc\n")),
        (parse_csv, f"rfc,nombre\n{A},x\n", "Invalid header"),
        (parse_csv, f"rfc,low_stamps,,x\n{A},7,\n", "Invalid header"),
        (parse_csv, f"rfc,rfc\n{A},{A}\n", "Invalid header"),
        (parse_csv, f"low_stamps,RFC,low_stamps\n7,{A},7\n", "Invalid header"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)[:30]),
)
def test_invalid_lists(parse: Callable[[str], IssuerImport], text: str, expected: str) -> None:
    assert expected in expect_error("body-invalid", "body", parse, text).detail


@pytest.mark.parametrize(
    ("parse", "write"),
    [(parse_json, json.dumps), (parse_csv, lambda rows: "\n".join(["rfc", *rows]))],
)
def test_at_most_10_000_rows_are_accepted(
    parse: Callable[[str], IssuerImport], write: Callable[[list[str]], str]
) -> None:
    # Invalid rows count as well, a header does not.
    rows = [f"no-rfc-{n}" for n in range(MAX_ROWS + 1)]

    assert len(parse(write(rows[:MAX_ROWS])).invalid) == MAX_ROWS

    assert "10,000" in expect_error("body-invalid", "body", parse, write(rows)).detail


marks = [",", ";", '"', "\n", "\r", "7", "-1", "x", "\0"]
words = st.sampled_from([A, B, "rfc", "low_stamps", *marks])
csv_texts = st.text(max_size=60) | st.lists(words, max_size=25).map("".join)
json_values = st.none() | st.booleans() | st.floats() | st.integers() | words | st.just("\ud800")
json_texts = st.lists(
    json_values | st.dictionaries(st.sampled_from(["rfc", "low_stamps"]), json_values), max_size=5
).map(json.dumps)


@given(st.tuples(st.just(parse_csv), csv_texts) | st.tuples(st.just(parse_json), json_texts))
def test_any_list_is_rejected_or_each_row_is_valid_or_reported(
    parse_and_text: tuple[Callable[[str], IssuerImport], str],
) -> None:
    parse, text = parse_and_text
    try:
        result = parse(text)
    except TimbresError:
        expect_error("body-invalid", "body", parse, text)
        return
    assert result.rows or result.invalid
    assert len({row.rfc for row in result.rows}) == len(result.rows)
    for row in result.rows:
        assert row.low_stamps in (None, UNSET) or 0 <= row.low_stamps <= MAX_LOW_STAMPS

    assert all(row.detail.isprintable() for row in result.invalid)
