"""A PAC that is not in the product, in the demo environment by its package and its row alone."""

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


def third() -> DemoPac:
    """Return the row of Libre: an account, and the package that the functions need."""
    login = {"user": "acme", "token": secrets.token_urlsafe(24)}
    return DemoPac(
        libre.PAC,
        ACCOUNT,
        LibreFake(**login),
        login,
        (LIMITED, UNLIMITED),
        package=Path(libre.__file__).parent,
    )


@pytest.fixture(scope="module")
def three() -> Iterator[LocalEnvironment]:
    """The demo environment with a third fake PAC, on a local AWS of its own."""
    with running_environment(ROOT / ".local" / "aws-third.log", (*FAKES, third)) as world:
        yield world


def test_its_stamps_are_read_and_a_contract_is_created(three: LocalEnvironment) -> None:
    server = three.fakes["libre"].server
    path = f"/accounts/{ACCOUNT}/stamps"

    accounts = three.stack.call("reader", "GET", "/accounts").json()["accounts"]
    unlimited = three.stack.call("reader", "GET", path, {"rfc": UNLIMITED})
    created = three.stack.call(
        "contract_manager",
        "POST",
        f"/accounts/{ACCOUNT}/contracts",
        body={"rfc": CONTRACTED, "stamps": 500},
        headers={"Idempotency-Key": "third-1"},
    )
    after = three.stack.call("reader", "GET", path, {"rfc": CONTRACTED})

    assert [(one["name"], one["pac"]) for one in accounts] == [
        (ACCOUNT, "libre"),
        ("acme-rc", "reachcore"),
        ("acme-sf", "solucion-factible"),
    ]
    assert (unlimited.status_code, unlimited.json()["unlimited"]) == (200, True)
    assert (created.status_code, created.json()["status"]) == (201, "confirmed")
    assert server.contracts() == [(CONTRACTED, 500)]
    assert after.json()["available"] == 500


def test_the_demo_goes_through_it(
    three: LocalEnvironment, run_demo: Callable[[LocalEnvironment], str], tmp_path: Path
) -> None:
    output = run_demo(three)
    assert "Get the stamps that each issuer has left (Libre)" in output
    assert any(path.name.startswith(f"{ACCOUNT}-") for path in tmp_path.iterdir())
