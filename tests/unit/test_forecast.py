"""Forecast: consumption between counts, burn rate, days left, alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import (
    EXHAUSTED,
    LOW,
    MAX_WINDOW,
    NO_CONTRACT,
    OK,
    Alert,
    AlertThresholds,
    Forecast,
    Snapshot,
    available_stamps,
    burn_rate,
    consumed_between,
    evaluate,
    is_escalation,
    urgency,
)
from timbres.domain.stamps import Stamps

START = datetime(2026, 11, 1, 5, 0, tzinfo=MEXICO_CITY)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
NOTHING = Stamps(None, None, None)
RFC = "A&D061009TY8"


def at(day: float, used: int | None, contracted: int | None = 1000) -> Snapshot:
    """Return a count ``day`` days after the start, with all fields of Solución Factible."""
    available = None if used is None or contracted is None else contracted - used
    return Snapshot(START + day * DAY, Stamps(contracted, used, available))


def of_available(day: float, available: int | None) -> Snapshot:
    """Return a count of a PAC that returns only the available stamps."""
    return Snapshot(START + day * DAY, Stamps(None, None, available))


def of_month(moment: str, consumed: int | None) -> Snapshot:
    """Return a count from Reachcore's balance."""
    when = datetime.fromisoformat(moment).replace(tzinfo=MEXICO_CITY)
    return Snapshot(when, NOTHING, consumed)


# --------------------------------------------------------------------- consumption


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (Stamps(1000, 400, 600), 600),
        (Stamps(None, None, 7), 7),
        (Stamps(None, None, 0), 0),
        (Stamps(1000, 400, None), 600),
        (Stamps(1000, 1200, None), -200),
        (Stamps(1000, 400, 590), 590),
        (Stamps(1000, None, None), None),
        (Stamps(None, 400, None), None),
        (NOTHING, None),
    ],
)
def test_available_stamps(stamps: Stamps, expected: int | None) -> None:
    assert available_stamps(stamps) == expected


@pytest.mark.parametrize(
    ("earlier", "later", "consumed"),
    [
        (Stamps(1000, 400, 600), Stamps(1000, 412, 588), 12),
        (Stamps(1000, 400, 600), Stamps(1000, 400, 600), 0),
        # A contract in between: more are available, and twelve were used.
        (Stamps(1000, 400, 600), Stamps(1500, 412, 1088), 12),
        # The PAC restarted its count.
        (Stamps(1000, 400, 600), Stamps(1000, 3, 997), None),
        # Used follows from the two others.
        (Stamps(1000, None, 600), Stamps(1500, None, 1088), 12),
        (Stamps(1000, 400, 600), Stamps(1500, None, 1088), 12),
        (Stamps(1000, None, 600), Stamps(1000, None, 700), None),
        # Only available stamps are known: fewer are usage; more are a contract that hides usage.
        (Stamps(None, None, 600), Stamps(None, None, 588), 12),
        (Stamps(None, None, 600), Stamps(None, None, 600), 0),
        (Stamps(None, None, 600), Stamps(None, None, 601), None),
        (Stamps(1000, 400, 600), Stamps(None, None, 588), 12),
        (Stamps(None, 400, None), Stamps(None, 412, None), 12),
        (Stamps(None, 400, None), Stamps(None, None, 588), None),
        (Stamps(1000, None, None), Stamps(1000, None, None), None),
        (NOTHING, Stamps(1000, 412, 588), None),
        (Stamps(1000, 400, 600), NOTHING, None),
        (NOTHING, NOTHING, None),
    ],
)
def test_consumption_between_two_counts(
    earlier: Stamps, later: Stamps, consumed: int | None
) -> None:
    pair = Snapshot(START, earlier), Snapshot(START + DAY, later)
    assert consumed_between(*pair) == consumed


