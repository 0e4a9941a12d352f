"""The PACs: one module each behind :mod:`timbres.pacs.base`."""

from __future__ import annotations

from timbres.domain.account import REACHCORE, SOLUCION_FACTIBLE, Account
from timbres.pacs.base import PacClient


def connect(account: Account, attempts: int = 3) -> PacClient:
    """Return a client for ``account``, whose reads are tried so often; no call is made yet.

    Each PAC's module is imported only when it is spoken to: zeep alone doubles a cold start.
    """
    if account.pac is SOLUCION_FACTIBLE:
        from timbres.pacs.solucion_factible.client import SolucionFactible

        return SolucionFactible(account, attempts)
    if account.pac is REACHCORE:
        from timbres.pacs.reachcore.client import Reachcore

        return Reachcore(account, attempts)
    raise LookupError(f"no module speaks to {account.pac.name}")
