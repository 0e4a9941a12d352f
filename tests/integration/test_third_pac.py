"""A third PAC, added only by its package and its row in pac_cases, in functions and the doctor.

The suites for every PAC cover its client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from local.fake_pacs.server import serve
from tests.support import libre
from tests.support.fake_stack import FakeStack
from tests.support.libre.fake import LibreFake
from tests.support.pac_cases import KEY, RFC, RFC_N, USERNAME, inject_fault
from tools.doctor.accounts import AccountChecks

from timbres.pacs import registry

ACCOUNT = "acme-libre"


@pytest.fixture
def fake() -> LibreFake:
    return LibreFake(USERNAME, KEY)


@pytest.fixture
def secret(fake: LibreFake, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The secret of an account at a Libre that is registered and served."""
    monkeypatch.setitem(registry.PACS, libre.PAC.name, libre.PAC)
    with serve(fake) as url:
        yield {
            "pac": libre.PAC.name,
            "environment": "sandbox",
            "endpoint": url,
            "user": USERNAME,
            "token": KEY,
        }


def run_doctor(stack: FakeStack) -> list[tuple[str, str]]:
    parameters = {"SecretPrefix": "timbres/accounts/", "AllowSandboxAccounts": "true"}
    doctor = AccountChecks(stack.aws.client, None, parameters, [ACCOUNT])
    return [(one.level, one.text) for one in (*doctor.check_secrets(), *doctor.check_pacs())]


def test_an_issuer_without_a_limit_is_never_low(stack: FakeStack, secret: dict[str, Any]) -> None:
    stack.accounts.create(ACCOUNT, secret | {"low_stamps": 1000})
    stack.accounts.add_issuers([RFC, RFC_N], ACCOUNT)

    response = stack.get(f"/accounts/{ACCOUNT}/stamps", rfc=RFC_N)
    stack.run()

    assert response.status == 200
    assert (response.body["available"], response.body["used"]) == (None, 0)
    assert (response.body["unlimited"], response.body["alert"]) == (True, "ok")
    known = {
        item["rfc"]: (item["unlimited"], item["available"], item["alert"])
        for item in stack.get(f"/accounts/{ACCOUNT}/stamps").body["issuers"]
    }
    assert known == {RFC: (False, 750, "low"), RFC_N: (True, None, "ok")}
    today = stack.clock().date().isoformat()
    history = stack.get(f"/accounts/{ACCOUNT}/stamps/history", rfc=RFC_N, to=today).body
    assert [item["unlimited"] for item in history["snapshots"]] == [True]


def test_a_contract_without_codes(
    stack: FakeStack, secret: dict[str, Any], fake: LibreFake
) -> None:
    stack.accounts.create(ACCOUNT, secret)

    response = stack.create_contract(RFC, 500, account=ACCOUNT)

    assert response.status == 201
    assert response.body["status"] == "confirmed"
    assert fake.contracts() == [(RFC, 500)]


@pytest.mark.parametrize(
    ("rfc", "fault", "states"),
    [
        (RFC, "cut-after", ["confirmed"]),
        (RFC, "cut-before", ["unknown", "rejected"]),
        pytest.param(RFC_N, "cut-after", ["unknown", "needs-review"], id="without a limit"),
    ],
)
def test_a_lost_response_is_resolved_by_the_pac_s_counts(
    stack: FakeStack,
    secret: dict[str, Any],
    fake: LibreFake,
    rfc: str,
    fault: str,
    states: list[str],
) -> None:
    stack.accounts.create(ACCOUNT, secret)
    inject_fault(fake, "contracts", fault)
    assert stack.create_contract(rfc, 500, account=ACCOUNT).body["status"] == "unknown"

    rounds = [stack.reconcile(minutes=minutes) for minutes in (2, 40)]

    assert [state for states_of_round in rounds for state in states_of_round] == states


def test_the_doctor_checks_it(stack: FakeStack, secret: dict[str, Any], fake: LibreFake) -> None:
    stack.accounts.create(ACCOUNT, secret)
    findings = run_doctor(stack)
    assert any("libre, sandbox; low below" in text for _, text in findings)
    assert "unlimited" in findings[-1][1]
