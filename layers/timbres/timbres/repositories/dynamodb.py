"""DynamoDB: serialization, cursors, conditional and transactional writes, batch reads."""

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

from timbres.domain.text import invalid_value
from timbres.errors import PARAMETER_INVALID

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
    """Yield ``values`` in batches of at most ``size``."""
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]


def serialize(values: Item) -> Item:
    """Return plain values as DynamoDB attribute values; None is left out.

    Raises TypeError for infinity, NaN and types that DynamoDB does not support.
    """
    given = {k: v for k, v in values.items() if v is not None}
    return {k: _SERIALIZER.serialize(v) for k, v in _convert(given, float, _to_decimal).items()}


def deserialize(item: Item) -> Item:
    """Return a DynamoDB item as plain values; a number is an int, or a float with a fraction."""
    values = {k: _DESERIALIZER.deserialize(v) for k, v in item.items()}
    return dict(_convert(values, Decimal, _from_decimal))


def _convert(value: Any, type_: type, convert: Callable[[Any], Any]) -> Any:
    """Return ``value`` with ``convert`` applied to each value of a type in it."""
    if isinstance(value, type_):
        return convert(value)
    if isinstance(value, dict):
        return {k: _convert(v, type_, convert) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(v, type_, convert) for v in value]
    return value


def _to_decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _from_decimal(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def encode_cursor(last: Item | None) -> str | None:
    """Return the opaque cursor for the key at which a query stopped; None at its end."""
    if not last:
        return None
    text = json.dumps({k: v["S"] for k, v in last.items()}, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(
    text: str | None,
    fixed: Item,
    sort: str,
    *also: str,
    prefix: str = "",
    between: tuple[str, str] | None = None,
) -> Item | None:
    """Return the start key of a query from a cursor of the same list.

    ``fixed`` is the list's partition key, ``sort`` the name of its sort key, ``prefix`` the
    prefix of the sort key's values, ``between`` their bounds, ``also`` the names of the table's
    other keys. DynamoDB rejects a start key outside of the query. Raises ``parameter-invalid``.
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
            and (between is None or between[0] <= keys[sort] <= between[1])
        )
    except (ValueError, AttributeError, RecursionError):
        fits = False
    if not fits:
        expected = "the value of next from the previous page"
        raise invalid_value(PARAMETER_INVALID, text, "a valid cursor", expected, "cursor")
    return serialize(keys)


def start_after(last: Item | None) -> dict[str, Any]:
    """Return the argument of a query that starts after a key, if there is one."""
    return {"ExclusiveStartKey": last} if last else {}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Outcome of a conditional write.

    ``applied``: whether this write took effect. ``item``: the item as plain values. If the
    condition failed, it is the existing item; otherwise it depends on ``ReturnValues``. It is
    empty if DynamoDB returned no item.
    """

    applied: bool
    item: Item


def conditional_write(
    write: Callable[..., Any], applied: Mapping[str, Any], **request: Any
) -> WriteResult:
    """Execute one conditional write and return whether it took effect.

    ``write`` is ``put_item`` or ``update_item`` of a client, ``request`` its arguments.
    ``applied`` are attributes, as plain values, that the item has only if this write took
    effect. If the response of a write is lost, the SDK repeats the write, whose condition then
    fails because of the first attempt. Therefore the item is compared.

    Raises ClientError for any other error than a failed condition.
    """
    try:
        response = write(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        # botocore's type of error responses does not have this member.
        failure: Any = error.response
        item = deserialize(failure.get("Item") or {})
        return WriteResult(bool(item) and applied.items() <= item.items(), item)
    return WriteResult(applied=True, item=deserialize(response.get("Attributes") or {}))


def wait_randomly(max_seconds: float) -> None:
    """Wait for at least a quarter of the given seconds, and at most all of them."""
    time.sleep(random.uniform(max_seconds / 4, max_seconds))  # noqa: S311 jitter, no secret


def transact_write(
    dynamodb: Any, steps: list[Item], pause: Callable[[float], None] = wait_randomly
) -> set[int]:
    """Write all of ``steps`` or none; return the indexes of the failed conditions.

    All attempts have the same token, so that a transaction whose response was lost is not
    applied twice and does not conflict with itself. ``pause`` waits between two attempts, up to
    the given seconds. Raises ClientError if the last attempt fails.
    """
    token = str(uuid.uuid4())
    for attempt in range(_TRANSACTION_ATTEMPTS):
        try:
            dynamodb.transact_write_items(TransactItems=steps, ClientRequestToken=token)
            return set()
        except ClientError as error:
            failure: Any = error.response
            codes = [reason.get("Code") for reason in failure.get("CancellationReasons", ())]
            if failed := {n for n, code in enumerate(codes) if code == "ConditionalCheckFailed"}:
                return failed
            throttled = bool({failure["Error"]["Code"], *codes} & _THROTTLED)
            if not throttled and "TransactionConflict" not in codes:
                raise
            if attempt == _TRANSACTION_ATTEMPTS - 1:
                raise
            # A conflict lasts milliseconds, throttling longer.
            pause(min(0.2 * 2**attempt, 3.0) if throttled else 0.1 * (attempt + 1))
    raise AssertionError("unreachable")


def get_item(dynamodb: Any, table: str, key: Item) -> Item | None:
    """Return an item as plain values, by a consistent read, or None."""
    response = dynamodb.get_item(TableName=table, Key=serialize(key), ConsistentRead=True)
    return deserialize(response["Item"]) if "Item" in response else None


def query_all(
    dynamodb: Any, table: str, condition: str, values: Item, **options: Any
) -> Iterator[Item]:
    """Yield the items of all pages of a query as plain values; ``values`` are its operands."""
    query = {"TableName": table, "KeyConditionExpression": condition, **options}
    query["ExpressionAttributeValues"] = serialize(values)
    last: Item | None = {}
    while last is not None:
        # A paginator of boto3 reads its model from disk first.
        page = dynamodb.query(**query | start_after(last))
        yield from map(deserialize, page["Items"])
        last = page.get("LastEvaluatedKey")


def batch_get(
    dynamodb: Any, table: str, keys: Sequence[Item], attributes: str | None = None
) -> Iterator[Item]:
    """Yield the existing items of up to 100 keys, by consistent reads.

    ``attributes`` are their names, separated by commas; all by default.
    """
    request: Any = {table: {"Keys": list(keys), "ConsistentRead": True}}
    if attributes:
        request[table]["ProjectionExpression"] = attributes
    while request:
        response = dynamodb.batch_get_item(RequestItems=request)
        yield from response["Responses"].get(table, ())
        request = response.get("UnprocessedKeys")
