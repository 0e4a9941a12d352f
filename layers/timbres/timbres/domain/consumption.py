"""Consumption: the content of a month's report, independent of its format.

The movements are a stream that can be read several times. The rest is in memory, because its
size depends on the number of issuers only.
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
    """Source of one account's figures, and the gaps in them.

    ``source`` is ``pac`` or ``snapshots``; ``as_of`` is the time of the last read from the PAC,
    or None. ``missing_days`` have no figure of their own: their stamps are attributed to the
    last day before them with a count, if there is one. ``uncounted`` is the number of known
    issuers without any figure. ``problem`` is the reason why all figures of the account are
    missing, or None.
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
    """One issuer's month, in stamps; ``rfc`` is None for consumption without an RFC.

    ``previous`` is its consumption in the month before, None if that is not known.
    ``available`` and ``days_left`` are the last known values, None if the PAC does not return
    them.
    """

    account: str
    rfc: str | None
    amount: int
    previous: int | None = None
    available: int | None = None
    days_left: float | None = None


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

    ``issuers`` are sorted by amount, the largest first. ``days`` has one number per day of the
    month, None if it is not known; their sum is less than ``total`` if movements have dates
    outside of the month. ``previous_total`` is None if it is not known. ``movements`` returns
    a new iterator over all movements that are consumption, ``other_movements`` one over the
    others, which are part of no total. ``expiries`` are sorted by day.
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
    other_movements: Callable[[], Iterator[MovementLine]] = lambda: iter(())
    expiries: tuple[ExpiryLine, ...] = ()

    @cached_property
    def total(self) -> int:
        """The stamps of all issuers."""
        return sum(issuer.amount for issuer in self.issuers)

    @property
    def known_total(self) -> int | None:
        """The total, None if no account has figures: unknown consumption is not 0."""
        all_failed = self.sources and all(source.problem is not None for source in self.sources)
        return None if all_failed and not self.issuers else self.total


def change(now: int | None, before: int | None) -> float | None:
    """Return the relative change, for example 0.25 for 25 %; None if ``before`` is 0 or None."""
    return (now - before) / before if before and now is not None else None
