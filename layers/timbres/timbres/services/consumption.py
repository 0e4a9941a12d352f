"""Reads the consumption of a month, of one account or of all, for reports."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from itertools import chain

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS, Account
from timbres.domain.balance import Movement, Totals, is_consumption, sum_movements
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    Consumption,
    ContractLine,
    ExpiryLine,
    IssuerLine,
    MovementLine,
    Source,
)
from timbres.domain.contract import REJECTED
from timbres.domain.expiry import Expiry, next_expiry
from timbres.domain.forecast import available_stamps
from timbres.domain.month import Month
from timbres.domain.monthly_consumption import (
    CLOSING,
    MonthlyConsumption,
    consumption_from_snapshots,
)
from timbres.errors import TimbresError
from timbres.pacs.base import BalanceStream
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.services.balances import log_other_kinds
from timbres.services.pac_access import PacAccess

logger = logging.getLogger("timbres")

_DAY = timedelta(days=1)
_UNCOUNTED = "no hay conteos de ese mes"


@dataclass(frozen=True)
class _AccountConsumption:
    """The consumption of one account; ``previous_total`` is None if it is not known."""

    source: Source
    issuers: Sequence[IssuerLine] = ()
    days: Mapping[date, int | None] | None = None
    previous_total: int | None = None
    movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())
    other_movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())


class ConsumptionReader:
    """Reads the data of consumption reports."""

    def __init__(
        self,
        pac_access: PacAccess,
        issuer_repository: IssuerRepository,
        snapshot_repository: SnapshotRepository,
        contract_repository: ContractRepository,
    ) -> None:
        self._pac_access = pac_access
        self._issuer_repository = issuer_repository
        self._snapshot_repository = snapshot_repository
        self._contract_repository = contract_repository

    @contextmanager
    def load(
        self, account_name: str, month: Month, deadline: Deadline, *, skip_failed_accounts: bool
    ) -> Iterator[Consumption]:
        """Yield the consumption of an account or of ``all``; leaving deletes temporary files.

        Raises the errors of the PAC. For ``all``, an account whose error is not retryable is
        included with its problem instead; with ``skip_failed_accounts``, every failed account is.
        """
        is_all = account_name == ALL_ACCOUNTS
        names = self._pac_access.account_names() if is_all else [account_name]
        with ExitStack() as stack:
            parts = []
            for name in names:
                try:
                    parts.append(self._load_account(stack, name, month, deadline))
                except TimbresError as error:
                    if not is_all or (error.problem_type.retryable and not skip_failed_accounts):
                        raise
                    logger.warning(
                        "an account is missing: %s", error.detail, extra={"account": name}
                    )
                    parts.append(_AccountConsumption(self._failed_account(name, error)))
            yield self._merge(account_name, month, parts)

    def _load_account(
        self, stack: ExitStack, name: str, month: Month, deadline: Deadline
    ) -> _AccountConsumption:
        account = self._pac_access.require_account(name, "consumption")
        if "balance" in account.pac.capabilities:
            return self._from_balance(stack, account, month, deadline)
        return self._from_snapshots(account, month)

    def _merge(self, name: str, month: Month, parts: Sequence[_AccountConsumption]) -> Consumption:
        issuers = [issuer for part in parts for issuer in part.issuers]
        totals = [part.previous_total for part in parts]
        known = [total for total in totals if total is not None]
        return Consumption(
            account=name,
            month=month,
            generated_at=clock.now(),
            sources=tuple(part.source for part in parts),
            issuers=tuple(
                sorted(
                    issuers, key=lambda issuer: (-issuer.amount, issuer.rfc or "", issuer.account)
                )
            ),
            days=_days(month, parts),
            contracts=tuple(
                line for part in parts for line in self._contracts(part.source.account, month)
            ),
            expiries=tuple(
                sorted(
                    (line for part in parts for line in self._expiries(part.source.account)),
                    key=lambda line: (line.expires_on, line.account, line.rfc),
                )
            ),
            previous_total=sum(known) if known and len(known) == len(totals) else None,
            movements=lambda: chain.from_iterable(part.movements() for part in parts),
            other_movements=lambda: chain.from_iterable(part.other_movements() for part in parts),
        )

    # ------------------------------------------------------------------- from the PAC

    def _from_balance(
        self, stack: ExitStack, account: Account, month: Month, deadline: Deadline
    ) -> _AccountConsumption:
        reading = stack.enter_context(
            self._pac_access.client(account).balance(month, None, deadline)
        )
        totals = Totals()
        days: Counter[date] = Counter()
        for movement in reading.verified_movements():
            totals.add(movement)
            if is_consumption(movement.kind):
                days[movement.date] += movement.amount
        log_other_kinds(account, month, totals.other_kinds)
        previous = self._previous_amounts(account, month, deadline)
        before = previous or {}
        today = clock.now().date()
        return _AccountConsumption(
            source=Source(
                account=account.name,
                pac=account.pac.display_name,
                source=FROM_PAC,
                plan=reading.summary.plan,
                as_of=reading.summary.as_of,
            ),
            issuers=[
                IssuerLine(
                    account.name, rfc, amount, None if previous is None else before.get(rfc, 0)
                )
                for rfc, amount in totals.by_issuer.items()
            ],
            days={day: days[day] if day <= today else None for day in _days_of(month)},
            previous_total=None if previous is None else sum(previous.values()),
            movements=lambda: _lines(account, _consumption(reading)),
            # To filter a large response once more would take as long as to read it.
            other_movements=lambda: _lines(account, _others(reading) if totals.other_kinds else ()),
        )

    def _previous_amounts(
        self, account: Account, month: Month, deadline: Deadline
    ) -> dict[str | None, int] | None:
        """Return what each issuer consumed in the previous month; None if the PAC fails."""
        previous = month.previous()
        try:
            with self._pac_access.client(account).balance(previous, None, deadline) as reading:
                return sum_movements(reading.verified_movements()).by_issuer
        except TimbresError as error:
            logger.warning(
                "the previous month is not known: %s", error.detail, extra={"account": account.name}
            )
            return None

    # --------------------------------------------------------------- from snapshots

    def _from_snapshots(self, account: Account, month: Month) -> _AccountConsumption:
        current, previous = self._month(account, month), self._month(account, month.previous())
        amounts = sum_movements(current.movements).by_issuer
        previous_amounts = sum_movements(previous.movements).by_issuer
        issuers = []
        uncounted = 0
        for issuer in self._issuer_repository.list_all(account.name):
            if issuer.rfc not in current.rfcs:
                uncounted += 1
                continue
            issuers.append(
                IssuerLine(
                    account=account.name,
                    rfc=issuer.rfc,
                    amount=amounts.pop(issuer.rfc, 0),
                    previous=previous_amounts.get(issuer.rfc, 0)
                    if issuer.rfc in previous.rfcs
                    else None,
                    available=available_stamps(issuer.stamps),
                    days_left=issuer.forecast.days_left,
                )
            )
        # Issuers that stamped in the month and were removed later.
        issuers += [IssuerLine(account.name, rfc, amount) for rfc, amount in amounts.items()]
        return _AccountConsumption(
            source=Source(
                account=account.name,
                pac=account.pac.display_name,
                source=FROM_SNAPSHOTS,
                plan=None,
                as_of=current.as_of,
                missing_days=tuple(current.missing),
                uncounted=uncounted,
                problem=None if current.known else _UNCOUNTED,
            ),
            issuers=issuers if current.known else (),
            days=_days_with_data(month, current),
            previous_total=sum(previous_amounts.values()) if previous.known else None,
            movements=lambda: _lines(account, current.movements),
        )

    def _month(self, account: Account, month: Month) -> MonthlyConsumption:
        snapshots = self._snapshot_repository.list_between(
            account.name, month.first_day, month.last_day + CLOSING
        )
        return consumption_from_snapshots(month, snapshots, clock.now().date())

    # ------------------------------------------------------------------------------- both

    def _contracts(self, account: str, month: Month) -> Iterator[ContractLine]:
        first = datetime.combine(month.first_day, time_of_day(), MEXICO_CITY)
        last = datetime.combine(month.last_day + _DAY, time_of_day(), MEXICO_CITY)
        for contract in self._contract_repository.list_between(account, first, last):
            if contract.status != REJECTED:
                yield ContractLine(
                    account=account,
                    rfc=contract.rfc,
                    stamps=contract.stamps,
                    status=contract.status,
                    requested_by=contract.requested_by,
                    created_at=contract.created_at,
                    id=contract.id,
                )

    def _expiries(self, account: str) -> Iterator[ExpiryLine]:
        today = clock.now().date()
        by_issuer: dict[str, Expiry] = {}
        for rfc, expiry in self._contract_repository.list_expiries(account, today):
            known = by_issuer.get(rfc)
            earliest = next_expiry([expiry] if known is None else [known, expiry], today)
            if earliest is not None:
                by_issuer[rfc] = earliest
        for rfc, expiry in by_issuer.items():
            yield ExpiryLine(account, rfc, expiry.stamps, expiry.expires_on)

    def _failed_account(self, name: str, error: TimbresError) -> Source:
        try:
            pac = self._pac_access.require_account(name).pac.display_name
        except TimbresError:
            pac = ""
        return Source(name, pac, FROM_PAC, None, None, problem=error.detail)


def _days_with_data(month: Month, consumption: MonthlyConsumption) -> dict[date, int | None]:
    """Return each day's stamps; None for a day on which no issuer is counted yet."""
    sums: Counter[date] = Counter()
    for movement in consumption.movements:
        sums[movement.date] += movement.amount
    today = clock.now().date()
    return {
        day: sums[day]
        if day in sums or (day < today and consumption.missing.get(day, 0) < consumption.issuers)
        else None
        for day in _days_of(month)
    }


def _days(month: Month, parts: Sequence[_AccountConsumption]) -> tuple[int | None, ...]:
    """Return each day's stamps over all accounts; None if no account has a count of the day."""
    days: list[int | None] = []
    for day in _days_of(month):
        known = [part.days[day] for part in parts if part.days is not None]
        counts = [count for count in known if count is not None]
        days.append(sum(counts) if counts else None)
    return tuple(days)


def _days_of(month: Month) -> list[date]:
    return [month.first_day + n * _DAY for n in range(month.last_day.day)]


def _consumption(reading: BalanceStream) -> Iterator[Movement]:
    return (movement for movement in reading.movements() if is_consumption(movement.kind))


def _others(reading: BalanceStream) -> Iterator[Movement]:
    return (movement for movement in reading.movements() if not is_consumption(movement.kind))


def _lines(account: Account, movements: Iterable[Movement]) -> Iterator[MovementLine]:
    for movement in movements:
        yield MovementLine(
            account.name, movement.rfc, movement.date, movement.kind, movement.amount
        )
