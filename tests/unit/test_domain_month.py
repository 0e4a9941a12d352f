"""Months: YYYY-MM in Mexico City, from 2011 to the current month."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.month import Month, Year, month_of, parse_month, parse_period, period_from_text

TODAY = date(2026, 11, 19)
months = st.builds(Month, st.integers(2011, 9999), st.integers(1, 12))


@pytest.mark.parametrize(
    "value",
    [
        *("2026-13", "2026-00", "2026-1", "26-10", "202610", "2026/10", "10-2026", "2026-10-01"),
        *(" 2026-10", "2026-10\n", "+026-10", "２０２６-１０", "2026‐10", "octubre", ""),
        *(None, 202610, ["2026-10"]),
    ],
)
def test_other_values_are_rejected(value: object) -> None:
    error = expect_error("month-invalid", "month", parse_month, value, TODAY)

    assert "YYYY-MM" in error.detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "is before 2011") for text in ("1999-01", "2010-12", "0000-01")),
        *((text, "is in the future") for text in ("2026-12", "2027-01", "9999-12")),
    ],
)
def test_months_before_2011_and_in_the_future_are_rejected(text: str, reason: str) -> None:
    error = expect_error("month-invalid", "mes", parse_month, text, TODAY, field="mes")

    assert reason in error.detail


def test_a_period_is_a_month_or_a_year() -> None:
    assert parse_period("2026-10", TODAY) == Month(2026, 10)
    assert parse_period("2026", TODAY) == Year(2026) == period_from_text("2026")
    assert parse_period("2011", TODAY) == Year(2011)
    assert Year(2026).months(date(2026, 2, 1)) == [Month(2026, 1), Month(2026, 2)]
    assert len(Year(2025).months(TODAY)) == 12
    for text in ("2010", "2027", "9999"):
        error = expect_error("month-invalid", "month", parse_period, text, TODAY)
        assert "expected 2011 to 2026" in error.detail
    for value in ("26", "20266", 2026, None, "２０２６"):
        expect_error("month-invalid", "month", parse_period, value, TODAY)


@given(months)
def test_a_month_parses_from_its_text(month: Month) -> None:
    assert parse_month(str(month), month.first_day) == Month.from_text(str(month)) == month


@given(months)
def test_the_previous_month_ends_the_day_before(month: Month) -> None:
    previous = month.previous()

    assert previous < month
    assert previous.last_day + timedelta(days=1) == month.first_day
    assert month_of(previous.last_day) == month_of(previous.first_day) == previous
