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
from collections.abc import Callable, Iterator, Sequence
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
    get_item,
    query_all,
    serialize,
    start_after,
    transact_write,
    wait_randomly,
)

_TIMES = ("at", "created_at", "sent_at", "settled_at", "look_at")
MAX_PAGE = 100
_OPEN = "open"
_BETWEEN = "account = :account AND entry BETWEEN :first AND :last"
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
    """Stores contracts; ``dynamodb`` is a client, ``table`` the table's name.

    ``pause`` waits between the attempts of a transaction, up to the given seconds.
    """

    def __init__(
        self, dynamodb: Any, table: str, pause: Callable[[float], None] = wait_randomly
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._pause = pause

    def create(
        self, contract: Contract, body_hash: str, max_per_day: int
    ) -> ContractConflict | DailyLimitReached | None:
        """Write a new pending contract, or return the reason why it was not created.

        One transaction writes the contract, its Idempotency-Key, the issuer's lock and the
        day's stamps. Of concurrent requests, one succeeds; the others return its contract.
        """
        account, key = contract.account, contract.idempotency_key
        key_item = {"contract_id": contract.id, "body_hash": body_hash}
        items = (
            _item(contract) | {"history": [_history_item(contract)]},
            {"account": account, "entry": _key_entry(key)} | key_item,
            _lock_key(contract) | {"contract_id": contract.id, "of_account": account},
        )
        is_new = {"TableName": self._table, "ConditionExpression": "attribute_not_exists(entry)"}
        steps: list[Item] = [{"Put": is_new | {"Item": serialize(item)}} for item in items]
        room = max_per_day - contract.stamps
        day = self._day(contract, contract.stamps)
        # A day without an item permits the limit, but not more.
        day["Update"]["ConditionExpression"] = (
            "stamps <= :room" if room < 0 else "attribute_not_exists(stamps) OR stamps <= :room"
        )
        day["Update"]["ExpressionAttributeValues"] |= serialize({":room": room})
        for attempt in range(_ATTEMPTS):
            failed = transact_write(self._dynamodb, [*steps, day], self._pause)
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
        item = self._get(account, _key_entry(key))
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
        operands = {":open": _OPEN, **(values or {})}
        options = {"IndexName": _OPEN, "ExpressionAttributeNames": {"#open": "open"}}
        for item in query_all(self._dynamodb, self._table, condition, operands, **options):
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
        filters = {name: getattr(criteria, name) for name in ("rfc", "status", "reference")}
        filters = {name: value for name, value in filters.items() if value is not None}
        values: Item = {":account": account, ":first": first, ":last": last_entry}
        query: Item = {
            "TableName": self._table,
            "KeyConditionExpression": _BETWEEN,
            "ExpressionAttributeValues": serialize(
                values | {f":{name}": value for name, value in filters.items()}
            ),
            "ScanIndexForward": False,
            "Limit": limit,
            "ConsistentRead": True,
        }
        if filters:
            query["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            query["ExpressionAttributeNames"] = {f"#{name}": name for name in filters}
        while True:
            page = self._dynamodb.query(**query, **start_after(last))
            contracts = [_contract(deserialize(item)) for item in page["Items"]]
            last = page.get("LastEvaluatedKey")
            # With a filter, a page may be empty although it is not the last.
            if contracts or not last or deadline.remaining() < _RESERVE_SECONDS:
                return contracts, encode_cursor(last)

    def list_between(self, account: str, first: datetime, last: datetime) -> Iterator[Contract]:
        """Yield the contracts created from ``first`` until ``last``, the oldest first."""
        bounds = {":first": _first_entry(first), ":last": _first_entry(last)}
        yield from map(
            _contract,
            query_all(self._dynamodb, self._table, _BETWEEN, {":account": account, **bounds}),
        )

    def list_expiries(self, account: str, today: date) -> Iterator[tuple[str, Expiry]]:
        """Yield RFC and expiry of an account's confirmed contracts; some may have expired."""
        return self._query_expiries("account = :account", today, {":account": account})

    def list_expiries_of_issuer(self, account: Account, rfc: Rfc, today: date) -> Iterator[Expiry]:
        """Yield the expiry of each confirmed contract of an issuer; some may have expired.

        Another account's contract with the same login at the PAC is included.
        """
        operands = {":rfc": rfc, ":account": account.name, ":login": account.login}
        also = " AND (account = :account OR login = :login)"
        found = self._query_expiries("rfc = :rfc", today, operands, also, IndexName=_ISSUER)
        return (expiry for _, expiry in found)

    def _query_expiries(
        self, condition: str, today: date, operands: Item, also: str = "", **options: Any
    ) -> Iterator[tuple[str, Expiry]]:
        first = _first_entry(oldest_creation(today))
        items = query_all(
            self._dynamodb,
            self._table,
            f"{condition} AND entry >= :first",
            {":first": first, ":confirmed": CONFIRMED, **operands},
            FilterExpression=f"#status = :confirmed{also}",
            ProjectionExpression="rfc, stamps, created_at",
            ExpressionAttributeNames={"#status": "status"},
            **options,
        )
        for item in items:
            created_at = datetime.fromisoformat(item["created_at"])
            yield item["rfc"], Expiry(expiry_day(created_at), item["stamps"])

    def mark_expiry_published(self, contracts: Sequence[Contract]) -> None:
        """Record that the coming expiry of up to 100 contracts was published, of all or of none.

        Changes nothing if another function has recorded it for one of them.
        """
        operands = {":none": [], ":published": [CONTRACTS_EXPIRING], ":event": CONTRACTS_EXPIRING}
        update = {
            "TableName": self._table,
            "UpdateExpression": "SET announced = list_append("
            "if_not_exists(announced, :none), :published)",
            "ConditionExpression": "attribute_exists(entry) AND NOT contains(announced, :event)",
            "ExpressionAttributeValues": serialize(operands),
        }
        keys = ({"account": one.account, "entry": f"contract#{one.id}"} for one in contracts)
        steps = [{"Update": update | {"Key": serialize(key)}} for key in keys]
        transact_write(self._dynamodb, steps, self._pause)

    def save(self, before: Contract, after: Contract) -> bool:
        """Write the contract ``after`` a step over the version ``before`` it.

        Adds the step to the history. Returns False, with nothing written, if another step was
        stored meanwhile. A contract that is settled and included in a count releases the
        issuer's lock; a rejected contract also releases the day's stamps.
        """
        steps = [self._update(before, after, _history_item(after))]
        if before.holds_issuer and not after.holds_issuer and after.login is not None:
            lock = {"TableName": self._table, "Key": serialize(_lock_key(after))}
            condition = {"ConditionExpression": "contract_id = :id"}
            operands = {"ExpressionAttributeValues": serialize({":id": after.id})}
            steps.append({"Delete": lock | condition | operands})
        if after.status == REJECTED and after.login is not None:
            steps.append(self._day(after, -after.stamps))
        return not transact_write(self._dynamodb, steps, self._pause)

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
        removed = ", ".join(f"#{k}" for k, v in changed.items() if v is None)
        sets = [f"#{k} = :{k}" for k, v in changed.items() if v is not None]
        names = {f"#{k}": k for k in (*changed, "version")}
        # None is not serialized.
        values = {f":{k}": v for k, v in changed.items()} | {":stored_version": before.version}
        if history_item is not None:
            sets.append("#history = list_append(#history, :history_item)")
            names["#history"], values[":history_item"] = "history", [history_item]
        return {
            "Update": {
                "TableName": self._table,
                "Key": serialize({"account": after.account, "entry": item["entry"]}),
                "UpdateExpression": f"SET {', '.join(sets)}"
                + (f" REMOVE {removed}" if removed else ""),
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
        return get_item(self._dynamodb, self._table, {"account": account, "entry": entry})


def _key_entry(key: str) -> str:
    return f"key#{hashlib.sha256(key.encode()).hexdigest()}"


def _first_entry(at: datetime) -> str:
    return f"contract#{id_lower_bound(at)}"


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
    names = ("step", "by", "status", "note", "pac_code", "pac_message")
    line = {"at": contract.at.isoformat()} | {name: getattr(contract, name) for name in names}
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
