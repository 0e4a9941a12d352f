"""Stamp count: how many stamps an issuer has left, had on other days, and for how long."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.forecast import AlertThresholds, Snapshot, consumed_between
from timbres.domain.issuer import Issuer
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.services.pac_access import PacAccess


def get_current(
    access: PacAccess, issuers: IssuerRepository, account_name: str, rfc: Rfc, deadline: Deadline
) -> Issuer:
    """Return an issuer with its stamps as its PAC counts them now; the count is remembered."""
    account = access.require_account(account_name, "stamps")
    stamps = access.client(account).stamps(rfc, deadline)
    return record_observation(issuers, account, rfc, stamps)


def record_observation(
    issuers: IssuerRepository, account: Account, rfc: Rfc, stamps: Stamps
) -> Issuer:
    """Remember a count made between two runs; return the issuer with it."""
    issuer = issuers.get(account.name, rfc)
    seen = issuer.with_observation(Snapshot(clock.now(), stamps), alert_thresholds(account, issuer))
    issuers.save_observation(seen)
    return seen


def list_issuers(
    accounts: AccountRepository, issuers: IssuerRepository, account_name: str, after: str | None
) -> tuple[list[Issuer], str | None]:
    """Return known issuers of an account, the most urgent first, and the cursor of the rest.

    No PAC is called.
    """
    return issuers.list_page(accounts.get(account_name).name, after)


def list_history(
    accounts: AccountRepository,
    snapshots: SnapshotRepository,
    account_name: str,
    rfc: Rfc,
    first: date,
    last: date,
) -> list[tuple[Snapshot, int | None]]:
    """Return an issuer's snapshots from ``first`` to ``last``; no PAC is called.

    Each comes with the stamps used since the one before, None where that is not known.
    """
    account = accounts.get(account_name)
    found = list(snapshots.list_history(account.name, rfc, first, last))
    consumed = [None, *(consumed_between(*pair) for pair in pairwise(found))]
    return list(zip(found, consumed, strict=False))


def alert_thresholds(account: Account, issuer: Issuer) -> AlertThresholds:
    """Return when stamps are low: by the issuer's own threshold, or else its account's."""
    own = issuer.low_stamps
    return AlertThresholds(account.low_stamps if own is None else own, account.low_days)
