"""Issuer: an RFC of an account, with its counts, forecast and alert."""

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
    """A known issuer with its last count and forecast.

    ``as_of`` is None before the first count. ``low_stamps`` is its own threshold, None for the
    account's. ``recent`` are the snapshots of the last 30 days, the oldest first; ``counted_on``
    is the day of the newest. ``notified_alert`` is the worst published alert that has not ended
    since; ``notified_by_run`` is the run that published it.
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
        """Sort key among the account's issuers, the most urgent first."""
        return urgency(self.forecast, available_stamps(self.stamps), self.rfc)

    def with_observation(self, snapshot: Snapshot, thresholds: AlertThresholds) -> Issuer:
        """Return the issuer after a count between two runs.

        The count may end an alert, but only a run publishes one.
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
        """Return the issuer after the count of a run, which is its snapshot of ``day``.

        If the count has no available stamps, the published alert does not change.
        """
        since = snapshot.at - MAX_WINDOW
        # One older count is kept: its interval is partly in the window.
        older = [earlier for earlier in self.recent if earlier.at < since][-1:]
        newer = [earlier for earlier in self.recent if since <= earlier.at < snapshot.at]
        recent = (*older, *newer, snapshot)
        forecast = evaluate(recent, thresholds, self.forecast.alert)
        is_unknown = available_stamps(snapshot.stamps) is None and not snapshot.stamps.unlimited
        alert = self.notified_alert if is_unknown else forecast.alert
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            forecast=forecast,
            recent=recent,
            counted_on=day,
            notified_alert=alert,
            notified_by_run=run
            if is_escalation(self.notified_alert, alert)
            else self.notified_by_run,
        )

    def alerted_in(self, run: str) -> bool:
        """Return whether ``run`` published that the issuer is low or exhausted."""
        return self.notified_alert != OK and self.notified_by_run == run
