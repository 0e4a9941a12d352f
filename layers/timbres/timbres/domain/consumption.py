"""Consumption: the content of a report, independent of its format.

The movements are a stream that can be read several times. The rest is in memory, because its
size depends on the number of issuers only. Rates, days and costs are rounded here, once, so that
every format has the same figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import TypeVar

from timbres.domain.account_stamps import NOTHING_ALLOTTED, Allotment
from timbres.domain.month import Month, Year

FROM_PAC = "pac"
FROM_SNAPSHOTS = "snapshots"

_TENTH, _CENT = Decimal("0.1"), Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Source:
    """One account: the source of its figures, their gaps, and its price.

    ``source`` is ``pac`` or ``snapshots``; ``as_of`` is the time of the read from the PAC or of
    the count that closes the month, or None. ``missing_days`` have no figure of their own: their
    stamps are attributed to the last day before them with a count, if there is one.
    ``uncounted`` is the number of known issuers without any figure. ``problem`` is the reason
    why all figures of the account are missing, or None. ``previous`` are its stamps of the month
    before, None if they are not known. ``stamp_price`` is in MXN, None without a price.
    """

    account: str
    pac: str
    source: str
    plan: str | None
    as_of: datetime | None
    missing_days: tuple[date, ...] = ()
    uncounted: int = 0
    problem: str | None = None
    previous: int | None = None
    stamp_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class IssuerLine:
    """One issuer of one account, in stamps; ``rfc`` is None for consumption without an RFC.

    ``previous`` is its consumption in the month before, None if that is not known.
    ``available`` and ``days_left`` are those of its last count at ``as_of``, None if the PAC does
    not return them, or if the issuer has no stamps of its own (``has_no_contract``). ``name`` is
    its razón social, ``cost`` is in MXN; None if they are not known.
    """

    account: str
    rfc: str | None
    amount: int
    previous: int | None = None
    available: int | None = None
    days_left: Decimal | None = None
    has_no_contract: bool = False
    as_of: datetime | None = None
    name: str | None = None
    cost: Decimal | None = None

    @property
    def compared(self) -> int:
        """The consumption as far as that of the previous month is known."""
        return 0 if self.previous is None else self.amount

    @property
    def change(self) -> Decimal | None:
        """The change from the previous month in percent, as far as that is known."""
        return percent_change(self.compared, self.previous)

    @property
    def is_new(self) -> bool:
        """Whether it consumed stamps, and is known to have consumed none in the month before."""
        return self.previous == 0 and self.compared > 0

    @property
    def is_exhausted(self) -> bool:
        """Whether no stamps are available; False if that is not known."""
        return self.available is not None and self.available <= 0


@dataclass(frozen=True, slots=True)
class RfcLine(IssuerLine):
    """One RFC over its accounts; ``parts`` are its issuers, the largest consumption first.

    ``account`` has the names of the accounts. ``previous`` and ``available`` are the sums of the
    known numbers, ``as_of`` is the oldest count. ``days_left`` is the smallest: the RFC runs out
    first in that account, and ``is_exhausted`` if it has run out in one.
    """

    parts: tuple[IssuerLine, ...] = ()

    @property
    def compared(self) -> int:
        """The consumption in the accounts whose previous month is known."""
        return sum(part.compared for part in self.parts)

    @property
    def is_exhausted(self) -> bool:
        """Whether no stamps are available in one of the accounts."""
        return any(part.is_exhausted for part in self.parts)


@dataclass(frozen=True, slots=True)
class AccountStampsLine:
    """The stamps of an account itself, at its last daily count; unknown values are None.

    ``allotment`` has the contracted but unused stamps of its issuers at their last counts.
    """

    account: str
    contracted: int | None = None
    used: int | None = None
    available: int | None = None
    days_left: Decimal | None = None
    as_of: datetime | None = None
    allotment: Allotment = NOTHING_ALLOTTED
    is_over_allotted: bool = False

    @property
    def is_exhausted(self) -> bool:
        """Whether no stamps are available; False if that is not known."""
        return self.available is not None and self.available <= 0


@dataclass(frozen=True, slots=True)
class ContractLine:
    """A contract requested in the month; ``requested_by`` is an IAM ARN."""

    account: str
    rfc: str
    stamps: int
    status: str
    requested_by: str
    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class ExpiryLine:
    """The next expiry of an issuer's contracts, as of the report's generation."""

    account: str
    rfc: str
    stamps: int
    expires_on: date


@dataclass(frozen=True, slots=True)
class MovementLine:
    """One movement: on ``date``, ``rfc`` had ``amount`` stamps of ``kind``.

    ``rfc`` is None for a movement of the account itself.
    """

    account: str
    rfc: str | None
    date: date
    kind: str
    amount: int


@dataclass(frozen=True)
class Consumption:
    """A month's consumption, of one account or of ``all``.

    ``issuers`` are the issuers of each account. ``days`` has one number per day of the month,
    None if it is not known; their sum is less than ``total`` if movements have dates outside of
    the month. ``movements`` returns a new iterator over all movements that are consumption,
    ``other_movements`` one over the others, which are part of no total. ``expiries`` are sorted
    by day. ``account_stamps`` has the accounts whose PAC may return the stamps of the account
    itself.
    """

    account: str
    month: Month
    generated_at: datetime
    sources: tuple[Source, ...]
    issuers: tuple[IssuerLine, ...]
    days: tuple[int | None, ...]
    contracts: tuple[ContractLine, ...]
    movements: Callable[[], Iterator[MovementLine]]
    other_movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())
    expiries: tuple[ExpiryLine, ...] = ()
    account_stamps: tuple[AccountStampsLine, ...] = ()

    @cached_property
    def rfcs(self) -> tuple[RfcLine, ...]:
        """Each RFC once, over its accounts, the largest consumption first."""
        by_rfc: dict[str | None, list[IssuerLine]] = {}
        for issuer in self.issuers:
            by_rfc.setdefault(issuer.rfc, []).append(issuer)
        lines = [_merge(rfc, parts) for rfc, parts in by_rfc.items()]
        return tuple(sorted(lines, key=lambda line: (-line.amount, line.rfc or "")))

    @cached_property
    def total(self) -> int:
        """The stamps of all issuers."""
        return sum(issuer.amount for issuer in self.issuers)

    @property
    def known_total(self) -> int | None:
        """The total, None if no account has figures: unknown consumption is not 0."""
        all_failed = self.sources and all(source.problem is not None for source in self.sources)
        return None if all_failed and not self.issuers else self.total

    @cached_property
    def amounts(self) -> Counter[str]:
        """The stamps of each account."""
        amounts: Counter[str] = Counter()
        for issuer in self.issuers:
            amounts[issuer.account] += issuer.amount
        return amounts

    @property
    def previous(self) -> int | None:
        """The previous month of the accounts in which it is known, None if in none."""
        return sum_known(source.previous for source in self.sources)

    @property
    def change(self) -> Decimal | None:
        """The change in percent, over the accounts whose previous month is known."""
        compared = [source.account for source in self.sources if source.previous is not None]
        return percent_change(sum(self.amounts[account] for account in compared), self.previous)

    @property
    def not_compared(self) -> list[Source]:
        """The accounts with figures whose previous month is not known."""
        return [each for each in self.sources if each.previous is None and each.problem is None]

    @property
    def cost(self) -> Decimal | None:
        """The cost in MXN of the accounts with a price, None without one."""
        return sum_known(issuer.cost for issuer in self.issuers)

    @property
    def without_price(self) -> list[str]:
        """The accounts without a price, if others have one."""
        names = [source.account for source in self.sources if source.stamp_price is None]
        return names if len(names) < len(self.sources) else []

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of the RFCs that have one."""
        return {line.rfc: line.name for line in self.rfcs if line.rfc and line.name}


