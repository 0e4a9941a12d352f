"""A PAC that is not in the product, added to the demo environment by its package and its row."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment
from local.fakes import FAKES, DemoPac

from tests.support import libre
from tests.support.libre.fake import LibreFake

ACCOUNT = "acme-libre"
LIMITED, CONTRACTED, UNLIMITED = "A&D061009TY8", "ACM010203XY9", "ÑAN840101AB1"


def create_libre() -> DemoPac:
    login = {"user": "acme", "token": secrets.token_urlsafe(24)}
    package, issuers = Path(libre.__file__).parent, (LIMITED, UNLIMITED)
    return DemoPac(libre.PAC, ACCOUNT, LibreFake(**login), login, issuers, package=package)


@pytest.fixture(scope="module")
def third_environment() -> Iterator[LocalEnvironment]:
    """The demo environment with a third fake PAC, on a local AWS of its own."""
    log = ROOT / ".local" / "aws-third.log"
    with running_environment(log, (*FAKES, create_libre)) as environment:
        yield environment


def test_stamps_are_read_and_a_contract_is_created_at_a_third_pac(
    third_environment: LocalEnvironment,
) -> None:
    stack, path = third_environment.stack, f"/accounts/{ACCOUNT}/stamps"
    contract = {"rfc": CONTRACTED, "stamps": 500}
    key = {"Idempotency-Key": "third-1"}
    contracts = f"/accounts/{ACCOUNT}/contracts"

    unlimited = stack.call("reader", "GET", path, {"rfc": UNLIMITED})
    created = stack.call("contract_manager", "POST", contracts, body=contract, headers=key)
    after = stack.call("reader", "GET", path, {"rfc": CONTRACTED})

    assert (unlimited.status_code, unlimited.json()["unlimited"]) == (200, True)
    assert (created.status_code, created.json()["status"]) == (201, "confirmed")
    assert third_environment.fakes["libre"].server.contracts() == [(CONTRACTED, 500)]
    assert after.json()["available"] == 500


def test_the_demo_includes_a_third_pac(
    third_environment: LocalEnvironment, run_demo: Callable[[LocalEnvironment], str], tmp_path: Path
) -> None:
    output = run_demo(third_environment)

    assert "Get the stamps that each issuer has left (Libre)" in output
    assert any(path.name.startswith(f"{ACCOUNT}-") for path in tmp_path.iterdir())
