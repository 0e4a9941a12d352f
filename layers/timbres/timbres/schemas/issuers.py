"""JSON of issuers, their snapshots, and the stamps of accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from timbres.domain.expiry import Expiry
from timbres.domain.forecast import Snapshot, round_rate
from timbres.domain.issuer import Issuer
from timbres.domain.stamps import Stamps


def issuer_to_dict(issuer: Issuer) -> dict[str, Any]:
    """Return an issuer with its last count, its forecast and its own threshold."""
    forecast = issuer.forecast
    return {
        "rfc": issuer.rfc,
        "name": issuer.name,
        **issuer.stamps.counts,
        "unlimited": issuer.stamps.unlimited,
        "as_of": issuer.as_of.isoformat() if issuer.as_of else None,
        "burn_7": round_rate(forecast.burn_7),
        "burn_30": round_rate(forecast.burn_30),
        "days_left": round_rate(forecast.days_left),
        "alert": issuer.known_alert,
        "low_stamps": issuer.low_stamps,
    }


def listed_issuer_to_dict(issuer: Issuer) -> dict[str, Any]:
    """Return an issuer as the list of issuers has it: what a user sets."""
    return {"rfc": issuer.rfc, "name": issuer.name, "low_stamps": issuer.low_stamps}


def expiry_to_dict(expiry: Expiry | None) -> dict[str, Any]:
    """Return the next expiry of an issuer's contracts."""
    return {
        "expires_on": expiry.expires_on.isoformat() if expiry else None,
        "expiring_stamps": expiry.stamps if expiry else None,
    }


def snapshot_to_dict(snapshot: Snapshot, consumed: int | None) -> dict[str, Any]:
    """Return a snapshot; ``consumed`` are the stamps used since the previous one."""
    return {
        "date": snapshot.at.date().isoformat(),
        "as_of": snapshot.at.isoformat(),
        **snapshot.stamps.counts,
        "unlimited": snapshot.stamps.unlimited,
        "consumed": consumed,
    }


def account_stamps_to_dict(account: str, stamps: Stamps, as_of: datetime | None) -> dict[str, Any]:
    """Return the stamps of an account itself; ``as_of`` is None if the PAC has no count."""
    return {"account": account, **stamps.counts, "as_of": as_of.isoformat() if as_of else None}
