"""The issuers of an account, as a user keeps them."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import Any

from timbres.domain import clock
from timbres.domain.issuer_import import IssuerImport
from timbres.domain.rfc import Rfc
from timbres.domain.text import quote_input
from timbres.errors import ISSUER_NOT_FOUND, ISSUERS_INVALID, PARAMETER_INVALID, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.issuers import IssuerRepository


class ImportMode(Enum):
    """What to do with a list that has invalid rows."""

    REJECT = "reject"
    SKIP = "skip"


def parse_import_mode(value: str | None) -> ImportMode:
    """Return the mode named ``value``, by default ``REJECT``. Raises ``parameter-invalid``."""
    try:
        return ImportMode(value or "reject")
    except ValueError:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)}: expected reject (import nothing if a row is invalid) or skip "
            "(import the valid rows).",
            field="on_invalid",
        ) from None


def import_issuers(
    accounts: AccountRepository,
    issuers: IssuerRepository,
    account_name: str,
    parsed: IssuerImport,
    mode: ImportMode,
) -> dict[str, Any]:
    """Add the issuers of a list to an account; those known before and not in it stay.

    With invalid rows nothing is imported (``issuers-invalid``, which lists them); in mode
    ``SKIP`` the valid ones are. Returns how many were imported, and the invalid rows.
    """
    account = accounts.get(account_name)
    rejected = [asdict(row) for row in parsed.invalid]
    if rejected and mode is ImportMode.REJECT:
        raise TimbresError(
            ISSUERS_INVALID,
            f"{len(rejected):,} rows are invalid, and nothing was imported; rejected lists them. "
            "on_invalid=skip imports the others.",
            field="body",
            extensions={"rejected": rejected},
        )
    issuers.upsert(account.name, parsed.rows, clock.now())
    return {"account": account.name, "kept": len(parsed.rows), "rejected": rejected}


def remove(
    accounts: AccountRepository, issuers: IssuerRepository, account_name: str, rfc: Rfc
) -> dict[str, Any]:
    """Forget an issuer until it is seen again; its snapshots stay. Raises ``issuer-unknown``."""
    account = accounts.get(account_name)
    if not issuers.remove(account.name, rfc):
        raise TimbresError(
            ISSUER_NOT_FOUND, f"{rfc} is no known issuer of account {account.name}.", field="rfc"
        )
    return {"account": account.name, "rfc": rfc, "removed": True}
