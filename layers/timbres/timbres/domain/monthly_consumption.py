"""Monthly consumption from daily snapshots, for a PAC without a balance.

A day of an issuer lasts from its count to the next one. Stamps used during a gap are
attributed to the gap's first day, so that no stamps are lost between months.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from timbres.domain.balance import CONSUMPTION, Movement
from timbres.domain.forecast import Snapshot, consumed_between
from timbres.domain.month import Month

# A count up to this long after a month's end closes the month.
CLOSING = timedelta(days=7)
_DAY = timedelta(days=1)


@dataclass
class MonthlyConsumption:
    """A month's consumption, computed from snapshots.

    ``missing`` has, for each day of the month before today, the number of issuers without a
    count on it, or whose consumption since that count is not known; complete days are left out.
    ``rfcs`` are the issuers with a count in the month. ``known`` is False if no interval of any
    issuer is known. ``as_of`` is the time of the newest count that its figures use, which is the
    first count after the month's end if there is one.
    """

    movements: list[Movement] = field(default_factory=list)
    missing: dict[date, int] = field(default_factory=dict)
    rfcs: frozenset[str] = frozenset()
    known: bool = False
    as_of: datetime | None = None

    @property
    def issuers(self) -> int:
        """The number of issuers with a count in the month."""
        return len(self.rfcs)


def consumption_from_snapshots(
    month: Month, snapshots: Iterable[tuple[str, Snapshot]], today: date
) -> MonthlyConsumption:
    """Return a month's consumption from the snapshots of its issuers.

    ``snapshots`` are pairs of RFC and snapshot, in the order of time per issuer, from the
    month's first day to ``CLOSING`` after its last. Movements are sorted by day and RFC.
    """
    consumption = MonthlyConsumption()
    last_day = min(month.last_day, today - _DAY)
    counted: dict[str, set[date]] = {}
    last: dict[str, Snapshot] = {}
    for rfc, snapshot in snapshots:
        earlier = last.get(rfc)
        last[rfc] = snapshot
        day = snapshot.at.date()
        if day <= month.last_day:
            counted.setdefault(rfc, set()).add(day)
            consumption.as_of = max(consumption.as_of or snapshot.at, snapshot.at)
        if earlier is None or earlier.at.date() > month.last_day:
            continue
        consumed = consumed_between(earlier, snapshot)
        if consumed is None:
            counted[rfc].discard(earlier.at.date())
            continue
        consumption.known = True
        consumption.as_of = max(consumption.as_of or snapshot.at, snapshot.at)
        if consumed:
            consumption.movements.append(Movement(rfc, earlier.at.date(), CONSUMPTION, consumed))
    for rfc, days in counted.items():
        final = last[rfc].at.date()
        # The count that would end this interval is overdue.
        if final + _DAY < today:
            days.discard(final)
    consumption.rfcs = frozenset(counted)
    consumption.movements.sort(key=lambda movement: (movement.date, movement.rfc))
    for offset in range((last_day - month.first_day).days + 1):
        day = month.first_day + offset * _DAY
        missing = sum(day not in days for days in counted.values())
        if missing or not counted:
            consumption.missing[day] = missing
    return consumption
