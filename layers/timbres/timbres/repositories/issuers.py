"""DynamoDB repository for known issuers; an index sorts them by urgency."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.forecast import OK, Alert, Forecast, Snapshot, round_rate, urgency_prefix
from timbres.domain.issuer import Issuer
from timbres.domain.issuer_import import UNSET, IssuerRow
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import (
    Item,
    batch_get,
    batched,
    decode_cursor,
    deserialize,
    encode_cursor,
    get_item,
    query_all,
    serialize,
    start_after,
    transact_write,
)

MAX_PAGE = 500
_URGENCY = "urgency"
# Replaces the number in ``available``, because the index does not include other attributes.
_UNLIMITED = "unlimited"
# Attributes that only a run writes.
_RUN_FIELDS = frozenset({"recent", "counted_on", "told_by"})


class IssuerRepository:
    """Stores known issuers; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def add_missing(self, account: str, rfcs: Iterable[str], at: datetime) -> None:
        """Add issuers of an account; known issuers do not change."""
        self._write("Update", [self._add_step(account, rfc, at) for rfc in rfcs])

    def upsert(self, account: str, rows: Sequence[IssuerRow], at: datetime) -> None:
        """Add or update issuers from a user's list, with their thresholds and names."""
        self._write("Update", [self._upsert_step(account, row, at) for row in rows])

    def remove_many(self, account: str, rfcs: Sequence[str]) -> None:
        """Remove issuers, whether they are known or not, but not their snapshots."""
        self._write("Delete", [self._item(account, rfc) for rfc in rfcs])

    def _write(self, kind: str, steps: Sequence[Item]) -> None:
        for batch in batched(steps, 100):
            transact_write(self._dynamodb, [{kind: step} for step in batch])

    def remove(self, account: str, rfc: str) -> bool:
        """Remove an issuer but not its snapshots; return False if it was not known."""
        condition = {"ConditionExpression": "attribute_exists(account)"}
        delete = self._item(account, rfc) | condition
        # A transaction has a token: a plain delete repeated by the SDK would return False.
        return not transact_write(self._dynamodb, [{"Delete": delete}])

    def get(self, account: str, rfc: str) -> Issuer:
        """Return an issuer, without counts if it is not known."""
        item = get_item(self._dynamodb, self._table, {"account": account, "rfc": rfc})
        return _issuer(item) if item else Issuer(account, rfc)

    def get_many(self, account: str, rfcs: Sequence[str]) -> dict[str, Issuer]:
        """Return the known issuers among ``rfcs``, by RFC."""
        return {rfc: _issuer(item) for rfc, item in self._items(account, rfcs)}

    def _items(
        self, account: str, rfcs: Sequence[str], attributes: str | None = None
    ) -> Iterator[tuple[str, Item]]:
        for batch in batched(rfcs, 100):
            keys = [_key(account, rfc) for rfc in batch]
            for item in batch_get(self._dynamodb, self._table, keys, attributes):
                yield item["rfc"]["S"], deserialize(item)

    def save_observation(self, issuer: Issuer) -> None:
        """Write a count between two runs; values that the PAC did not return are removed."""
        self._dynamodb.update_item(**_count_update(self._table, issuer, without=_RUN_FIELDS))

    def list_page(
        self, account: str, after: str | None, alert: Alert | None = None, limit: int = MAX_PAGE
    ) -> tuple[list[Issuer], str | None]:
        """Return up to ``limit`` issuers, the most urgent first, and the next cursor or None.

        ``alert`` is low or exhausted, None for all. The issuers do not have ``recent``.
        """
        prefix = "" if alert is None else urgency_prefix(alert)
        last = decode_cursor(after, {"account": account}, _URGENCY, "rfc", prefix=prefix)
        found, cursor = self._page(account, prefix, last, limit, IndexName=_URGENCY)
        # The index does not have the name.
        rfcs = [item["rfc"] for item in found]
        names = dict(self._items(account, rfcs, "rfc, issuer_name"))
        return [_issuer(item | names.get(item["rfc"], {})) for item in found], cursor

    def list_known(
        self, account: str, after: str | None, limit: int
    ) -> tuple[list[Issuer], str | None]:
        """Return up to ``limit`` issuers by RFC, and the next cursor or None."""
        last = decode_cursor(after, {"account": account}, "rfc")
        found, cursor = self._page(account, "", last, limit)
        return list(map(_issuer, found)), cursor

    def list_rfcs(self, account: str) -> Iterator[str]:
        """Yield the RFC of every issuer of an account, in order."""
        for item in self._query_all(account, ProjectionExpression="rfc"):
            yield item["rfc"]

    def list_all(self, account: str) -> Iterator[Issuer]:
        """Yield every issuer of an account, by RFC."""
        yield from map(_issuer, self._query_all(account))

    def _query_all(self, account: str, **options: Any) -> Iterator[Item]:
        operands = {":account": account}
        return query_all(self._dynamodb, self._table, "account = :account", operands, **options)

    def _page(
        self, account: str, urgency: str, last: Item | None, limit: int, **options: Any
    ) -> tuple[list[Item], str | None]:
        condition, values = "account = :account", {":account": account}
        if urgency:
            condition += " AND begins_with(urgency, :urgency)"
            values[":urgency"] = urgency
        page = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=serialize(values),
            Limit=limit,
            **start_after(last),
            **options,
        )
        items = list(map(deserialize, page["Items"]))
        return items, encode_cursor(page.get("LastEvaluatedKey"))

    def _item(self, account: str, rfc: str) -> Item:
        return {"TableName": self._table, "Key": _key(account, rfc)}

    def _add_step(self, account: str, rfc: str, at: datetime) -> Item:
        operands = {":at": at.isoformat(), ":urgency": Issuer(account, rfc).urgency}
        return self._item(account, rfc) | {
            "UpdateExpression": "SET since = if_not_exists(since, :at), "
            "urgency = if_not_exists(urgency, :urgency)",
            "ExpressionAttributeValues": serialize(operands),
        }

    def _upsert_step(self, account: str, row: IssuerRow, at: datetime) -> Item:
        step = self._add_step(account, row.rfc, at)
        values = {"low_stamps": row.low_stamps, "issuer_name": row.name}
        given = {name: value for name, value in values.items() if value is not UNSET}
        operands = {f":{name}": value for name, value in given.items() if value is not None}
        step["UpdateExpression"] += "".join(f", {name[1:]} = {name}" for name in operands)
        if removed := [name for name, value in given.items() if value is None]:
            step["UpdateExpression"] += f" REMOVE {', '.join(removed)}"
        step["ExpressionAttributeValues"] |= serialize(operands)
        return step


