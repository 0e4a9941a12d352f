"""A past for the demo: what the nights before today would have counted of an account's issuers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from itertools import accumulate

from local.stack import Stack
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import AlertThresholds, Snapshot
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps
from timbres.repositories.daily_counts import DailyCountRepository

_DAY = timedelta(days=1)
# How much of a working day's stamps a Monday to a Sunday takes.
_WEEK = (10, 9, 9, 10, 12, 4, 1)
# Bought in the PAC's portal in the middle of last month: no consumption, whatever the count says.
_CONTRACTED = 500

# What the counts lead to: stamps contracted and used, by RFC.
Past = Mapping[str, tuple[int, int]]


def write_snapshots(stack: Stack, account: str, past: Past, today: date) -> None:
    """Write a snapshot an issuer and night, from the month before last up to yesterday.

    They lead to `past`: an issuer that has used all of its stamps did so a week ago, one with a
    contract of the portal made it on the 12th of last month.
    """
    daily_counts = DailyCountRepository(
        stack.session().client("dynamodb"),
        stack.outputs["SnapshotsTableName"],
        stack.outputs["IssuersTableName"],
    )
    limits = AlertThresholds(None, 7)
    last_month = (today.replace(day=1) - _DAY).replace(day=1)
    known = {rfc: Issuer(account, rfc) for rfc in past}
    used = {rfc: _used(*latest, last_month, today) for rfc, latest in past.items()}
    for day in _days(last_month, today):
        for rfc, (latest, _) in past.items():
            contracted = latest
            if contracted > _CONTRACTED and day < last_month.replace(day=12):
                contracted -= _CONTRACTED
            stamps = Stamps(contracted, used[rfc][day], contracted - used[rfc][day])
            snapshot = Snapshot(datetime.combine(day, time(5), MEXICO_CITY), stamps)
            known[rfc] = known[rfc].with_daily_count(day, snapshot, limits, f"{day}-050000")
        daily_counts.save(day, list(known.values()), known=False)


def _days(last_month: date, today: date) -> Iterator[date]:
    """Yield the nights with a count: once a week in the month before last, each one since."""
    first = (last_month - _DAY).replace(day=1)
    day = first
    while day < today:
        if day >= last_month or day.day % 7 == 1:
            yield day
        day += _DAY


def _used(contracted: int, used: int, last_month: date, today: date) -> dict[date, int]:
    """Return what was used up to the night of each day, in the rhythm of a week."""
    first = (last_month - _DAY).replace(day=1)
    days = [first + n * _DAY for n in range((today - first).days + 1)]
    end = today if used < contracted else today - 7 * _DAY
    weights = [_WEEK[day.weekday()] if day < end else 0 for day in days]
    total = sum(weights)
    so_far = [0, *accumulate(weights)]
    return {day: used * weight // total for day, weight in zip(days, so_far, strict=False)}
