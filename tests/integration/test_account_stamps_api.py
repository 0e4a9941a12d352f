"""GET /accounts/{account}/stamps/account: the stamps of the account itself."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

OPERATION = "getTimbresImplementacion"
UNKNOWN = {"contracted": None, "used": None, "available": None, "as_of": None}
FIELD_FAULTS = ("soap-fault", "missing-fields", "empty-fields", "nil-fields")


def test_the_stamps_of_an_account_are_read_from_the_pac(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.consume(RFC, 50)
    response = stack.get(f"/accounts/{SF}/stamps/account")
    assert response.status == 200
    body = response.body
    as_of = datetime.fromisoformat(body.pop("as_of"))
    assert body == {"account": SF, "contracted": 10_000, "used": 1100, "available": 8900}
    assert abs(as_of - stack.clock()) < timedelta(minutes=1)
    assert as_of.utcoffset() is not None
    assert stack.pacs.calls() == [OPERATION]
    # Nothing is stored: an account is not an issuer.
    assert stack.aws.items("IssuersTable") == stack.aws.items("SnapshotsTable") == []


def test_a_pac_without_account_stamps_is_not_called(stack: FakeStack) -> None:
    response = stack.get(f"/accounts/{RC}/stamps/account")
    assert (response.status, response.body) == (200, {"account": RC} | UNKNOWN)
    assert stack.pacs.calls() == []


@pytest.mark.parametrize("fault", FIELD_FAULTS)
def test_what_the_pac_does_not_return_is_null(stack: FakeStack, fault: str) -> None:
    stack.pacs.fault(OPERATION, fault, times=-1)
    response = stack.get(f"/accounts/{SF}/stamps/account")
    assert (response.status, response.body) == (200, {"account": SF} | UNKNOWN)
    # Everything else works.
    assert stack.get(f"/accounts/{SF}/stamps", rfc=RFC).body["available"] == 750


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"fault": "code", "code": "601"}, 502, "pac-credentials-rejected"),
        ({"fault": "code", "code": "620"}, 403, "pac-permission-denied"),
        ({"fault": "cut-before"}, 504, "pac-timeout"),
    ],
)
def test_a_failure_is_an_error_and_not_unknown(
    stack: FakeStack, fault: dict[str, str], status: int, code: str
) -> None:
    stack.pacs.fault(OPERATION, times=-1, **fault)
    check_problem(stack.get(f"/accounts/{SF}/stamps/account"), status, code)


def test_an_issuer_without_a_contract(stack: FakeStack) -> None:
    state = stack.pacs.state.solucion_factible
    state.set_issuer(RFC, contratados=0, usados=7)
    body = stack.get(f"/accounts/{SF}/stamps", rfc=RFC).body
    names = ("contracted", "used", "available", "days_left", "alert")
    assert [body[name] for name in names] == [0, 7, 0, None, "no-contract"]
    state.contract(state.as_json()["accounts"][0]["username"], RFC, 500, stack.clock())
    body = stack.get(f"/accounts/{SF}/stamps", rfc=RFC).body
    assert [body[name] for name in names] == [500, 7, 493, None, "ok"]
