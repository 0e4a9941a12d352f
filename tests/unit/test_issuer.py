"""Issuer: its recent counts, and alerts that are published once until they are cleared.

An issuer without a contract uses the account's stamps, so it is never exhausted.
"""

from __future__ import annotations

from dataclasses import dataclass
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
)
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps

FIRST = datetime(2026, 11, 1, 5, 0, tzinfo=MEXICO_CITY)
DAY = timedelta(days=1)
LIMITS = AlertThresholds(100, 7)
NOTHING = Stamps(None, None, None)
NEW = Issuer("acme-sf", "A&D061009TY8")
WITHOUT = Stamps(0, 0, 0)


def stamps(available: int | None, used: int = 0) -> Stamps:
    # An issuer with nothing contracted has no contract, and no alert.
    return NOTHING if available is None else Stamps((available + used) or 1, used, available)


def run_of(day: int) -> str:
    return f"{(FIRST + day * DAY).date()}-050000"


def count(issuer: Issuer, day: int, counted: Stamps) -> Issuer:
    due = FIRST + day * DAY
    return issuer.with_daily_count(due.date(), Snapshot(due, counted), LIMITS, run_of(day))


def observe(issuer: Issuer, day: float, counted: Stamps) -> Issuer:
    return issuer.with_observation(Snapshot(FIRST + day * DAY, counted), LIMITS)


def count_daily(*counts: Stamps) -> Issuer:
    issuer = NEW
    for day, counted in enumerate(counts):
        issuer = count(issuer, day, counted)
    return issuer


def test_a_count_is_stored_and_evaluated_and_an_observation_is_not_a_daily_count() -> None:
    counted = count_daily(stamps(1000), stamps(990, used=10))

    observed = observe(counted, 1.5, stamps(980, used=20))

    assert (counted.stamps, counted.as_of) == (Stamps(1000, 10, 990), FIRST + DAY)
    assert counted.counted_on == (FIRST + DAY).date()
    assert [earlier.stamps.available for earlier in counted.recent] == [1000, 990]
    assert (counted.forecast.burn_7, counted.forecast.days_left) == pytest.approx((10, 99))
    assert (observed.stamps.available, observed.as_of) == (980, FIRST + 1.5 * DAY)
    assert (observed.recent, observed.counted_on) == (counted.recent, counted.counted_on)
    assert observed.forecast.burn_7 == pytest.approx(20 / 1.5)
    for issuer in (NEW, counted, observed):
        assert (issuer.forecast.alert, issuer.notified_alert, issuer.notified_by_run) == (
            *(OK, OK, None),
        )


@given(st.lists(st.integers(1, 60), max_size=60))
def test_the_counts_of_thirty_days_and_the_previous_one_are_stored(gaps: list[int]) -> None:
    days = [0]
    issuer = count(NEW, 0, stamps(10_000))
    for gap in gaps:
        days.append(days[-1] + gap)
        issuer = count(issuer, days[-1], stamps(10_000 - days[-1], used=days[-1]))

    older = [day for day in days if day < days[-1] - 30][-1:]
    newer = [day for day in days if day >= days[-1] - 30]
    assert [(earlier.at - FIRST).days for earlier in issuer.recent] == older + newer
    # The interval that reaches into the window is included.
    assert not gaps or issuer.forecast.burn_30 == pytest.approx(1)


@dataclass(frozen=True)
class Live:
    """A count between two daily runs."""

    available: int


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1000, 90, 80, 70], [1]),
        ([1000, 90, 0, 0, 0], [1, 2]),
        # New stamps, and low again.
        ([1000, 90, 2000, 80, 70], [1, 3]),
        ([0, 500, 0], [0, 2]),
        # From exhausted to low is not an escalation; exhausted again is.
        ([0, 50, 40, 0], [0, 3]),
        # An empty count neither clears nor publishes an alert.
        ([90, None, 80], [0]),
        ([None, None, 90], [2]),
        ([1000, Live(90), None, 80], [2]),
        # A live count publishes nothing; it clears an alert, in part or completely.
        ([1000, Live(0), 0], [1]),
        ([90, Live(2000), 80], [0, 1]),
        ([0, Live(50), 0], [0, 1]),
        ([90, Live(0), 80], [0]),
        ([90, Live(0), 0], [0, 1]),
    ],
)
def test_days_on_which_an_alert_is_published(
    counts: list[int | Live | None], expected: list[int]
) -> None:
    issuer, day, days = NEW, -1, set()

    for counted in counts:
        if isinstance(counted, Live):
            issuer = observe(issuer, day + 0.5, stamps(counted.available))
        else:
            day += 1
            issuer = count(issuer, day, stamps(counted))
        days |= {number for number in range(day + 1) if issuer.alerted_in(run_of(number))}

    # A repeated message publishes the alert of its own run again, of no other.
    assert sorted(days) == expected


# Without a contract


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0), True),
        # It uses the account's stamps.
        ((0, 37, 0), True),
        # A PAC that subtracts, or whose count below 0 is not known.
        ((0, 37, -37), True),
        ((0, None, None), True),
        # Used up.
        ((500, 500, 0), False),
        ((None, 500, 0), False),
        # A contradiction: what is left counts.
        ((0, 0, 1), False),
        ((None, None, None), False),
        ((0, 5, None, True), False),
    ],
)
def test_nothing_contracted_and_nothing_left_is_no_contract(
    counts: tuple[int | None, ...], expected: bool
) -> None:
    assert Stamps(*counts).has_no_contract is expected  # type: ignore[arg-type]
    assert (count_daily(Stamps(*counts)).forecast.alert == NO_CONTRACT) is expected  # type: ignore[arg-type]


def test_without_a_contract_the_burn_rate_is_known_and_the_days_left_are_not() -> None:
    known = Stamps(0, 10, 0), Stamps(0, 40, 0)
    assert count_daily(*known).forecast == Forecast(30.0, 30.0, None, NO_CONTRACT)
    # An unknown count keeps the state.
    assert count_daily(*known, NOTHING).forecast.alert == NO_CONTRACT


ALERTS = {OK: 5000, LOW: 50, EXHAUSTED: 0}


@pytest.mark.parametrize("before", ALERTS)
@pytest.mark.parametrize("after", ALERTS)
def test_an_expired_contract_ends_an_alert(before: Alert, after: Alert) -> None:
    counts = [Stamps(100 + ALERTS[alert], 100, ALERTS[alert]) for alert in (before, after)]
    expired = count_daily(counts[0], Stamps(0, 100, 0))
    observed = observe(count_daily(counts[0]), 1, WITHOUT)
    for issuer in (expired, observed):
        assert issuer.forecast.alert == NO_CONTRACT
        assert not any(issuer.alerted_in(run_of(day)) for day in range(2))
    renewed = count(expired, 2, counts[1])

    assert renewed.forecast.alert == after
    assert renewed.alerted_in(run_of(2)) == (after != OK)
