"""The issuers of an account, as a user keeps them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from timbres.domain import clock
from timbres.domain.issuer_import import Roster
from timbres.domain.rfc import Rfc
from timbres.errors import ISSUER_UNKNOWN, ISSUERS_INVALID, TimbresError
from timbres.repositories.accounts import Accounts
from timbres.repositories.issuers import Issuers


def keep(
    accounts: Accounts, issuers: Issuers, account_name: str, roster: Roster, good_only: bool
) -> dict[str, Any]:
    """Remember the issuers of a list; those known before and not in it stay.

    With bad rows none is kept (``issuers-invalid``, which names every one), or the good ones
    are with ``good_only``. Returns how many were kept, and the bad rows.
    """
    account = accounts.get(account_name)
    rejected = [asdict(row) for row in roster.bad]
    if rejected and not good_only:
        raise TimbresError(
            ISSUERS_INVALID,
            f"{len(rejected):,} rows are not right, so none was kept; rejected names them. "
            "keep=good keeps the others.",
            field="body",
            members={"rejected": rejected},
        )
    issuers.keep(account.name, roster.entries, clock.now())
    return {"account": account.name, "kept": len(roster.entries), "rejected": rejected}


def remove(accounts: Accounts, issuers: Issuers, account_name: str, rfc: Rfc) -> dict[str, Any]:
    """Forget an issuer until it is seen again; its snapshots stay. Raises ``issuer-unknown``."""
    account = accounts.get(account_name)
    if not issuers.remove(account.name, rfc):
        raise TimbresError(
            ISSUER_UNKNOWN, f"{rfc} is no known issuer of account {account.name}.", field="rfc"
        )
    return {"account": account.name, "rfc": rfc, "removed": True}
