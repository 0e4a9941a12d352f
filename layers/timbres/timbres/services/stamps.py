"""Returns the stamps of issuers (current, last counts with a forecast, history) and accounts."""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS, Account
from timbres.domain.expiry import Expiry, next_expiry
from timbres.domain.forecast import Alert, AlertThresholds, Snapshot, consumed_between
from timbres.domain.issuer import Issuer
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import PARAMETER_INVALID, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.services.all_accounts import list_all_accounts
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


def get_current_account_stamps(
    pac_access: PacAccess, account_name: str, deadline: Deadline
) -> tuple[Stamps, datetime | None]:
    """Return the stamps of the account itself from its PAC, and the time; nothing is stored.

    All counts and the time are None if the PAC does not return them. Raises the errors of the
    PAC otherwise, for example rejected credentials.
    """
    account = pac_access.require_account(account_name)
    if not account.pac.has_account_stamps:
        return Stamps(None, None, None), None
    stamps = pac_access.client(account).account_stamps(deadline)
    return stamps, None if stamps.is_unknown else clock.now()


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
    alert: Alert | None,
    after: str | None,
    limit: int,
    deadline: Deadline,
) -> tuple[list[Issuer], str | None]:
    """Return a page of known issuers, the most urgent first, and the next page's cursor or None.

    ``alert`` is low or exhausted, None for all issuers. For ``all`` accounts, an alert is
    required, and one account follows the other. No PAC is called.
    """
    if account_name != ALL_ACCOUNTS:
        name = account_repository.get(account_name).name
        return issuer_repository.list_page(name, after, alert, limit)
    if alert is None:
        raise TimbresError(
            PARAMETER_INVALID, "For all accounts, expected alert=low or exhausted.", field="alert"
        )
    return list_all_accounts(
        account_repository.list_names(),
        lambda name, cursor, count: issuer_repository.list_page(name, cursor, alert, count),
        after,
        limit,
        deadline,
    )


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