@dataclass(frozen=True, slots=True)
class YearLine:
    """One RFC's months, in stamps, None if not known; ``cost`` in MXN, None without a price."""

    rfc: str | None
    name: str | None
    months: tuple[int | None, ...]
    cost: Decimal | None = None

    @property
    def total(self) -> int:
        """The stamps of the known months."""
        return sum(month or 0 for month in self.months)


@dataclass(frozen=True)
class YearConsumption:
    """A year's consumption per RFC, the largest first, of one account or of ``all``.

    ``months`` are those that have begun; each has the sum of the accounts whose figures are
    known, None if none are. ``gaps`` has the accounts and months that are missing in the sums,
    with the reason.
    """

    account: str
    year: Year
    generated_at: datetime
    accounts: tuple[str, ...]
    lines: tuple[YearLine, ...]
    months: tuple[int | None, ...]
    gaps: tuple[tuple[str, Month, str], ...] = ()
    without_price: tuple[str, ...] = ()

    @property
    def total(self) -> int | None:
        """The stamps of the known months, None if none is known."""
        return sum_known(self.months)

    @property
    def cost(self) -> Decimal | None:
        """The cost in MXN of the accounts with a price, None without one."""
        return sum_known(line.cost for line in self.lines)


def percent(part: int, whole: int) -> Decimal:
    """Return ``part`` of ``whole`` in percent, with one decimal, half up; 0 of 0 is 0."""
    return _round(Decimal(100 * part) / whole if whole else Decimal(0), _TENTH)


def percent_change(current: int, previous: int | None) -> Decimal | None:
    """Return the change in percent, with one decimal; None if ``previous`` is 0 or None."""
    return percent(current - previous, previous) if previous else None


def round_days(days: float | None) -> Decimal | None:
    """Return a number of days with one decimal, half up."""
    return None if days is None else _round(Decimal(str(days)), _TENTH)


def cost_of(amount: int, stamp_price: Decimal | None) -> Decimal | None:
    """Return the cost of ``amount`` stamps in MXN, with two decimals, half up."""
    return None if stamp_price is None else _round(amount * stamp_price, _CENT)


N = TypeVar("N", int, Decimal)


def sum_known(values: Iterable[N | None]) -> N | None:
    """Return the sum of the known values, None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _round(value: Decimal, unit: Decimal) -> Decimal:
    # Without a negative zero.
    return value.quantize(unit, ROUND_HALF_UP) + 0


def _merge(rfc: str | None, parts: Sequence[IssuerLine]) -> RfcLine:
    parts = sorted(parts, key=lambda part: (-part.amount, part.account))
    days = [part.days_left for part in parts if part.days_left is not None]
    counted = [part for part in parts if part.available is not None]
    return RfcLine(
        account=", ".join(part.account for part in parts),
        rfc=rfc,
        amount=sum(part.amount for part in parts),
        previous=sum_known(part.previous for part in parts),
        available=sum_known(part.available for part in parts),
        days_left=min(days, default=None),
        has_no_contract=not counted and any(part.has_no_contract for part in parts),
        as_of=min((part.as_of for part in counted or parts if part.as_of), default=None),
        name=next((part.name for part in parts if part.name), None),
        cost=sum_known(part.cost for part in parts),
        parts=tuple(parts),
    )
