"""DynamoDB repository for credential states, by account and version of its secret.

A version has up to two items. ``<version>#state`` contains whether a PAC accepted it, or its
current trial. ``<version>#rejection`` exists if a PAC rejected it. Functions are not permitted
to delete items: only an operator clears a rejection.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from timbres.domain.account import Account
from timbres.repositories.dynamodb import (
    Item,
    batch_get,
    batched,
    conditional_write,
    deserialize,
    query_all,
    serialize,
)

# Longer than a call with its retries: after it, an abandoned trial does not block the next one,
# nor does an abandoned publication.
TRIAL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class CredentialRejection:
    """A PAC's rejection: ``at`` is ISO 8601, ``code`` and ``message`` are from the PAC."""

    at: str
    code: str | None
    message: str | None
    published: bool = False


@dataclass(frozen=True, slots=True)
class CredentialState:
    """State of one version of an account's secret."""

    accepted: bool = False
    rejection: CredentialRejection | None = None


class CredentialRejectionRepository:
    """Stores the states of credentials; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def get_state(self, account: Account) -> CredentialState:
        """Return the state of the account's version, from one consistent read."""
        found = query_all(
            self._dynamodb,
            self._table,
            "account = :account AND begins_with(entry, :version)",
            {":account": account.name, ":version": f"{account.version}#"},
            ConsistentRead=True,
        )
        items = {item["entry"]: item for item in found}
        rejection = items.get(rejection_sort_key(account))
        return CredentialState(
            accepted="accepted_at" in items.get(_state_sort_key(account), {}),
            rejection=None if rejection is None else _rejection(rejection),
        )

    def list_rejections(self, accounts: Sequence[Account]) -> dict[str, CredentialRejection]:
        """Return the rejections of the accounts' versions, by account."""
        rejections: dict[str, CredentialRejection] = {}
        for batch in batched(accounts, 100):
            keys = [self._key(account, rejection_sort_key(account))["Key"] for account in batch]
            for item in map(deserialize, batch_get(self._dynamodb, self._table, keys)):
                rejections[item["account"]] = _rejection(item)
        return rejections

    def start_trial(self, account: Account, at: datetime) -> str | None:
        """Start the trial of a version and return its token.

        None during another trial, and if the version has been accepted meanwhile.
        """
        token = str(uuid.uuid4())
        is_started = self._write(
            account,
            _state_sort_key(account),
            "SET trial = :token, trial_until = :until",
            # An end later than :until cannot be from a trial and must not block the account.
            "attribute_not_exists(accepted_at) AND "
            "(attribute_not_exists(trial) OR NOT trial_until BETWEEN :now AND :until)",
            {":token": token} | _interval(at),
            applied={"trial": token},
        )
        return token if is_started else None

    def accept(self, account: Account, at: datetime) -> None:
        """Record that the PAC accepted the version, which then needs no trial."""
        self._dynamodb.update_item(
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="SET accepted_at = :at REMOVE trial, trial_until",
            ExpressionAttributeValues=serialize({":at": at.isoformat()}),
        )

    def require_trial(self, account: Account) -> None:
        """Record that the version must be tried by a single call before any others."""
        self._dynamodb.update_item(
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="REMOVE accepted_at, trial, trial_until",
        )

    def end_trial(self, account: Account, token: str) -> None:
        """End a trial without a result, so that the next call starts another."""
        key, operands = _state_sort_key(account), {":token": token}
        self._write(account, key, "REMOVE trial, trial_until", "trial = :token", operands)

    def reject(self, account: Account, rejection: CredentialRejection, at: datetime) -> bool:
        """Record a rejection; return True if this call recorded it and must publish it."""
        token = str(uuid.uuid4())
        values = {":at": rejection.at, ":code": rejection.code, ":message": rejection.message}
        return self._write(
            account,
            rejection_sort_key(account),
            "SET #at = :at, code = :code, message = :message, "
            "publication = :token, publication_until = :until",
            "attribute_not_exists(entry)",
            {**values, ":token": token, ":until": _interval(at)[":until"]},
            applied={"publication": token},
            ExpressionAttributeNames={"#at": "at"},
        )

    def start_publication(self, account: Account, at: datetime) -> bool:
        """Return whether the caller must publish a rejection that is not published yet."""
        token = str(uuid.uuid4())
        return self._write(
            account,
            rejection_sort_key(account),
            "SET publication = :token, publication_until = :until",
            "attribute_exists(entry) AND attribute_not_exists(published_at) "
            "AND (attribute_not_exists(publication) "
            "OR NOT publication_until BETWEEN :now AND :until)",
            {":token": token} | _interval(at),
            applied={"publication": token},
        )

    def end_publication(self, account: Account, at: datetime, *, published: bool) -> None:
        """Record whether the rejection was published; if not, the next caller may publish it."""
        self._write(
            account,
            rejection_sort_key(account),
            "SET #outcome = :at REMOVE publication, publication_until",
            # An operator may have cleared it meanwhile.
            "attribute_exists(entry)",
            {":at": at.isoformat()},
            ExpressionAttributeNames={
                "#outcome": "published_at" if published else "publication_failed_at"
            },
        )

    def _write(
        self,
        account: Account,
        entry: str,
        update: str,
        condition: str,
        operands: Item,
        *,
        applied: Item | None = None,
        **options: Any,
    ) -> bool:
        """Update an item on a condition; return whether this write took effect."""
        nulls = {key: {"NULL": True} for key in operands}
        return conditional_write(
            self._dynamodb.update_item,
            applied or {},
            **self._key(account, entry),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues=nulls | serialize(operands),
            **options,
        ).applied

    def _key(self, account: Account, entry: str) -> Item:
        return {
            "TableName": self._table,
            "Key": serialize({"account": account.name, "entry": entry}),
        }


def rejection_sort_key(account: Account) -> str:
    """Return the sort key of the rejection of the account's version."""
    return f"{account.version}#rejection"


def _state_sort_key(account: Account) -> str:
    return f"{account.version}#state"


def _rejection(item: Item) -> CredentialRejection:
    # An item that an operator wrote may lack any attribute.
    return CredentialRejection(
        at=str(item.get("at", "an unknown time")),
        code=item.get("code"),
        message=item.get("message"),
        published="published_at" in item,
    )


def _interval(at: datetime) -> Item:
    """Return the operands for now, and for the end of what starts now."""
    return {":now": at.timestamp(), ":until": at.timestamp() + TRIAL_SECONDS}
