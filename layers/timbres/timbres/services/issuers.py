"""Imports and removes the issuers of an account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from timbres.domain import clock
from timbres.domain.issuer_import import IssuerImport
from timbres.domain.rfc import Rfc, normalize_rfc
from timbres.domain.text import quote_input
from timbres.errors import ISSUER_NOT_FOUND, ISSUERS_INVALID, PARAMETER_INVALID, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.issuers import IssuerRepository

_MAX_STORED_CHARACTERS = 100
MAX_REMOVED = 100


class ImportMode(Enum):
    """What happens to invalid rows, and to known issuers that are not in the list.

    ``REJECT``: an invalid row rejects the list. ``SKIP``: it is skipped. ``REPLACE``: as
    ``REJECT``, and the other issuers are removed.
    """

    REJECT = "reject"
    SKIP = "skip"
    REPLACE = "replace"


def parse_import_mode(on_invalid: str | None, mode: str | None) -> ImportMode:
    """Return the mode of two parameters. Raises ``parameter-invalid``.

    A list that skips rows cannot replace: a typing error would remove an issuer.
    """
    if on_invalid not in (None, "reject", "skip"):
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(on_invalid)}: expected reject (import nothing if a row is invalid) or "
            "skip (import the valid rows).",
            field="on_invalid",
        )
    if mode not in (None, "add", "replace") or (mode, on_invalid) == ("replace", "skip"):
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(mode)}: expected add (other issuers stay) or replace (they are removed; "
            "not with on_invalid=skip).",
            field="mode",
        )
    return ImportMode.REPLACE if mode == "replace" else ImportMode(on_invalid or "reject")


def import_issuers(
    account_repository: AccountRepository,
    issuer_repository: IssuerRepository,
    account_name: str,
    issuer_import: IssuerImport,
    mode: ImportMode,
) -> dict[str, Any]:
    """Add the issuers of a list to an account; mode ``REPLACE`` removes the others.

    Raises ``issuers-invalid``, which lists the invalid rows, and imports nothing; mode ``SKIP``
    imports the valid rows. Returns the numbers of imported and removed issuers, and the invalid
    rows.
    """
    account = account_repository.get(account_name)
    rejected = [asdict(row) for row in issuer_import.invalid]
    if rejected and mode is not ImportMode.SKIP:
        raise TimbresError(
            ISSUERS_INVALID,
            f"{len(rejected):,} rows are invalid, and nothing was imported; rejected lists them. "
            "on_invalid=skip imports the others.",
            field="body",
            extensions={"rejected": rejected},
        )
    issuer_repository.upsert(account.name, issuer_import.rows, clock.now())
    removed: list[str] = []
    if mode is ImportMode.REPLACE:
        kept = {row.rfc for row in issuer_import.rows}
        removed = [rfc for rfc in issuer_repository.list_rfcs(account.name) if rfc not in kept]
        issuer_repository.remove_many(account.name, removed)
    return {
        "account": account.name,
        "kept": len(issuer_import.rows),
        "removed": len(removed),
        "rejected": rejected,
    }


def remove_many(
    account_repository: AccountRepository,
    issuer_repository: IssuerRepository,
    account_name: str,
    texts: Sequence[str],
) -> dict[str, Any]:
    """Remove up to 100 issuers, each as text of the list or as RFC; return the unknown ones, too.

    Raises ``parameter-invalid`` for more.
    """
    account = account_repository.get(account_name)
    if len(texts) > MAX_REMOVED:
        detail = f"{len(texts)} issuers: expected at most {MAX_REMOVED}."
        raise TimbresError(PARAMETER_INVALID, detail, field="rfc")
    # A key is never empty; and a text may be given twice, or in two forms.
    forms = {text: (text, normalize_rfc(text)) for text in texts if _may_be_stored(text)}
    known = issuer_repository.get_many(
        account.name, sorted({n for two in forms.values() for n in two})
    )
    found = {text: next((n for n in two if n in known), None) for text, two in forms.items()}
    rfcs = sorted({rfc for rfc in found.values() if rfc is not None})
    issuer_repository.remove_many(account.name, rfcs)
    unknown = [text for text, rfc in found.items() if rfc is None]
    return {"account": account.name, "rfcs": rfcs, "unknown": unknown}


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
            detail = f"{rfc} is not a known issuer of account {account.name}."
            raise TimbresError(ISSUER_NOT_FOUND, detail, field="rfc")
    return {"account": account.name, "rfc": rfc, "removed": True}


def _may_be_stored(text: str) -> bool:
    # The PACs' clients accept no longer or other texts.
    return 0 < len(text) <= _MAX_STORED_CHARACTERS and text.isprintable()