@pytest.mark.parametrize(
    ("earlier", "later", "consumed"),
    [
        (("2026-11-02", 10), ("2026-11-03", 25), 15),
        (("2026-11-02", 10), ("2026-11-20", 25), 15),
        (("2026-11-02T17:00", 10), ("2026-11-02T18:00", 11), 1),
        # A month's total does not decrease.
        (("2026-11-02", 10), ("2026-11-03", 9), None),
        # Midnight of the 1st closes the month before: its count is of that month …
        (("2026-10-31", 300), ("2026-11-01", 310), 10),
        # … and after it a new month starts at zero.
        (("2026-11-01", 310), ("2026-11-02", 10), 10),
        (("2026-11-01", 310), ("2026-12-01", 290), 290),
        (("2026-12-01", 290), ("2027-01-01", 5), 5),
        (("2027-01-01", 5), ("2027-01-02", 0), 0),
        # The final total of October is unknown.
        (("2026-10-31", 300), ("2026-11-02", 10), None),
        (("2026-10-31", 300), ("2026-12-01", 10), None),
        (("2026-11-01T00:00:01", 310), ("2026-12-01T00:00:01", 10), None),
        # November lies in between, without a count.
        (("2026-11-01", 310), ("2026-12-02", 10), None),
        (("2026-11-01", 310), ("2027-01-01", 10), None),
        (("2025-11-01", 310), ("2026-12-01", 10), None),
        (("2026-11-02", None), ("2026-11-03", 25), None),
        (("2026-11-02", 10), ("2026-11-03", None), None),
    ],
)
def test_consumption_between_two_monthly_totals(
    earlier: tuple[str, int | None], later: tuple[str, int | None], consumed: int | None
) -> None:
    assert consumed_between(of_month(*earlier), of_month(*later)) == consumed


@given(st.lists(st.integers(0, 50), min_size=2, max_size=100), st.integers(0, 364))
def test_daily_counts_of_monthly_totals_give_every_day(days: list[int], first: int) -> None:
    """Each midnight's count includes the day before, across months."""
    begin = datetime(2026, 1, 1, tzinfo=MEXICO_CITY) + first * DAY
    snapshots, total = [], 0
    for n, consumed in enumerate(days):
        yesterday = begin + (n - 1) * DAY
        total = consumed if yesterday.day == 1 else total + consumed
        snapshots.append(Snapshot(begin + n * DAY, NOTHING, total))
    consumption = [consumed_between(earlier, later) for earlier, later in pairwise(snapshots)]
    assert consumption == days[1:]


# ------------------------------------------------------------------------------ burn rate


@pytest.mark.parametrize(
    ("snapshots", "week", "month"),
    [
        # One count gives no rate, and no count either.
        ([], None, None),
        ([at(0, 100)], None, None),
        # An even month.
        ([at(day, 10 * day) for day in range(31)], 10.0, 10.0),
        # A week that is faster than the month.
        ([at(day, 10 * day + 30 * max(0, day - 23)) for day in range(31)], 40.0, 17.0),
        # No consumption is a known 0.
        ([at(0, 5), at(1, 5)], 0.0, 0.0),
        # A gap counts as even consumption.
        ([at(0, 0), at(2, 20), at(12, 120), at(13, 130)], 10.0, 10.0),
        # Of 100 stamped over ten days, the window's four: 40 and 30 over seven days.
        ([at(0, 0), at(10, 100), at(13, 130)], 10.0, 10.0),
        ([at(0, 0), at(10, 200), at(13, 200)], 80 / 7, 200 / 13),
        # An interval with unknown consumption is excluded, with its days.
        ([at(0, 100), at(1, 110), at(2, 0), at(3, 10)], 10.0, 10.0),
        ([at(0, 100), at(1, 0)], None, None),
        ([at(0, 100), at(1, None, None), at(2, 120), at(3, 130)], 10.0, 10.0),
        # A contract in between.
        ([at(0, 0, 100), at(1, 10, 100), at(2, 20, 600), at(3, 30, 600)], 10.0, 10.0),
        # Fewer than twelve hours give no rate.
        ([at(0, 0), at(11 / 24, 99)], None, None),
        ([at(0, 0), at(0.5, 6)], 12.0, 12.0),
        ([at(0, 0), at(0.25, 3), at(0.5, 6)], 12.0, 12.0),
        # One day is known two weeks ago, and six hours since.
        ([at(0, 0), at(1, 10), at(16, 0), at(16.25, 50)], None, 60 / 1.25),
        # Older than every window.
        ([at(0, 0), at(1, 10), at(45, 5)], None, None),
        # Counts of the same time or out of order are ignored.
        ([at(0, 0), at(1, 10), at(1, 90)], 10.0, 10.0),
        ([at(0, 0), at(1, 10), at(0.5, 90)], 10.0, 10.0),
    ],
)
def test_burn_rate(snapshots: list[Snapshot], week: float | None, month: float | None) -> None:
    moment = max((snapshot.at for snapshot in snapshots), default=START)
    assert burn_rate(snapshots, WEEK, moment) == (None if week is None else pytest.approx(week))
    assert burn_rate(snapshots, MAX_WINDOW, moment) == (
        None if month is None else pytest.approx(month)
    )


