"""DynamoDB repository for contracts, the journal: each has an append-only history.

Items of an account, by sort key: ``contract#<id>``, the contract with its history;
``key#<hash>``, the contract of an Idempotency-Key, without expiry. Items of a PAC login have
the partition key ``login#<fingerprint>`` instead of the account: ``in-flight#<rfc>``, the one
contract of an issuer that is not settled or not included in a count; ``day#<date>``, the
stamps of a day. Contracts that the reconciler has to process are in the index ``open``, sorted
by the time of the next check. The index ``issuer`` has the contracts of an RFC in the order of
their creation.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import (
    CONFIRMED,
    REJECTED,
    Contract,
    ContractFilter,
    ContractStatus,
    Rejection,
    id_lower_bound,
)
from timbres.domain.expiry import CONTRACTS_EXPIRING, Expiry, expiry_day, oldest_creation
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
MAX_PAGE = 100
_OPEN = "open"
_ISSUER = "issuer"
# Index of the day's stamps in the transaction that creates a contract.
_DAY = 3
_ATTEMPTS = 5
# Seconds before the deadline that are reserved for the response.
_RESERVE_SECONDS = 5.0
# Attributes in existing tables and the index have these names.
_STORED_NAMES = {
    "rejection": "refusal",
    "next_check_at": "look_at",
    "published_events": "announced",
}
_FIELD_NAMES = {stored: name for name, stored in _STORED_NAMES.items()}
# Items written before 0.5.0 have these steps and events.
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
    """A contract was not created because of ``contract``.

    ``by_key``: that contract has the same Idempotency-Key; ``same_body``: also the same body.
    Otherwise it is another contract of the issuer that is not settled.
    """

    contract: Contract
    by_key: bool
    same_body: bool = False


@dataclass(frozen=True, slots=True)
class DailyLimitReached:
    """A contract was not created because ``requested`` stamps were already requested that day."""

    requested: int


class ContractRepository:
    """Stores contracts; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def create(
        self, contract: Contract, body_hash: str, max_per_day: int
    ) -> ContractConflict | DailyLimitReached | None:
        """Write a new pending contract, or return the reason why it was not created.

        One transaction writes the contract, its Idempotency-Key, the issuer's lock and the
        day's stamps. Of concurrent requests, one succeeds; the others return its contract.
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
            _lock_key(contract) | {"contract_id": contract.id, "of_account": account},
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
        # A day without an item permits the limit, but not more.
        day["Update"]["ConditionExpression"] = (
            "stamps <= :room" if room < 0 else "attribute_not_exists(stamps) OR stamps <= :room"
        )
        day["Update"]["ExpressionAttributeValues"] |= serialize({":room": room})
        for attempt in range(_ATTEMPTS):
            failed = transact_write(self._dynamodb, [*steps, day])
            # DynamoDB may return only some of the failed conditions: the key has precedence.
            if not failed:
                return None
            if conflict := self.find_by_key(account, key, body_hash):
                return conflict
            if conflict := self._find_in_flight(contract):
                return conflict
            if failed == {_DAY}:
                return DailyLimitReached(self.stamps_requested_on_day(contract))
            # The conflict disappeared between the write and the reads.
            time.sleep(0.05 * attempt)
        raise TimbresError(
            AWS_SERVICE_UNAVAILABLE,
            "The table of contracts references a contract that it does not contain, for example "
            "after a partial restore. Nothing was sent; an operator has to restore the table.",
        )

    def _find_in_flight(self, contract: Contract) -> ContractConflict | None:
        lock = self._get(**_lock_key(contract))
        holder = self.get(lock["of_account"], lock["contract_id"]) if lock else None
        return ContractConflict(holder, by_key=False) if holder and holder.holds_issuer else None

    def stamps_requested_on_day(self, contract: Contract) -> int:
        """Return the stamps of the login's contracts on the day of ``contract``.

        Rejected contracts are left out.
        """
        item = self._get(**_day_key(contract))
        return int(item["stamps"]) if item else 0

    def find_by_key(self, account: str, key: str, body_hash: str) -> ContractConflict | None:
        """Return the contract of an Idempotency-Key, or None."""
        item = self._get(account, self._key_entry(key))
        contract = self.get(account, item["contract_id"]) if item else None
        if item is None or contract is None:
            return None
        return ContractConflict(contract, by_key=True, same_body=item["body_hash"] == body_hash)

    def get(self, account: str, contract_id: str) -> Contract | None:
        """Return a contract, by a consistent read, or None."""
        item = self._get(account, f"contract#{contract_id}")
        return _contract(item) if item else None

    def get_with_history(
        self, account: str, contract_id: str
    ) -> tuple[Contract, list[Item]] | None:
        """Return a contract and its steps, oldest first, or None."""
        item = self._get(account, f"contract#{contract_id}")
        if item is None:
            return None
        steps = [{**step, "step": _current_step(step["step"])} for step in item["history"]]
        return _contract(item), steps

    def list_due(self, at: datetime) -> Iterator[tuple[str, str]]:
        """Yield account and id of every open contract that is due for a check, oldest first."""
        yield from self._query_open("#open = :open AND look_at <= :at", {":at": _utc(at)})

    def _query_open(self, condition: str, values: Item | None = None) -> Iterator[tuple[str, str]]:
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
        """Return the open contract that was created first, or None."""
        # An id begins with the time of its creation.
        oldest = min(self._query_open("#open = :open"), key=lambda key: key[1], default=None)
        contract = self.get(*oldest) if oldest else None
        # The index lags behind the table.
        return contract if contract is not None and contract.is_open else None

    def list_page(
        self,
        account: str,
        criteria: ContractFilter,
        after: str | None,
        deadline: Deadline,
        limit: int = MAX_PAGE,
    ) -> tuple[list[Contract], str | None]:
        """Return up to ``limit`` contracts, newest first, and the next cursor or None.

        If few contracts match a filter, the search may end at ``deadline`` with an empty list
        and a cursor.
        """
        first, last_entry = (f"contract#{bound}" for bound in criteria.ids)
        last = decode_cursor(after, {"account": account}, "entry", between=(first, last_entry))
        if criteria.key is not None:
            found = self.find_by_key(account, criteria.key, "")
            return [found.contract] if found and criteria.matches(found.contract) else [], None
        names: dict[str, str] = {}
        values: Item = {":account": account, ":first": first, ":last": last_entry}
        filters = []
        for name in ("rfc", "status", "reference"):
            if (value := getattr(criteria, name)) is not None:
                filters.append(f"#{name} = :{name}")
                names[f"#{name}"], values[f":{name}"] = name, value
        query: Item = {
            "TableName": self._table,
            "KeyConditionExpression": "account = :account AND entry BETWEEN :first AND :last",
            "ExpressionAttributeValues": serialize(values),
            "ScanIndexForward": False,
            "Limit": limit,
            "ConsistentRead": True,
        }
        if filters:
            query |= {
                "FilterExpression": " AND ".join(filters),
                "ExpressionAttributeNames": names,
            }
        while True:
            page = self._dynamodb.query(**query, **({"ExclusiveStartKey": last} if last else {}))
            contracts = [_contract(deserialize(item)) for item in page["Items"]]
            last = page.get("LastEvaluatedKey")
            # With a filter, a page may be empty although it is not the last.
            if contracts or not last or deadline.remaining() < _RESERVE_SECONDS:
                return contracts, encode_cursor(last)

    def list_between(self, account: str, first: datetime, last: datetime) -> Iterator[Contract]:
        """Yield the contracts created from ``first`` until ``last``, the oldest first."""
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

    def list_expiries(self, account: str, today: date) -> Iterator[tuple[str, Expiry]]:
        """Yield RFC and expiry of an account's confirmed contracts; some may have expired."""
        yield from self._query_expiries("account = :account AND entry >= :first", today, account)

    def list_expiries_of_issuer(self, account: Account, rfc: Rfc, today: date) -> Iterator[Expiry]:
        """Yield the expiry of each confirmed contract of an issuer; some may have expired.

        Another account's contract with the same login at the PAC is included.
        """
        expiries = self._query_expiries(
            "rfc = :rfc AND entry >= :first",
            today,
            account.name,
            {":rfc": rfc, ":login": account.login},
        )
        yield from (expiry for _, expiry in expiries)

    def _query_expiries(
        self, condition: str, today: date, account: str, of_issuer: Item | None = None
    ) -> Iterator[tuple[str, Expiry]]:
        query: Item = {
            "TableName": self._table,
            "KeyConditionExpression": condition,
            "FilterExpression": "#status = :confirmed",
            "ProjectionExpression": "rfc, stamps, created_at",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": serialize(
                {
                    ":account": account,
                    ":first": f"contract#{id_lower_bound(oldest_creation(today))}",
                    ":confirmed": CONFIRMED,
                    **(of_issuer or {}),
                }
            ),
        }
        if of_issuer is not None:
            query["IndexName"] = _ISSUER
            query["FilterExpression"] += " AND (account = :account OR login = :login)"
        for page in self._dynamodb.get_paginator("query").paginate(**query):
            for item in map(deserialize, page["Items"]):
                created_at = datetime.fromisoformat(item["created_at"])
                yield item["rfc"], Expiry(expiry_day(created_at), item["stamps"])

    def mark_expiry_published(self, contracts: Sequence[Contract]) -> None:
        """Record that the coming expiry of up to 100 contracts was published, of all or of none.

        Changes nothing if another function has recorded it for one of them.
        """
        update = {
            "UpdateExpression": "SET announced = list_append("
            "if_not_exists(announced, :none), :published)",
            "ConditionExpression": "attribute_exists(entry) AND NOT contains(announced, :event)",
            "ExpressionAttributeValues": serialize(
                {":none": [], ":published": [CONTRACTS_EXPIRING], ":event": CONTRACTS_EXPIRING}
            ),
        }
        keys = (
            {"account": contract.account, "entry": f"contract#{contract.id}"}
            for contract in contracts
        )
        steps = [
            {"Update": {"TableName": self._table, "Key": serialize(key), **update}} for key in keys
        ]
        transact_write(self._dynamodb, steps)

    def save(self, before: Contract, after: Contract) -> bool:
        """Write the contract ``after`` a step over the version ``before`` it.

        Adds the step to the history. Returns False, with nothing written, if another step was
        stored meanwhile. A contract that is settled and included in a count releases the
        issuer's lock; a rejected contract also releases the day's stamps.
        """
        steps = [self._update(before, after, _history_item(after))]
        if before.holds_issuer and not after.holds_issuer and after.login is not None:
            steps.append(
                {
                    "Delete": {
                        "TableName": self._table,
                        "Key": serialize(_lock_key(after)),
                        "ConditionExpression": "contract_id = :id",
                        "ExpressionAttributeValues": serialize({":id": after.id}),
                    }
                }
            )
        if after.status == REJECTED and after.login is not None:
            steps.append(self._day(after, -after.stamps))
        return not transact_write(self._dynamodb, steps)

    def mark_published(self, contract: Contract) -> None:
        """Record that the events of the contract's state were published.

        Changes nothing if another step was stored meanwhile.
        """
        published = replace(
            contract, published_events=(*contract.published_events, *contract.pending_events)
        )
        update = self._update(contract, published, None)["Update"]
        conditional_write(self._dynamodb.update_item, {}, **update)

    def _update(self, before: Contract, after: Contract, history_item: Item | None) -> Item:
        old, item = _item(before), _item(after)
        changed = {k: v for k, v in item.items() if v != old[k]}
        sets = [f"#{k} = :{k}" for k, v in changed.items() if v is not None]
        removed = [f"#{k}" for k, v in changed.items() if v is None]
        names = {f"#{k}": k for k in (*changed, "version")}
        values = {f":{k}": v for k, v in changed.items() if v is not None}
        values[":stored_version"] = before.version
        if history_item is not None:
            sets.append("#history = list_append(#history, :history_item)")
            names["#history"], values[":history_item"] = "history", [history_item]
        expression = f"SET {', '.join(sets)}"
        if removed:
            expression += f" REMOVE {', '.join(removed)}"
        return {
            "Update": {
                "TableName": self._table,
                "Key": serialize({"account": after.account, "entry": item["entry"]}),
                "UpdateExpression": expression,
                "ConditionExpression": "#version = :stored_version",
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
        response = self._dynamodb.get_item(
            TableName=self._table,
            Key=serialize({"account": account, "entry": entry}),
            ConsistentRead=True,
        )
        return deserialize(response["Item"]) if "Item" in response else None

    @staticmethod
    def _key_entry(key: str) -> str:
        return f"key#{hashlib.sha256(key.encode()).hexdigest()}"


def _lock_key(contract: Contract) -> dict[str, str]:
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
    # Only an item in the index has the index's sort key.
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
        # Until 0.4.0, an item had only the contracted stamps.
        contracted = values.pop(f"contracted_{name}", None)
        if name in values:
            values[name] = Stamps(**values[name])
        elif contracted is not None:
            values[name] = Stamps(contracted, None, None)
    if "refusal" in values:
        # Until 0.4.0, an item also had an HTTP status.
        values["refusal"].pop("status", None)
        values["refusal"] = Rejection(**values["refusal"])
    values["status"] = ContractStatus(values["status"])
    values["announced"] = tuple(_OLD_EVENTS.get(e, e) for e in values.get("announced", ()))
    values["step"] = _current_step(values["step"])
    return Contract(**{_FIELD_NAMES.get(k, k): v for k, v in values.items()})
