"""Issuer: its recent counts, and alerts that are published once until they are cleared."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import (
    EXHAUSTED,
    OK,
    AlertThresholds,
    Forecast,
    Snapshot,
    is_escalation,
)
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps

FIRST = datetime(2026, 11, 1, 5, 0, tzinfo=MEXICO_CITY)
DAY = timedelta(days=1)
LIMITS = AlertThresholds(100, 7)
NOTHING = Stamps(None, None, None)


def new_issuer() -> Issuer:
    return Issuer("acme-sf", "A&D061009TY8")


def snapshot(day: float, available: int | None, used: int = 0) -> Snapshot:
    # An issuer with nothing contracted has no contract, and no alert.
    contracted = ((available or 0) + used) or 1
    stamps = NOTHING if available is None else Stamps(contracted, used, available)
    return Snapshot(FIRST + day * DAY, stamps)


def run_of(day: int) -> str:
    return f"{(FIRST + day * DAY).date()}-050000"


def count(issuer: Issuer, day: int, snapshot: Snapshot) -> Issuer:
    return issuer.with_daily_count((FIRST + day * DAY).date(), snapshot, LIMITS, run_of(day))


def count_on_day(issuer: Issuer, day: int, available: int | None, used: int = 0) -> Issuer:
    return count(issuer, day, snapshot(day, available, used))


def test_an_issuer_without_counts() -> None:
    issuer = new_issuer()

    assert (issuer.as_of, issuer.recent, issuer.counted_on) == (None, (), None)
    assert (issuer.forecast, issuer.notified_alert) == (Forecast(), OK)
    assert not issuer.alerted_in(run_of(0))
    assert issuer.urgency < Issuer("acme-sf", "B&D061009TY8").urgency


def test_a_count_is_stored_and_evaluated() -> None:
    issuer = count_on_day(count_on_day(new_issuer(), 0, 1000), 1, 990, used=10)

    assert (issuer.stamps, issuer.as_of) == (Stamps(1000, 10, 990), FIRST + DAY)
    assert issuer.counted_on == date(2026, 11, 2)
    assert [earlier.stamps.available for earlier in issuer.recent] == [1000, 990]
    assert issuer.forecast.burn_7 == pytest.approx(10)
    assert issuer.forecast.days_left == pytest.approx(99)
    assert (issuer.forecast.alert, issuer.notified_alert, issuer.notified_by_run) == (OK, OK, None)


def test_an_observation_between_runs_is_not_a_daily_count() -> None:
    before = count_on_day(new_issuer(), 0, 1000)

    issuer = before.with_observation(snapshot(0.75, 990, used=10), LIMITS)

    assert (issuer.stamps.available, issuer.as_of) == (990, FIRST + 0.75 * DAY)
    assert (issuer.recent, issuer.counted_on) == (before.recent, before.counted_on)
    assert issuer.forecast.burn_7 == pytest.approx(10 / 0.75)


@given(st.lists(st.integers(1, 60), max_size=60))
def test_the_counts_of_thirty_days_and_the_previous_one_are_stored(gaps: list[int]) -> None:
    days = [0]
    issuer = count_on_day(new_issuer(), 0, 10_000)
    for gap in gaps:
        days.append(days[-1] + gap)
        issuer = count_on_day(issuer, days[-1], 10_000 - days[-1], used=days[-1])

    older = [day for day in days if day < days[-1] - 30][-1:]
    newer = [day for day in days if day >= days[-1] - 30]
    assert [(earlier.at - FIRST).days for earlier in issuer.recent] == older + newer
    # The interval that reaches into the window is included.
    assert not gaps or issuer.forecast.burn_30 == pytest.approx(1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1000, 90, 80, 70], [1]),
        ([90, 80], [0]),
        ([1000, 90, 0, 0, 0], [1, 2]),
        ([1000, 0, 0], [1]),
        # New stamps, and low again.
        ([1000, 90, 2000, 80, 70], [1, 3]),
        ([0, 500, 0], [0, 2]),
        # From exhausted to low is not an escalation; exhausted again is.
        ([0, 50, 40, 0], [0, 3]),
        # An empty count neither clears nor publishes an alert.
        ([90, None, 80], [0]),
        ([0, None, 0], [0]),
        ([None, None, 90], [2]),
        ([1000, 1000, 1000], []),
    ],
)
def test_days_on_which_an_alert_is_published(counts: list[int | None], expected: list[int]) -> None:
    issuer, days = new_issuer(), []

    for day, available in enumerate(counts):
        issuer = count_on_day(issuer, day, available)
        days += [number for number in range(day + 1) if issuer.alerted_in(run_of(number))]

    # A repeated message publishes the alert of its own run again, of no other.
    assert sorted(set(days)) == expected


@pytest.mark.parametrize(
    ("before", "observed", "counts", "expected"),
    [
        # The alert of an observation is published by the next run with a count.
        (1000, 0, [0], [1]),
        (1000, 0, [None, 0], [2]),
        (1000, 0, [None, 5000], []),
        # An observation of new stamps clears the alert; the next alert is published.
        (50, 5000, [40], [1]),
        (50, 40, [40], []),
    ],
)
def test_an_observation_clears_an_alert_and_publishes_none(
    before: int, observed: int, counts: list[int | None], expected: list[int]
) -> None:
    counted = count_on_day(new_issuer(), 0, before)

    issuer = counted.with_observation(snapshot(0.5, observed), LIMITS)

    assert issuer.alerted_in(run_of(0)) is (before == 50 and observed == 40)
    days = []
    for day, available in enumerate(counts, 1):
        issuer = count_on_day(issuer, day, available)
        days += [day] if issuer.alerted_in(run_of(day)) else []
    assert days == expected


steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "observe", "use", "use", "contract"]),
        st.integers(0, 300),
        st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps)
def test_each_alert_is_published_once_in_any_sequence(actions: list[tuple[str, int, bool]]) -> None:
    issuer, published = new_issuer(), OK
    hour, day, used, contracted = 0, -1, 0, 500
    for action, number, is_empty in actions:
        stamps = NOTHING if is_empty else Stamps(contracted, used, contracted - used)
        if action == "run":
            day += 1
            hour = max(hour + 1, 24 * day)
            issuer = count(issuer, day, Snapshot(FIRST + timedelta(hours=hour), stamps))
            alert = published if is_empty else issuer.forecast.alert
            assert is_empty or (alert == EXHAUSTED) == (contracted <= used)
            assert is_empty or contracted - used >= 100 or alert != OK
            # An alert is published only if it is worse than the last one that was not cleared.
            assert issuer.alerted_in(run_of(day)) == is_escalation(published, alert)
            published = alert
        elif action == "observe":
            hour += 1 + number % 12
            observation = Snapshot(FIRST + timedelta(hours=hour), stamps)
            issuer = issuer.with_observation(observation, LIMITS)
            # An observation may clear an alert; it never publishes one.
            if is_escalation(issuer.forecast.alert, published):
                published = issuer.forecast.alert
            assert issuer.notified_alert == published
        elif action == "use":
            used += min(number, max(contracted - used, 0))
        else:
            contracted += 2 * number
