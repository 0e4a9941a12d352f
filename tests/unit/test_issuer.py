"""Issuer: the counts it keeps, and alerts that are told once until they are lifted."""

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


def new() -> Issuer:
    return Issuer("acme-sf", "A&D061009TY8")


def snapshot(day: float, available: int | None, used: int = 0) -> Snapshot:
    stamps = NOTHING if available is None else Stamps(available + used, used, available)
    return Snapshot(FIRST + day * DAY, stamps)


def run_of(day: int) -> str:
    return f"{(FIRST + day * DAY).date()}-050000"


def counted(issuer: Issuer, day: int, available: int | None, used: int = 0) -> Issuer:
    on = (FIRST + day * DAY).date()
    return issuer.with_daily_count(on, snapshot(day, available, used), LIMITS, run_of(day))


def test_an_issuer_that_was_never_counted() -> None:
    issuer = new()
    assert (issuer.as_of, issuer.recent, issuer.counted_on) == (None, (), None)
    assert (issuer.forecast, issuer.notified_alert) == (Forecast(), OK)
    assert not issuer.alerted_in(run_of(0))
    assert issuer.urgency < Issuer("acme-sf", "B&D061009TY8").urgency


def test_a_count_is_kept_and_judged() -> None:
    issuer = counted(counted(new(), 0, 1000), 1, 990, used=10)
    assert issuer.stamps == Stamps(1000, 10, 990)
    assert issuer.as_of == FIRST + DAY
    assert issuer.counted_on == date(2026, 11, 2)
    assert [one.stamps.available for one in issuer.recent] == [1000, 990]
    assert issuer.forecast.burn_7 == pytest.approx(10)
    assert issuer.forecast.days_left == pytest.approx(99)
    assert (issuer.forecast.alert, issuer.notified_alert, issuer.notified_by_run) == (OK, OK, None)


def test_an_issuer_that_loses_its_limit_is_no_longer_told_as_low() -> None:
    low = counted(new(), 0, 10)
    assert low.notified_alert == LOW
    free = low.with_daily_count(
        (FIRST + DAY).date(),
        Snapshot(FIRST + DAY, Stamps(None, 5, None, unlimited=True)),
        LIMITS,
        run_of(1),
    )
    assert (free.forecast.alert, free.notified_alert) == (OK, OK)


def test_a_look_between_two_runs_is_no_count() -> None:
    before = counted(new(), 0, 1000)
    issuer = before.with_observation(snapshot(0.75, 990, used=10), LIMITS)
    assert issuer.stamps.available == 990
    assert issuer.as_of == FIRST + 0.75 * DAY
    assert (issuer.recent, issuer.counted_on) == (before.recent, before.counted_on)
    assert issuer.forecast.burn_7 == pytest.approx(10 / 0.75)


def test_thirty_days_are_kept_and_the_count_before_them() -> None:
    issuer = new()
    for day in range(50):
        issuer = counted(issuer, day, 10_000 - day, used=day)
    days = [(one.at - FIRST).days for one in issuer.recent]
    assert days == list(range(18, 50))
    assert issuer.forecast.burn_30 == pytest.approx(1)


@given(st.lists(st.integers(1, 60), max_size=60))
def test_the_counts_of_thirty_days_and_one_before_are_kept(gaps: list[int]) -> None:
    issuer, day, days = counted(new(), 0, 10_000), 0, [0]
    for gap in gaps:
        day += gap
        days.append(day)
        issuer = counted(issuer, day, 10_000 - day, used=day)
    window = [one for one in days if one >= day - 30]
    older = [one for one in days if one < day - 30][-1:]
    assert [(one.at - FIRST).days for one in issuer.recent] == [*older, *window]
    # The stretch that reaches into the window is not lost with them.
    if gaps:
        assert issuer.forecast.burn_30 == pytest.approx(1)


@pytest.mark.parametrize(
    ("availables", "told_on"),
    [
        ([1000, 90, 80, 70], [1]),
        ([90, 80], [0]),
        ([1000, 90, 0, 0, 0], [1, 2]),
        ([1000, 0, 0], [1]),
        # Refilled, and low again.
        ([1000, 90, 2000, 80, 70], [1, 3]),
        ([0, 500, 0], [0, 2]),
        # From nothing to a little: better, not news; but nothing again is.
        ([0, 50, 40, 0], [0, 3]),
        # A count that says nothing neither lifts nor tells.
        ([90, None, 80], [0]),
        ([0, None, 0], [0]),
        ([None, None, 90], [2]),
        ([1000, 1000, 1000], []),
    ],
)
def test_what_is_told_on_which_days(availables: list[int | None], told_on: list[int]) -> None:
    issuer, found = new(), []
    for day, available in enumerate(availables):
        issuer = counted(issuer, day, available)
        if issuer.alerted_in(run_of(day)):
            found.append(day)
    assert found == told_on


