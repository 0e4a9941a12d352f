"""Contracts expire after 12 months; reports show the next expiry of each issuer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.expiry import Expiry, expiry_day, next_expiry, oldest_creation

TODAY = date(2026, 11, 19)


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        (datetime(2025, 12, 12, 23, 59, tzinfo=MEXICO_CITY), date(2026, 12, 12)),
        # Already the next day in UTC.
        (datetime(2025, 12, 13, 5, 59, tzinfo=UTC), date(2026, 12, 12)),
        (datetime(2025, 12, 13, 6, 0, tzinfo=UTC), date(2026, 12, 13)),
        (datetime(2028, 2, 29, 12, 0, tzinfo=MEXICO_CITY), date(2029, 2, 28)),
        (datetime(2027, 2, 28, 12, 0, tzinfo=MEXICO_CITY), date(2028, 2, 28)),
    ],
)
def test_a_contract_expires_after_twelve_months(created_at: datetime, expected: date) -> None:
    assert expiry_day(created_at) == expected


@given(st.dates(date(2011, 1, 1), date(2099, 1, 1)), st.integers(0, 400))
def test_no_contract_that_has_not_expired_is_older_than_the_oldest(today: date, days: int) -> None:
    created_at = datetime(today.year, today.month, today.day, tzinfo=MEXICO_CITY)
    created_at -= timedelta(days=days)
    assert expiry_day(created_at) < today or created_at >= oldest_creation(today)


def coming(days: int, stamps: int) -> Expiry:
    return Expiry(TODAY + timedelta(days=days), stamps)


@pytest.mark.parametrize(
    ("expiries", "expected"),
    [
        ([], None),
        ([coming(0, 500)], coming(0, 500)),
        ([coming(9, 500), coming(-1, 7), coming(3, 20), coming(300, 1)], coming(3, 20)),
        ([coming(9, 500), coming(9, 20), coming(10, 1)], coming(9, 520)),
    ],
)
def test_the_next_expiry_has_the_stamps_of_its_day(
    expiries: list[Expiry], expected: Expiry | None
) -> None:
    assert next_expiry(expiries, TODAY) == expected
