"""Balance: one account's consumption in one month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache

from timbres.domain.month import Month

CONSUMPTION = "Consumo de timbre"
"""The kind of movement that is consumption; others are not."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of a balance: on ``date``, ``rfc`` had ``amount`` stamps of ``kind``."""

    rfc: str
    date: date
    kind: str
    amount: int


@dataclass(frozen=True, slots=True)
class IssuerCounts:
    """How many RFCs an account has registered, may stamp, and did stamp."""

    registered: int
    authorized: int
    active: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the PAC says of a month before the movements.

    ``plan`` is ``prepaid`` or ``postpaid`` (or the PAC's own word, should it find a third);
    ``as_of`` carries Mexico City's offset; ``transactions`` counts stamps.
    """

    plan: str
    as_of: datetime
    issuers: IssuerCounts
    transactions: int


@dataclass(slots=True)
class Totals:
    """Sums over movements, in stamps: per RFC and per kind of movement.

    ``amount`` is of every kind of movement, ``consumed`` of consumption alone.
    """

    by_issuer: dict[str, int] = field(default_factory=dict)
    by_kind: dict[str, int] = field(default_factory=dict)
    movements: int = 0
    amount: int = 0
    consumed: int = 0

    def add(self, movement: Movement) -> None:
        """Count one movement in."""
        self.by_issuer[movement.rfc] = self.by_issuer.get(movement.rfc, 0) + movement.amount
        self.by_kind[movement.kind] = self.by_kind.get(movement.kind, 0) + movement.amount
        self.movements += 1
        self.amount += movement.amount
        if is_consumption(movement.kind):
            self.consumed += movement.amount


def sum_movements(movements: Iterable[Movement]) -> Totals:
    """Return the sums over ``movements``, in stamps; it reads them once, and keeps none."""
    totals = Totals()
    for movement in movements:
        totals.add(movement)
    return totals


@lru_cache(maxsize=64)
def is_consumption(kind: str) -> bool:
    """Return whether a kind of movement is consumption; case and blanks do not count."""
    return " ".join(kind.split()).casefold() == CONSUMPTION.casefold()


def is_consistent(transactions: int, consumed: int, *, one_issuer: bool = False) -> bool | None:
    """Return whether a PAC's total of a month agrees with the movements that it lists.

    ``transactions`` is the total as the PAC states it, ``consumed`` the sum of the consumption
    in its movements. ``one_issuer``: only the movements of one RFC were requested. The
    documentation does not say whether the total is then that RFC's or the account's: None if it
    is larger than the sum.
    """
    if one_issuer and transactions > consumed:
        return None
    return transactions == consumed


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """One account's consumption in one month, from its PAC or from the daily counts.

    ``totals`` are of all movements, ``movements`` the first of them. ``summary`` is the PAC's,
    None where the daily counts are the source. ``consistent``: whether the PAC's total agrees
    with its movements; None where that is open. ``known``: whether any consumption is known.
    ``missing_days``: how many issuers were not counted on a day, None where a PAC is the source.
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
    """What a CSV statement says. ``account`` is the PAC's own name of it; days inclusive."""

    account: str
    plan: str
    first_day: date
    last_day: date
    as_of: datetime
    issuers: IssuerCounts
    transactions: int
    totals: Totals
