"""Months: YYYY-MM in Mexico City, from 2011 to the current month."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.month import Month, month_of, parse_month
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code

TODAY = date(2026, 11, 19)
months = st.builds(Month, st.integers(2011, 9999), st.integers(1, 12))


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("2026-11", Month(2026, 11)),
        ("2026-10", Month(2026, 10)),
        ("2025-12", Month(2025, 12)),
        ("2011-01", Month(2011, 1)),
    ],
)
def test_past_and_current_months_are_valid(text: str, month: Month) -> None:
    assert parse_month(text, TODAY) == month


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-13", "YYYY-MM"),
        ("2026-00", "YYYY-MM"),
        ("2026-1", "YYYY-MM"),
        ("2026-001", "YYYY-MM"),
        ("26-10", "YYYY-MM"),
        ("202610", "YYYY-MM"),
        ("2026/10", "YYYY-MM"),
        ("10-2026", "YYYY-MM"),
        ("2026-10-01", "YYYY-MM"),
        ("2026-10T", "YYYY-MM"),
        (" 2026-10", "YYYY-MM"),
        ("2026-10\n", "YYYY-MM"),
        ("2026-10\x00", "YYYY-MM"),
        ("-2026-10", "YYYY-MM"),
        ("+026-10", "YYYY-MM"),
        ("２０２６-１０", "YYYY-MM"),
        ("٢٠٢٦-١٠", "YYYY-MM"),
        ("2026‐10", "YYYY-MM"),
        ("octubre", "YYYY-MM"),
        ("", "YYYY-MM"),
        (None, "YYYY-MM"),
        (202610, "YYYY-MM"),
        (2026.10, "YYYY-MM"),
        (True, "YYYY-MM"),
        (["2026-10"], "YYYY-MM"),
        ({"year": 2026}, "YYYY-MM"),
        ("1999-01", "2011"),
        ("2010-12", "2011"),
        ("0000-01", "2011"),
        ("2026-12", "is in the future"),
        ("2027-01", "is in the future"),
        ("9999-12", "is in the future"),
    ],
)
def test_invalid_months_are_rejected(text: object, expected: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_month(text, TODAY)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "month-invalid",
        400,
    )
    assert caught.value.field == "month"
    assert expected in caught.value.detail


def test_the_month_begins_with_its_first_day() -> None:
    assert parse_month("2026-11", date(2026, 11, 1)) == Month(2026, 11)
    with pytest.raises(TimbresError):
        parse_month("2026-11", date(2026, 10, 31))


def test_the_error_names_the_callers_field() -> None:
    with pytest.raises(TimbresError) as caught:
        parse_month("2026-13", TODAY, field="mes")
    assert caught.value.field == "mes"


@given(months)
def test_a_month_parses_from_its_text(month: Month) -> None:
    assert parse_month(str(month), date(9999, 12, 31)) == month


@given(months)
def test_the_previous_month_ends_the_day_before(month: Month) -> None:
    previous = month.previous()
    assert previous < month
    assert previous.last_day + timedelta(days=1) == month.first_day
    assert month_of(previous.last_day) == month_of(previous.first_day) == previous


@given(months, months)
def test_months_sort_as_their_texts_do(first: Month, second: Month) -> None:
    assert (first < second) == (str(first) < str(second))


@pytest.mark.parametrize(
    ("month", "days"),
    [(Month(2026, 2), 28), (Month(2028, 2), 29), (Month(2100, 2), 28), (Month(2026, 12), 31)],
)
def test_months_have_their_days(month: Month, days: int) -> None:
    assert month.first_day.day == 1
    assert month.last_day.day == days
