"""A past for the demo: what the nights before today would have counted of acme-sf's issuers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from itertools import accumulate

from local.fake_pacs.fake_data import Issuer as Book
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


def write_snapshots(stack: Stack, account: str, books: Mapping[str, Book], today: date) -> None:
    """Write a snapshot an issuer and night, from the month before last up to yesterday.

    They lead to what `books` say now: who has used all of its stamps did so a week ago, who
    bought did so on the 12th of last month.
    """
    daily_counts = DailyCountRepository(
        stack.session().client("dynamodb"),
        stack.outputs["SnapshotsTableName"],
        stack.outputs["IssuersTableName"],
    )
    limits = AlertThresholds(None, 7)
    last_month = (today.replace(day=1) - _DAY).replace(day=1)
    known = {rfc: Issuer(account, rfc) for rfc in books}
    used = {rfc: _used(book, last_month, today) for rfc, book in books.items()}
    for day in _days(last_month, today):
        for rfc, book in books.items():
            contracted = book.contratados
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


def _used(book: Book, last_month: date, today: date) -> dict[date, int]:
    """Return what was used up to the night of each day, in the rhythm of a week."""
    first = (last_month - _DAY).replace(day=1)
    days = [first + n * _DAY for n in range((today - first).days + 1)]
    end = today if book.disponibles else today - 7 * _DAY
    weights = [_WEEK[day.weekday()] if day < end else 0 for day in days]
    total = sum(weights)
    so_far = [0, *accumulate(weights)]
    return {day: book.usados * weight // total for day, weight in zip(days, so_far, strict=False)}
