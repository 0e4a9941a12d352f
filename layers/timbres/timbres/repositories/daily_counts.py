"""DynamoDB repositories for snapshots: each issuer's stamps, once per day, for 400 days.

The sort key is ``<day>#<rfc>``: a month of an account is one range, an issuer's history is a
batch of known keys, and neither needs an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from timbres.domain.forecast import Snapshot
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import Item, batch_get, batched, serialize, transact_write
from timbres.repositories.issuers import daily_count_step

RETENTION = timedelta(days=400)
# A transaction has at most 100 steps: a snapshot and an issuer each.
_MAX_ISSUERS_PER_TRANSACTION = 50
_COUNTS = ("contracted", "used", "available", "consumed")


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
        snapshot = issuer.recent[-1]
        stamps = snapshot.stamps
        item = {
            "at": snapshot.at.isoformat(),
            "contracted": stamps.contracted,
            "used": stamps.used,
            "available": stamps.available,
            "unlimited": stamps.unlimited or None,
            "consumed": snapshot.consumed,
            "expires_at": int((snapshot.at + RETENTION).timestamp()),
        }
        key = _key(issuer.account, day, issuer.rfc)
        put = {"TableName": self._snapshots_table, "Item": key | serialize(item)}
        return [{"Put": put}, daily_count_step(self._issuers_table, issuer, known=known)]


def _key(account: str, day: date, rfc: str) -> Item:
    return serialize({"account": account, "entry": f"{day}#{rfc}"})


def _snapshot(item: Item) -> Snapshot:
    contracted, used, available, consumed = (
        int(item[name]["N"]) if name in item else None for name in _COUNTS
    )
    at = datetime.fromisoformat(item["at"]["S"])
    stamps = Stamps(contracted, used, available, "unlimited" in item)
    return Snapshot(at, stamps, consumed)
