"""The journal of contracts in DynamoDB: written before the call, never rewritten in silence.

Items of an account, by sort key: ``contract#<id>``, the contract with its history;
``key#<hash>``, the contract of an Idempotency-Key, for ever. Items of a PAC login, under
``login#<fingerprint>`` in place of the account: ``in-flight#<rfc>``, the one contract of an
issuer that is not settled, or that no count includes yet; ``day#<date>``, the stamps of a day.
A contract that the reconciler has still to do with is in the index ``open`` by the time of its
next look.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from timbres.deadline import Deadline
from timbres.domain.contract import REJECTED, Contract, ContractStatus, Rejection, id_lower_bound
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import AWS_SERVICE_UNAVAILABLE, TimbresError
from timbres.repositories.dynamodb import (
    Item,
    conditional_write,
    decode_cursor,
    deserialize,
    encode_cursor,
    serialize,
    transact_write,
)

_TIMES = ("at", "created_at", "sent_at", "settled_at", "look_at")
_PAGE = 100
_OPEN = "open"
# The place of the day's stamps in the transaction that opens a contract.
_DAY = 3
_ATTEMPTS = 5
# What is left of a request's time to answer it.
_RESERVE_SECONDS = 5.0
# Attributes keep the names that existing tables and the index have.
_STORED_NAMES = {
    "rejection": "refusal",
    "next_check_at": "look_at",
    "published_events": "announced",
}
# Items of versions before 0.5.0 have these steps and events.
_OLD_STEPS = {
    "open": "create",
    "refuse": "reject",
    "withdraw": "abandon",
    "doubt": "mark-unknown",
    "look": "check",
    "prove": "confirm-by-count",
    "disprove": "reject-by-count",
    "give-up": "escalate",
}
_OLD_EVENTS = {"Contract Unknown": "Contract Outcome Unknown"}


@dataclass(frozen=True, slots=True)
class ContractConflict:
    """A contract could not be opened, because ``contract`` stands in its way.

    ``by_key``: its Idempotency-Key is this contract's already, ``same_body`` or not.
    Otherwise the contract is another one of the issuer, not settled.
    """

    contract: Contract
    by_key: bool
    same_body: bool = False


@dataclass(frozen=True, slots=True)
class DailyLimitReached:
    """A contract could not be opened: ``ordered`` stamps were ordered that day already."""

    requested: int


class ContractRepository:
    """The journal; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def create(
        self, contract: Contract, body_hash: str, max_per_day: int
    ) -> ContractConflict | DailyLimitReached | None:
        """Write a new pending contract, or return what stands in its way.

        One transaction: the contract, its Idempotency-Key, its issuer's mark, the day's
        stamps. Of requests that race, one writes; the others find it.
        """
        account, key = contract.account, contract.idempotency_key
        items = [
            _item(contract) | {"history": [_history_item(contract)]},
            {
                "account": account,
                "entry": self._key_entry(key),
                "contract_id": contract.id,
                "body_hash": body_hash,
            },
            _mark_key(contract) | {"contract_id": contract.id, "of_account": account},
        ]
        steps: list[Item] = [
            {
                "Put": {
                    "TableName": self._table,
                    "Item": serialize(item),
                    "ConditionExpression": "attribute_not_exists(entry)",
                }
            }
            for item in items
        ]
        room = max_per_day - contract.stamps
        day = self._day(contract, contract.stamps)
        # A day without an item has room for the limit, not for more.
        day["Update"]["ConditionExpression"] = (
            "stamps <= :room" if room < 0 else "attribute_not_exists(stamps) OR stamps <= :room"
        )
        day["Update"]["ExpressionAttributeValues"] |= serialize({":room": room})
        for attempt in range(_ATTEMPTS):
            failed = transact_write(self._dynamodb, [*steps, day])
            # DynamoDB may name only some of the conditions that failed: the key comes first.
            if not failed:
                return None
            if taken := self.find_by_key(account, key, body_hash):
                return taken
            if taken := self._in_flight(contract):
                return taken
            if failed == {_DAY}:
                return DailyLimitReached(self.stamps_requested_on_day(contract))
            # What was in the way has gone between the write and the reads.
            time.sleep(0.05 * attempt)
        raise TimbresError(
            AWS_SERVICE_UNAVAILABLE,
            "The table of contracts names a contract that it does not contain, as after a restore "
            "of some of its items. Nothing was sent; an operator has to restore the table.",
        )

    def _in_flight(self, contract: Contract) -> ContractConflict | None:
        mark = self._get(**_mark_key(contract))
        first = self.get(mark["of_account"], mark["contract_id"]) if mark else None
        return ContractConflict(first, by_key=False) if first and first.holds_issuer else None

    def stamps_requested_on_day(self, contract: Contract) -> int:
        """Return the stamps of the login's contracts on the day of ``contract``.

        Rejected ones are left out.
        """
        item = self._get(**_day_key(contract))
        return int(item["stamps"]) if item else 0

    def find_by_key(self, account: str, key: str, body_hash: str) -> ContractConflict | None:
        """Return the contract that an Idempotency-Key stands for, or None."""
        mark = self._get(account, self._key_entry(key))
        contract = self.get(account, mark["contract_id"]) if mark else None
        if mark is None or contract is None:
            return None
        return ContractConflict(contract, by_key=True, same_body=mark["body_hash"] == body_hash)

    def get(self, account: str, contract_id: str) -> Contract | None:
        """Return a contract as it stands now, or None."""
        found = self.get_with_history(account, contract_id)
        return found[0] if found else None

    def get_with_history(
        self, account: str, contract_id: str
    ) -> tuple[Contract, list[Item]] | None:
        """Return a contract and the steps it has taken, oldest first, or None."""
        item = self._get(account, f"contract#{contract_id}")
        if item is None:
            return None
        steps = [{**step, "step": _current_step(step["step"])} for step in item["history"]]
        return _contract(item), steps

    def list_due(self, at: datetime) -> Iterator[tuple[str, str]]:
        """Yield account and id of every open contract to be looked at, the longest due first."""
        yield from self._open("#open = :open AND look_at <= :at", {":at": _utc(at)})

    def _open(self, condition: str, values: Item | None = None) -> Iterator[tuple[str, str]]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=_OPEN,
            KeyConditionExpression=condition,
            ExpressionAttributeNames={"#open": "open"},
            ExpressionAttributeValues=serialize({":open": _OPEN, **(values or {})}),
        )
        for page in pages:
            for item in map(deserialize, page["Items"]):
                yield item["account"], item["entry"].removeprefix("contract#")

    def oldest_open(self) -> Contract | None:
        """Return the open contract that was opened first, or None."""
        # An id begins with the time it was made at.
        first = min(self._open("#open = :open"), key=lambda key: key[1], default=None)
        contract = self.get(*first) if first else None
        # The index lags a little behind the table.
        return contract if contract is not None and contract.is_open else None

    def list_page(
        self,
        account: str,
        rfc: Rfc | None,
        status: str | None,
        after: str | None,
        deadline: Deadline,
    ) -> tuple[list[Contract], str | None]:
        """Return contracts, newest first, up to 100, and the cursor of the rest or None.

        A filter that few contracts match may end the search at ``deadline``: the list is then
        empty, and the cursor says where to go on.
        """
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
            "ExpressionAttributeValues": serialize(values),
            "ScanIndexForward": False,
            "Limit": _PAGE,
            "ConsistentRead": True,
        }
        if filters:
            query |= {
                "FilterExpression": " AND ".join(filters),
                "ExpressionAttributeNames": names,
            }
        last = decode_cursor(after, {"account": account}, "entry", prefix="contract#")
        found: list[Contract] = []
        while True:
            page = self._dynamodb.query(**query, **({"ExclusiveStartKey": last} if last else {}))
            found += [_contract(deserialize(item)) for item in page["Items"]]
            last = page.get("LastEvaluatedKey")
            # A filter may leave a page empty that is not the last.
            if found or not last or deadline.remaining() < _RESERVE_SECONDS:
                return found, encode_cursor(last)

    def list_between(self, account: str, first: datetime, last: datetime) -> Iterator[Contract]:
        """Yield the contracts ordered from ``first`` up to ``last``, the oldest first."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="account = :account AND entry BETWEEN :first AND :last",
            ExpressionAttributeValues=serialize(
                {
                    ":account": account,
                    ":first": f"contract#{id_lower_bound(first)}",
                    ":last": f"contract#{id_lower_bound(last)}",
                }
            ),
        )
        for page in pages:
            for item in page["Items"]:
                yield _contract(deserialize(item))

    def save(self, before: Contract, after: Contract) -> bool:
        """Write a contract over ``before``, the version its last step was taken from.

        The step is added to its history. Returns False, with nothing written, when another
        step was taken in the meantime. A contract that is settled, and that a count includes,
        frees its issuer; a rejected one also the day's stamps.
        """
        steps = [self._update(before, after, _history_item(after))]
        if before.holds_issuer and not after.holds_issuer and after.login is not None:
            steps.append(
                {
                    "Delete": {
                        "TableName": self._table,
                        "Key": serialize(_mark_key(after)),
                        "ConditionExpression": "contract_id = :id",
                        "ExpressionAttributeValues": serialize({":id": after.id}),
                    }
                }
            )
        if after.status == REJECTED and after.login is not None:
            steps.append(self._day(after, -after.stamps))
        return not transact_write(self._dynamodb, steps)

    def mark_published(self, contract: Contract) -> None:
        """Note that the events of the contract's state were published.

        Changes nothing when a step was taken in the meantime.
        """
        published = replace(
            contract, published_events=(*contract.published_events, *contract.pending_events)
        )
        update = self._update(contract, published, None)["Update"]
        conditional_write(self._dynamodb.update_item, {}, **update)

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
                "Key": serialize({"account": after.account, "entry": item["entry"]}),
                "UpdateExpression": expression,
                "ConditionExpression": "#version = :was",
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": serialize(values),
            }
        }

    def _day(self, contract: Contract, stamps: int) -> Item:
        return {
            "Update": {
                "TableName": self._table,
                "Key": serialize(_day_key(contract)),
                "UpdateExpression": "ADD stamps :stamps",
                "ExpressionAttributeValues": serialize({":stamps": stamps}),
            }
        }

    def _get(self, account: str, entry: str) -> Item | None:
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key=serialize({"account": account, "entry": entry}),
            ConsistentRead=True,
        )
        return deserialize(answer["Item"]) if "Item" in answer else None

    @staticmethod
    def _key_entry(key: str) -> str:
        return f"key#{hashlib.sha256(key.encode()).hexdigest()}"


def _mark_key(contract: Contract) -> dict[str, str]:
    return {"account": _login(contract), "entry": f"in-flight#{contract.rfc}"}


def _day_key(contract: Contract) -> dict[str, str]:
    return {"account": _login(contract), "entry": f"day#{contract.created_at.date()}"}


def _login(contract: Contract) -> str:
    # No account's name has a #. What functions may delete is under such keys only.
    return f"login#{contract.login}"


def _utc(at: datetime) -> str:
    # One offset, so that the index sorts by the instant.
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _history_item(contract: Contract) -> Item:
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
    item = {_STORED_NAMES.get(k, k): v for k, v in asdict(contract).items()}
    item["entry"] = f"contract#{contract.id}"
    item["open"] = _OPEN if contract.is_open else None
    for name in _TIMES:
        if item[name] is not None:
            item[name] = item[name].isoformat()
    # Not in the index, no time in it either.
    item["look_at"] = (
        _utc(contract.next_check_at) if contract.is_open and contract.next_check_at else None
    )
    return item


def _current_step(name: str) -> str:
    return _OLD_STEPS.get(name, name)


def _contract(item: Item) -> Contract:
    values = {k: v for k, v in item.items() if k not in ("entry", "history", "open")}
    for name in _TIMES:
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    for name in ("before", "after"):
        # Until 0.4.0, an item had the contracted stamps only.
        contracted = values.pop(f"contracted_{name}", None)
        if name in values:
            values[name] = Stamps(**values[name])
        elif contracted is not None:
            values[name] = Stamps(contracted, None, None)
    if "refusal" in values:
        # Until 0.4.0, an item had an HTTP status, too.
        values["refusal"].pop("status", None)
        values["refusal"] = Rejection(**values["refusal"])
    values["status"] = ContractStatus(values["status"])
    values["announced"] = tuple(_OLD_EVENTS.get(e, e) for e in values.get("announced", ()))
    values["step"] = _current_step(values["step"])
    names = {stored: name for name, stored in _STORED_NAMES.items()}
    return Contract(**{names.get(k, k): v for k, v in values.items()})
