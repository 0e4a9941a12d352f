"""Balance: one account's consumption in one month."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of a balance: on ``date``, ``rfc`` had ``amount`` stamps of ``kind``."""

    rfc: str
    date: date
    kind: str
    amount: int


@dataclass(frozen=True, slots=True)
class Issuers:
    """How many RFCs an account has registered, may stamp, and did stamp."""

    registered: int
    authorized: int
    stamping: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What the PAC says of a month before the movements.

    ``plan`` is ``prepaid`` or ``postpaid`` (or the PAC's own word, should it find a third);
    ``as_of`` carries Mexico City's offset; ``transactions`` counts stamps.
    """

    plan: str
    as_of: datetime
    issuers: Issuers
    transactions: int


@dataclass(slots=True)
class Totals:
    """Sums over movements, in stamps: per RFC and per kind of movement."""

    by_issuer: dict[str, int] = field(default_factory=dict)
    by_kind: dict[str, int] = field(default_factory=dict)
    movements: int = 0
    amount: int = 0

    def add(self, movement: Movement) -> None:
        """Count one movement in."""
        self.by_issuer[movement.rfc] = self.by_issuer.get(movement.rfc, 0) + movement.amount
        self.by_kind[movement.kind] = self.by_kind.get(movement.kind, 0) + movement.amount
        self.movements += 1
        self.amount += movement.amount


def total(movements: Iterable[Movement]) -> Totals:
    """Return the sums over ``movements``, in stamps; it reads them once, and keeps none."""
    totals = Totals()
    for movement in movements:
        totals.add(movement)
    return totals
