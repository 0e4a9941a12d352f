"""Daily: an account's month made of its daily snapshots, where the PAC keeps no balance.

A day of an issuer goes from its count to the next one. What was stamped over a stretch
without counts stands on the day on which the stretch begins, so that months add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from timbres.domain.balance import CONSUMPTION, Movement
from timbres.domain.forecast import Snapshot, consumed_between
from timbres.domain.month import Month

# How long after a month's end a count may still close it.
CLOSING = timedelta(days=7)
_DAY = timedelta(days=1)


@dataclass
class MonthlyConsumption:
    """What snapshots tell of a month.

    ``missing`` counts, for each day of the month before today, the issuers without a count on
    it (or whose consumption from it on is not known); days on which none is missing are left
    out. Today's counts may still come, and with them what was stamped from yesterday's on.
    ``rfcs`` are the issuers with a count in the month. ``known`` is False where not even one
    stretch of one issuer is known.
    """

    movements: list[Movement] = field(default_factory=list)
    missing: dict[date, int] = field(default_factory=dict)
    rfcs: frozenset[str] = frozenset()
    known: bool = False
    as_of: datetime | None = None

    @property
    def issuers(self) -> int:
        """How many issuers were counted in the month."""
        return len(self.rfcs)


def consumption_from_snapshots(
    month: Month, snapshots: Iterable[tuple[str, Snapshot]], today: date
) -> MonthlyConsumption:
    """Return a month's consumption from the snapshots of its issuers.

    ``snapshots`` are RFC and snapshot, each issuer's by time, from the month's first day to
    some days past its last. Movements come by day and RFC.
    """
    told = MonthlyConsumption()
    last_day = min(month.last_day, today - _DAY)
    counted: dict[str, set[date]] = {}
    last: dict[str, Snapshot] = {}
    for rfc, snapshot in snapshots:
        earlier = last.get(rfc)
        last[rfc] = snapshot
        day = snapshot.at.date()
        if day <= month.last_day:
            counted.setdefault(rfc, set()).add(day)
            told.as_of = max(told.as_of or snapshot.at, snapshot.at)
        if earlier is None or earlier.at.date() > month.last_day:
            continue
        consumed = consumed_between(earlier, snapshot)
        if consumed is None:
            counted[rfc].discard(earlier.at.date())
            continue
        told.known = True
        if consumed:
            told.movements.append(Movement(rfc, earlier.at.date(), CONSUMPTION, consumed))
    for rfc, days in counted.items():
        final = last[rfc].at.date()
        # The count that would close this stretch was due, and has not come.
        if final + _DAY < today:
            days.discard(final)
    told.rfcs = frozenset(counted)
    told.movements.sort(key=lambda movement: (movement.date, movement.rfc))
    for offset in range((last_day - month.first_day).days + 1):
        day = month.first_day + offset * _DAY
        missing = sum(day not in days for days in counted.values())
        if missing or not counted:
            told.missing[day] = missing
    return told
