"""Accounts as the API shows them; never a credential."""

from __future__ import annotations

from typing import Any

from timbres.domain.account import Account
from timbres.errors import TimbresError
from timbres.schemas.errors import error_to_dict


def account_to_dict(
    name: str, account: Account | None, error: TimbresError | None
) -> dict[str, Any]:
    """Return an account with its PAC and what it can do, or what is wrong with its secret."""
    shown: dict[str, Any] = {
        "name": name,
        "pac": account.pac.name if account else None,
        "environment": account.environment if account else None,
        "can": list(account.pac.capabilities) if account else [],
    }
    return shown if error is None else shown | {"error": error_to_dict(error)}
