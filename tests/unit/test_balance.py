"""Balance: whether its total is consistent, and the month of a schedule."""

from __future__ import annotations

import pytest

from timbres.domain.balance import is_consistent
from timbres.handlers.schedule import resolve_month


@pytest.mark.parametrize(
    ("transactions", "of_account", "of_issuer"),
    [
        (2, True, True),
        (1, False, False),
        (0, False, False),
        # May be the account's total.
        (171, False, None),
        (None, None, None),
    ],
)
def test_a_total_is_compared_with_two_consumed_stamps(
    transactions: int | None, of_account: bool | None, of_issuer: bool | None
) -> None:
    assert is_consistent(transactions, 2) is of_account
    assert is_consistent(transactions, 2, one_issuer=True) is of_issuer


@pytest.mark.parametrize(
    ("month", "due", "expected"),
    [
        ("current", "2026-11-01T05:30:00Z", "2026-10"),
        ("previous", "2026-11-01T05:30:00Z", "2026-09"),
        ("current", "2026-11-01T06:00:00Z", "2026-11"),
        ("previous", "2026-01-01T12:00:00Z", "2025-12"),
        ("2026-03", "2026-11-01T05:30:00Z", "2026-03"),
    ],
)
def test_the_month_of_a_schedule_is_that_of_its_due_time_in_mexico_city(
    month: str, due: str, expected: str
) -> None:
    assert str(resolve_month({"month": month, "scheduled_time": due})) == expected
