"""JSON over HTTP to PACs: requests, responses and their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from timbres.deadline import Deadline
from timbres.pacs.errors import protocol_error
from timbres.pacs.http import MAX_BYTES, HttpResponse, PacSession, response_error
from timbres.pacs.reading import FieldReader, parse_json


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


def read_object(pac: str, response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a response with HTTP 200, and close the response's file.

    The names of its fields are folded. Raises the error of another status or of a web page, or
    ``pac-protocol-error``.
    """
    with response.file as file:
        if response.status != 200 or response.is_page:
            raise response_error(pac, response)
        content = file.read()
    value = parse_json(content, response.content_type)
    if not isinstance(value, dict):
        raise protocol_error(pac, "HTTP 200 without a JSON object")
    return value


def read_text(pac: str, fields: Mapping[str, Any], name: str) -> str:
    """Return a text that is not blank. Raises ``pac-protocol-error`` for anything else."""
    return FieldReader(pac).text(fields, name)


def read_count(pac: str, fields: Mapping[str, Any], name: str) -> int:
    """Return a whole number, up to 10**12. Raises ``pac-protocol-error`` for anything else."""
    return FieldReader(pac).number(fields, name)