gaps = st.lists(st.integers(1, 24 * 20), min_size=0, max_size=20)
windows = st.sampled_from([WEEK, MAX_WINDOW])


@given(st.data(), st.integers(0, 500), gaps, windows)
def test_even_consumption_is_measured_despite_contracts_and_gaps(
    data: st.DataObject, hourly: int, hours: list[int], window: timedelta
) -> None:
    contracts = data.draw(
        st.lists(st.integers(0, 10**6), min_size=len(hours) + 1, max_size=len(hours) + 1)
    )
    moments = list(accumulate(hours, initial=0))
    snapshots = [
        at(hour / 24, hourly * hour, contracted)
        for hour, contracted in zip(moments, accumulate(contracts), strict=True)
    ]
    rate = burn_rate(snapshots, window, snapshots[-1].at)
    assert (rate is None) == (moments[-1] < 12)
    assert rate is None or rate == pytest.approx(24 * hourly)


counts = st.none() | st.integers(0, 10**6)
any_snapshots = st.lists(
    st.tuples(st.floats(0, 60), counts, counts, counts, counts | st.none()), min_size=1, max_size=12
).map(
    lambda rows: sorted(
        (Snapshot(START + row[0] * DAY, Stamps(*row[1:4]), row[4]) for row in rows),
        key=lambda snapshot: snapshot.at,
    )
)


@given(
    st.lists(st.tuples(st.integers(1, 72), st.integers(0, 1000)), min_size=1, max_size=15),
    st.integers(0, 15),
    st.integers(1, 10**6),
    windows,
)
def test_a_contract_does_not_change_the_rate(
    steps: list[tuple[int, int]], when: int, stamps: int, window: timedelta
) -> None:
    hours = accumulate(step[0] for step in steps)
    used = accumulate(step[1] for step in steps)
    without_contract = [at(hour / 24, count, 1000) for hour, count in zip(hours, used, strict=True)]
    with_contract = [
        snapshot if n < when else replace(snapshot, stamps=add_stamps(snapshot.stamps, stamps))
        for n, snapshot in enumerate(without_contract)
    ]
    moment = without_contract[-1].at
    assert burn_rate(with_contract, window, moment) == burn_rate(without_contract, window, moment)


def add_stamps(stamps: Stamps, contracted: int) -> Stamps:
    assert stamps.contracted is not None
    assert stamps.available is not None
    return Stamps(stamps.contracted + contracted, stamps.used, stamps.available + contracted)


# ------------------------------------------------------------------------------ evaluation


def steady(available: int, daily: int, *, days: int = 10) -> list[Snapshot]:
    """Return daily counts of an issuer that uses ``daily`` stamps and ends with ``available``."""
    contracted = available + daily * days
    return [at(day, daily * day, contracted) for day in range(days + 1)]


@pytest.mark.parametrize(
    ("available", "daily", "low_stamps", "low_days", "alert"),
    [
        # By days: below the threshold, not at it.
        (69, 10, None, 7, LOW),
        (70, 10, None, 7, OK),
        (1000, 10, None, 100, OK),
        (999, 10, None, 100, LOW),
        (5, 10, None, 0, OK),
        # By number: below the threshold, not at it.
        (99, 0, 100, 7, LOW),
        (100, 0, 100, 7, OK),
        (1, 0, 0, 7, OK),
        (1, 0, 1, 7, OK),
        (1, 0, 2, 7, LOW),
        # Either threshold suffices.
        (99, 1, 100, 7, LOW),
        (500, 100, 100, 7, LOW),
        (1000, 100, 100, 7, OK),
        # Without consumption, the days left are unlimited.
        (1, 0, None, 7, OK),
        # Without stamps it is exhausted, for any thresholds.
        (0, 0, None, 0, EXHAUSTED),
        (0, 10, 0, 7, EXHAUSTED),
        (-3, 10, 100, 7, EXHAUSTED),
    ],
)
def test_when_stamps_are_low(
    available: int, daily: int, low_stamps: int | None, low_days: int, alert: str
) -> None:
    forecast = evaluate(steady(available, daily), AlertThresholds(low_stamps, low_days), OK)
    assert forecast.alert == alert
    assert forecast.burn_7 == pytest.approx(daily)
    assert forecast.burn_30 == pytest.approx(daily)
    if available <= 0:
        assert forecast.days_left == 0
    elif daily:
        assert forecast.days_left == pytest.approx(available / daily)
    else:
        assert forecast.days_left is None


