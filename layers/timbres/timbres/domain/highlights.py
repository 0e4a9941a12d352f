"""Highlights: the figures of a month's report that the page, the workbook and a mail show first."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from timbres.domain.consumption import FROM_SNAPSHOTS, AccountStampsLine, Consumption, IssuerLine

# Stamps for fewer days are soon used up, or urgent.
SOON_DAYS = 30
URGENT_DAYS = 7


class Severity(StrEnum):
    """How urgent it is that stamps run out."""

    NONE = ""
    SOON = "soon"
    URGENT = "urgent"


def severity(line: IssuerLine | AccountStampsLine) -> Severity:
    """Return the severity of an issuer or account; ``NONE`` if its days left are not known."""
    if line.is_exhausted:
        return Severity.URGENT
    if line.days_left is None or line.days_left >= SOON_DAYS:
        return Severity.NONE
    return Severity.URGENT if line.days_left < URGENT_DAYS else Severity.SOON


@dataclass(frozen=True, slots=True)
class Highlights:
    """The key figures of a month; unknown values are None.

    ``change`` is in percent, and ``is_new`` if there was no consumption before. ``not_compared``
    is ``new`` if accounts without an earlier month are not in the change, ``unknown`` if accounts
    are not for another reason. ``exhausted`` RFCs have no stamps, ``soon`` others have stamps for
    less than 30 days; None if no PAC returns the stamps of issuers. ``worst`` is the severity of
    both. ``account`` is the account whose own stamps end first, of ``accounts``.
    """

    stamps: int | None
    previous: int | None
    change: Decimal | None
    is_new: bool
    not_compared: str | None
    cost: Decimal | None
    exhausted: int | None
    soon: int | None
    worst: Severity
    account: AccountStampsLine | None
    accounts: int


def highlights_of(report: Consumption) -> Highlights:
    """Return the highlights of a month."""
    severities = [severity(line) for line in report.rfcs]
    exhausted = sum(line.is_exhausted for line in report.rfcs)
    is_counted = any(line.available is not None for line in report.issuers)
    not_compared = None
    if report.not_compared and report.previous is not None:
        is_new = all(source.source == FROM_SNAPSHOTS for source in report.not_compared)
        not_compared = "new" if is_new else "unknown"
    return Highlights(
        stamps=report.known_total,
        previous=report.previous,
        change=report.change,
        is_new=report.previous == 0 and report.total > 0,
        not_compared=not_compared,
        cost=report.cost,
        exhausted=exhausted if is_counted else None,
        soon=sum(map(bool, severities)) - exhausted if is_counted else None,
        worst=max(severities, key=list(Severity).index, default=Severity.NONE),
        account=min(report.account_stamps, key=_days, default=None),
        accounts=len(report.account_stamps),
    )


def _days(line: AccountStampsLine) -> Decimal:
    """Return a sort key: accounts whose days are not known are last, without a count at the end."""
    unknown = Decimal(10**9) if line.available is None else Decimal(10**8)
    return Decimal(0) if line.is_exhausted else line.days_left or unknown
