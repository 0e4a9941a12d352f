"""Stamp count: how many stamps an issuer has left, had on other days, and for how long."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.forecast import Limits, Snapshot, consumed_between, rounded
from timbres.domain.issuer import Issuer
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.repositories.accounts import Accounts
from timbres.repositories.daily_counts import Snapshots
from timbres.repositories.issuers import Issuers
from timbres.services.pac_access import Access


def live(
    access: Access, issuers: Issuers, account_name: str, rfc: Rfc, deadline: Deadline
) -> dict[str, Any]:
    """Return an issuer's stamps as its PAC counts them now; the count is remembered."""
    account = access.account(account_name, "stamps")
    stamps = access.client(account).stamps(rfc, deadline)
    return {"account": account.name} | _line(remember(issuers, account, rfc, stamps))


def remember(issuers: Issuers, account: Account, rfc: Rfc, stamps: Stamps) -> Issuer:
    """Remember a count made between two runs; return the issuer with it."""
    issuer = issuers.get(account.name, rfc)
    seen = issuer.seen(Snapshot(clock.now(), stamps), limits(account, issuer))
    issuers.seen(seen)
    return seen


def known(
    accounts: Accounts, issuers: Issuers, account_name: str, after: str | None
) -> dict[str, Any]:
    """Return the known issuers of an account, the most urgent first; no PAC is called.

    ``next`` is the cursor of the rest, or None.
    """
    account = accounts.get(account_name)
    found, rest = issuers.page(account.name, after)
    return {"account": account.name, "issuers": [_line(issuer) for issuer in found], "next": rest}


def history(
    accounts: Accounts, snapshots: Snapshots, account_name: str, rfc: Rfc, first: date, last: date
) -> dict[str, Any]:
    """Return an issuer's snapshots from ``first`` to ``last``; no PAC is called.

    ``consumed`` is what was stamped since the snapshot before, None where that is not known.
    """
    account = accounts.get(account_name)
    found = list(snapshots.history(account.name, rfc, first, last))
    consumed = [None, *(consumed_between(*pair) for pair in pairwise(found))]
    return {
        "account": account.name,
        "rfc": rfc,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "snapshots": [
            {
                "date": one.at.date().isoformat(),
                "as_of": one.at.isoformat(),
                "contracted": one.stamps.contracted,
                "used": one.stamps.used,
                "available": one.stamps.available,
                "unlimited": one.stamps.unlimited,
                "consumed": stamped,
            }
            for one, stamped in zip(found, consumed, strict=False)
        ],
    }


def limits(account: Account, issuer: Issuer) -> Limits:
    """Return when stamps are low: by the issuer's own threshold, or else its account's."""
    own = issuer.low_stamps
    return Limits(account.low_stamps if own is None else own, account.low_days)


def _line(issuer: Issuer) -> dict[str, Any]:
    outlook = issuer.outlook
    return {
        "rfc": issuer.rfc,
        "contracted": issuer.stamps.contracted,
        "used": issuer.stamps.used,
        "available": issuer.stamps.available,
        "unlimited": issuer.stamps.unlimited,
        "as_of": issuer.as_of.isoformat() if issuer.as_of else None,
        "burn_7": rounded(outlook.burn_7),
        "burn_30": rounded(outlook.burn_30),
        "days_left": rounded(outlook.days_left),
        "alert": outlook.alert,
        "low_stamps": issuer.low_stamps,
    }
