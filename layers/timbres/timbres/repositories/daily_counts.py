"""The snapshots in DynamoDB: each issuer's stamps, once a day, for 400 days.

Sorted by ``<day>#<rfc>``: a month of an account is one stretch, an issuer's history is a
batch of known keys, and no index is needed for either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from timbres.domain.forecast import Snapshot
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import Item, batch_get, batched, serialize, transact_write
from timbres.repositories.issuers import update_of_run

RETENTION = timedelta(days=400)
# A transaction takes 100 steps, and each snapshot comes with its issuer's.
_A_TRANSACTION = 50
_COUNTS = ("contracted", "used", "available", "consumed")


class SnapshotRepository:
    """The snapshots, read; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def list_history(self, account: str, rfc: str, first: date, last: date) -> Iterator[Snapshot]:
        """Yield an issuer's snapshots from ``first`` to ``last``, the oldest first."""
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        for some in batched(days, 100):
            keys = [_key(account, day, rfc) for day in some]
            items = batch_get(self._dynamodb, self._table, keys)
            yield from sorted(map(_snapshot, items), key=lambda one: one.at)

    def list_between(self, account: str, first: date, last: date) -> Iterator[tuple[str, Snapshot]]:
        """Yield RFC and snapshot of every issuer of an account, day by day."""
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
    """The counts of runs, in the tables of snapshots and of issuers; ``dynamodb`` is a client."""

    def __init__(self, dynamodb: Any, snapshots_table: str, issuers_table: str) -> None:
        self._dynamodb = dynamodb
        self._snapshots_table = snapshots_table
        self._issuers_table = issuers_table

    def save(self, day: date, issuers: Sequence[Issuer], *, known: bool) -> None:
        """Write issuers as a run counted them, each in one transaction with its snapshot of a day.

        An issuer that has a snapshot of ``day`` or later is left out; if they are ``known``
        issuers, so is one that was removed meanwhile.
        """
        for batch in batched(issuers, _A_TRANSACTION):
            steps = [step for issuer in batch for step in self._steps(day, issuer, known)]
            if not transact_write(self._dynamodb, steps):
                continue
            # One that is refused holds back the others of its transaction.
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
        return [{"Put": put}, update_of_run(self._issuers_table, issuer, known=known)]


def _key(account: str, day: date, rfc: str) -> Item:
    return serialize({"account": account, "entry": f"{day}#{rfc}"})


def _snapshot(item: Item) -> Snapshot:
    contracted, used, available, consumed = (
        int(item[name]["N"]) if name in item else None for name in _COUNTS
    )
    at = datetime.fromisoformat(item["at"]["S"])
    stamps = Stamps(contracted, used, available, "unlimited" in item)
    return Snapshot(at, stamps, consumed)