def test_the_first_count_is_evaluated_by_number_only() -> None:
    assert evaluate([at(0, 960)], AlertThresholds(100, 7), OK) == Forecast(None, None, None, LOW)
    assert evaluate([at(0, 960)], AlertThresholds(None, 7), OK) == Forecast(None, None, None, OK)
    assert evaluate([at(0, 1000)], AlertThresholds(None, 7), OK) == Forecast(
        None, None, 0.0, EXHAUSTED
    )


def test_days_left_use_the_faster_rate() -> None:
    faster_of_late = [at(day, 10 * day + 30 * max(0, day - 23), 1510) for day in range(31)]
    slower_of_late = [at(day, 10 * min(day, 23), 430) for day in range(31)]
    assert evaluate(faster_of_late, AlertThresholds(None, 7), OK).days_left == pytest.approx(
        1000 / 40
    )
    slower = [at(day, 10 * day + 20 * min(day, 23), 1760) for day in range(31)]
    assert evaluate(slower, AlertThresholds(None, 7), OK).days_left == pytest.approx(
        1000 / (760 / 30)
    )
    forecast = evaluate(slower_of_late, AlertThresholds(None, 7), OK)
    assert (forecast.burn_7, forecast.alert) == (0, OK)
    assert forecast.days_left == pytest.approx(200 / (230 / 30))


@pytest.mark.parametrize(
    ("before", "available", "contracted", "alert"),
    [
        # Below the threshold of seven days.
        (OK, 60, 0, LOW),
        (LOW, 60, 0, LOW),
        # Near the threshold, the alert does not change.
        (OK, 80, 0, OK),
        (LOW, 80, 0, LOW),
        (LOW, 104, 0, LOW),
        # Clearly above.
        (LOW, 105, 0, OK),
        # A sufficient contract clears the alert at once.
        (LOW, 80, 50, OK),
        (LOW, 60, 50, LOW),
        (EXHAUSTED, 60, 60, LOW),
        (EXHAUSTED, 80, 80, OK),
        (EXHAUSTED, 5000, 5000, OK),
    ],
)
def test_an_alert_by_days_is_cleared_by_a_contract_or_a_clear_change(
    before: str, available: int, contracted: int, alert: str
) -> None:
    snapshots = steady(available - contracted, 10)
    last = snapshots[-1]
    snapshots[-1] = replace(last, stamps=add_stamps(last.stamps, contracted))
    assert evaluate(snapshots, AlertThresholds(None, 7), before).alert == alert


def test_an_alert_is_raised_once_when_the_rate_fluctuates_around_the_threshold() -> None:
    contracted, used, snapshots, alerts = 2400, 0, [], [OK]
    for day in range(30):
        used += 100 if day % 2 else 40
        snapshots.append(at(day, used, contracted))
        alerts.append(evaluate(snapshots, AlertThresholds(None, 7), alerts[-1]).alert)
    escalations = sum(is_escalation(before, after) for before, after in pairwise(alerts))
    assert (escalations, alerts[-1]) == (1, LOW)


@pytest.mark.parametrize("before", [OK, LOW, EXHAUSTED])
@pytest.mark.parametrize("last", [NOTHING, Stamps(1000, None, None), Stamps(None, 100, None)])
def test_a_count_without_available_stamps_does_not_change_the_alert(
    before: str, last: Stamps
) -> None:
    snapshots = [*steady(5, 10), Snapshot(START + 11 * DAY, last)]
    forecast = evaluate(snapshots, AlertThresholds(100, 7), before)
    assert (forecast.alert, forecast.days_left) == (before, None)


@pytest.mark.parametrize("before", [OK, LOW, EXHAUSTED])
@pytest.mark.parametrize("used", [None, 100])
@pytest.mark.parametrize("contracted", [None, 0])
def test_an_issuer_without_a_limit_is_neither_low_nor_exhausted(
    before: str, used: int | None, contracted: int | None
) -> None:
    last = Stamps(contracted, used, None, unlimited=True)
    forecast = evaluate(
        [*steady(5, 10), Snapshot(START + 11 * DAY, last)], AlertThresholds(100, 7), before
    )
    assert (forecast.alert, forecast.days_left) == (OK, None)
    assert available_stamps(last) is None


