"""Balance: one account's consumption in one month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from timbres.domain.month import Month

CONSUMPTION = "Consumo de timbre"
"""The only kind of movement that is consumption."""


class Movement(NamedTuple):
    """One line of a balance: on ``date``, ``rfc`` had ``amount`` stamps of ``kind``.

    ``rfc`` is None for a movement of the account itself.
    """

    rfc: str | None
    date: date
    kind: str
    amount: int


@dataclass(frozen=True, slots=True)
class IssuerCounts:
    """Numbers of an account's RFCs: registered, authorized to stamp, and with stamps used.

    None if the PAC does not know a number.
    """

    registered: int | None
    authorized: int | None
    active: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """A PAC's summary of a month.

    ``plan`` is ``prepaid``, ``postpaid``, the PAC's own word for another plan, or None. ``as_of``
    has Mexico City's offset. ``transactions`` is the number of stamps, None if it is not known.
    """

    plan: str | None
    as_of: datetime
    issuers: IssuerCounts
    transactions: int | None


@dataclass(slots=True)
class Totals:
    """Sums over movements, in stamps.

    ``by_issuer`` and ``consumed`` are sums over consumption only; the key None of ``by_issuer``
    is consumption without an RFC. ``by_kind`` has the sum of each kind of movement.
    ``movements`` is the number of movements of every kind.
    """

    by_issuer: dict[str | None, int] = field(default_factory=dict)
    by_kind: dict[str, int] = field(default_factory=dict)
    movements: int = 0
    consumed: int = 0

    def add(self, movement: Movement) -> None:
        """Add one movement to the sums."""
        self.by_kind[movement.kind] = self.by_kind.get(movement.kind, 0) + movement.amount
        self.movements += 1
        if is_consumption(movement.kind):
            self.by_issuer[movement.rfc] = self.by_issuer.get(movement.rfc, 0) + movement.amount
            self.consumed += movement.amount

    @property
    def rfcs(self) -> list[str]:
        """The RFCs with consumption."""
        return [rfc for rfc in self.by_issuer if rfc]

    @property
    def other_kinds(self) -> list[str]:
        """The kinds of movement that are not consumption, in order."""
        return sorted(kind for kind in self.by_kind if not is_consumption(kind))


def sum_movements(movements: Iterable[Movement]) -> Totals:
    """Return the sums over ``movements``, in stamps; the movements are read as a stream."""
    totals = Totals()
    for movement in movements:
        totals.add(movement)
    return totals


@lru_cache(maxsize=64)
def is_consumption(kind: str) -> bool:
    """Return whether a kind of movement is consumption; case and spacing are ignored."""
    return " ".join(kind.split()).casefold() == CONSUMPTION.casefold()


def is_consistent(
    transactions: int | None, consumed: int, *, one_issuer: bool = False
) -> bool | None:
    """Return whether a PAC's total of a month agrees with its movements.

    ``transactions`` is the PAC's total or None, ``consumed`` the sum of the consumption in its
    movements. ``one_issuer``: only the movements of one RFC were requested. The documentation
    does not specify whether the total is then the RFC's or the account's: None if it is larger
    than the sum.
    """
    if transactions is None or (one_issuer and transactions > consumed):
        return None
    return transactions == consumed


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """One account's consumption in one month, from its PAC or from the daily counts.

    ``totals`` are sums over all movements, ``movements`` the first of them. ``summary`` is
    the PAC's, None if the source is the daily counts. ``consistent``: whether the PAC's total
    agrees with its movements, None if that is not known. ``known``: whether any consumption is
    known. ``missing_days``: number of issuers without a count per day, None if the source is a
    PAC.
    """

    account: str
    pac: str
    month: Month
    totals: Totals
    movements: Sequence[Movement]
    summary: Summary | None = None
    consistent: bool | None = None
    as_of: datetime | None = None
    known: bool = True
    missing_days: Mapping[date, int] | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """Content of a CSV statement. ``account`` is the PAC's name; the days are inclusive."""

    account: str
    plan: str
    first_day: date
    last_day: date
    as_of: datetime
    issuers: IssuerCounts
    transactions: int | None
    totals: Totals
