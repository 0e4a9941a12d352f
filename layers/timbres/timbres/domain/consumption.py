"""Consumption: what a month's report says, before it has any format.

Everything but the movements is in memory: it grows with the issuers, not with what they
stamped. The movements are a stream that can be walked as often as a format needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from timbres.domain.month import Month

FROM_PAC = "pac"
FROM_SNAPSHOTS = "snapshots"


@dataclass(frozen=True, slots=True)
class Source:
    """Where one account's figures come from, and what is missing in them.

    ``source`` is ``pac`` or ``snapshots``; ``as_of`` is when the PAC was last asked, None
    for never. ``missing_days`` have no figure of their own (what was stamped on them stands
    on the last day before them that has one, if anywhere). ``uncounted`` issuers are known
    and have no figure at all. ``problem`` says, in the PAC's words or ours, why the account's
    figures are missing altogether; None where they are not.
    """

    account: str
    pac: str
    source: str
    plan: str | None
    as_of: datetime | None
    missing_days: tuple[date, ...] = ()
    uncounted: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerLine:
    """One issuer's month, in stamps.

    ``previous`` is what it consumed in the month before, None where that is not known.
    ``available`` and ``days_left`` are as last known, None where the PAC does not say.
    """

    account: str
    rfc: str
    amount: int
    previous: int | None = None
    available: int | None = None
    days_left: float | None = None


@dataclass(frozen=True, slots=True)
class ContractLine:
    """A contract ordered in the month; ``requested_by`` is an IAM ARN."""

    account: str
    rfc: str
    stamps: int
    status: str
    requested_by: str
    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class MovementLine:
    """One movement: on ``date``, ``rfc`` had ``amount`` stamps of ``kind``."""

    account: str
    rfc: str
    date: date
    kind: str
    amount: int


@dataclass(frozen=True)
class Consumption:
    """A month's consumption, of one account or of ``all``.

    ``issuers`` come by amount, the largest first. ``days`` has one number for each day of
    the month, None where nothing is known of it; they may add up to less than ``total``
    when movements are dated outside of the month. ``previous_total`` is None where it is
    not known. ``movements`` starts a new walk over all movements.
    """

    account: str
    month: Month
    generated_at: datetime
    sources: tuple[Source, ...]
    issuers: tuple[IssuerLine, ...]
    days: tuple[int | None, ...]
    contracts: tuple[ContractLine, ...]
    previous_total: int | None
    movements: Callable[[], Iterator[MovementLine]]

    @cached_property
    def total(self) -> int:
        """The stamps of all issuers."""
        return sum(issuer.amount for issuer in self.issuers)

    @property
    def known_total(self) -> int | None:
        """The total, None where no account has figures: nothing known is not nothing used."""
        nothing = self.sources and all(source.problem is not None for source in self.sources)
        return None if nothing and not self.issuers else self.total


def change(now: int | None, before: int | None) -> float | None:
    """Return how much ``now`` is above ``before``, 0.25 for a quarter; None without a base."""
    return (now - before) / before if before and now is not None else None
