"""Issuer: an RFC of an account, with its counts, forecast and alert."""

from __future__ import annotations

from dataclasses import dataclass, replace

from timbres.domain.counted_stamps import CountedStamps
from timbres.domain.forecast import (
    NO_CONTRACT,
    OK,
    Alert,
    AlertThresholds,
    Forecast,
    Snapshot,
    available_stamps,
    evaluate,
    urgency,
)


@dataclass(frozen=True, slots=True)
class Issuer(CountedStamps):
    """A known issuer with its last count and forecast.

    ``low_stamps`` is its own threshold, None for the account's; ``name`` is its razón social, None
    if it is not known. An issuer without a contract uses the account's stamps: its alert is
    ``no-contract``, and its days left are not known.
    """

    account: str
    rfc: str
    low_stamps: int | None = None
    name: str | None = None

    @property
    def urgency(self) -> str:
        """Sort key among the account's issuers, the most urgent first."""
        return urgency(self.forecast, available_stamps(self.stamps), self.rfc)

    @property
    def known_alert(self) -> Alert | None:
        """The alert, None if nothing is known about the stamps that are left."""
        left = available_stamps(self.stamps)
        is_unknown = left is None and not self.stamps.unlimited
        return None if is_unknown and self.forecast.alert == OK else self.forecast.alert

    def _forecast(self, snapshots: tuple[Snapshot, ...], thresholds: AlertThresholds) -> Forecast:
        forecast = evaluate(snapshots, thresholds, self.forecast.alert)
        if not snapshots[-1].stamps.has_no_contract:
            return forecast
        return replace(forecast, days_left=None, alert=NO_CONTRACT)
