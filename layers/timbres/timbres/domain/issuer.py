"""Issuer: what Timbres knows of one RFC at one account."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime

from timbres.domain.forecast import (
    MAX_WINDOW,
    OK,
    Alert,
    AlertThresholds,
    Forecast,
    Snapshot,
    available_stamps,
    evaluate,
    is_escalation,
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
    forecast: Forecast = field(default_factory=Forecast)
    recent: tuple[Snapshot, ...] = ()
    counted_on: date | None = None
    notified_alert: Alert = OK
    notified_by_run: str | None = None

    @property
    def urgency(self) -> str:
        """A text that sorts the account's issuers, the most urgent first."""
        return urgency(self.forecast, available_stamps(self.stamps), self.rfc)

    def with_observation(self, snapshot: Snapshot, thresholds: AlertThresholds) -> Issuer:
        """Return the issuer after a look at its stamps between two runs.

        It may lift an alert; to tell of one is the next run's.
        """
        forecast = evaluate((*self.recent, snapshot), thresholds, self.forecast.alert)
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            forecast=forecast,
            notified_alert=forecast.alert
            if is_escalation(forecast.alert, self.notified_alert)
            else self.notified_alert,
        )

    def with_daily_count(
        self, day: date, snapshot: Snapshot, thresholds: AlertThresholds, run: str
    ) -> Issuer:
        """Return the issuer after the count of a run, which its snapshot of ``day`` keeps.

        A count that does not say what is left tells of no alert that a look has found.
        """
        since = snapshot.at - MAX_WINDOW
        # One count before the window begins: the stretch that reaches into it counts in part.
        older = [one for one in self.recent if one.at < since][-1:]
        newer = [one for one in self.recent if since <= one.at < snapshot.at]
        recent = (*older, *newer, snapshot)
        forecast = evaluate(recent, thresholds, self.forecast.alert)
        silent = available_stamps(snapshot.stamps) is None and not snapshot.stamps.unlimited
        told = self.notified_alert if silent else forecast.alert
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            forecast=forecast,
            recent=recent,
            counted_on=day,
            notified_alert=told,
            notified_by_run=run
            if is_escalation(self.notified_alert, told)
            else self.notified_by_run,
        )

    def alerted_in(self, run: str) -> bool:
        """Tell whether ``run`` found that the issuer had become low or exhausted."""
        return self.notified_alert != OK and self.notified_by_run == run
