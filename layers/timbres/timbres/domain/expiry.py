"""Expiry: a contract ends 12 months after it was created.

Source: the manual of a PAC, lesson "Crear contrato para emisor".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from timbres.domain.clock import MEXICO_CITY

CONTRACTS_EXPIRING = "Contracts Expiring"
"""The event about contracts that expire soon; each contract is in one such event."""

# How long before its expiry a contract is in the event.
NOTICE = timedelta(days=30)
_LONGEST_YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Expiry:
    """``stamps`` of an issuer's contracts that expire on the same day."""

    expires_on: date
    stamps: int


def expiry_day(created_at: datetime) -> date:
    """Return the day, in Mexico City, on which a contract created at ``created_at`` expires."""
    day = created_at.astimezone(MEXICO_CITY).date()
    try:
        return day.replace(year=day.year + 1)
    except ValueError:
        return day.replace(year=day.year + 1, day=28)


def oldest_creation(today: date) -> datetime:
    """Return a time before the creation of every contract that expires ``today`` or later."""
    return datetime.combine(today - _LONGEST_YEAR, time_of_day(), MEXICO_CITY)


def next_expiry(expiries: Iterable[Expiry], today: date) -> Expiry | None:
    """Return the first expiry from ``today`` on, with the stamps of its day, or None."""
    coming = [expiry for expiry in expiries if expiry.expires_on >= today]
    if not coming:
        return None
    day = min(expiry.expires_on for expiry in coming)
    return Expiry(day, sum(expiry.stamps for expiry in coming if expiry.expires_on == day))
