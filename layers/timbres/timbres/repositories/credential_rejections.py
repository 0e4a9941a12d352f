"""Credentials on trial, accepted and rejected, in DynamoDB: by account and version of its secret.

A version has up to two items. ``<version>#state`` says whether a PAC accepted it, or who is
trying it. ``<version>#rejection`` exists when a PAC rejected it, and functions have no right to
delete an item: only an operator clears a rejection. A change of one version leaves the others as
they are.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from timbres.domain.account import Account
from timbres.repositories.dynamodb import Item, conditional_write, deserialize, serialize

# Longer than a call with its repetitions: after a trial that never ended, another may begin.
TRIAL_SECONDS = 60
# After a publication that never ended, another may begin.
_PUBLICATION_SECONDS = 60


@dataclass(frozen=True, slots=True)
class CredentialRejection:
    """A PAC's rejection: ``at`` is ISO 8601, ``code`` and ``message`` are the PAC's own."""

    at: str
    code: str | None
    message: str | None
    published: bool = False


@dataclass(frozen=True, slots=True)
class CredentialState:
    """What is known of one version of an account's secret."""

    accepted: bool = False
    rejection: CredentialRejection | None = None


class CredentialRejectionRepository:
    """The states of credentials; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def get_state(self, account: Account) -> CredentialState:
        """Return what is known of the account's version, by one consistent read."""
        answer = self._dynamodb.query(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="account = :account AND begins_with(entry, :version)",
            ExpressionAttributeValues=serialize(
                {":account": account.name, ":version": f"{account.version}#"}
            ),
        )
        items = {item["entry"]: item for item in map(deserialize, answer["Items"])}
        rejection = items.get(rejection_sort_key(account))
        return CredentialState(
            accepted="accepted_at" in items.get(_state_sort_key(account), {}),
            rejection=None if rejection is None else _rejection(rejection),
        )

    def start_trial(self, account: Account, at: datetime) -> str | None:
        """Begin the trial of a version; return its token, or None while another goes on.

        None, too, when the version has been accepted meanwhile.
        """
        token = str(uuid.uuid4())
        result = conditional_write(
            self._dynamodb.update_item,
            {"trial": token},
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="SET trial = :token, trial_until = :until",
            # A time beyond a trial's length is nobody's: it must not hold up the account.
            ConditionExpression="attribute_not_exists(accepted_at) AND "
            "(attribute_not_exists(trial) OR NOT trial_until BETWEEN :now AND :until)",
            ExpressionAttributeValues=serialize(
                {
                    ":token": token,
                    ":now": at.timestamp(),
                    ":until": at.timestamp() + TRIAL_SECONDS,
                }
            ),
        )
        return token if result.applied else None

    def accept(self, account: Account, at: datetime) -> None:
        """Note that the PAC accepted the version: from now on it needs no trial."""
        self._dynamodb.update_item(
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="SET accepted_at = :at REMOVE trial, trial_until",
            ExpressionAttributeValues=serialize({":at": at.isoformat()}),
        )

    def require_trial(self, account: Account) -> None:
        """Note that the version is to be tried by a single call before any others."""
        self._dynamodb.update_item(
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="REMOVE accepted_at, trial, trial_until",
        )

    def end_trial(self, account: Account, token: str) -> None:
        """End a trial that proved nothing, so that the next call is another."""
        conditional_write(
            self._dynamodb.update_item,
            {},
            **self._key(account, _state_sort_key(account)),
            UpdateExpression="REMOVE trial, trial_until",
            ConditionExpression="trial = :token",
            ExpressionAttributeValues=serialize({":token": token}),
        )

    def reject(self, account: Account, rejection: CredentialRejection, at: datetime) -> bool:
        """Note a rejection; True when this call noted it, and is the one to publish it."""
        token = str(uuid.uuid4())
        return conditional_write(
            self._dynamodb.update_item,
            {"publication": token},
            **self._key(account, rejection_sort_key(account)),
            UpdateExpression="SET #at = :at, code = :code, message = :message, "
            "publication = :token, publication_until = :until",
            ConditionExpression="attribute_not_exists(entry)",
            ExpressionAttributeNames={"#at": "at"},
            ExpressionAttributeValues={
                **serialize(
                    {
                        ":at": rejection.at,
                        ":token": token,
                        ":until": at.timestamp() + _PUBLICATION_SECONDS,
                    }
                ),
                ":code": _text_or_null(rejection.code),
                ":message": _text_or_null(rejection.message),
            },
        ).applied

    def start_publication(self, account: Account, at: datetime) -> bool:
        """Return whether the caller is the one to publish a rejection that nobody published."""
        token = str(uuid.uuid4())
        return conditional_write(
            self._dynamodb.update_item,
            {"publication": token},
            **self._key(account, rejection_sort_key(account)),
            UpdateExpression="SET publication = :token, publication_until = :until",
            ConditionExpression="attribute_exists(entry) AND attribute_not_exists(published_at) "
            "AND (attribute_not_exists(publication) "
            "OR NOT publication_until BETWEEN :now AND :until)",
            ExpressionAttributeValues=serialize(
                {
                    ":token": token,
                    ":now": at.timestamp(),
                    ":until": at.timestamp() + _PUBLICATION_SECONDS,
                }
            ),
        ).applied

    def end_publication(self, account: Account, at: datetime, *, published: bool) -> None:
        """Note whether the rejection was published; if not, the next caller may do it."""
        conditional_write(
            self._dynamodb.update_item,
            {},
            **self._key(account, rejection_sort_key(account)),
            UpdateExpression="SET #outcome = :at REMOVE publication, publication_until",
            # An operator may have cleared it since.
            ConditionExpression="attribute_exists(entry)",
            ExpressionAttributeNames={
                "#outcome": "published_at" if published else "publication_failed_at"
            },
            ExpressionAttributeValues=serialize({":at": at.isoformat()}),
        )

    def _key(self, account: Account, entry: str) -> Item:
        return {
            "TableName": self._table,
            "Key": serialize({"account": account.name, "entry": entry}),
        }


def rejection_sort_key(account: Account) -> str:
    """Return the sort key of the item that exists when the account's version is rejected."""
    return f"{account.version}#rejection"


def _state_sort_key(account: Account) -> str:
    return f"{account.version}#state"


def _rejection(item: Item) -> CredentialRejection:
    # An item written by hand may lack any of them.
    return CredentialRejection(
        at=str(item.get("at", "an unknown time")),
        code=item.get("code"),
        message=item.get("message"),
        published="published_at" in item,
    )


def _text_or_null(text: str | None) -> Item:
    return {"NULL": True} if text is None else {"S": text}
