"""Returns the balance of an account: its consumption in one month."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.balance import AccountBalance, Movement, Totals, is_consistent, sum_movements
from timbres.domain.forecast import Snapshot
from timbres.domain.month import Month
from timbres.domain.monthly_consumption import CLOSING, consumption_from_snapshots
from timbres.domain.rfc import Rfc
from timbres.errors import DEADLINE_EXCEEDED, TimbresError
from timbres.pacs.base import BalanceStream
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.services.pac_access import PacAccess

# More would approach the 6 MB limit of a Lambda response.
MAX_MOVEMENTS = 5_000
_MAX_LOGGED_KINDS = 20

logger = logging.getLogger("timbres")


def get_balance(
    account_repository: AccountRepository,
    pac_access: PacAccess,
    snapshot_repository: SnapshotRepository,
    account_name: str,
    month: Month,
    rfc: Rfc | None,
    deadline: Deadline,
) -> AccountBalance:
    """Return an account's balance of a month, for all issuers or for one ``rfc``.

    The source is the PAC if it offers balances, else the daily counts. The balance has the
    first 5,000 movements. Raises ``out-of-time`` if the month is too large to read in time.
    """
    account = account_repository.get(account_name)
    if "balance" in account.pac.capabilities:
        return balance_from_pac(pac_access, account_name, month, rfc, deadline)
    return _balance_from_snapshots(account, snapshot_repository, month, rfc, deadline)


def balance_from_pac(
    pac_access: PacAccess, account_name: str, month: Month, rfc: Rfc | None, deadline: Deadline
) -> AccountBalance:
    """Return the PAC's balance of a month, for all issuers or for one ``rfc``.

    If the total differs from the movements, the balance is inconsistent, and this is logged.
    Raises ``operation-unsupported`` if the PAC does not offer balances.
    """
    account = pac_access.require_account(account_name, "balance")
    with pac_access.client(account).balance(month, rfc, deadline) as reading:
        totals, first = sum_and_take_first(reading, deadline)
        summary = reading.summary
    log_other_kinds(account, month, totals.other_kinds)
    consistent = is_consistent(summary.transactions, totals.consumed, one_issuer=rfc is not None)
    if consistent is False:
        context = {"account": account.name, "month": str(month)}
        sums = {"transactions": summary.transactions, "movements_total": totals.consumed}
        logger.warning(
            "the PAC's total differs from the consumption that it lists", extra={**context, **sums}
        )
    return AccountBalance(
        account=account.name,
        pac=account.pac.name,
        month=month,
        totals=totals,
        movements=first,
        summary=summary,
        consistent=consistent,
        as_of=summary.as_of,
    )


def log_other_kinds(account: Account, month: Month, kinds: Sequence[str]) -> None:
    """Log the kinds of movement in one response that are not consumption, if there are any."""
    if kinds:
        # A PAC may repeat a credential in any text.
        texts = [account.redact(kind) for kind in kinds[:_MAX_LOGGED_KINDS]]
        logger.warning(
            "movements that are not consumption",
            extra={"account": account.name, "month": str(month), "kinds": texts},
        )


def _balance_from_snapshots(
    account: Account,
    snapshot_repository: SnapshotRepository,
    month: Month,
    rfc: Rfc | None,
    deadline: Deadline,
) -> AccountBalance:
    first, last = month.first_day, month.last_day + CLOSING
    snapshots: Iterator[tuple[str, Snapshot]]
    if rfc is None:
        snapshots = snapshot_repository.list_between(account.name, first, last)
    else:
        of_issuer = snapshot_repository.list_history(account.name, rfc, first, last)
        snapshots = ((rfc, snapshot) for snapshot in of_issuer)
    read = _check_deadline(snapshots, deadline)
    consumption = consumption_from_snapshots(month, read, clock.now().date())
    return AccountBalance(
        account=account.name,
        pac=account.pac.name,
        month=month,
        totals=sum_movements(consumption.movements),
        movements=consumption.movements[:MAX_MOVEMENTS],
        as_of=consumption.as_of,
        known=consumption.known,
        missing_days=consumption.missing,
    )


def _check_deadline(
    snapshots: Iterable[tuple[str, Snapshot]], deadline: Deadline
) -> Iterator[tuple[str, Snapshot]]:
    for n, snapshot in enumerate(snapshots):
        if n % 1000 == 0 and deadline.remaining() < 1:
            raise _too_many_error("snapshots")
        yield snapshot


def _too_many_error(items: str) -> TimbresError:
    detail = f"The month has too many {items} to read in time: request one rfc, or a consumption "
    return TimbresError(DEADLINE_EXCEEDED, detail + "report.")


def register_issuers(issuer_repository: IssuerRepository, balance: AccountBalance) -> None:
    """Store the issuers of a balance that are not known yet."""
    missing = set(balance.totals.rfcs) - set(issuer_repository.list_rfcs(balance.account))
    issuer_repository.add_missing(balance.account, sorted(missing), clock.now())


def sum_and_take_first(reading: BalanceStream, deadline: Deadline) -> tuple[Totals, list[Movement]]:
    """Return the sums of all movements and the first ones. Raises ``out-of-time``."""
    totals = Totals()
    first: list[Movement] = []
    for movement in reading.movements():
        if totals.movements % 10_000 == 0 and deadline.remaining() <= 0:
            raise _too_many_error("movements")
        totals.add(movement)
        if len(first) < MAX_MOVEMENTS:
            first.append(movement)
    return totals, first
