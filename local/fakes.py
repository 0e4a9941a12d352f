"""The fake PACs of the demo environment, one row each: its server and an account there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import (
    demo_reachcore_state,
    demo_solucion_factible_state,
    mexico_now,
)
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.seed_data import Past
from timbres.domain.account import Pac
from timbres.pacs.registry import PACS

# Solución Factible's, as the layer has it.
WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "solucion_factible" / "utilerias.wsdl"


@dataclass(frozen=True)
class DemoPac:
    """A fake PAC that is not served yet, and an account there.

    `account` is the account's name at Timbres, `credentials` are those of its secret, and
    `issuers` RFCs that it has at the PAC, `A&D061009TY8` among them. `past` is what made-up
    daily counts lead to; empty where the PAC keeps the past itself. `spare` are credentials of
    another account, which Timbres is not told of. `package` is the folder of the PAC's
    package, None for a PAC of the product.
    """

    pac: Pac
    account: str
    server: FakePac
    credentials: Mapping[str, str] = field(repr=False)
    issuers: Sequence[str]
    past: Past = field(default_factory=dict)
    spare: Mapping[str, str] = field(default_factory=dict, repr=False)
    package: Path | None = None

    def secret(self, url: str) -> dict[str, Any]:
        """Return what the secret of the account says when the fake is served at `url`."""
        return {
            "pac": self.pac.name,
            "environment": "sandbox",
            "endpoint": url,
            **self.credentials,
        }


# A row of the table: each call makes a new memory and new credentials.
CreateFake = Callable[[], DemoPac]


def create_reachcore() -> DemoPac:
    """Return a Reachcore with a postpaid account, and a prepaid one to spare."""
    api_key, spare = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    books = demo_reachcore_state(mexico_now().date(), acme_api_key=api_key, norte_api_key=spare)
    return DemoPac(
        PACS["reachcore"],
        "acme-rc",
        FakeReachcore(books),
        {"api_key": api_key},
        ("A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA", "GOMP800101QX2"),
        spare={"api_key": spare},
    )


def create_solucion_factible() -> DemoPac:
    """Return a Solución Factible with one user, whose issuers have a past of some weeks."""
    login = {
        "username": f"acme-{secrets.token_hex(4)}@example.com",
        "password": secrets.token_urlsafe(24),
    }
    books = demo_solucion_factible_state(**login)
    (account,) = books.as_json()["accounts"]
    past = {
        issuer["rfc"]: (issuer["contratados"], issuer["usados"]) for issuer in account["issuers"]
    }
    return DemoPac(
        PACS["solucion-factible"],
        "acme-sf",
        FakeSolucionFactible(books, wsdl=WSDL),
        login,
        tuple(past),
        past,
    )


FAKES: tuple[CreateFake, ...] = (create_reachcore, create_solucion_factible)


@contextmanager
def serve_fakes(fakes: Sequence[DemoPac]) -> Iterator[dict[str, str]]:
    """Serve fake PACs on loopback while the context lasts; gives their URLs by the PAC's name."""
    with ExitStack() as servers:
        yield {fake.pac.name: servers.enter_context(serve(fake.server)) for fake in fakes}
