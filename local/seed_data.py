"""Write daily counts of the past weeks for the demo, as earlier daily runs would have done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from typing import TypeVar

from local.stack import Stack
from timbres.domain.account_stamps import AccountStamps
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import AlertThresholds, Snapshot
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps
from timbres.repositories.daily_counts import AccountStampRepository, DailyCountRepository

_DAY = timedelta(days=1)
# Relative consumption from Monday to Sunday.
_WEEK = (10, 9, 9, 10, 12, 4, 1)
# Contracted in the PAC's portal in the middle of last month.
_CONTRACTED = 500

# The final counts: stamps contracted and used, by RFC.
Past = Mapping[str, tuple[int, int]]


def write_snapshots(
    stack: Stack, account: str, past: Past, today: date, account_contracted: int | None
) -> None:
    """Write one snapshot per issuer and day, from the month before last until yesterday.

    With `account_contracted`, also one per day of the account, which has used what its issuers
    have used.

    The last counts are `past`. An issuer without stamps used its last ones a week ago. A contract
    of the portal dates from the 12th of last month.
    """
    dynamodb, snapshots = stack.session().client("dynamodb"), stack.outputs["SnapshotsTableName"]
    daily_counts = DailyCountRepository(dynamodb, snapshots, stack.outputs["IssuersTableName"])
    account_counts, own = AccountStampRepository(dynamodb, snapshots), AccountStamps(account)
    last_month = (today.replace(day=1) - _DAY).replace(day=1)
    issuers = {rfc: Issuer(account, rfc) for rfc in past}
    used = {rfc: _used(*latest, last_month, today) for rfc, latest in past.items()}
    for day in _days(last_month, today):
        for rfc, (latest, _) in past.items():
            is_later = latest <= _CONTRACTED or day >= last_month.replace(day=12)
            contracted = latest if is_later else latest - _CONTRACTED
            issuers[rfc] = _count(issuers[rfc], contracted, used[rfc][day], day)
        daily_counts.save(day, list(issuers.values()), known=False)
        if account_contracted is not None:
            own = _count(own, account_contracted, sum(used[rfc][day] for rfc in past), day)
            account_counts.save(own)


Counted = TypeVar("Counted", Issuer, AccountStamps)


def _count(counted: Counted, contracted: int, used: int, day: date) -> Counted:
    """Return an issuer or account with the count of a day, as the daily run makes it."""
    stamps = Stamps(contracted, used, contracted - used)
    snapshot = Snapshot(datetime.combine(day, time(5), MEXICO_CITY), stamps)
    return counted.with_daily_count(day, snapshot, AlertThresholds(None, 7), f"{day}-050000")


def _days(last_month: date, today: date) -> Iterator[date]:
    """Yield the days with a count: weekly in the month before last, daily since then."""
    first = (last_month - _DAY).replace(day=1)
    day = first
    while day < today:
        if day >= last_month or day.day % 7 == 1:
            yield day
        day += _DAY


def _used(contracted: int, used: int, last_month: date, today: date) -> dict[date, int]:
    """Return the stamps used until each day, with a weekly pattern."""
    first = (last_month - _DAY).replace(day=1)
    days = [first + n * _DAY for n in range((today - first).days + 1)]
    end = today if used < contracted else today - 7 * _DAY
    weights = [_WEEK[day.weekday()] if day < end else 0 for day in days]
    total = sum(weights)
    sums = [0, *accumulate(weights)]
    return {day: used * weight // total for day, weight in zip(days, sums, strict=False)}
