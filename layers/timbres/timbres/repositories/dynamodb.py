"""DynamoDB items to plain values and back."""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from timbres.domain.text import quote_input
from timbres.errors import PARAMETER_INVALID, TimbresError

_MAX_CURSOR_LENGTH = 600
_TRANSACTION_ATTEMPTS = 8
_THROTTLED = {
    "ThrottlingError",
    "ThrottlingException",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
}

_SERIALIZER, _DESERIALIZER = TypeSerializer(), TypeDeserializer()

Item = dict[str, Any]
T = TypeVar("T")


def batched(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield ``values`` in batches of ``size``, as many as one call of an AWS service takes."""
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]


def serialize(values: Item) -> Item:
    """Return plain values as DynamoDB attribute values; None is left out.

    Raises TypeError for a number that is infinite or NaN, and for a type DynamoDB does not have.
    """
    return {k: _SERIALIZER.serialize(_with_decimals(v)) for k, v in values.items() if v is not None}


def deserialize(item: Item) -> Item:
    """Return a DynamoDB item as plain values, its numbers as int, or float with a fraction."""
    return {k: _without_decimals(_DESERIALIZER.deserialize(v)) for k, v in item.items()}


def _with_decimals(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {k: _with_decimals(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_with_decimals(v) for v in value]
    return value


def _without_decimals(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {k: _without_decimals(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_decimals(v) for v in value]
    return value


def encode_cursor(last: Item | None) -> str | None:
    """Return where a query stopped as an opaque text, None at its end."""
    if not last:
        return None
    text = json.dumps({k: v["S"] for k, v in last.items()}, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(
    text: str | None, fixed: Item, sort: str, *also: str, prefix: str = ""
) -> Item | None:
    """Return where to go on from a :func:`encode_cursor` of the same list.

    ``fixed`` is the key that all of the list share, ``sort`` names the key it is sorted by,
    ``prefix`` is what that begins with in the list, ``also`` are the table's further keys:
    DynamoDB refuses a start outside of what is asked for. Raises ``parameter-invalid``.
    """
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        keys = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        fits = (
            len(text) <= _MAX_CURSOR_LENGTH
            and keys.keys() == {*fixed, sort, *also}
            and all(isinstance(key, str) and key and key.isprintable() for key in keys.values())
            and fixed.items() <= keys.items()
            and keys[sort].startswith(prefix)
            and keys[sort] > prefix
        )
    except (ValueError, AttributeError, RecursionError):
        fits = False
    if not fits:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(text)} is no cursor: expected the value of next in the list before.",
            field="cursor",
        )
    return serialize(keys)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Outcome of a conditional write.

    ``applied``: whether this write took effect. ``item``: the item as plain values, as the
    write left it if the call asked for ``ReturnValues``, or as another writer left it when
    the condition failed; empty where DynamoDB returned none.
    """

    applied: bool
    item: Item


def conditional_write(
    write: Callable[..., Any], applied: Mapping[str, Any], **request: Any
) -> WriteResult:
    """Make one conditional write to DynamoDB and return whether it took effect.

    ``write`` is ``put_item`` or ``update_item`` of a client, ``request`` its arguments.
    ``applied`` are attributes, as plain values, that the item has only if this very write
    took effect. If the response of a write is lost, the SDK sends it again, and the condition
    then fails because of the write's own effect: the item is therefore compared.

    Raises ClientError for anything but a failed condition.
    """
    try:
        response = write(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        # botocore's type of a response does not have the members of single errors.
        failure: Any = error.response
        item = deserialize(failure.get("Item") or {})
        return WriteResult(bool(item) and applied.items() <= item.items(), item)
    return WriteResult(applied=True, item=deserialize(response.get("Attributes") or {}))


def transact_write(dynamodb: Any, steps: list[Item]) -> set[int]:
    """Write all of ``steps``, or nothing; return the indexes of the conditions that failed.

    All attempts carry one token, so that a transaction whose response was lost is not applied
    again and not mistaken for another writer's. Raises ClientError when DynamoDB still
    refuses after the last attempt.
    """
    token = str(uuid.uuid4())
    for attempt in range(_TRANSACTION_ATTEMPTS):
        try:
            dynamodb.transact_write_items(TransactItems=steps, ClientRequestToken=token)
            return set()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            failure: Any = error.response
            reasons = {reason.get("Code") for reason in failure.get("CancellationReasons", ())}
            failed = {
                index
                for index, reason in enumerate(failure.get("CancellationReasons", ()))
                if reason.get("Code") == "ConditionalCheckFailed"
            }
            if failed:
                return failed
            throttled = code in _THROTTLED or reasons & _THROTTLED
            if not throttled and "TransactionConflict" not in reasons:
                raise
            if attempt == _TRANSACTION_ATTEMPTS - 1:
                raise
            # A conflict is over in milliseconds; a throttled partition needs longer.
            longest = min(0.2 * 2**attempt, 3.0) if throttled else 0.1 * (attempt + 1)
            time.sleep(random.uniform(longest / 4, longest))  # noqa: S311 jitter, no secret
    raise AssertionError("unreachable")


def batch_get(dynamodb: Any, table: str, keys: Sequence[Item]) -> Iterator[Item]:
    """Yield the items there are under up to 100 keys, as they stand now."""
    asked: Any = {table: {"Keys": list(keys), "ConsistentRead": True}}
    while asked:
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from answer["Responses"].get(table, ())
        asked = answer.get("UnprocessedKeys")
