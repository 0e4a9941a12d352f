"""Rejected credentials in DynamoDB: which version of an account's secret a PAC has refused.

An item is an account's. It holds until the secret has another version, or an operator
deletes it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from timbres.aws.items import packed, unpacked
from timbres.domain.account import Account
from timbres.errors import PacError


class Rejections:
    """The rejections; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def last(self, account_name: str) -> dict[str, Any] | None:
        """Return the last rejection of an account, whichever its secret is now, or None.

        It has ``version`` (of the secret), ``at`` (ISO 8601), ``code`` and ``message`` (the
        PAC's own, where it gave any).
        """
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key=packed({"account": account_name}),
            ConsistentRead=True,
        )
        return unpacked(answer["Item"]) if "Item" in answer else None

    def add(self, account: Account, error: PacError, at: datetime) -> bool:
        """Note a rejection; False when that of the same secret is noted already."""
        item = {
            "account": account.name,
            "version": account.version,
            "at": at.isoformat(),
            "code": error.pac_code,
            "message": error.pac_message,
        }
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=packed(item),
                ConditionExpression="attribute_not_exists(account) OR #version <> :version",
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues=packed({":version": account.version}),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
