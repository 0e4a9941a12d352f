"""Imports and removes the issuers of an account."""

from __future__ import annotations

from collections.abc import Callable
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

_MAX_STORED_CHARACTERS = 100


class ImportMode(Enum):
    """Whether invalid rows reject the whole list or are skipped."""

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
    account_repository: AccountRepository,
    issuer_repository: IssuerRepository,
    account_name: str,
    issuer_import: IssuerImport,
    mode: ImportMode,
) -> dict[str, Any]:
    """Add the issuers of a list to an account; known issuers that are not in it stay.

    Raises ``issuers-invalid``, which lists the invalid rows, and imports nothing; mode ``SKIP``
    imports the valid rows. Returns the number of imported issuers, and the invalid rows.
    """
    account = account_repository.get(account_name)
    rejected = [asdict(row) for row in issuer_import.invalid]
    if rejected and mode is ImportMode.REJECT:
        raise TimbresError(
            ISSUERS_INVALID,
            f"{len(rejected):,} rows are invalid, and nothing was imported; rejected lists them. "
            "on_invalid=skip imports the others.",
            field="body",
            extensions={"rejected": rejected},
        )
    issuer_repository.upsert(account.name, issuer_import.rows, clock.now())
    return {"account": account.name, "kept": len(issuer_import.rows), "rejected": rejected}


def remove(
    account_repository: AccountRepository,
    issuer_repository: IssuerRepository,
    account_name: str,
    text: str | None,
    parse: Callable[[str | None], Rfc],
) -> dict[str, Any]:
    """Remove an issuer until it is seen again; its snapshots stay.

    ``text`` is exactly what is stored, which may be a PAC's text that is not an RFC; otherwise
    ``parse`` returns its RFC, or raises. Raises ``issuer-unknown``.
    """
    account = account_repository.get(account_name)
    rfc = text
    if rfc is None or not _may_be_stored(rfc) or not issuer_repository.remove(account.name, rfc):
        rfc = parse(text)
        if rfc == text or not issuer_repository.remove(account.name, rfc):
            raise TimbresError(
                ISSUER_NOT_FOUND,
                f"{rfc} is not a known issuer of account {account.name}.",
                field="rfc",
            )
    return {"account": account.name, "rfc": rfc, "removed": True}


def _may_be_stored(text: str) -> bool:
    # The PACs' clients accept no longer or other texts.
    return 0 < len(text) <= _MAX_STORED_CHARACTERS and text.isprintable()
