"""The demo's world: Timbres on a local AWS, both PACs as sandboxes, an account at each."""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import FakePacState, Issuer, demo_state, mexico_now
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.seed_data import write_snapshots
from local.stack import Stack, running_stack

logger = logging.getLogger("local")
# Solución Factible's, as the layer has it.
WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "solucion_factible" / "utilerias.wsdl"


def log_steps() -> None:
    """Lets what takes long say so on standard output, for whoever waits."""
    logging.basicConfig(format="· %(message)s", stream=sys.stdout)
    logging.getLogger("local").setLevel(logging.INFO)


@dataclass(frozen=True)
class LocalEnvironment:
    """A running stack with the accounts `acme-rc` and `acme-sf`, and the PACs behind them.

    The sandboxes can be steered directly or under their URL; `norte_api_key` is good for a
    second, prepaid account at Reachcore that Timbres has not been told of.
    """

    stack: Stack
    reachcore: FakeReachcore
    reachcore_url: str
    solucion_factible: FakeSolucionFactible
    solucion_factible_url: str
    norte_api_key: str = field(repr=False)


@contextlib.contextmanager
def running_environment(log: Path = ROOT / ".local" / "aws.log") -> Iterator[LocalEnvironment]:
    """Starts everything and ends it with the block; credentials are new each time.

    Raises what `running_stack` raises.
    """
    acme_api_key, norte_api_key, password = (secrets.token_urlsafe(24) for _ in range(3))
    username = f"acme-{secrets.token_hex(4)}@example.com"
    books = demo_state(
        mexico_now().date(),
        acme_api_key=acme_api_key,
        norte_api_key=norte_api_key,
        username=username,
        password=password,
    )
    reachcore = FakeReachcore(books.reachcore)
    solucion_factible = FakeSolucionFactible(books.solucion_factible, wsdl=WSDL)
    with (
        serve(reachcore) as reachcore_url,
        serve(solucion_factible) as solucion_factible_url,
        running_stack(log) as stack,
    ):
        stack.create_account(
            "acme-rc",
            {
                "pac": "reachcore",
                "environment": "sandbox",
                "endpoint": reachcore_url,
                "api_key": acme_api_key,
            },
        )
        stack.create_account(
            "acme-sf",
            {
                "pac": "solucion-factible",
                "environment": "sandbox",
                "endpoint": solucion_factible_url,
                "username": username,
                "password": password,
            },
        )
        logger.info("writing a past of some weeks")
        write_snapshots(stack, "acme-sf", _issuers(books), mexico_now().date())
        yield LocalEnvironment(
            stack,
            reachcore,
            reachcore_url,
            solucion_factible,
            solucion_factible_url,
            norte_api_key,
        )


def _issuers(books: FakePacState) -> dict[str, Issuer]:
    (account,) = books.solucion_factible.as_json()["accounts"]
    return {one["rfc"]: Issuer(one["contratados"], one["usados"]) for one in account["issuers"]}
