"""Stamp count: how many stamps an issuer has contracted, used and left."""

from __future__ import annotations

import logging
from typing import Any

from timbres.aws.issuers import Issuers, KnownIssuer
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.rfc import Rfc
from timbres.errors import PacError
from timbres.pacs.codes import CREDENTIALS_REJECTED
from timbres.work.access import Access

log = logging.getLogger("timbres")


def live(
    access: Access, issuers: Issuers, account_name: str, rfc: Rfc, deadline: Deadline
) -> dict[str, Any]:
    """Return an issuer's stamps as its PAC counts them now; the count is remembered."""
    account = access.account(account_name, "stamps")
    return _count(access, issuers, account, rfc, deadline)


def known(access: Access, issuers: Issuers, account_name: str, after: str | None) -> dict[str, Any]:
    """Return the known issuers of an account with their last count; no PAC is called.

    ``next`` is the cursor of the rest, or None. ``days_left`` is None while there is no
    rate to reckon it from.
    """
    account = access.account(account_name, "stamps")
    found, rest = issuers.page(account.name, after)
    return {"account": account.name, "issuers": [_line(issuer) for issuer in found], "next": rest}


def count_known(
    access: Access, issuers: Issuers, account_name: str, deadline: Deadline
) -> dict[str, Any]:
    """Count every known issuer of an account; one that fails does not stop the others.

    Returns ``{"account", "counted", "failed": {code: n}, "left_out"}``; ``left_out`` are
    those that the time did not reach.
    """
    account = access.account(account_name, "stamps")
    counted, left_out = 0, 0
    failed: dict[str, int] = {}
    rejected = False
    for issuer in issuers.all(account.name):
        if rejected or deadline.left() < 1:
            left_out += 1
            continue
        try:
            _count(access, issuers, account, Rfc(issuer.rfc), deadline)
            counted += 1
        except PacError as error:
            failed[error.kind.code] = failed.get(error.kind.code, 0) + 1
            rejected = error.kind is CREDENTIALS_REJECTED
            log.warning(
                "an issuer was not counted",
                extra={
                    "account": account.name,
                    "rfc": issuer.rfc,
                    "code": error.kind.code,
                    "pac_code": error.pac_code,
                },
            )
    return {"account": account.name, "counted": counted, "failed": failed, "left_out": left_out}


def _count(
    access: Access, issuers: Issuers, account: Account, rfc: Rfc, deadline: Deadline
) -> dict[str, Any]:
    stamps = access.read(account, lambda pac: pac.stamps(rfc, deadline))
    at = clock.now()
    issuers.counted(account.name, rfc, stamps, at)
    return {
        "account": account.name,
        "rfc": rfc,
        "contracted": stamps.contracted,
        "used": stamps.used,
        "available": stamps.available,
        "as_of": at.isoformat(),
    }


def _line(issuer: KnownIssuer) -> dict[str, Any]:
    return {
        "rfc": issuer.rfc,
        "contracted": issuer.stamps.contracted,
        "used": issuer.stamps.used,
        "available": issuer.stamps.available,
        "as_of": issuer.as_of.isoformat() if issuer.as_of else None,
        "days_left": None,
    }
