"""Forecast: consumption between counts, burn rate, days left, alerts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest

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
        (Stamps(1000, 400, None), 600),
        (Stamps(1000, 1200, None), -200),
        (Stamps(1000, 400, 590), 590),
        (Stamps(1000, None, None), None),
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
        (Stamps(1000, None, 600), Stamps(1000, None, 700), None),
        # Only available stamps are known: fewer are usage; more are a contract that hides usage.
        (Stamps(None, None, 600), Stamps(None, None, 588), 12),
        (Stamps(None, None, 600), Stamps(None, None, 601), None),
        (Stamps(None, 400, None), Stamps(None, 412, None), 12),
        (Stamps(None, 400, None), Stamps(None, None, 588), None),
        (Stamps(1000, None, None), Stamps(1000, None, None), None),
        (NOTHING, Stamps(1000, 412, 588), None),
        (Stamps(1000, 400, 600), NOTHING, None),
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
        (("2026-11-02T17:00", 10), ("2026-11-02T18:00", 11), 1),
        # A month's total does not decrease.
        (("2026-11-02", 10), ("2026-11-03", 9), None),
        # Midnight of the 1st closes the month before: its count is of that month …
        (("2026-10-31", 300), ("2026-11-01", 310), 10),
        # … and after it a new month starts at zero.
        (("2026-11-01", 310), ("2026-11-02", 10), 10),
        (("2026-11-01", 310), ("2026-12-01", 290), 290),
        (("2027-01-01", 5), ("2027-01-02", 0), 0),
        # The final total of October is unknown.
        (("2026-10-31", 300), ("2026-11-02", 10), None),
        (("2026-11-01T00:00:01", 310), ("2026-12-01T00:00:01", 10), None),
        # November lies in between, without a count.
        (("2026-11-01", 310), ("2026-12-02", 10), None),
        (("2025-11-01", 310), ("2026-12-01", 10), None),
        (("2026-11-02", None), ("2026-11-03", 25), None),
    ],
)
def test_consumption_between_two_monthly_totals(
    earlier: tuple[str, int | None], later: tuple[str, int | None], consumed: int | None
) -> None:
    assert consumed_between(of_month(*earlier), of_month(*later)) == consumed


# ------------------------------------------------------------------------------ burn rate


@pytest.mark.parametrize(
    ("snapshots", "week", "month"),
    [
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
        ([at(0, 100), at(1, None, None), at(2, 120), at(3, 130)], 10.0, 10.0),
        # A contract in between.
        ([at(0, 0, 100), at(1, 10, 100), at(2, 20, 600), at(3, 30, 600)], 10.0, 10.0),
        # Fewer than twelve hours give no rate.
        ([at(0, 0), at(11 / 24, 99)], None, None),
        ([at(0, 0), at(0.5, 6)], 12.0, 12.0),
        # One day is known two weeks ago, and six hours since.
        ([at(0, 0), at(1, 10), at(16, 0), at(16.25, 50)], None, 60 / 1.25),
        # Counts of the same time or out of order are ignored.
        ([at(0, 0), at(1, 10), at(1, 90)], 10.0, 10.0),
        ([at(0, 0), at(1, 10), at(0.5, 90)], 10.0, 10.0),
    ],
)
def test_burn_rate(snapshots: list[Snapshot], week: float | None, month: float | None) -> None:
    moment = max(snapshot.at for snapshot in snapshots)
    for window, rate in ((WEEK, week), (MAX_WINDOW, month)):
        assert burn_rate(snapshots, window, moment) == (rate and pytest.approx(rate))


# ------------------------------------------------------------------------------ evaluation


def add_contract(snapshot: Snapshot, contracted: int) -> Snapshot:
    stamps = snapshot.stamps
    assert stamps.contracted is not None
    assert stamps.available is not None
    more = Stamps(stamps.contracted + contracted, stamps.used, stamps.available + contracted)
    return replace(snapshot, stamps=more)


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
        (5, 10, None, 0, OK),
        # By number: below the threshold, not at it.
        (99, 0, 100, 7, LOW),
        (100, 0, 100, 7, OK),
        (1, 0, 0, 7, OK),
        # Either threshold suffices.
        (99, 1, 100, 7, LOW),
        (500, 100, 100, 7, LOW),
        (1000, 100, 100, 7, OK),
        # Without consumption, the days left are unlimited.
        (1, 0, None, 7, OK),
        # Without stamps it is exhausted, for any thresholds.
        (0, 0, None, 0, EXHAUSTED),
        (-3, 10, 100, 7, EXHAUSTED),
    ],
)
def test_when_stamps_are_low(
    available: int, daily: int, low_stamps: int | None, low_days: int, alert: str
) -> None:
    forecast = evaluate(steady(available, daily), AlertThresholds(low_stamps, low_days), OK)
    days_left = max(available, 0) / daily if daily else None if available else 0

    assert forecast.alert == alert
    assert forecast.burn_7 == forecast.burn_30 == pytest.approx(daily)
    assert forecast.days_left == (days_left and pytest.approx(days_left))


def test_the_first_count_is_evaluated_by_number_only() -> None:
    for used, low_stamps, days_left, alert in (
        (960, 100, None, LOW),
        (960, None, None, OK),
        (1000, None, 0.0, EXHAUSTED),
    ):
        found = evaluate([at(0, used)], AlertThresholds(low_stamps, 7), OK)
        assert found == Forecast(None, None, days_left, alert)


@pytest.mark.parametrize(
    ("late", "days_left"),
    [(30, (1510 - 510) / 40), (0, (1510 - 300) / 10), (-10, 1280 / (230 / 30))],
)
def test_days_left_use_the_faster_rate(late: int, days_left: float) -> None:
    """Ten a day, with so many more on each of the last seven days."""
    counts = [at(day, 10 * day + late * max(0, day - 23), 1510) for day in range(31)]
    assert evaluate(counts, AlertThresholds(None, 7), OK).days_left == pytest.approx(days_left)


@pytest.mark.parametrize(
    ("before", "available", "contracted", "alert"),
    [
        # Below the threshold of seven days.
        (OK, 60, 0, LOW),
        (LOW, 60, 0, LOW),
        # Near the threshold, the alert does not change.
        (OK, 80, 0, OK),
        (LOW, 104, 0, LOW),
        # Clearly above.
        (LOW, 105, 0, OK),
        # A sufficient contract clears the alert at once.
        (LOW, 80, 50, OK),
        (LOW, 60, 50, LOW),
        (EXHAUSTED, 60, 60, LOW),
        (EXHAUSTED, 80, 80, OK),
    ],
)
def test_an_alert_by_days_is_cleared_by_a_contract_or_a_clear_change(
    before: Alert, available: int, contracted: int, alert: str
) -> None:
    snapshots = steady(available - contracted, 10)
    snapshots[-1] = add_contract(snapshots[-1], contracted)
    assert evaluate(snapshots, AlertThresholds(None, 7), before).alert == alert


@pytest.mark.parametrize(
    "last",
    [
        NOTHING,
        Stamps(1000, None, None),
        Stamps(None, None, None, unlimited=True),
        Stamps(0, 100, None, unlimited=True),
    ],
)
def test_without_available_stamps_the_alert_stays_except_without_a_limit(last: Stamps) -> None:
    snapshots = [*steady(5, 10), Snapshot(START + 11 * DAY, last)]
    for before in (OK, LOW, EXHAUSTED):
        forecast = evaluate(snapshots, AlertThresholds(100, 7), before)
        assert (forecast.alert, forecast.days_left) == (OK if last.unlimited else before, None)


def test_only_a_worse_alert_is_an_escalation() -> None:
    rank = {OK: 0, NO_CONTRACT: 0, LOW: 1, EXHAUSTED: 2}
    for before, alert in product(Alert, repeat=2):
        assert is_escalation(before, alert) is (rank[alert] > rank[before])


# ------------------------------------------------------------------------------ sorting

# From the most to the least urgent: alert, days left, available stamps, RFC.
URGENT_FIRST: list[tuple[Alert, float | None, int | None, str]] = [
    (EXHAUSTED, 0.0, 0, "A&D061009TY8"),
    (EXHAUSTED, 0.0, -3, "AAA010101AAA"),
    (LOW, 0.5, 7, "AAA010101AAA"),
    (LOW, 9.5, 3, "AAA010101AAA"),
    (LOW, 10.25, 95, "AAA010101AAA"),
    (LOW, None, 3, "AAA010101AAA"),
    (OK, 9.25, 10**20, "AAA010101AAA"),
    (OK, 1e300, 1, "AAA010101AAA"),
    (OK, None, 99, "AAA010101AAA"),
    (OK, None, 100, "AAA010101AAA"),
    # Without a contract, or never counted.
    (NO_CONTRACT, None, 0, "AAA010101AAA"),
    (OK, None, None, "ZZZ010101AAA"),
]


def test_issuers_are_sorted_by_alert_days_available_stamps_and_rfc() -> None:
    texts = [
        urgency(Forecast(None, None, days, alert), available, rfc)
        for alert, days, available, rfc in URGENT_FIRST
    ]

    assert sorted(texts) == texts
