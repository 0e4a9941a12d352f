"""Errors as the API and the events show them."""

from __future__ import annotations

from typing import Any

from timbres.errors import PacError, TimbresError


def pac_to_dict(name: str, code: str | None, message: str | None) -> dict[str, Any]:
    """Return what a PAC said of a failure, in its own words."""
    return {"name": name, "code": code, "message": message}


def error_to_dict(error: TimbresError) -> dict[str, Any]:
    """Return an error as it is stored with what failed: code, detail, and the PAC's words."""
    shown: dict[str, Any] = {"code": error.problem_type.code, "detail": error.detail}
    if isinstance(error, PacError):
        shown["pac"] = pac_to_dict(error.pac, error.pac_code, error.pac_message)
    return shown
