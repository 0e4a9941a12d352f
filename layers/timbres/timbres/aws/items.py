"""DynamoDB items to plain values and back."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from timbres.domain.rfc import shown
from timbres.errors import PARAMETER_INVALID, TimbresError

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()
_LONGEST_CURSOR = 400

Item = dict[str, Any]


def packed(values: Item) -> Item:
    """Return plain values as DynamoDB attribute values; what is None is left out."""
    return {k: _serializer.serialize(v) for k, v in values.items() if v is not None}


def unpacked(item: Item) -> Item:
    """Return a DynamoDB item as plain values, its numbers as int."""
    return {k: _plain(_deserializer.deserialize(v)) for k, v in item.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def cursor(last: Item | None) -> str | None:
    """Return where a query stopped as an opaque text, None at its end."""
    if not last:
        return None
    text = json.dumps({k: v["S"] for k, v in last.items()}, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def start(text: str | None, account: str, sort: str, prefix: str = "") -> Item | None:
    """Return where to go on from a :func:`cursor` of the same account's list.

    ``sort`` names the table's sort key, ``prefix`` is what it begins with in that list:
    DynamoDB refuses a start outside of what is asked for. Raises ``parameter-invalid``.
    """
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        keys = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        fits = (
            len(text) <= _LONGEST_CURSOR
            and keys.keys() == {"account", sort}
            and keys["account"] == account
            and isinstance(keys[sort], str)
            and keys[sort].startswith(prefix)
            and keys[sort] > prefix
            and keys[sort].isprintable()
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
