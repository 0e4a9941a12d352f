"""DynamoDB items to plain values and back."""

from __future__ import annotations

import base64
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from timbres.domain.rfc import shown
from timbres.errors import PARAMETER_INVALID, TimbresError

_LONGEST_CURSOR = 600
_CONFLICTS = 8

Item = dict[str, Any]
T = TypeVar("T")


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield ``values`` in turns of ``size``, as many as one call of DynamoDB takes."""
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]


def packed(values: Item) -> Item:
    """Return plain values as DynamoDB attribute values; what is None is left out."""
    return {k: _attribute(v) for k, v in values.items() if v is not None}


def unpacked(item: Item) -> Item:
    """Return a DynamoDB item as plain values, its numbers as int, or float with a fraction."""
    return {k: _plain(v) for k, v in item.items()}


def _attribute(value: Any) -> Item:
    # boto3's own serializer would be the only reason to import boto3: a tenth of a first call.
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int | float) and math.isfinite(value):
        return {"N": repr(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, dict):
        return {"M": {k: _attribute(v) for k, v in value.items()}}
    if isinstance(value, list | tuple):
        return {"L": [_attribute(v) for v in value]}
    raise TypeError(f"{value!r} has no place in an item")


def _plain(attribute: Item) -> Any:
    ((kind, value),) = attribute.items()
    if kind == "N":
        number = Decimal(value)
        return int(number) if number == number.to_integral_value() else float(number)
    if kind == "NULL":
        return None
    if kind == "M":
        return {k: _plain(v) for k, v in value.items()}
    if kind == "L":
        return [_plain(v) for v in value]
    return value


def cursor(last: Item | None) -> str | None:
    """Return where a query stopped as an opaque text, None at its end."""
    if not last:
        return None
    text = json.dumps({k: v["S"] for k, v in last.items()}, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def start(text: str | None, fixed: Item, sort: str, *also: str, prefix: str = "") -> Item | None:
    """Return where to go on from a :func:`cursor` of the same list.

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
            len(text) <= _LONGEST_CURSOR
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
            f"{shown(text)} is no cursor: expected the value of next in the list before.",
            field="cursor",
        )
    return packed(keys)


def transact(dynamodb: Any, steps: list[Item]) -> set[int]:
    """Write all of ``steps``, or nothing; return which conditions were not met."""
    for attempt in range(_CONFLICTS):
        try:
            dynamodb.transact_write_items(TransactItems=steps)
            return set()
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            reasons = [r.get("Code") for r in error.response.get("CancellationReasons", [])]
            failed = {i for i, code in enumerate(reasons) if code == "ConditionalCheckFailed"}
            if failed:
                return failed
            # Another transaction held one of the items at that moment.
            if "TransactionConflict" not in reasons or attempt == _CONFLICTS - 1:
                raise
            pause = random.uniform(0.02, 0.1)  # noqa: S311 jitter, no secret
            time.sleep(pause * (attempt + 1))
    raise AssertionError("unreachable")


def read_batch(dynamodb: Any, table: str, keys: Sequence[Item]) -> Iterator[Item]:
    """Yield the items there are under up to 100 keys, as they stand now."""
    asked: Any = {table: {"Keys": list(keys), "ConsistentRead": True}}
    while asked:
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from answer["Responses"].get(table, ())
        asked = answer.get("UnprocessedKeys")
