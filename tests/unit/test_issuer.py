"""Issuer: its recent counts, and alerts that are published once until they are cleared."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import (
    EXHAUSTED,
    LOW,
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


def count_on_day(issuer: Issuer, day: int, available: int | None, used: int = 0) -> Issuer:
    on = (FIRST + day * DAY).date()
    return issuer.with_daily_count(on, snapshot(day, available, used), LIMITS, run_of(day))


def test_an_issuer_without_counts() -> None:
    issuer = new_issuer()
    assert (issuer.as_of, issuer.recent, issuer.counted_on) == (None, (), None)
    assert (issuer.forecast, issuer.notified_alert) == (Forecast(), OK)
    assert not issuer.alerted_in(run_of(0))
    assert issuer.urgency < Issuer("acme-sf", "B&D061009TY8").urgency


def test_a_count_is_stored_and_evaluated() -> None:
    issuer = count_on_day(count_on_day(new_issuer(), 0, 1000), 1, 990, used=10)
    assert issuer.stamps == Stamps(1000, 10, 990)
    assert issuer.as_of == FIRST + DAY
    assert issuer.counted_on == date(2026, 11, 2)
    assert [count.stamps.available for count in issuer.recent] == [1000, 990]
    assert issuer.forecast.burn_7 == pytest.approx(10)
    assert issuer.forecast.days_left == pytest.approx(99)
    assert (issuer.forecast.alert, issuer.notified_alert, issuer.notified_by_run) == (OK, OK, None)


def test_an_issuer_that_becomes_unlimited_is_no_longer_low() -> None:
    low = count_on_day(new_issuer(), 0, 10)
    assert low.notified_alert == LOW
    free = low.with_daily_count(
        (FIRST + DAY).date(),
        Snapshot(FIRST + DAY, Stamps(None, 5, None, unlimited=True)),
        LIMITS,
        run_of(1),
    )
    assert (free.forecast.alert, free.notified_alert) == (OK, OK)


def test_an_observation_between_runs_is_not_a_daily_count() -> None:
    before = count_on_day(new_issuer(), 0, 1000)
    issuer = before.with_observation(snapshot(0.75, 990, used=10), LIMITS)
    assert issuer.stamps.available == 990
    assert issuer.as_of == FIRST + 0.75 * DAY
    assert (issuer.recent, issuer.counted_on) == (before.recent, before.counted_on)
    assert issuer.forecast.burn_7 == pytest.approx(10 / 0.75)


def test_thirty_daily_counts_and_the_previous_one_are_stored() -> None:
    issuer = new_issuer()
    for day in range(50):
        issuer = count_on_day(issuer, day, 10_000 - day, used=day)
    days = [(count.at - FIRST).days for count in issuer.recent]
    assert days == list(range(18, 50))
    assert issuer.forecast.burn_30 == pytest.approx(1)


@given(st.lists(st.integers(1, 60), max_size=60))
def test_the_counts_of_thirty_days_and_the_previous_one_are_stored(gaps: list[int]) -> None:
    issuer, day, days = count_on_day(new_issuer(), 0, 10_000), 0, [0]
    for gap in gaps:
        day += gap
        days.append(day)
        issuer = count_on_day(issuer, day, 10_000 - day, used=day)
    window = [number for number in days if number >= day - 30]
    older = [number for number in days if number < day - 30][-1:]
    assert [(count.at - FIRST).days for count in issuer.recent] == [*older, *window]
    # The interval that reaches into the window is included.
    if gaps:
        assert issuer.forecast.burn_30 == pytest.approx(1)


@pytest.mark.parametrize(
    ("availables", "expected"),
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
def test_days_on_which_an_alert_is_published(
    availables: list[int | None], expected: list[int]
) -> None:
    issuer, days = new_issuer(), []
    for day, available in enumerate(availables):
        issuer = count_on_day(issuer, day, available)
        if issuer.alerted_in(run_of(day)):
            days.append(day)
    assert days == expected


def test_an_alert_of_an_observation_is_published_by_the_next_run() -> None:
    observed = count_on_day(new_issuer(), 0, 1000).with_observation(snapshot(0.5, 0), LIMITS)
    assert (observed.forecast.alert, observed.notified_alert) == (EXHAUSTED, OK)
    assert not observed.alerted_in(run_of(0))
    after = count_on_day(observed, 1, 0)
    assert after.alerted_in(run_of(1))
    assert (after.notified_alert, after.notified_by_run) == (EXHAUSTED, run_of(1))


def test_a_run_without_a_count_does_not_publish_an_earlier_alert() -> None:
    observed = count_on_day(new_issuer(), 0, 1000).with_observation(snapshot(0.5, 0), LIMITS)
    without_count = count_on_day(observed, 1, None)
    assert not without_count.alerted_in(run_of(1))
    assert count_on_day(without_count, 2, 0).alerted_in(run_of(2))
    assert not count_on_day(without_count, 2, 5000).alerted_in(run_of(2))


def test_an_observation_of_new_stamps_clears_the_alert() -> None:
    low = count_on_day(count_on_day(new_issuer(), 0, 1000), 1, 50)
    refilled = low.with_observation(snapshot(1.5, 5000), LIMITS)
    assert (refilled.forecast.alert, refilled.notified_alert) == (OK, OK)
    assert not refilled.alerted_in(run_of(1))
    assert count_on_day(refilled, 2, 40).alerted_in(run_of(2))


def test_a_repeated_run_publishes_the_same_alert() -> None:
    """A repeated message finds the issuer counted and publishes the alert again."""
    issuer = count_on_day(count_on_day(new_issuer(), 0, 1000), 1, 50)
    assert issuer.alerted_in(run_of(1))
    assert not issuer.alerted_in(run_of(0))


# -------------------------------------------------------------- any sequence of events


@dataclass
class IssuerHistory:
    """An issuer, and the last alert that was published and not cleared."""

    issuer: Issuer = field(default_factory=new_issuer)
    hour: int = 0
    day: int = -1
    used: int = 0
    contracted: int = 500
    published: str = OK

    def stamps(self, blank: bool) -> Stamps:
        if blank:
            return NOTHING
        return Stamps(self.contracted, self.used, self.contracted - self.used)

    def look(self, blank: bool) -> None:
        observation = Snapshot(FIRST + timedelta(hours=self.hour), self.stamps(blank))
        self.issuer = self.issuer.with_observation(observation, LIMITS)
        alert = self.issuer.forecast.alert
        # An observation may clear an alert; it never publishes one.
        if is_escalation(alert, self.published):
            self.published = alert
        assert self.issuer.notified_alert == self.published

    def run(self, blank: bool) -> None:
        self.day += 1
        self.hour = max(self.hour + 1, 24 * self.day)
        count = Snapshot(FIRST + timedelta(hours=self.hour), self.stamps(blank))
        day, run = (FIRST + self.day * DAY).date(), run_of(self.day)
        self.issuer = self.issuer.with_daily_count(day, count, LIMITS, run)
        if blank:
            assert not self.issuer.alerted_in(run)
            return
        alert = self.issuer.forecast.alert
        available = self.contracted - self.used
        assert (alert == EXHAUSTED) == (available <= 0)
        assert available >= 100 or alert != OK
        # An alert is published only if it is worse than the last one that was not cleared.
        assert self.issuer.alerted_in(run) == is_escalation(self.published, alert)
        self.published = alert


steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "look", "use", "use", "contract"]),
        st.integers(0, 300),
        st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps)
def test_each_alert_is_published_once_in_any_sequence(actions: list[tuple[str, int, bool]]) -> None:
    history = IssuerHistory()
    for action, number, blank in actions:
        if action == "run":
            history.run(blank)
        elif action == "look":
            history.hour += 1 + number % 12
            history.look(blank)
        elif action == "use":
            history.used += min(number, max(history.contracted - history.used, 0))
        else:
            history.contracted += 2 * number


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 90))
def test_no_alert_is_published_twice_without_new_stamps(
    contracted: int, daily: int, days: int
) -> None:
    issuer, alerts = new_issuer(), []
    for day in range(days):
        used = min(day * daily, contracted)
        issuer = count_on_day(issuer, day, contracted - used, used)
        if issuer.alerted_in(run_of(day)):
            alerts.append(issuer.notified_alert)
    assert alerts in ([], [LOW], [EXHAUSTED], [LOW, EXHAUSTED])
    if contracted <= (days - 1) * daily:
        assert alerts[-1] == EXHAUSTED
