"""Unknown contracts with the PAC's protocol: what was created is confirmed, the rest is rejected."""

from __future__ import annotations

import pytest
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from tests.support.fake_stack import RFC, SF, FakeStack

from timbres.pacs.solucion_factible.error_codes import ERRORS


def reconcile(stack: FakeStack, **later: float) -> dict[str, int]:
    """Run the reconciler later; return the number of contracts by new state."""
    stack.clock.forward(**later)
    result: dict[str, int] = stack.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    return result


def test_every_code_of_a_contract_has_a_meaning() -> None:
    codes = FakeSolucionFactible.rules.codes["agregarContrato"] - {"200"}
    assert codes == ERRORS.by_code.keys()


@pytest.mark.parametrize(
    ("fault", "created", "code"),
    [
        ({"fault": "cut-after"}, True, "pac-timeout"),
        ({"fault": "cut-before"}, False, "pac-timeout"),
        ({"fault": "truncated"}, True, "pac-timeout"),
        ({"fault": "html-200"}, False, "pac-protocol-error"),
        ({"fault": "wrong-shape"}, False, "pac-protocol-error"),
        ({"fault": "empty-body"}, False, "pac-protocol-error"),
        ({"fault": "redirect"}, False, "pac-protocol-error"),
        ({"fault": "dtd"}, True, "pac-protocol-error"),
        ({"fault": "soap-fault"}, False, "pac-error"),
        ({"fault": "code", "code": "624", "processed": True}, True, "contract-duplicate"),
        ({"fault": "code", "code": "624"}, False, "contract-duplicate"),
    ],
    ids=str,
)
def test_a_count_decides_after_an_unclear_response(
    stack: FakeStack, fault: dict[str, object], created: bool, code: str
) -> None:
    stack.pacs.fault("agregarContrato", **fault)
    response = stack.create_contract(RFC, 500, "pedido-1")
    assert (response.status, response.body["error"]["code"]) == (202, code)

    states = [reconcile(stack, minutes=minutes) for minutes in (2, 40)]

    assert states == ([{"confirmed": 1}, {}] if created else [{"unknown": 1}, {"rejected": 1}])
    assert stack.pacs.contracts() == [(RFC, 500)] * created
    path = f"/accounts/{SF}/contracts/{response.body['id']}"
    contract = stack.get(path).body
    assert contract["contracted_after"] == 1000 + 500 * created
    assert contract["history"][-1]["by"] == "reconciler"


@pytest.mark.parametrize(
    ("fault", "state", "mail"),
    [
        ({"fault": "doubled-contract"}, "confirmed", "se esperaban 1,500"),
        ({"fault": "expiring-contract", "contratados": 500, "usados": 250}, None, "revise"),
    ],
)
def test_a_count_that_does_not_match_is_mailed(
    stack: FakeStack, fault: dict[str, object], state: str | None, mail: str
) -> None:
    stack.pacs.fault("agregarContrato", **fault)
    if state is None:
        # The contract replaces an expired one of its size: contracted is the same as before.
        stack.pacs.fault("agregarContrato", "cut-after")
    stack.create_contract(RFC, 500)

    states = [reconcile(stack, minutes=minutes) for minutes in (2, 40)]

    assert states == ([{"confirmed": 1}, {}] if state else [{"unknown": 1}, {"needs-review": 1}])
    assert any(mail in text for text in stack.mails())
