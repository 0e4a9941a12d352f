"""DynamoDB repositories for snapshots: stamps of issuers and accounts, daily, for 400 days.

The sort key is ``<day>#<rfc>``: a month of an account is one range, an issuer's history is a
batch of known keys, and neither needs an index. A count of the account itself has the sort key
``account#<day>``, which is outside of every range of days and is not an issuer's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from timbres.domain.account_stamps import AccountStamps
from timbres.domain.forecast import MAX_WINDOW, Alert, Forecast, Snapshot, round_rate
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import (
    Item,
    batch_get,
    batched,
    conditional_write,
    deserialize,
    serialize,
    transact_write,
)
from timbres.repositories.issuers import daily_count_step

RETENTION = timedelta(days=400)
# A transaction has at most 100 steps: a snapshot and an issuer each.
_MAX_ISSUERS_PER_TRANSACTION = 50
_COUNTS = ("contracted", "used", "available", "consumed")
_RATES = ("burn_7", "burn_30", "days_left")
_ACCOUNT = "account#"
# One per day, and an older one, whose interval is partly in the window.
_RECENT_DAYS = MAX_WINDOW.days + 2


class SnapshotRepository:
    """Reads snapshots; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def list_history(self, account: str, rfc: str, first: date, last: date) -> Iterator[Snapshot]:
        """Yield an issuer's snapshots from ``first`` to ``last``, the oldest first."""
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        for batch in batched(days, 100):
            keys = [_key(account, day, rfc) for day in batch]
            items = batch_get(self._dynamodb, self._table, keys)
            yield from sorted(map(_snapshot, items), key=lambda snapshot: snapshot.at)

    def list_between(self, account: str, first: date, last: date) -> Iterator[tuple[str, Snapshot]]:
        """Yield RFC and snapshot of every issuer of an account, sorted by day."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="account = :account AND entry BETWEEN :first AND :last",
            ExpressionAttributeValues=serialize(
                {":account": account, ":first": f"{first}#", ":last": f"{last}$"}
            ),
        )
        for page in pages:
            for item in page["Items"]:
                yield item["entry"]["S"].partition("#")[2], _snapshot(item)


class AccountStampRepository:
    """Stores daily counts of accounts' own stamps; ``dynamodb`` is a client."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def get(self, account: str) -> AccountStamps:
        """Return an account's stamps with the counts of the last 30 days; without counts if new."""
        page = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="account = :account AND begins_with(entry, :prefix)",
            ExpressionAttributeValues=serialize({":account": account, ":prefix": _ACCOUNT}),
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=_RECENT_DAYS,
        )
        items = page["Items"]
        if not items:
            return AccountStamps(account)
        newest = deserialize(items[0])
        recent = tuple(map(_snapshot, reversed(items)))
        rates = {name: newest.get(name) for name in _RATES}
        return AccountStamps(
            account=account,
            stamps=recent[-1].stamps,
            as_of=recent[-1].at,
            forecast=Forecast(**rates, alert=Alert(newest["alert"])),
            recent=recent,
            counted_on=date.fromisoformat(newest["entry"].removeprefix(_ACCOUNT)),
            notified_alert=Alert(newest["notified_alert"]),
            notified_by_run=newest.get("notified_by_run"),
        )

    def save(self, stamps: AccountStamps) -> None:
        """Write the newest count, unless the account has a count of its day."""
        forecast = stamps.forecast
        item = _snapshot_values(stamps.recent[-1]) | {
            "account": stamps.account,
            "entry": f"{_ACCOUNT}{stamps.counted_on}",
            **{name: round_rate(getattr(forecast, name)) for name in _RATES},
            "alert": forecast.alert,
            "notified_alert": stamps.notified_alert,
            "notified_by_run": stamps.notified_by_run,
        }
        conditional_write(
            self._dynamodb.put_item,
            {},
            TableName=self._table,
            Item=serialize(item),
            ConditionExpression="attribute_not_exists(entry)",
        )


class DailyCountRepository:
    """Writes counts of runs to the tables of snapshots and issuers; ``dynamodb`` is a client."""

    def __init__(self, dynamodb: Any, snapshots_table: str, issuers_table: str) -> None:
        self._dynamodb = dynamodb
        self._snapshots_table = snapshots_table
        self._issuers_table = issuers_table

    def save(self, day: date, issuers: Sequence[Issuer], *, known: bool) -> None:
        """Write the counts of a run, each issuer in one transaction with its snapshot of ``day``.

        An issuer with a snapshot of ``day`` or later is left out. If the issuers are ``known``,
        an issuer that was removed meanwhile is left out, too.
        """
        for batch in batched(issuers, _MAX_ISSUERS_PER_TRANSACTION):
            steps = [step for issuer in batch for step in self._steps(day, issuer, known)]
            if not transact_write(self._dynamodb, steps):
                continue
            # One failed condition cancels the whole transaction.
            for issuer in batch:
                transact_write(self._dynamodb, self._steps(day, issuer, known))

    def _steps(self, day: date, issuer: Issuer, known: bool) -> list[Item]:
        key, values = _key(issuer.account, day, issuer.rfc), _snapshot_values(issuer.recent[-1])
        put = {"TableName": self._snapshots_table, "Item": key | serialize(values)}
        return [{"Put": put}, daily_count_step(self._issuers_table, issuer, known=known)]


def _key(account: str, day: date, rfc: str) -> Item:
    return serialize({"account": account, "entry": f"{day}#{rfc}"})


def _snapshot_values(snapshot: Snapshot) -> Item:
    return asdict(snapshot.stamps) | {
        "at": snapshot.at.isoformat(),
        "unlimited": snapshot.stamps.unlimited or None,
        "consumed": snapshot.consumed,
        "expires_at": int((snapshot.at + RETENTION).timestamp()),
    }


def _snapshot(item: Item) -> Snapshot:
    contracted, used, available, consumed = (
        int(item[name]["N"]) if name in item else None for name in _COUNTS
    )
    stamps = Stamps(contracted, used, available, "unlimited" in item)
    return Snapshot(datetime.fromisoformat(item["at"]["S"]), stamps, consumed)
