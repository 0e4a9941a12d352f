"""JSON over HTTP to PACs: requests, responses and their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from timbres.deadline import Deadline
from timbres.pacs.errors import HTTP_ERRORS, error_from_code, protocol_error
from timbres.pacs.http import MAX_BYTES, HttpResponse, PacSession

BOM = b"\xef\xbb\xbf"
# No account has more stamps; a larger number is an error.
_MAX_COUNT = 10**12


def post_json(
    session: PacSession,
    url: str,
    payload: Mapping[str, Any],
    deadline: Deadline,
    *,
    headers: Mapping[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> HttpResponse:
    """Send one request and return the complete response, as :meth:`PacSession.fetch` does."""
    return session.fetch(
        "POST",
        url,
        headers={"Content-Type": "application/json", **(headers or {})},
        data=json.dumps(payload, ensure_ascii=False).encode(),
        deadline=deadline,
        max_bytes=max_bytes,
    )


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text in UTF-8; None if it is not valid JSON."""
    try:
        return json.loads(content.removeprefix(BOM))
    except (ValueError, RecursionError):
        return None


def read_object(pac: str, response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a response with HTTP 200, and close the response's file.

    Raises the error of another status (``HTTP_ERRORS``), or ``pac-protocol-error``.
    """
    with response.file as file:
        value = parse_json(file.read())
    if response.status != 200:
        raise error_from_code(pac, HTTP_ERRORS, str(response.status), None)
    if not isinstance(value, dict):
        raise protocol_error(pac, "HTTP 200 without a JSON object")
    return value


def read_text(pac: str, fields: Mapping[Any, Any], name: str) -> str:
    """Return a text that is not blank. Raises ``pac-protocol-error`` for anything else."""
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise protocol_error(pac, f"{name} is missing or is not a text")
    return value


def read_count(pac: str, fields: Mapping[Any, Any], name: str) -> int:
    """Return a whole number, up to 10**12. Raises ``pac-protocol-error`` for anything else."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_COUNT:
        raise protocol_error(pac, f"{name} is missing or is not a whole number")
    return value
