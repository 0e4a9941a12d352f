"""The supported PACs by name, and their clients."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from timbres.domain.account import Account, Pac
from timbres.pacs import reachcore, solucion_factible
from timbres.pacs.base import DEFAULT_LIMITS, CallLimits, PacClient
from timbres.pacs.instrumented import InstrumentedPacClient

PACS: dict[str, Pac] = {pac.name: pac for pac in (reachcore.PAC, solucion_factible.PAC)}


def create_client(account: Account, limits: CallLimits = DEFAULT_LIMITS) -> PacClient:
    """Return a client for ``account``, whose calls have these limits.

    It does not call the PAC. It imports only the module of this PAC.
    """
    client = client_class(account.pac)(account, limits)
    return InstrumentedPacClient(client, account.pac)


def client_class(pac: Pac) -> type[Any]:
    """Return a PAC's client class. Raises ImportError or AttributeError."""
    module, _, name = pac.client.partition(":")
    cls: type[Any] = getattr(import_module(module), name)
    return cls


def import_clients(capabilities: Iterable[str]) -> None:
    """Import the clients of the PACs that have one of these capabilities."""
    used = set(capabilities)
    for pac in PACS.values():
        if used & set(pac.capabilities):
            client_class(pac)
