"""Reads the consumption of a month, of one account or of all, for reports."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from itertools import chain

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS, Account
from timbres.domain.account_stamps import NOTHING_ALLOTTED, Allotment, sum_unused
from timbres.domain.balance import Movement, Totals, is_consumption, sum_movements
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    AccountStampsLine,
    Consumption,
    ContractLine,
    ExpiryLine,
    IssuerLine,
    MovementLine,
    Source,
    YearConsumption,
    YearLine,
    cost_of,
    round_days,
    sum_known,
)
from timbres.domain.contract import REJECTED
from timbres.domain.expiry import Expiry, next_expiry
from timbres.domain.forecast import available_stamps
from timbres.domain.month import Month, Year
from timbres.domain.monthly_consumption import (
    CLOSING,
    MonthlyConsumption,
    consumption_from_snapshots,
)
from timbres.errors import TimbresError
from timbres.notifications.failure_causes import report_failure
from timbres.pacs.base import BalanceStream
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import AccountStampRepository, SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.schemas.errors import error_to_dict
from timbres.services.balances import log_other_kinds
from timbres.services.pac_access import PacAccess

logger = logging.getLogger("timbres")

_DAY = timedelta(days=1)
_UNCOUNTED = "no hay conteos de ese mes."


@dataclass(frozen=True)
class _AccountConsumption:
    """The consumption of one account."""

    source: Source
    issuers: Sequence[IssuerLine] = ()
    days: Mapping[date, int | None] | None = None
    movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())
    other_movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())
    account_stamps: AccountStampsLine | None = None


class ConsumptionReader:
    """Reads the data of consumption reports."""

    def __init__(
        self,
        pac_access: PacAccess,
        issuer_repository: IssuerRepository,
        snapshot_repository: SnapshotRepository,
        contract_repository: ContractRepository,
        account_stamp_repository: AccountStampRepository,
    ) -> None:
        self._pac_access = pac_access
        self._issuer_repository = issuer_repository
        self._snapshot_repository = snapshot_repository
        self._contract_repository = contract_repository
        self._account_stamp_repository = account_stamp_repository

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
        return Consumption(
            account=name,
            month=month,
            generated_at=clock.now(),
            sources=tuple(part.source for part in parts),
            issuers=tuple(issuer for part in parts for issuer in part.issuers),
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
            movements=lambda: chain.from_iterable(part.movements() for part in parts),
            other_movements=lambda: chain.from_iterable(part.other_movements() for part in parts),
            account_stamps=tuple(part.account_stamps for part in parts if part.account_stamps),
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
        names = self._names(account)
        today = clock.now().date()
        return _AccountConsumption(
            source=Source(
                account=account.name,
                pac=account.pac.display_name,
                source=FROM_PAC,
                plan=reading.summary.plan,
                as_of=reading.summary.as_of,
                previous=None if previous is None else sum(previous.values()),
                stamp_price=account.stamp_price,
            ),
            issuers=[
                IssuerLine(
                    account=account.name,
                    rfc=rfc,
                    amount=amount,
                    previous=None if previous is None else before.get(rfc, 0),
                    name=names.get(rfc),
                    cost=cost_of(amount, account.stamp_price),
                )
                for rfc, amount in totals.by_issuer.items()
            ],
            days={day: days[day] if day <= today else None for day in _days_of(month)},
            movements=lambda: _lines(account, _select(reading, consumption=True)),
            # To filter a large response once more would take as long as to read it.
            other_movements=lambda: _lines(
                account, _select(reading, consumption=False) if totals.other_kinds else ()
            ),
            account_stamps=self._account_stamps(account, NOTHING_ALLOTTED),
        )

    def _names(self, account: Account) -> dict[str | None, str]:
        """Return the names of the account's issuers that have one, by RFC."""
        return {
            issuer.rfc: issuer.name
            for issuer in self._issuer_repository.list_all(account.name)
            if issuer.name
        }

    def _previous_amounts(
        self, account: Account, month: Month, deadline: Deadline
    ) -> dict[str | None, int] | None:
        """Return what each issuer consumed in the previous month; None if the PAC fails."""
        try:
            return self._balance_amounts(account, month.previous(), deadline)
        except TimbresError as error:
            extra = {"account": account.name}
            logger.warning("the previous month is not known: %s", error.detail, extra=extra)
            return None

    def _balance_amounts(
        self, account: Account, month: Month, deadline: Deadline
    ) -> dict[str | None, int]:
        """Return what each issuer consumed in a month. Raises the errors of the PAC."""
        with self._pac_access.client(account).balance(month, None, deadline) as reading:
            return sum_movements(reading.verified_movements()).by_issuer

    # ------------------------------------------------------------------------- a year

    def load_year(
        self, account_name: str, year: Year, deadline: Deadline, *, skip_failed_accounts: bool
    ) -> YearConsumption:
        """Return the consumption of a year, of an account or of ``all``.

        A month that is not known is a gap of its account. Raises retryable errors of the PAC;
        with ``skip_failed_accounts``, and for other errors, the month is a gap.
        """
        is_all = account_name == ALL_ACCOUNTS
        accounts = self._pac_access.account_names() if is_all else [account_name]
        months = year.months(clock.now().date())
        gaps: list[tuple[str, Month, str]] = []
        by_rfc: dict[str | None, list[int | None]] = {}
        totals: list[int | None] = [None] * len(months)
        names: dict[str | None, str] = {}
        costs: dict[str | None, list[Decimal | None]] = {}
        without_price = []

        for name in accounts:
            try:
                account = self._pac_access.require_account(name, "consumption")
            except TimbresError as error:
                if not is_all or (error.problem_type.retryable and not skip_failed_accounts):
                    raise
                cause = _log_cause(name, error)
                gaps += [(name, month, cause) for month in months]
                continue
            names = self._names(account) | names
            of_account: Counter[str | None] = Counter()
            for index, month in enumerate(months):
                try:
                    amounts = self._month_amounts(account, month, deadline)
                except TimbresError as error:
                    if error.problem_type.retryable and not skip_failed_accounts:
                        raise
                    gaps.append((name, month, _log_cause(name, error)))
                    continue
                if amounts is None:
                    gaps.append((name, month, _UNCOUNTED))
                    continue
                totals[index] = (totals[index] or 0) + sum(amounts.values())
                of_account.update(amounts)
                for rfc, amount in amounts.items():
                    line = by_rfc.setdefault(rfc, [None] * len(months))
                    line[index] = (line[index] or 0) + amount
            if account.stamp_price is None:
                without_price.append(name)
            for rfc, amount in of_account.items():
                costs.setdefault(rfc, []).append(cost_of(amount, account.stamp_price))
        lines = [
            YearLine(rfc, names.get(rfc), tuple(line), sum_known(costs[rfc]))
            for rfc, line in by_rfc.items()
        ]
        return YearConsumption(
            account=account_name,
            year=year,
            generated_at=clock.now(),
            accounts=tuple(accounts),
            lines=tuple(sorted(lines, key=lambda line: (-line.total, line.rfc or ""))),
            months=tuple(totals),
            gaps=tuple(gaps),
            without_price=tuple(without_price) if len(without_price) < len(accounts) else (),
        )

    def _month_amounts(
        self, account: Account, month: Month, deadline: Deadline
    ) -> dict[str | None, int] | None:
        """Return what each issuer consumed, 0 if it was counted; None if no count is known."""
        if "balance" in account.pac.capabilities:
            return self._balance_amounts(account, month, deadline)
        counted = self._month(account, month)
        if not counted.known:
            return None
        return dict.fromkeys(counted.rfcs, 0) | sum_movements(counted.movements).by_issuer

    # --------------------------------------------------------------- from snapshots

    def _from_snapshots(self, account: Account, month: Month) -> _AccountConsumption:
        current, previous = self._month(account, month), self._month(account, month.previous())
        amounts = sum_movements(current.movements).by_issuer
        before = sum_movements(previous.movements).by_issuer
        price = account.stamp_price
        known = list(self._issuer_repository.list_all(account.name))
        issuers = [
            IssuerLine(
                account=account.name,
                rfc=issuer.rfc,
                amount=amount,
                previous=before.get(issuer.rfc, 0) if issuer.rfc in previous.rfcs else None,
                available=None
                if issuer.stamps.has_no_contract
                else available_stamps(issuer.stamps),
                days_left=round_days(issuer.forecast.days_left),
                has_no_contract=issuer.stamps.has_no_contract,
                as_of=issuer.as_of,
                name=issuer.name,
                cost=cost_of(amount, price),
            )
            for issuer in known
            if issuer.rfc in current.rfcs
            for amount in [amounts.pop(issuer.rfc, 0)]
        ]
        # Issuers that stamped in the month and were removed later.
        issuers += [
            IssuerLine(account.name, rfc, amount, cost=cost_of(amount, price))
            for rfc, amount in amounts.items()
        ]
        return _AccountConsumption(
            source=Source(
                account=account.name,
                pac=account.pac.display_name,
                source=FROM_SNAPSHOTS,
                plan=None,
                as_of=current.as_of,
                missing_days=tuple(current.missing),
                uncounted=sum(issuer.rfc not in current.rfcs for issuer in known),
                problem=None if current.known else _UNCOUNTED,
                previous=sum(before.values()) if previous.known else None,
                stamp_price=price,
            ),
            issuers=issuers if current.known else (),
            days=_days_with_data(month, current),
            movements=lambda: _lines(account, current.movements),
            account_stamps=self._account_stamps(
                account, sum_unused([issuer.stamps for issuer in known])
            ),
        )

    def _account_stamps(self, account: Account, allotment: Allotment) -> AccountStampsLine | None:
        if not account.pac.has_account_stamps:
            return None
        counted = self._account_stamp_repository.get(account.name)
        return AccountStampsLine(
            account=account.name,
            contracted=counted.stamps.contracted,
            used=counted.stamps.used,
            available=available_stamps(counted.stamps),
            days_left=round_days(counted.forecast.days_left),
            as_of=counted.as_of,
            allotment=allotment,
            is_over_allotted=allotment.exceeds(counted.stamps) is True,
        )

    def _month(self, account: Account, month: Month) -> MonthlyConsumption:
        snapshots = self._snapshot_repository.list_between(
            account.name, month.first_day, month.last_day + CLOSING
        )
        return consumption_from_snapshots(month, snapshots, clock.now().date())

    # ------------------------------------------------------------------------------- both

    def _contracts(self, account: str, month: Month) -> Iterator[ContractLine]:
        first, last = (
            datetime.combine(day, time_of_day(), MEXICO_CITY)
            for day in (month.first_day, month.last_day + _DAY)
        )
        for contract in self._contract_repository.list_between(account, first, last):
            if contract.status != REJECTED:
                yield ContractLine(
                    *(account, contract.rfc, contract.stamps, contract.status),
                    *(contract.requested_by, contract.created_at, contract.id),
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
        return Source(name, pac, FROM_PAC, None, None, problem=_log_cause(name, error))


def _log_cause(account: str, error: TimbresError) -> str:
    """Log why figures of an account are missing; return it in Spanish."""
    logger.warning("figures are missing: %s", error.detail, extra={"account": account})
    return report_failure(error_to_dict(error))


def _days_with_data(month: Month, consumption: MonthlyConsumption) -> dict[date, int | None]:
    """Return each day's stamps; None if no later count of an issuer shows them."""
    sums: Counter[date] = Counter()
    for movement in consumption.movements:
        sums[movement.date] += movement.amount
    newest = consumption.as_of.date() if consumption.as_of else month.first_day
    return {
        day: sums[day]
        if day in sums or (day < newest and consumption.missing.get(day, 0) < consumption.issuers)
        else None
        for day in _days_of(month)
    }


def _days(month: Month, parts: Sequence[_AccountConsumption]) -> tuple[int | None, ...]:
    """Return each day's stamps over all accounts; None if no account has a count of the day."""
    known = [part.days for part in parts if part.days is not None]
    return tuple(sum_known(days[day] for days in known) for day in _days_of(month))


def _days_of(month: Month) -> list[date]:
    return [month.first_day + n * _DAY for n in range(month.last_day.day)]


def _select(reading: BalanceStream, *, consumption: bool) -> Iterator[Movement]:
    return (line for line in reading.movements() if is_consumption(line.kind) is consumption)


def _lines(account: Account, movements: Iterable[Movement]) -> Iterator[MovementLine]:
    for movement in movements:
        yield MovementLine(
            account.name, movement.rfc, movement.date, movement.kind, movement.amount
        )