def daily_count_step(table: str, issuer: Issuer, *, known: bool) -> Item:
    """Return the transaction step that writes a run's count of an issuer to ``table``.

    Condition: the issuer does not have a snapshot of the same or a later day, and, if ``known``,
    was not removed.
    """
    condition = "(attribute_not_exists(counted_on) OR counted_on < :counted_on)"
    if known:
        condition = f"attribute_exists(account) AND {condition}"
    return {"Update": _count_update(table, issuer) | {"ConditionExpression": condition}}


def _count_update(table: str, issuer: Issuer, without: Collection[str] = ()) -> Item:
    values = {name: value for name, value in _counts(issuer).items() if name not in without}
    known = [name for name, value in values.items() if value is not None]
    removes = ", ".join(name for name in values if name not in known)
    sets = ", ".join(f"{name} = :{name}" for name in known)
    return {
        "TableName": table,
        "Key": _key(issuer.account, issuer.rfc),
        "UpdateExpression": f"SET since = if_not_exists(since, :as_of), {sets}"
        + (f" REMOVE {removes}" if removes else ""),
        "ExpressionAttributeValues": serialize({f":{k}": v for k, v in values.items()}),
    }


def _key(account: str, rfc: str) -> Item:
    return serialize({"account": account, "rfc": rfc})


def _counts(issuer: Issuer) -> dict[str, Any]:
    forecast = issuer.forecast
    return {
        **issuer.stamps.counts,
        "available": _available(issuer.stamps),
        "as_of": issuer.as_of.isoformat() if issuer.as_of else None,
        "burn_7": round_rate(forecast.burn_7),
        "burn_30": round_rate(forecast.burn_30),
        "days_left": round_rate(forecast.days_left),
        "alert": forecast.alert,
        "urgency": issuer.urgency,
        "recent": ";".join(map(_snapshot_to_text, issuer.recent)) or None,
        "counted_on": issuer.counted_on.isoformat() if issuer.counted_on else None,
        "told": issuer.notified_alert,
        "told_by": issuer.notified_by_run,
    }


def _available(stamps: Stamps) -> int | str | None:
    return _UNLIMITED if stamps.unlimited else stamps.available


# Each count reads and writes a month of counts, so they are stored as text, not as maps.


def _snapshot_to_text(snapshot: Snapshot) -> str:
    stamps = snapshot.stamps
    counts = (stamps.contracted, stamps.used, _available(stamps), snapshot.consumed)
    texts = ("" if count is None else str(count) for count in counts)
    return f"{int(snapshot.at.timestamp())},{','.join(texts)}"


def _snapshot_from_text(text: str) -> Snapshot:
    at, *counts = text.split(",")
    unlimited = counts[2] == _UNLIMITED
    contracted, used, available, consumed = (
        int(count) if count and count != _UNLIMITED else None for count in counts
    )
    time = datetime.fromtimestamp(int(at), UTC).astimezone(MEXICO_CITY)
    return Snapshot(time, Stamps(contracted, used, available, unlimited), consumed)


def _issuer(values: Item) -> Issuer:
    recent = values.get("recent")
    unlimited = values.get("available") == _UNLIMITED
    return Issuer(
        account=values["account"],
        rfc=values["rfc"],
        stamps=Stamps(
            values.get("contracted"),
            values.get("used"),
            None if unlimited else values.get("available"),
            unlimited,
        ),
        as_of=datetime.fromisoformat(values["as_of"]) if "as_of" in values else None,
        low_stamps=values.get("low_stamps"),
        name=values.get("issuer_name"),
        forecast=Forecast(
            values.get("burn_7"),
            values.get("burn_30"),
            values.get("days_left"),
            Alert(values.get("alert", OK)),
        ),
        recent=tuple(map(_snapshot_from_text, recent.split(";"))) if recent else (),
        counted_on=date.fromisoformat(values["counted_on"]) if "counted_on" in values else None,
        notified_alert=Alert(values.get("told", OK)),
        notified_by_run=values.get("told_by"),
    )
