"""Create the fake PACs of the demo environment, each with an account."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import demo_reachcore_state as reachcore_state
from local.fake_pacs.fake_data import demo_solucion_factible_state as factible_state
from local.fake_pacs.fake_data import mexico_now
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.seed_data import Past
from timbres.domain.account import Pac
from timbres.pacs.registry import PACS

# Solución Factible's WSDL, as bundled in the layer.
WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "solucion_factible" / "utilerias.wsdl"


@dataclass(frozen=True)
class DemoPac:
    """A fake PAC, not served yet, with an account.

    `account` is the account's name at Timbres and `credentials` are the credentials of its secret.
    `issuers` are RFCs of the account at the PAC, including `A&D061009TY8`. `past` are the counts
    that the generated daily counts end with; empty if the PAC itself stores the past.
    `account_contracted` are the stamps of the account itself, None if the PAC does not return them.
    `spare` are credentials of another account, unknown to Timbres. `package` is the folder of the
    PAC's package, None for a PAC of the product.
    """

    pac: Pac
    account: str
    server: FakePac
    credentials: Mapping[str, str] = field(repr=False)
    issuers: Sequence[str]
    past: Past = field(default_factory=dict)
    account_contracted: int | None = None
    spare: Mapping[str, str] = field(default_factory=dict, repr=False)
    package: Path | None = None

    def secret(self, url: str) -> dict[str, Any]:
        """Return the content of the account's secret for a fake that is served at `url`."""
        own = {"pac": self.pac.name, "environment": "sandbox", "endpoint": url}
        return {**own, **self.credentials}


# Each call creates a new state and new credentials.
CreateFake = Callable[[], DemoPac]


def create_reachcore() -> DemoPac:
    """Return a fake Reachcore with a postpaid account and a spare prepaid account."""
    api_key, spare = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    state = reachcore_state(mexico_now().date(), acme_api_key=api_key, norte_api_key=spare)
    return DemoPac(
        PACS["reachcore"],
        "acme-rc",
        FakeReachcore(state),
        {"api_key": api_key},
        ("A&D061009TY8", "ÑAN840101AB1", "AAA010101AAA", "GOMP800101QX2"),
        spare={"api_key": spare},
    )


def create_solucion_factible() -> DemoPac:
    """Return a fake Solución Factible with one user, whose issuers have past counts."""
    login = {
        "username": f"acme-{secrets.token_hex(4)}@example.com",
        "password": secrets.token_urlsafe(24),
    }
    state = factible_state(**login)
    (account,) = state.as_json()["accounts"]
    past = {one["rfc"]: (one["contratados"], one["usados"]) for one in account["issuers"]}
    return DemoPac(
        PACS["solucion-factible"],
        "acme-sf",
        FakeSolucionFactible(state, wsdl=WSDL),
        login,
        tuple(past),
        past,
        account["contratados"],
    )


FAKES: tuple[CreateFake, ...] = (create_reachcore, create_solucion_factible)


@contextmanager
def serve_fakes(fakes: Sequence[DemoPac]) -> Iterator[dict[str, str]]:
    """Serve fake PACs on loopback during the context; yield their URLs by the PAC's name."""
    with ExitStack() as servers:
        yield {fake.pac.name: servers.enter_context(serve(fake.server)) for fake in fakes}
