"""Validate responses against docs/openapi.json, which must describe every member.

The document permits clients to expect new members; a change that adds one must describe it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from tools.openapi.document import PATH


class UndescribedError(AssertionError):
    """A response that docs/openapi.json does not describe; the message names the difference."""


@cache
def strict_document() -> dict[str, Any]:
    """Return docs/openapi.json with objects that permit no unnamed members."""
    document: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        schemas[name] = _forbid_additional(schema)
    return document


def check(method: str, route: str, status: int, headers: Mapping[str, str], text: str) -> None:
    """Raise `UndescribedError` unless the document describes this response of `route`.

    `route` is the path with its parameters in braces; `headers` have lower-case names.
    """
    where = f"{method} {route} {status}"
    described = (
        strict_document()["paths"].get(route, {}).get(method.lower(), {}).get("responses", {})
    )
    if str(status) not in described:
        raise UndescribedError(f"{where}: undocumented status; the response was {text[:500]}")
    response = described[str(status)]
    media_type = headers.get("content-type", "").partition(";")[0]
    if media_type not in response["content"]:
        raise UndescribedError(f"{where}: undocumented content type: {media_type}")
    for name in response.get("headers", {}):
        _check_header(where, response["headers"][name], name, headers)
    if media_type.endswith("json"):
        validator = _validator(json.dumps(response["content"][media_type]["schema"]))
        for error in validator.iter_errors(json.loads(text)):
            at = "/".join(map(str, error.instance_path))
            raise UndescribedError(f"{where}: at /{at}: {error.message}"[:2000])


def _check_header(
    where: str, header: dict[str, Any], name: str, headers: Mapping[str, str]
) -> None:
    value = headers.get(name.lower())
    if value is None:
        if header.get("required"):
            raise UndescribedError(f"{where}: {name} is missing")
        return
    if "$ref" in header:
        header = strict_document()["components"]["headers"][header["$ref"].rpartition("/")[2]]
    content: Any = int(value) if header["schema"].get("type") == "integer" else value
    if not _validator(json.dumps(header["schema"])).is_valid(content):
        raise UndescribedError(f"{where}: {name} is {value}")


@cache
def _validator(schema: str) -> Any:
    document = json.loads(schema) | {"components": strict_document()["components"]}
    return jsonschema_rs.Draft202012Validator(document, validate_formats=True)


def _forbid_additional(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_forbid_additional(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _forbid_additional(value) for name, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") in (
        "object",
        ["object", "null"],
    ):
        closed.setdefault("additionalProperties", False)
    return closed
