"""The journal of contracts in DynamoDB: written before the call, never rewritten in silence.

Entries of an account, by sort key: ``contract#<id>``, the contract with its history;
``key#<hash>``, which contract an Idempotency-Key stands for, for ever;
``in-flight#<rfc>``, the one contract of an issuer that is not settled;
``day#<date>``, the stamps ordered on a day. A contract that the reconciler has still to do
with is in the index ``open`` by the time of its next look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from timbres.aws.items import Item, cursor, packed, start, transact_write, unpacked
from timbres.domain.contract import REJECTED, SETTLED, Contract, Refusal, first_id
from timbres.domain.rfc import Rfc

_TIMES = ("at", "created_at", "sent_at", "settled_at", "look_at")
_PAGE = 100
_OPEN = "open"
# The order of the items in the transaction that opens a contract.
_KEY, _MARK, _DAY = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Taken:
    """A contract could not be opened, because ``contract`` stands in its way.

    ``by_key``: its Idempotency-Key is this contract's already, ``same_body`` or not.
    Otherwise the contract is another one of the issuer, not settled.
    """

    contract: Contract
    by_key: bool
    same_body: bool = False


@dataclass(frozen=True, slots=True)
class DayFull:
    """A contract could not be opened: ``ordered`` stamps were ordered that day already."""

    ordered: int


class Journal:
    """The journal; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def open(self, contract: Contract, body_hash: str, most_a_day: int) -> Taken | DayFull | None:
        """Write a new pending contract, or return what stands in its way.

        One transaction: the contract, its Idempotency-Key, its issuer's mark, the day's
        stamps. Of requests that race, one writes; the others find it.
        """
        account, key = contract.account, contract.idempotency_key
        items = [
            _item(contract) | {"history": [_line(contract)]},
            {
                "account": account,
                "entry": self._key_entry(key),
                "contract_id": contract.id,
                "body_hash": body_hash,
            },
            {"account": account, "entry": _mark_entry(contract), "contract_id": contract.id},
        ]
        steps: list[Item] = [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": packed(item),
                    "ConditionExpression": "attribute_not_exists(entry)",
                }
            }
            for item in items
        ]
        day = self._day(contract, contract.stamps)
        day["Update"]["ConditionExpression"] = "attribute_not_exists(stamps) OR stamps <= :most"
        day["Update"]["ExpressionAttributeValues"] |= packed(
            {":most": most_a_day - contract.stamps}
        )
        failed = transact_write(self._dynamodb, [*steps, day])
        if not failed:
            return None
        if _KEY in failed and (taken := self.by_key(account, key, body_hash)):
            return taken
        if _MARK in failed:
            mark = self._get(account, _mark_entry(contract))
            first = self.get(account, mark["contract_id"]) if mark else None
            if first is not None:
                return Taken(first, by_key=False)
        elif _DAY in failed:
            return DayFull(self.ordered(contract))
        # What stood in the way has gone between the two looks.
        return self.open(contract, body_hash, most_a_day)

    def ordered(self, contract: Contract) -> int:
        """Return the stamps ordered on the day of ``contract``, those refused left out."""
        item = self._get(contract.account, _day_entry(contract))
        return int(item["stamps"]) if item else 0

    def by_key(self, account: str, key: str, body_hash: str) -> Taken | None:
        """Return the contract that an Idempotency-Key stands for, or None."""
        mark = self._get(account, self._key_entry(key))
        contract = self.get(account, mark["contract_id"]) if mark else None
        if mark is None or contract is None:
            return None
        return Taken(contract, by_key=True, same_body=mark["body_hash"] == body_hash)

    def get(self, account: str, contract_id: str) -> Contract | None:
        """Return a contract as it stands now, or None."""
        found = self.told(account, contract_id)
        return found[0] if found else None

    def told(self, account: str, contract_id: str) -> tuple[Contract, list[Item]] | None:
        """Return a contract and the steps it has taken, oldest first, or None."""
        item = self._get(account, f"contract#{contract_id}")
        return (_contract(item), item["history"]) if item else None

    def due(self, at: datetime, limit: int = _PAGE) -> list[tuple[str, str]]:
        """Return account and id of open contracts to be looked at, the longest waiting first."""
        page = self._dynamodb.query(
            TableName=self._table,
            IndexName=_OPEN,
            KeyConditionExpression="#open = :open AND look_at <= :at",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues=packed({":open": _OPEN, ":at": _utc(at)}),
            Limit=limit,
        )
        items = [unpacked(item) for item in page["Items"]]
        return [(item["account"], item["entry"].removeprefix("contract#")) for item in items]

    def oldest_open(self) -> Contract | None:
        """Return the open contract that was opened first, or None."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=_OPEN,
            KeyConditionExpression="#open = :open",
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues=packed({":open": _OPEN}),
        )
        items = [unpacked(item) for page in pages for item in page["Items"]]
        if not items:
            return None
        # An id begins with the time it was made at.
        first = min(items, key=lambda item: str(item["entry"]))
        found = self.get(first["account"], first["entry"].removeprefix("contract#"))
        # The index lags a little behind the journal.
        return found if found is not None and found.open else None

    def page(
        self, account: str, rfc: Rfc | None, status: str | None, after: str | None
    ) -> tuple[list[Contract], str | None]:
        """Return contracts, newest first, up to 100, and the cursor of the rest or None."""
        names: dict[str, str] = {}
        values: Item = {":account": account, ":prefix": "contract#"}
        filters = []
        for name, value in (("rfc", rfc), ("status", status)):
            if value is not None:
                filters.append(f"#{name} = :{name}")
                names[f"#{name}"], values[f":{name}"] = name, value
        query: Item = {
            "TableName": self._table,
            "KeyConditionExpression": "account = :account AND begins_with(entry, :prefix)",
            "ExpressionAttributeValues": packed(values),
            "ScanIndexForward": False,
            "Limit": _PAGE,
            "ConsistentRead": True,
        }
        if filters:
            query |= {
                "FilterExpression": " AND ".join(filters),
                "ExpressionAttributeNames": names,
            }
        last = start(after, {"account": account}, "entry", prefix="contract#")
        found: list[Contract] = []
        while True:
            page = self._dynamodb.query(**query, **({"ExclusiveStartKey": last} if last else {}))
            found += [_contract(unpacked(item)) for item in page["Items"]]
            last = page.get("LastEvaluatedKey")
            # A filter may leave a page empty that is not the last.
            if found or not last:
                return found, cursor(last)

    def ordered_between(self, account: str, first: datetime, last: datetime) -> Iterator[Contract]:
        """Yield the contracts ordered from ``first`` up to ``last``, the oldest first."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="account = :account AND entry BETWEEN :first AND :last",
            ExpressionAttributeValues=packed(
                {
                    ":account": account,
                    ":first": f"contract#{first_id(first)}",
                    ":last": f"contract#{first_id(last)}",
                }
            ),
        )
        for page in pages:
            for item in page["Items"]:
                yield _contract(unpacked(item))

    def record(self, before: Contract, after: Contract) -> bool:
        """Write a contract over ``before``, the version its last step was taken from.

        The step is added to its history. Returns False, with nothing written, when another
        step was taken in the meantime. A settled contract frees its issuer, a rejected one
        also the day's stamps.
        """
        steps = [self._update(before, after, _line(after))]
        if after.status in SETTLED and after.step != "count":
            steps.append(
                {
                    "Delete": {
                        "TableName": self._table,
                        "Key": packed({"account": after.account, "entry": _mark_entry(after)}),
                        "ConditionExpression": "contract_id = :id",
                        "ExpressionAttributeValues": packed({":id": after.id}),
                    }
                }
            )
        if after.status == REJECTED:
            steps.append(self._day(after, -after.stamps))
        return not transact_write(self._dynamodb, steps)

    def announced(self, contract: Contract) -> None:
        """Note that the contract's state was published; the index then lets go of it.

        Changes nothing when a step was taken in the meantime.
        """
        told = replace(contract, announced=contract.status)
        update = self._update(contract, told, None)["Update"]
        try:
            self._dynamodb.update_item(**update)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def _update(self, before: Contract, after: Contract, line: Item | None) -> Item:
        was, item = _item(before), _item(after)
        changed = {k: v for k, v in item.items() if v != was[k]}
        sets = [f"#{k} = :{k}" for k, v in changed.items() if v is not None]
        removed = [f"#{k}" for k, v in changed.items() if v is None]
        names = {f"#{k}": k for k in (*changed, "version")}
        values = {f":{k}": v for k, v in changed.items() if v is not None}
        values[":was"] = before.version
        if line is not None:
            sets.append("#history = list_append(#history, :line)")
            names["#history"], values[":line"] = "history", [line]
        expression = f"SET {', '.join(sets)}"
        if removed:
            expression += f" REMOVE {', '.join(removed)}"
        return {
            "Update": {
                "TableName": self._table,
                "Key": packed({"account": after.account, "entry": item["entry"]}),
                "UpdateExpression": expression,
                "ConditionExpression": "#version = :was",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": packed(values),
            }
        }

    def _day(self, contract: Contract, stamps: int) -> Item:
        return {
            "Update": {
                "TableName": self._table,
                "Key": packed({"account": contract.account, "entry": _day_entry(contract)}),
                "UpdateExpression": "ADD stamps :stamps",
                "ExpressionAttributeValues": packed({":stamps": stamps}),
            }
        }

    def _get(self, account: str, entry: str) -> Item | None:
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key=packed({"account": account, "entry": entry}),
            ConsistentRead=True,
        )
        return unpacked(answer["Item"]) if "Item" in answer else None

    @staticmethod
    def _key_entry(key: str) -> str:
        return f"key#{hashlib.sha256(key.encode()).hexdigest()}"


