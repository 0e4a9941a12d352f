"""JSON of errors."""

from __future__ import annotations

from typing import Any

from timbres.errors import PacError, TimbresError


def pac_to_dict(name: str, code: str | None, message: str | None) -> dict[str, Any]:
    """Return a PAC's own code and message."""
    return {"name": name, "code": code, "message": message}


def error_to_dict(error: TimbresError) -> dict[str, Any]:
    """Return an error with its code, its detail, and the PAC's code and message."""
    body: dict[str, Any] = {"code": error.problem_type.code, "detail": error.detail}
    if isinstance(error, PacError):
        body["pac"] = pac_to_dict(error.pac, error.pac_code, error.pac_message)
    return body
