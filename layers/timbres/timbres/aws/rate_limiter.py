"""Rate limiter in DynamoDB: limits the calls per second of an account over all workers.

One item per account has the time at which the next call may begin. Workers reserve calls by
advancing it.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from timbres.repositories.dynamodb import Item, WriteResult, conditional_write, serialize

_MICROSECONDS = 1_000_000


class RateLimiter:
    """Reserves calls; ``dynamodb`` is a client, ``table`` is the name of the table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def reserve(self, account: str, rate: int, count: int, latest: float) -> float | None:
        """Reserve the account's next ``count`` calls, 1 / ``rate`` seconds apart.

        Returns the Unix time at which the first may begin; reserves nothing and returns None if
        that is later than ``latest``.
        """
        width = count * _MICROSECONDS // rate
        while (now := time.time()) <= latest:
            values = {":now": int(now * _MICROSECONDS), ":width": width}
            queued = self._update(
                account,
                "SET next_call = next_call + :width",
                "next_call BETWEEN :now AND :latest",
                values | {":latest": int(latest * _MICROSECONDS)},
            )
            next_call = queued.item.get("next_call", 0)
            if queued.applied:
                return (int(next_call) - width) / _MICROSECONDS
            if next_call > latest * _MICROSECONDS:
                return None
            idle = self._update(
                account,
                "SET next_call = :now + :width",
                "attribute_not_exists(next_call) OR next_call < :now",
                values,
            )
            if idle.applied:
                return now
        return None

    @staticmethod
    def wait_until(begin: float) -> None:
        """Wait until a reserved call may begin; ``begin`` is a Unix time."""
        time.sleep(max(0.0, begin - time.time()))

    def _update(self, account: str, expression: str, condition: str, values: Item) -> WriteResult:
        reservation = str(uuid.uuid4())
        return conditional_write(
            self._dynamodb.update_item,
            {"reservation": reservation},
            TableName=self._table,
            Key=serialize({"account": account}),
            UpdateExpression=f"{expression}, reservation = :reservation",
            ConditionExpression=condition,
            ExpressionAttributeValues=serialize(values | {":reservation": reservation}),
            ReturnValues="ALL_NEW",
        )
