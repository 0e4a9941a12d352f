"""The accounts there are, and what each can do; never a credential."""

from __future__ import annotations

from typing import Any

from timbres.errors import TimbresError
from timbres.repositories.accounts import Accounts


def listed(accounts: Accounts) -> dict[str, Any]:
    """Return every account with its PAC, environment and capabilities.

    An account whose secret is not right is listed too, with what is wrong in ``error``.
    """
    return {"accounts": [_line(accounts, name) for name in accounts.names()]}


def _line(accounts: Accounts, name: str) -> dict[str, Any]:
    try:
        account = accounts.get(name)
    except TimbresError as error:
        return {
            "name": name,
            "pac": None,
            "environment": None,
            "can": [],
            "error": {"code": error.problem_type.code, "detail": error.detail},
        }
    return {
        "name": name,
        "pac": account.pac.name,
        "environment": account.environment,
        "can": list(account.pac.can),
    }