def _mark_entry(contract: Contract) -> str:
    return f"in-flight#{contract.rfc}"


def _day_entry(contract: Contract) -> str:
    return f"day#{contract.created_at.date()}"


def _utc(at: datetime) -> str:
    # One offset, so that the index sorts by the instant.
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _line(contract: Contract) -> Item:
    line = {
        "step": contract.step,
        "at": contract.at.isoformat(),
        "by": contract.by,
        "status": contract.status,
        "note": contract.note,
        "pac_code": contract.pac_code,
        "pac_message": contract.pac_message,
    }
    return {k: v for k, v in line.items() if v is not None}


def _item(contract: Contract) -> Item:
    item = asdict(contract)
    item["entry"] = f"contract#{contract.id}"
    item["open"] = _OPEN if contract.open else None
    for name in _TIMES:
        if item[name] is not None:
            item[name] = item[name].isoformat()
    # Not in the index, no time in it either.
    item["look_at"] = _utc(contract.look_at) if contract.open and contract.look_at else None
    return item


def _contract(item: Item) -> Contract:
    values = {k: v for k, v in item.items() if k not in ("entry", "history", "open")}
    for name in _TIMES:
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    if "refusal" in values:
        values["refusal"] = Refusal(**values["refusal"])
    return Contract(**values)
