"""Issuers without a contract: they use the account's stamps, so they are never exhausted."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import (
    EXHAUSTED,
    LOW,
    NO_CONTRACT,
    OK,
    Alert,
    AlertThresholds,
    Forecast,
    Snapshot,
    urgency,
)
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps

FIRST = datetime(2026, 11, 1, 5, tzinfo=MEXICO_CITY)
DAY = timedelta(days=1)
LIMITS = AlertThresholds(100, 7)
WITHOUT = Stamps(0, 0, 0)


def count_daily(*counts: Stamps) -> Issuer:
    """Return an issuer after one daily count per day."""
    issuer = Issuer("acme-sf", "A&D061009TY8")
    for day, stamps in enumerate(counts):
        at = FIRST + day * DAY
        issuer = issuer.with_daily_count(at.date(), Snapshot(at, stamps), LIMITS, run_of(day))
    return issuer


def run_of(day: int) -> str:
    return f"{(FIRST + day * DAY).date()}-050000"


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (Stamps(0, 0, 0), True),
        # It uses the account's stamps.
        (Stamps(0, 37, 0), True),
        (Stamps(0, None, 0), True),
        # A PAC that subtracts, or whose count below 0 is not known.
        (Stamps(0, 37, -37), True),
        (Stamps(0, 37, None), True),
        (Stamps(0, None, None), True),
        # Used up.
        (Stamps(500, 500, 0), False),
        (Stamps(None, None, 0), False),
        (Stamps(None, 500, 0), False),
        # A contradiction: what is left counts.
        (Stamps(0, 0, 7), False),
        (Stamps(None, None, None), False),
        (Stamps(0, 5, None, unlimited=True), False),
    ],
)
def test_nothing_contracted_and_nothing_left_is_no_contract(stamps: Stamps, expected: bool) -> None:
    assert stamps.has_no_contract is expected
    assert (count_daily(stamps).forecast.alert == NO_CONTRACT) is expected


@given(st.integers(-100, 100), st.one_of(st.none(), st.integers(0, 10**6)))
def test_an_issuer_without_a_contract_is_never_exhausted(available: int, used: int | None) -> None:
    assert count_daily(Stamps(0, used, available)).forecast.alert != EXHAUSTED


def test_its_burn_rate_is_known_and_its_days_left_are_not() -> None:
    known = Stamps(0, 10, 0), Stamps(0, 40, 0)
    assert count_daily(*known).forecast == Forecast(30.0, 30.0, None, NO_CONTRACT)
    # An unknown count keeps the state.
    assert count_daily(*known, Stamps(None, None, None)).forecast.alert == NO_CONTRACT


ALERTS = {OK: 5000, LOW: 50, EXHAUSTED: 0}


@pytest.mark.parametrize("before", ALERTS)
@pytest.mark.parametrize("after", ALERTS)
def test_alerts_before_and_after_a_contract(before: Alert, after: Alert) -> None:
    counts = [Stamps(100 + ALERTS[alert], 100, ALERTS[alert]) for alert in (before, after)]
    expired = count_daily(counts[0], Stamps(0, 100, 0))
    assert expired.forecast.alert == NO_CONTRACT
    # Not an alert, and the old one has ended.
    assert not any(expired.alerted_in(run_of(day)) for day in range(2))
    renewed = count_daily(counts[0], Stamps(0, 100, 0), counts[1])
    assert renewed.forecast.alert == after
    assert renewed.alerted_in(run_of(2)) == (after != OK)


def test_an_observation_without_a_contract_ends_an_alert() -> None:
    low = count_daily(Stamps(500, 450, 50))
    observed = low.with_observation(Snapshot(FIRST + DAY, WITHOUT), LIMITS)
    assert (observed.forecast.alert, observed.notified_alert) == (NO_CONTRACT, NO_CONTRACT)
    assert not observed.alerted_in(run_of(0))


def test_it_is_sorted_after_every_issuer_with_stamps_of_its_own() -> None:
    with_stamps = [
        urgency(Forecast(None, None, days, alert), available, "ZZZ010101AAA")
        for alert, days, available in (
            (EXHAUSTED, 0.0, 0),
            (LOW, None, 3),
            (OK, 9.5, 95),
            (OK, None, 10**9),
        )
    ]
    without = urgency(Forecast(3.0, 3.0, None, NO_CONTRACT), 0, "AAA010101AAA")
    assert all(other < without for other in with_stamps)
