"""Outlook: from an issuer's counts, day by day, to how fast it stamps and how long that lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from timbres.domain.stamps import Stamps


class Alert(StrEnum):
    """How urgent an issuer's stamps are."""

    OK = "ok"
    LOW = "low"
    EXHAUSTED = "exhausted"


OK, LOW, EXHAUSTED = Alert

# As far back as a burn rate looks.
MAX_WINDOW = timedelta(days=30)
_DAY = timedelta(days=1)
# What was stamped in less time says nothing of a day.
_MIN_COVERAGE = timedelta(hours=12)
# An alert by days ends here without a refill, so that a rate about the limit does not repeat it.
_CLEAR_OF_DAYS = 1.5
_UNKNOWN_DAYS = 99_999.0
_MAX_SORT_VALUE = 999_999_999_999


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An issuer's stamps at one moment.

    ``consumed`` is what it has stamped in the month that ends or goes on at ``at``, where the
    PAC returns that and no count; None elsewhere.
    """

    at: datetime
    stamps: Stamps
    consumed: int | None = None


@dataclass(frozen=True, slots=True)
class AlertThresholds:
    """When stamps are low: fewer than ``low_stamps``, or enough for under ``low_days`` days."""

    low_stamps: int | None
    low_days: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the counts mean.

    ``burn_7`` and ``burn_30`` are stamps a day over the last 7 and 30 days, None where the
    counts do not tell. ``days_left`` reckons with the faster of the two; None when nothing is
    stamped or the PAC does not say what is left. ``alert`` is ``ok``, ``low`` or
    ``exhausted``.
    """

    burn_7: float | None = None
    burn_30: float | None = None
    days_left: float | None = None
    alert: Alert = OK


def available_stamps(stamps: Stamps) -> int | None:
    """Return the stamps that an issuer has left: as told, or as the two other counts say.

    None where they are not known, and for an issuer without a limit.
    """
    if stamps.available is not None:
        return stamps.available
    if stamps.unlimited or stamps.contracted is None or stamps.used is None:
        return None
    return stamps.contracted - stamps.used


def consumed_between(earlier: Snapshot, later: Snapshot) -> int | None:
    """Return the stamps consumed between two counts of an issuer, None where they do not tell.

    A purchase in between changes what is contracted and left, not what is used. A count of
    used stamps that has gone down was begun anew by the PAC, and tells nothing.
    """
    if earlier.consumed is not None or later.consumed is not None:
        return _consumed_in_month(earlier, later)
    was, now = _consumption(earlier.stamps), _consumption(later.stamps)
    if was is None or now is None:
        # Less left was used; more left was bought, and hides what was used meanwhile.
        was, now = available_stamps(later.stamps), available_stamps(earlier.stamps)
    if was is None or now is None or now < was:
        return None
    return now - was


def burn_rate(snapshots: Sequence[Snapshot], window: timedelta, at: datetime) -> float | None:
    """Return the stamps a day over the ``window`` up to ``at``, or None.

    ``snapshots`` come by time, the oldest first. A gap between two counts is taken as one
    even stretch; a stretch whose consumption is not known is left out, days and all.
    """
    since = at - window
    used, covered = 0.0, timedelta()
    for earlier, later in pairwise(snapshots):
        stretch = later.at - earlier.at
        within = later.at - max(earlier.at, since)
        consumed = consumed_between(earlier, later)
        if consumed is None or within <= timedelta() or stretch <= timedelta():
            continue
        used += consumed * (within / stretch)
        covered += within
    return used / (covered / _DAY) if covered >= _MIN_COVERAGE else None


def evaluate(snapshots: Sequence[Snapshot], thresholds: AlertThresholds, before: Alert) -> Forecast:
    """Return what an issuer's counts mean; the last of them is the present one.

    ``before`` is the alert so far. It is not lifted by a rate that wavers, but by a refill
    or by a rate that has clearly slowed; a count that says nothing changes nothing.
    """
    at = snapshots[-1].at
    week = burn_rate(snapshots, timedelta(days=7), at)
    month = burn_rate(snapshots, MAX_WINDOW, at)
    if snapshots[-1].stamps.unlimited:
        return Forecast(week, month, None, OK)
    available = available_stamps(snapshots[-1].stamps)
    if available is None:
        return Forecast(week, month, None, before)
    rate = max(week or 0.0, month or 0.0)
    days_left = 0.0 if available <= 0 else available / rate if rate else None
    return Forecast(
        week, month, days_left, _alert(snapshots, available, days_left, thresholds, before)
    )


def round_rate(value: float | None) -> float | None:
    """Return a rate or a number of days as it is shown and kept: two decimals."""
    return None if value is None else round(value, 2)


def is_escalation(before: Alert, alert: Alert) -> bool:
    """Tell whether ``alert`` is news after ``before``: ok, low, exhausted, and it got worse."""
    ladder = tuple(Alert)
    return ladder.index(alert) > ladder.index(before)


def urgency(forecast: Forecast, available: int | None, rfc: str) -> str:
    """Return a text that sorts issuers by urgency, the most urgent first.

    Exhausted, then low, then by days left, then by stamps left, then those without a count.
    """
    if forecast.alert in (LOW, EXHAUSTED):
        rank = "0" if forecast.alert == EXHAUSTED else "1"
    elif available is None:
        rank = "4"
    else:
        rank = "3" if forecast.days_left is None else "2"
    days = _UNKNOWN_DAYS if forecast.days_left is None else min(forecast.days_left, _UNKNOWN_DAYS)
    count = min(max(available or 0, 0), _MAX_SORT_VALUE)
    return f"{rank}#{days:08.2f}#{count:012d}#{rfc}"


def _alert(
    snapshots: Sequence[Snapshot],
    available: int,
    days_left: float | None,
    limits: AlertThresholds,
    before: Alert,
) -> Alert:
    if available <= 0:
        return EXHAUSTED
    if limits.low_stamps is not None and available < limits.low_stamps:
        return LOW
    if days_left is None or days_left >= limits.low_days * _CLEAR_OF_DAYS:
        return OK
    if days_left < limits.low_days:
        return LOW
    earlier = available_stamps(snapshots[-2].stamps) if len(snapshots) > 1 else None
    refilled = earlier is not None and available > earlier
    return OK if before == OK or refilled else LOW


def _consumption(stamps: Stamps) -> int | None:
    if stamps.used is not None:
        return stamps.used
    if stamps.contracted is None or stamps.available is None:
        return None
    return stamps.contracted - stamps.available


def _consumed_in_month(earlier: Snapshot, later: Snapshot) -> int | None:
    if earlier.consumed is None or later.consumed is None:
        return None
    # A count at midnight of the 1st closes the month before it.
    was, now = _month(earlier.at), _month(later.at)
    if was == now:
        consumed = later.consumed - earlier.consumed
    elif _closes_month(earlier.at) and _follows(was, now):
        consumed = later.consumed
    else:
        return None
    return consumed if consumed >= 0 else None


def _month(at: datetime) -> tuple[int, int]:
    last = at - timedelta(microseconds=1)
    return last.year, last.month


def _follows(was: tuple[int, int], now: tuple[int, int]) -> bool:
    return now[0] * 12 + now[1] == was[0] * 12 + was[1] + 1


def _closes_month(at: datetime) -> bool:
    return at.day == 1 and (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)
