"""Returns the stamps of issuers: current count, last counts with a forecast, and history."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.expiry import Expiry, next_expiry
from timbres.domain.forecast import AlertThresholds, Snapshot, consumed_between
from timbres.domain.issuer import Issuer
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.services.pac_access import PacAccess


def get_current(
    pac_access: PacAccess,
    issuer_repository: IssuerRepository,
    contract_repository: ContractRepository,
    account_name: str,
    rfc: Rfc,
    deadline: Deadline,
) -> tuple[Issuer, Expiry | None]:
    """Query an issuer's stamps from its PAC and store them.

    Returns the issuer, and the next expiry of the contracts that Timbres created for it.
    """
    account = pac_access.require_account(account_name, "stamps")
    stamps = pac_access.client(account).stamps(rfc, deadline)
    issuer = record_observation(issuer_repository, account, rfc, stamps)
    today = clock.now().date()
    expiries = contract_repository.list_expiries_of_issuer(account, rfc, today)
    return issuer, next_expiry(expiries, today)


def record_observation(
    issuer_repository: IssuerRepository, account: Account, rfc: Rfc, stamps: Stamps
) -> Issuer:
    """Store a count made between two daily runs; return the issuer with it."""
    issuer = issuer_repository.get(account.name, rfc)
    snapshot = Snapshot(clock.now(), stamps)
    observed = issuer.with_observation(snapshot, alert_thresholds(account, issuer))
    issuer_repository.save_observation(observed)
    return observed


def list_issuers(
    account_repository: AccountRepository,
    issuer_repository: IssuerRepository,
    account_name: str,
    after: str | None,
) -> tuple[list[Issuer], str | None]:
    """Return a page of known issuers, the most urgent first, and the next page's cursor or None.

    No PAC is called.
    """
    return issuer_repository.list_page(account_repository.get(account_name).name, after)


def list_history(
    account_repository: AccountRepository,
    snapshot_repository: SnapshotRepository,
    account_name: str,
    rfc: Rfc,
    first: date,
    last: date,
) -> list[tuple[Snapshot, int | None]]:
    """Return an issuer's snapshots from ``first`` to ``last``; no PAC is called.

    Each has the stamps used since the previous one, None if that is not known.
    """
    account = account_repository.get(account_name)
    snapshots = list(snapshot_repository.list_history(account.name, rfc, first, last))
    consumed = [None, *(consumed_between(*pair) for pair in pairwise(snapshots))]
    return list(zip(snapshots, consumed, strict=False))


def alert_thresholds(account: Account, issuer: Issuer) -> AlertThresholds:
    """Return the issuer's own threshold, or else its account's, with the account's days."""
    low_stamps = account.low_stamps if issuer.low_stamps is None else issuer.low_stamps
    return AlertThresholds(low_stamps, account.low_days)
