"""The pace in DynamoDB: how many calls a second all workers together make of an account's PAC.

An item is an account's. Workers lease the calls of the present second in handfuls; after the
PAC has said that it cannot take more, the rate is halved for all of them, and comes back.
"""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from timbres.aws.items import Item, packed, unpacked

# Half the rate for each time the PAC was overwhelmed; one such time is forgiven every so often.
_FORGIVEN_SECONDS = 30
_SLOWEST = 6
# Threads whose calls fail together tell of one time, not of thirty.
_SAME_TIME_SECONDS = 2


class Pace:
    """The pace; ``dynamodb`` is a client, ``table`` the table's name."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._states: dict[str, Item] = {}

    def lease(self, account: str, most: int, want: int) -> int:
        """Return how many calls may begin in this second: some, up to ``want``, or 0.

        ``most`` is the account's calls a second, of all workers together.
        """
        now = int(time.time())
        rate = max(1, most >> self._slowness(account, now))
        some = max(1, min(want, rate // 4 or 1))
        values = {":now": now, ":some": some, ":room": rate - some}
        try:
            self._update(
                account,
                "SET taken = taken + :some",
                "#second = :now AND taken <= :room",
                values,
            )
            return some
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            pass
        try:
            self._update(
                account,
                "SET #second = :now, taken = :some",
                "attribute_not_exists(#second) OR #second < :now",
                {name: values[name] for name in (":now", ":some")},
            )
            return some
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return 0

    def slow_down(self, account: str) -> None:
        """Halve the rate of all workers, since the PAC cannot take more."""
        now = int(time.time())
        slowness = min(self._slowness(account, now) + 1, _SLOWEST)
        try:
            self._update(
                account,
                "SET slowness = :slowness, slowed_at = :now, "
                "#second = if_not_exists(#second, :zero)",
                "attribute_not_exists(slowed_at) OR slowed_at < :before",
                {
                    ":slowness": slowness,
                    ":now": now,
                    ":zero": 0,
                    ":before": now - _SAME_TIME_SECONDS,
                },
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def _slowness(self, account: str, now: int) -> int:
        state = self._states.get(account, {})
        forgiven = (now - int(state.get("slowed_at", 0))) // _FORGIVEN_SECONDS
        return max(0, int(state.get("slowness", 0)) - forgiven)

    def _update(self, account: str, expression: str, condition: str, values: Item) -> None:
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=packed({"account": account}),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#second": "second"},
                ExpressionAttributeValues=packed(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            item: Any = error.response.get("Item")
            if item:
                self._states[account] = unpacked(item)
            raise
        self._states[account] = unpacked(answer["Attributes"])
