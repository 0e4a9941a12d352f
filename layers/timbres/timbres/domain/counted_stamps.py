"""Stamps that daily runs count: the last count, its forecast and the published alert."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Self

from timbres.domain.forecast import (
    EXHAUSTED,
    LOW,
    MAX_WINDOW,
    OK,
    Alert,
    AlertThresholds,
    Forecast,
    Snapshot,
    available_stamps,
    evaluate,
    is_escalation,
)
from timbres.domain.stamps import Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedStamps:
    """The stamps of an issuer or of an account, as the last count has them.

    ``as_of`` is None before the first count. ``recent`` are the snapshots of the last 30 days,
    the oldest first; ``counted_on`` is the day of the newest. ``notified_alert`` is the worst
    published alert that has not ended since; ``notified_by_run`` is the run that published it.
    """

    stamps: Stamps = field(default_factory=lambda: Stamps(None, None, None))
    as_of: datetime | None = None
    forecast: Forecast = field(default_factory=Forecast)
    recent: tuple[Snapshot, ...] = ()
    counted_on: date | None = None
    notified_alert: Alert = OK
    notified_by_run: str | None = None

    def with_observation(self, snapshot: Snapshot, thresholds: AlertThresholds) -> Self:
        """Return the stamps after a count between two runs.

        The count may end an alert, but only a run publishes one.
        """
        forecast = self._forecast((*self.recent, snapshot), thresholds)
        has_ended = is_escalation(forecast.alert, self.notified_alert)
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            forecast=forecast,
            notified_alert=forecast.alert if has_ended else self.notified_alert,
        )

    def with_daily_count(
        self, day: date, snapshot: Snapshot, thresholds: AlertThresholds, run: str
    ) -> Self:
        """Return the stamps after the count of a run, which is their snapshot of ``day``.

        If the count has no available stamps, the published alert does not change.
        """
        since = snapshot.at - MAX_WINDOW
        # One older count is kept: its interval is partly in the window.
        older = [earlier for earlier in self.recent if earlier.at < since][-1:]
        newer = [earlier for earlier in self.recent if since <= earlier.at < snapshot.at]
        recent = (*older, *newer, snapshot)
        forecast = self._forecast(recent, thresholds)
        is_unknown = available_stamps(snapshot.stamps) is None and not snapshot.stamps.unlimited
        alert = self.notified_alert if is_unknown else forecast.alert
        is_worse = is_escalation(self.notified_alert, alert)
        return replace(
            self,
            stamps=snapshot.stamps,
            as_of=snapshot.at,
            forecast=forecast,
            recent=recent,
            counted_on=day,
            notified_alert=alert,
            notified_by_run=run if is_worse else self.notified_by_run,
        )

    def is_counted_on(self, day: date) -> bool:
        """Return whether a run counted the stamps on ``day`` or later."""
        return self.counted_on is not None and self.counted_on >= day

    def alerted_in(self, run: str) -> bool:
        """Return whether ``run`` published that the stamps are low or exhausted."""
        return self.notified_alert in (LOW, EXHAUSTED) and self.notified_by_run == run

    def _forecast(self, snapshots: tuple[Snapshot, ...], thresholds: AlertThresholds) -> Forecast:
        return evaluate(snapshots, thresholds, self.forecast.alert)
