"""Issuer: what Timbres knows of one RFC at one account."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime

from timbres.domain.forecast import (
    LONGEST,
    OK,
    Alert,
    Limits,
    Outlook,
    Snapshot,
    is_crossing,
    judge,
    left,
    urgency,
)
from timbres.domain.stamps import Stamps


@dataclass(frozen=True, slots=True)
class Issuer:
    """A known issuer, its last count and what that means.

    ``as_of`` is None while it was never counted. ``low_stamps`` is its own threshold, None
    for the account's. ``recent`` are the snapshots of the last 30 days, the oldest first;
    ``counted_on`` is the day of the last of them. ``told`` is the worst alert that was told
    and has not been lifted since; ``told_by`` is the run that told it.
    """

    account: str
    rfc: str
    stamps: Stamps = field(default_factory=lambda: Stamps(None, None, None))
    as_of: datetime | None = None
    low_stamps: int | None = None
    outlook: Outlook = field(default_factory=Outlook)
    recent: tuple[Snapshot, ...] = ()
    counted_on: date | None = None
    told: Alert = OK
    told_by: str | None = None

    @property
    def urgency(self) -> str:
        """A text that sorts the account's issuers, the most urgent first."""
        return urgency(self.outlook, left(self.stamps), self.rfc)

    def seen(self, snapshot: Snapshot, limits: Limits) -> Issuer:
        """Return the issuer after a look at its stamps between two runs.

        It may lift an alert; to tell of one is the next run's.
        """
        outlook = judge((*self.recent, snapshot), limits, self.outlook.alert)
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            outlook=outlook,
            told=outlook.alert if is_crossing(outlook.alert, self.told) else self.told,
        )

    def counted(self, day: date, snapshot: Snapshot, limits: Limits, run: str) -> Issuer:
        """Return the issuer after the count of a run, which its snapshot of ``day`` keeps.

        A count that does not say what is left tells of no alert that a look has found.
        """
        since = snapshot.at - LONGEST
        # One count before the window begins: the stretch that reaches into it counts in part.
        older = [one for one in self.recent if one.at < since][-1:]
        newer = [one for one in self.recent if since <= one.at < snapshot.at]
        recent = (*older, *newer, snapshot)
        outlook = judge(recent, limits, self.outlook.alert)
        silent = left(snapshot.stamps) is None and not snapshot.stamps.unlimited
        told = self.told if silent else outlook.alert
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            outlook=outlook,
            recent=recent,
            counted_on=day,
            told=told,
            told_by=run if is_crossing(self.told, told) else self.told_by,
        )

    def crossed_in(self, run: str) -> bool:
        """Tell whether ``run`` found that the issuer had become low or exhausted."""
        return self.told != OK and self.told_by == run
