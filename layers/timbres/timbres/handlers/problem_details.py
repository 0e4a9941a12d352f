"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from typing import Any

from timbres.errors import PacError, TimbresError
from timbres.schemas.errors import pac_to_dict

MEDIA_TYPE = "application/problem+json"


def document(error: TimbresError, request_id: str) -> dict[str, Any]:
    """Return an error as the members of a problem document; it holds no credential.

    ``instance`` names the occurrence by the request's id, under which the log has it.
    """
    body: dict[str, Any] = {
        "type": f"urn:timbres:problem:{error.kind.code}",
        "title": error.kind.title,
        "status": error.kind.status,
        "detail": error.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": error.kind.code,
    }
    if error.field is not None:
        body["field"] = error.field
    if isinstance(error, PacError):
        body["pac"] = pac_to_dict(error.pac, error.pac_code, error.pac_message)
    return body | error.members


def dumped(value: Any) -> str:
    """Return compact JSON, its letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
