"""JSON of accounts, without credentials."""

from __future__ import annotations

from typing import Any

from timbres.domain.account import Account
from timbres.errors import TimbresError
from timbres.schemas.errors import error_to_dict


def account_to_dict(
    name: str, account: Account | None, error: TimbresError | None
) -> dict[str, Any]:
    """Return an account with its PAC and capabilities, or with the error in its secret."""
    body: dict[str, Any] = {
        "name": name,
        "pac": account.pac.name if account else None,
        "environment": account.environment if account else None,
        "can": list(account.pac.capabilities) if account else [],
    }
    return body if error is None else body | {"error": error_to_dict(error)}