@given(any_snapshots, st.none() | st.integers(0, 10**6), st.integers(0, 400))
def test_every_evaluation_is_consistent(
    snapshots: list[Snapshot], low_stamps: int | None, low_days: int
) -> None:
    available = available_stamps(snapshots[-1].stamps)
    for window in (WEEK, MAX_WINDOW):
        assert (burn_rate(snapshots, window, snapshots[-1].at) or 0) >= 0
    for before in (OK, LOW, EXHAUSTED):
        forecast = evaluate(snapshots, AlertThresholds(low_stamps, low_days), before)
        if available is None:
            assert forecast.alert == before
            continue
        assert (forecast.alert == EXHAUSTED) == (available <= 0)
        assert forecast.days_left is None or forecast.days_left >= 0
        if low_stamps is not None and 0 < available < low_stamps:
            assert forecast.alert == LOW
        if forecast.days_left is not None and 0 < forecast.days_left < low_days:
            assert forecast.alert == LOW
        if forecast.alert == LOW and before == OK:
            is_short = forecast.days_left is not None and forecast.days_left < low_days
            assert is_short or (low_stamps is not None and available < low_stamps)


@pytest.mark.parametrize("before", [OK, NO_CONTRACT, LOW, EXHAUSTED])
@pytest.mark.parametrize("alert", [OK, NO_CONTRACT, LOW, EXHAUSTED])
def test_only_a_worse_alert_is_an_escalation(before: Alert, alert: Alert) -> None:
    rank = {OK: 0, NO_CONTRACT: 0, LOW: 1, EXHAUSTED: 2}
    assert is_escalation(before, alert) is (rank[alert] > rank[before])


# ------------------------------------------------------------------------------ sorting

Line = tuple[str, float | None, int | None, str]


def expected_order(line: Line) -> tuple[int, float, int, str]:
    """Return the sort key that ``urgency`` documents."""
    alert, days, available, rfc = line
    if alert != OK:
        rank = 0 if alert == EXHAUSTED else 1
    elif available is None:
        rank = 4
    else:
        rank = 2 if days is not None else 3
    sort_days = 99_999.0 if days is None else round(min(days, 99_999.0), 2)
    return rank, sort_days, min(max(available or 0, 0), 999_999_999_999), rfc


lines = st.tuples(
    st.sampled_from([OK, LOW, EXHAUSTED]),
    st.none() | st.floats(0, 400) | st.floats(0, 1e300) | st.just(float("inf")),
    st.none() | st.integers(-10, 5000) | st.integers(-(10**20), 10**20),
    st.sampled_from([RFC, "ÑAD061009TY8", "AAA010101AAA", "XYZW010101AAA"]),
)


@given(st.lists(lines, max_size=8))
def test_urgency_sorts_as_documented(items: list[Line]) -> None:
    texts = {line: urgency(Forecast(None, None, line[1], line[0]), *line[2:]) for line in items}
    by_text = sorted(items, key=texts.__getitem__)
    assert list(map(expected_order, by_text)) == sorted(map(expected_order, items))
    assert len({len(text) - len(line[3]) for line, text in texts.items()}) <= 1


@pytest.mark.parametrize("huge", [10**12, 10**13, 10**30])
def test_a_huge_count_sorts_last(huge: int) -> None:
    for days in (None, 9.5, 1e300):
        smaller, larger = (urgency(Forecast(None, None, days), n, RFC) for n in (999_999_999, huge))
        assert smaller < larger
        assert len(smaller) == len(larger)


def test_issuers_sort_by_urgency() -> None:
    expected: list[Line] = [
        (EXHAUSTED, 0.0, -5, "AAA010101AAA"),
        (EXHAUSTED, 0.0, 0, "BBB010101AAA"),
        (LOW, 0.4, 12, RFC),
        (LOW, 6.9, 700, RFC),
        (LOW, None, 3, RFC),
        (LOW, None, None, RFC),
        (OK, 9.5, 95, RFC),
        (OK, 10.5, 2, RFC),
        (OK, 99_000.0, 10**9, RFC),
        (OK, None, 1, RFC),
        (OK, None, 10**9, RFC),
        (OK, None, None, RFC),
    ]
    # A low issuer without a count is sorted among the low ones.
    expected[4], expected[5] = expected[5], expected[4]
    texts = [urgency(Forecast(None, None, days, alert), n, rfc) for alert, days, n, rfc in expected]
    assert texts == sorted(texts)
