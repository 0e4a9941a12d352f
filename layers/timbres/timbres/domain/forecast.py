"""Forecast: burn rate, days left and alert of an issuer or an account, from its counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from timbres.domain.month import month_of
from timbres.domain.stamps import Stamps
from timbres.domain.text import quote_input
from timbres.errors import PARAMETER_INVALID, TimbresError


class Alert(StrEnum):
    """How urgent the stamps of an issuer or an account are.

    ``no-contract``: the issuer has no stamps of its own and uses the account's.
    """

    OK = "ok"
    NO_CONTRACT = "no-contract"
    LOW = "low"
    EXHAUSTED = "exhausted"


OK, NO_CONTRACT, LOW, EXHAUSTED = Alert
_SEVERITY = {OK: 0, NO_CONTRACT: 0, LOW: 1, EXHAUSTED: 2}

# The longest window of a burn rate.
MAX_WINDOW = timedelta(days=30)
_DAY = timedelta(days=1)
# Counts over a shorter time are not a basis for a daily rate.
_MIN_COVERAGE = timedelta(hours=12)
# Hysteresis: without new stamps, an alert by days ends at 1.5 times the threshold.
_CLEAR_OF_DAYS = 1.5
_UNKNOWN_DAYS = 99_999.0
_MAX_SORT_VALUE = 999_999_999_999


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stamps of an issuer or an account at one time.

    ``consumed`` is the number of stamps used in the current month, or in the month that ends at
    ``at``; None if the PAC returns counts instead.
    """

    at: datetime
    stamps: Stamps
    consumed: int | None = None


@dataclass(frozen=True, slots=True)
class AlertThresholds:
    """Stamps are low: fewer than ``low_stamps``, or enough for less than ``low_days`` days."""

    low_stamps: int | None
    low_days: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of an issuer or an account.

    ``burn_7`` and ``burn_30`` are stamps per day over the last 7 and 30 days, None if they are
    not known. ``days_left`` uses the higher of the two rates; None if no stamps are used or
    the available stamps are not known.
    """

    burn_7: float | None = None
    burn_30: float | None = None
    days_left: float | None = None
    alert: Alert = OK


def available_stamps(stamps: Stamps) -> int | None:
    """Return an issuer's available stamps, computed from the two other counts if necessary.

    None if they are not known, and for an issuer without a limit.
    """
    if stamps.available is not None:
        return stamps.available
    if stamps.unlimited or stamps.contracted is None or stamps.used is None:
        return None
    return stamps.contracted - stamps.used


def consumed_between(earlier: Snapshot, later: Snapshot) -> int | None:
    """Return the stamps consumed between two counts of an issuer, None if that is not known.

    A contract between them changes contracted and available, but not used. If used decreased,
    the PAC has reset it, and the consumption is not known.
    """
    if earlier.consumed is not None or later.consumed is not None:
        return _consumed_in_month(earlier, later)
    before, after = _consumption(earlier.stamps), _consumption(later.stamps)
    if before is None or after is None:
        # A decrease of available is usage; an increase is a contract, which hides usage.
        before, after = available_stamps(later.stamps), available_stamps(earlier.stamps)
    if before is None or after is None or after < before:
        return None
    return after - before


def burn_rate(snapshots: Sequence[Snapshot], window: timedelta, at: datetime) -> float | None:
    """Return the stamps per day over the ``window`` up to ``at``, or None.

    ``snapshots`` are sorted by time, the oldest first. Consumption is spread evenly over the
    interval between two counts. Intervals with unknown consumption are excluded.
    """
    since = at - window
    used, covered = 0.0, timedelta()
    for earlier, later in pairwise(snapshots):
        interval = later.at - earlier.at
        overlap = later.at - max(earlier.at, since)
        consumed = consumed_between(earlier, later)
        if consumed is None or overlap <= timedelta() or interval <= timedelta():
            continue
        used += consumed * (overlap / interval)
        covered += overlap
    return used / (covered / _DAY) if covered >= _MIN_COVERAGE else None


def evaluate(snapshots: Sequence[Snapshot], thresholds: AlertThresholds, before: Alert) -> Forecast:
    """Return an issuer's forecast; the last snapshot is the current one.

    ``before`` is the alert so far. It ends with new stamps or with a clearly lower rate, but
    not with a small change of the rate. If the available stamps are not known, it stays.
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
    alert = OK
    if available <= 0:
        alert = EXHAUSTED
    elif thresholds.low_stamps is not None and available < thresholds.low_stamps:
        alert = LOW
    elif days_left is not None and days_left < thresholds.low_days * _CLEAR_OF_DAYS:
        earlier = available_stamps(snapshots[-2].stamps) if len(snapshots) > 1 else None
        is_refilled = earlier is not None and available > earlier
        stays = before in (LOW, EXHAUSTED) and not is_refilled
        alert = LOW if days_left < thresholds.low_days or stays else OK
    return Forecast(week, month, days_left, alert)


def round_rate(value: float | None) -> float | None:
    """Return a rate or a number of days with two decimals, or None."""
    return None if value is None else round(value, 2)


def is_escalation(before: Alert, alert: Alert) -> bool:
    """Return whether ``alert`` is worse than ``before``: ok or no contract, low, exhausted."""
    return _SEVERITY[alert] > _SEVERITY[before]


def urgency(forecast: Forecast, available: int | None, rfc: str) -> str:
    """Return a sort key for issuers, the most urgent first.

    Exhausted, then low, then by days left, then by available stamps, then those without a count
    or without a contract.
    """
    if forecast.alert in (LOW, EXHAUSTED):
        rank = "0" if forecast.alert == EXHAUSTED else "1"
    elif available is None or forecast.alert == NO_CONTRACT:
        rank = "4"
    else:
        rank = "3" if forecast.days_left is None else "2"
    days = _UNKNOWN_DAYS if forecast.days_left is None else min(forecast.days_left, _UNKNOWN_DAYS)
    count = min(max(available or 0, 0), _MAX_SORT_VALUE)
    return f"{rank}#{days:08.2f}#{count:012d}#{rfc}"


def urgency_prefix(alert: Alert) -> str:
    """Return the prefix of the sort keys of issuers that are ``low`` or ``exhausted``."""
    return {EXHAUSTED: "0#", LOW: "1#"}[alert]


def parse_alert(text: str, field: str = "alert") -> Alert:
    """Return the alert of a query, ``low`` or ``exhausted``. Raises ``parameter-invalid``."""
    if text not in (LOW, EXHAUSTED):
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(text)} is not a valid alert: expected low or exhausted.",
            field=field,
        )
    return Alert(text)


def _consumption(stamps: Stamps) -> int | None:
    if stamps.used is not None:
        return stamps.used
    if stamps.contracted is None or stamps.available is None:
        return None
    return stamps.contracted - stamps.available


def _consumed_in_month(earlier: Snapshot, later: Snapshot) -> int | None:
    if earlier.consumed is None or later.consumed is None:
        return None
    # A count at midnight of the 1st belongs to the month before, which it closes.
    before, month = (month_of(count.at - timedelta(microseconds=1)) for count in (earlier, later))
    consumed = later.consumed
    if before == month:
        consumed -= earlier.consumed
    elif month_of(earlier.at) != month:
        return None
    return consumed if consumed >= 0 else None
