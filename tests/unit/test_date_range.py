"""Date ranges: both days are included; the default is 30 days."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.date_range import MAX_DAYS, parse_date_range
from timbres.errors import TimbresError

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("first", "last", "begin", "end"),
    [
        # 30 days up to today, or up to the given day.
        (None, None, "2026-10-23", "2026-11-21"),
        (None, "2026-03-01", "2026-01-31", "2026-03-01"),
        ("2024-02-29", "2024-03-01", "2024-02-29", "2024-03-01"),
        # A future range is valid; it has no snapshots.
        ("9999-12-31", "9999-12-31", "9999-12-31", "9999-12-31"),
    ],
)
def test_valid_ranges(first: str | None, last: str | None, begin: str, end: str) -> None:
    days = parse_date_range(first, last, TODAY)

    assert days == (date.fromisoformat(begin), date.fromisoformat(end))


@pytest.mark.parametrize(
    "text",
    [
        *("", "hoy", "2026-11", "2026-11-1", "2026-11-31", "20261101", "2026-11-01T00:00"),
        *("2026-11-01\n", "01/11/2026", "２０２６-11-01", "2010-12-31", "0000-01-01"),
    ],
)
@pytest.mark.parametrize("field", ["from", "to"])
def test_invalid_days_are_rejected(field: str, text: str) -> None:
    first, last = (text, None) if field == "from" else (None, text)

    error = expect_error("parameter-invalid", field, parse_date_range, first, last, TODAY)

    assert "YYYY-MM-DD" in error.detail


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-11-02", "2026-11-01", "is after"),
        ("2026-11-22", None, "is after"),
        ("2015-01-01", "2016-02-05", "400 days"),
    ],
)
def test_a_range_has_1_to_400_days(first: str, last: str | None, expected: str) -> None:
    error = expect_error("parameter-invalid", "from", parse_date_range, first, last, TODAY)

    assert expected in error.detail


texts = st.none() | st.text(max_size=12) | st.dates().map(date.isoformat)


@given(texts, texts)
def test_any_input_is_a_range_or_an_error(first: str | None, last: str | None) -> None:
    try:
        begin, end = parse_date_range(first, last, TODAY)
    except TimbresError:
        return
    assert 1 <= (end - begin).days + 1 <= MAX_DAYS
    assert last in (None, end.isoformat())
    assert first in (None, begin.isoformat())
