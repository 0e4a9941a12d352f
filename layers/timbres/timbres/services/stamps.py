"""Stamp count: how many stamps an issuer has left, had on other days, and for how long."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.forecast import Limits, Snapshot, consumed_between
from timbres.domain.issuer import Issuer
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.repositories.accounts import Accounts
from timbres.repositories.daily_counts import Snapshots
from timbres.repositories.issuers import Issuers
from timbres.services.pac_access import Access


def live(
    access: Access, issuers: Issuers, account_name: str, rfc: Rfc, deadline: Deadline
) -> Issuer:
    """Return an issuer with its stamps as its PAC counts them now; the count is remembered."""
    account = access.account(account_name, "stamps")
    stamps = access.client(account).stamps(rfc, deadline)
    return remember(issuers, account, rfc, stamps)


def remember(issuers: Issuers, account: Account, rfc: Rfc, stamps: Stamps) -> Issuer:
    """Remember a count made between two runs; return the issuer with it."""
    issuer = issuers.get(account.name, rfc)
    seen = issuer.seen(Snapshot(clock.now(), stamps), limits(account, issuer))
    issuers.seen(seen)
    return seen


def known(
    accounts: Accounts, issuers: Issuers, account_name: str, after: str | None
) -> tuple[list[Issuer], str | None]:
    """Return known issuers of an account, the most urgent first, and the cursor of the rest.

    No PAC is called.
    """
    return issuers.page(accounts.get(account_name).name, after)


def history(
    accounts: Accounts, snapshots: Snapshots, account_name: str, rfc: Rfc, first: date, last: date
) -> list[tuple[Snapshot, int | None]]:
    """Return an issuer's snapshots from ``first`` to ``last``; no PAC is called.

    Each comes with the stamps used since the one before, None where that is not known.
    """
    account = accounts.get(account_name)
    found = list(snapshots.history(account.name, rfc, first, last))
    consumed = [None, *(consumed_between(*pair) for pair in pairwise(found))]
    return list(zip(found, consumed, strict=False))


def limits(account: Account, issuer: Issuer) -> Limits:
    """Return when stamps are low: by the issuer's own threshold, or else its account's."""
    own = issuer.low_stamps
    return Limits(account.low_stamps if own is None else own, account.low_days)