def test_what_a_look_finds_is_told_by_the_next_run() -> None:
    looked = counted(new(), 0, 1000).with_observation(snapshot(0.5, 0), LIMITS)
    assert (looked.forecast.alert, looked.notified_alert) == (EXHAUSTED, OK)
    assert not looked.alerted_in(run_of(0))
    after = counted(looked, 1, 0)
    assert after.alerted_in(run_of(1))
    assert (after.notified_alert, after.notified_by_run) == (EXHAUSTED, run_of(1))


def test_what_a_look_finds_is_not_told_by_a_run_that_does_not_see_it() -> None:
    looked = counted(new(), 0, 1000).with_observation(snapshot(0.5, 0), LIMITS)
    unseen = counted(looked, 1, None)
    assert not unseen.alerted_in(run_of(1))
    assert counted(unseen, 2, 0).alerted_in(run_of(2))
    assert not counted(unseen, 2, 5000).alerted_in(run_of(2))


def test_a_look_at_a_refill_lifts_what_was_told() -> None:
    low = counted(counted(new(), 0, 1000), 1, 50)
    refilled = low.with_observation(snapshot(1.5, 5000), LIMITS)
    assert (refilled.forecast.alert, refilled.notified_alert) == (OK, OK)
    assert not refilled.alerted_in(run_of(1))
    assert counted(refilled, 2, 40).alerted_in(run_of(2))


def test_a_run_that_counts_again_tells_the_same() -> None:
    """A message that comes twice finds the issuer counted, and names it again."""
    issuer = counted(counted(new(), 0, 1000), 1, 50)
    assert issuer.alerted_in(run_of(1))
    assert not issuer.alerted_in(run_of(0))


# -------------------------------------------------------------- any life of an issuer


@dataclass
class Life:
    """An issuer, and what a reader of every mail knows of it."""

    issuer: Issuer = field(default_factory=new)
    hour: int = 0
    day: int = -1
    used: int = 0
    contracted: int = 500
    believed: str = OK

    def stamps(self, blank: bool) -> Stamps:
        if blank:
            return NOTHING
        return Stamps(self.contracted, self.used, self.contracted - self.used)

    def look(self, blank: bool) -> None:
        one = Snapshot(FIRST + timedelta(hours=self.hour), self.stamps(blank))
        self.issuer = self.issuer.with_observation(one, LIMITS)
        alert = self.issuer.forecast.alert
        # A look may lift what was told, and tells nothing itself.
        if is_escalation(alert, self.believed):
            self.believed = alert
        assert self.issuer.notified_alert == self.believed

    def run(self, blank: bool) -> None:
        self.day += 1
        self.hour = max(self.hour + 1, 24 * self.day)
        one = Snapshot(FIRST + timedelta(hours=self.hour), self.stamps(blank))
        on, run = (FIRST + self.day * DAY).date(), run_of(self.day)
        self.issuer = self.issuer.with_daily_count(on, one, LIMITS, run)
        if blank:
            assert not self.issuer.alerted_in(run)
            return
        alert = self.issuer.forecast.alert
        available = self.contracted - self.used
        assert (alert == EXHAUSTED) == (available <= 0)
        assert available >= 100 or alert != OK
        # Told exactly when it is worse than what was told and not lifted since.
        assert self.issuer.alerted_in(run) == is_escalation(self.believed, alert)
        self.believed = alert


steps = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "look", "use", "use", "buy"]),
        st.integers(0, 300),
        st.integers(0, 9).map(lambda n: n == 0),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps)
def test_in_any_life_each_crossing_is_told_once(life: list[tuple[str, int, bool]]) -> None:
    one = Life()
    for what, number, blank in life:
        if what == "run":
            one.run(blank)
        elif what == "look":
            one.hour += 1 + number % 12
            one.look(blank)
        elif what == "use":
            one.used += min(number, max(one.contracted - one.used, 0))
        else:
            one.contracted += 2 * number


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 90))
def test_without_a_refill_nobody_is_told_of_the_same_twice(
    contracted: int, a_day: int, days: int
) -> None:
    issuer, alerts = new(), []
    for day in range(days):
        used = min(day * a_day, contracted)
        issuer = counted(issuer, day, contracted - used, used)
        if issuer.alerted_in(run_of(day)):
            alerts.append(issuer.notified_alert)
    assert alerts in ([], [LOW], [EXHAUSTED], [LOW, EXHAUSTED])
    if contracted <= (days - 1) * a_day:
        assert alerts[-1] == EXHAUSTED
