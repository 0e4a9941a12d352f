"""The journal of contracts in DynamoDB: written before the call, never rewritten in silence.

Entries of an account, by sort key: ``contract#<id>``, the contract with its history;
``key#<hash>``, which contract an Idempotency-Key stands for, for ever;
``in-flight#<rfc>``, the one contract of an issuer that is not settled.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from timbres.aws.items import Item, cursor, packed, start, unpacked
from timbres.domain import contract as states
from timbres.domain.contract import Contract, Refusal
from timbres.domain.rfc import Rfc

_TIMES = ("created_at", "sent_at", "settled_at")
_PAGE = 100
_CONFLICTS = 5


@dataclass(frozen=True, slots=True)
class Taken:
    """A contract could not be opened, because ``contract`` stands in its way.

    ``by_key``: its Idempotency-Key is this contract's already, ``same_body`` or not.
    Otherwise the contract is another one of the issuer, not settled.
    """

    contract: Contract
    by_key: bool
    same_body: bool = False


class Journal:
    """The journal; ``dynamodb`` is a boto3 client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def open(self, contract: Contract, key: str, body_hash: str) -> Taken | None:
        """Write a new pending contract, or return what stands in its way.

        One transaction: the contract, its Idempotency-Key, its issuer's mark. Of requests
        that race, one writes; the others find it.
        """
        key_entry = self._key_entry(key)
        marks = (
            {"entry": key_entry, "contract_id": contract.id, "body_hash": body_hash},
            {"entry": f"in-flight#{contract.rfc}", "contract_id": contract.id},
        )
        items = [_item(contract, _line(contract, None, contract.created_at))]
        items += [{"account": contract.account, **mark} for mark in marks]
        written = self._transact(
            [
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": packed(item),
                        "ConditionExpression": "attribute_not_exists(entry)",
                    }
                }
                for item in items
            ]
        )
        if written:
            return None
        taken = self.by_key(contract.account, key, body_hash)
        if taken is not None:
            return taken
        mark = self._get(contract.account, f"in-flight#{contract.rfc}")
        first = self.get(contract.account, mark["contract_id"]) if mark else None
        if first is None:
            # The mark was lifted between the two looks: the way is free again.
            return self.open(contract, key, body_hash)
        return Taken(first, by_key=False)

    def by_key(self, account: str, key: str, body_hash: str) -> Taken | None:
        """Return the contract that an Idempotency-Key stands for, or None."""
        mark = self._get(account, self._key_entry(key))
        contract = self.get(account, mark["contract_id"]) if mark else None
        if mark is None or contract is None:
            return None
        return Taken(contract, by_key=True, same_body=mark["body_hash"] == body_hash)

    def get(self, account: str, contract_id: str) -> Contract | None:
        """Return a contract as it stands now, or None."""
        item = self._get(account, f"contract#{contract_id}")
        return _contract(item) if item else None

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
        last = start(after, account, "entry", "contract#")
        found: list[Contract] = []
        while True:
            page = self._dynamodb.query(**query, **({"ExclusiveStartKey": last} if last else {}))
            found += [_contract(unpacked(item)) for item in page["Items"]]
            last = page.get("LastEvaluatedKey")
            # A filter may leave a page empty that is not the last.
            if found or not last:
                return found, cursor(last)

    def record(self, before: Contract, after: Contract, at: datetime) -> bool:
        """Write ``after`` over ``before`` and add a line to its history.

        Returns False, with nothing written, when the contract is no longer in the state of
        ``before``. A settled contract's issuer may buy again.
        """
        changes = _item(after)
        keys = {k: changes.pop(k) for k in ("account", "entry")}
        names = {f"#{k}": k for k in changes} | {"#history": "history"}
        values = {f":{k}": v for k, v in changes.items() if v is not None}
        values |= {":line": [_line(after, before, at)], ":was": before.status}
        condition = "#status = :was AND "
        if before.sent_at is None:
            condition += "attribute_not_exists(#sent_at)"
        else:
            condition += "#sent_at = :was_sent"
            values[":was_sent"] = before.sent_at.isoformat()
        assignments = [f"#{k} = :{k}" for k, v in changes.items() if v is not None]
        assignments.append("#history = list_append(#history, :line)")
        removed = [f"#{k}" for k, v in changes.items() if v is None]
        expression = "SET " + ", ".join(assignments)
        if removed:
            expression += " REMOVE " + ", ".join(removed)
        steps: list[Item] = [
            {
                "Update": {
                    "TableName": self._table,
                    "Key": packed(keys),
                    "UpdateExpression": expression,
                    "ConditionExpression": condition,
                    "ExpressionAttributeNames": names,
                    "ExpressionAttributeValues": packed(values),
                }
            }
        ]
        if after.status in states.SETTLED and before.status not in states.SETTLED:
            steps.append(
                {
                    "Delete": {
                        "TableName": self._table,
                        "Key": packed(
                            {"account": after.account, "entry": f"in-flight#{after.rfc}"}
                        ),
                        "ConditionExpression": "contract_id = :id",
                        "ExpressionAttributeValues": packed({":id": after.id}),
                    }
                }
            )
        return self._transact(steps)

    def _transact(self, steps: list[Item]) -> bool:
        """Write all of ``steps`` or nothing; False when a condition was not met."""
        for attempt in range(_CONFLICTS):
            try:
                self._dynamodb.transact_write_items(TransactItems=steps)
                return True
            except ClientError as error:
                if error.response["Error"]["Code"] != "TransactionCanceledException":
                    raise
                reasons = {r.get("Code") for r in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in reasons:
                    return False
                # Another transaction held one of the items at that moment.
                if "TransactionConflict" not in reasons or attempt == _CONFLICTS - 1:
                    raise
                pause = random.uniform(0.02, 0.1)  # noqa: S311 jitter, no secret
                time.sleep(pause * (attempt + 1))
        raise AssertionError("unreachable")

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


def _line(after: Contract, before: Contract | None, at: datetime) -> Item:
    line = {"at": at.isoformat(), "status": after.status}
    if before is None:
        line["by"] = after.requested_by
    if after.status == states.PENDING and after.sent_at is not None:
        line["note"] = "sent"
    if after.pac_code is not None:
        line["pac_code"] = after.pac_code
    if after.pac_message is not None:
        line["pac_message"] = after.pac_message
    if before is not None and before.status == after.status == states.CONFIRMED:
        line["note"] = "counted"
    return line


def _item(contract: Contract, first_line: Item | None = None) -> Item:
    item = asdict(contract)
    item["entry"] = f"contract#{contract.id}"
    for name in _TIMES:
        if item[name] is not None:
            item[name] = item[name].isoformat()
    if first_line is not None:
        item["history"] = [first_line]
    return item


def _contract(item: Item) -> Contract:
    values = {k: v for k, v in item.items() if k not in ("entry", "history")}
    for name in _TIMES:
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    if "refusal" in values:
        values["refusal"] = Refusal(**values["refusal"])
    return Contract(**values)
