"""The stamps of an account: their forecast and alert, and the over-allotment to its issuers."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.account_stamps import AccountStamps, Allotment, sum_unused
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import EXHAUSTED, LOW, OK, Alert, AlertThresholds, Snapshot
from timbres.domain.stamps import Stamps

FIRST = datetime(2026, 11, 1, 5, tzinfo=MEXICO_CITY)
DAY = timedelta(days=1)
LIMITS = AlertThresholds(None, 7)
UNKNOWN = Stamps(None, None, None)
# Issuers that have no stamps of their own.
WITHOUT = (Stamps(0, 90, 0), Stamps(None, 5, None, unlimited=True))


@pytest.mark.parametrize(
    ("available", "alerts", "published_on"),
    [
        # 100 a day.
        ((900, 800, 700, 600, 500), [OK, OK, OK, LOW, LOW], [3]),
        ((200, 100, 0, 0), [OK, LOW, EXHAUSTED, EXHAUSTED], [1, 2]),
        ((0,), [EXHAUSTED], [0]),
    ],
)
def test_each_escalation_of_an_account_is_published_once(
    available: tuple[int, ...], alerts: list[Alert], published_on: list[int]
) -> None:
    account, found, published = AccountStamps(account="acme-sf"), [], []
    for day, left in enumerate(available):
        at, run = FIRST + day * DAY, f"run-{day}"
        snapshot = Snapshot(at, Stamps(10_000, 10_000 - left, left))
        account = account.with_daily_count(at.date(), snapshot, LIMITS, run)
        found.append(account.forecast.alert)
        published += [day] * account.alerted_in(run)
    assert (found, published) == (alerts, published_on)


@pytest.mark.parametrize(
    ("issuers", "expected"),
    [
        ([], Allotment(0, 0)),
        ([Stamps(1000, 250, 750), Stamps(500, 480, 20)], Allotment(770, 0)),
        # Not returned, but known from the others.
        ([Stamps(1000, 250, None)], Allotment(750, 0)),
        ([Stamps(1000, 250, 750), UNKNOWN, Stamps(1000, None, None)], Allotment(750, 2)),
        # Used more than contracted: nothing is left to use.
        ([Stamps(100, 120, -20), Stamps(10, 0, 10)], Allotment(10, 0)),
        ([*WITHOUT, Stamps(10, 0, 10)], Allotment(10, 0)),
    ],
)
def test_unused_stamps_are_summed_over_issuers_with_a_contract(
    issuers: list[Stamps], expected: Allotment
) -> None:
    assert sum_unused(issuers) == expected


@pytest.mark.parametrize(
    ("unused", "unknown", "account", "expected"),
    [
        (1000, 0, Stamps(5000, 4001, 999), True),
        (1000, 0, Stamps(5000, 4000, 1000), False),
        (1, 0, Stamps(5000, 5010, -10), True),
        (0, 0, Stamps(5000, 5010, -10), False),
        # The account's count is not known.
        (1000, 0, UNKNOWN, None),
        (1000, 0, Stamps(5000, 4500, None), True),
        # Missing counts can only increase the sum.
        (1000, 3, Stamps(5000, 4001, 999), True),
        (1000, 3, Stamps(5000, 4000, 1000), None),
        (1000, 0, Stamps(None, 5, None, unlimited=True), False),
    ],
)
def test_an_account_is_over_allotted_if_its_issuers_have_more_than_it_has(
    unused: int, unknown: int, account: Stamps, expected: bool | None
) -> None:
    assert Allotment(unused, unknown).exceeds(account) is expected


@given(st.lists(st.integers(-5, 500), max_size=8), st.integers(-5, 2000), st.integers(0, 8))
def test_a_missing_count_never_changes_a_known_result(
    issuers: list[int], available: int, known: int
) -> None:
    counts = [Stamps(1000, 1000 - left, left) for left in issuers]
    account = Stamps(9000, 9000 - available, available)
    complete = sum_unused(counts).exceeds(account)
    partial = sum_unused([*counts[:known], *[UNKNOWN] * len(counts[known:])]).exceeds(account)
    assert partial in (None, complete)
    assert complete is not None
