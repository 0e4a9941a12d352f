"""Unknown contracts with the protocol of a PAC: the reconciler, and its mails."""

from __future__ import annotations

import pytest
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from tests.support.fake_stack import RFC, FakeStack

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
    ("faults", "states", "mail"),
    [
        (["cut-after"], [{"confirmed": 1}, {}], "timbres contratados"),
        (["cut-before"], [{"unknown": 1}, {"rejected": 1}], "no se realizó"),
        (["html-200"], [{"unknown": 1}, {"rejected": 1}], "no se realizó"),
        (["doubled-contract"], [{"confirmed": 1}, {}], "se esperaban 1,500"),
        # The contract replaces an expired one of its size: contracted is the same as before.
        (["expiring-contract", "cut-after"], [{"unknown": 1}, {"needs-review": 1}], "revise"),
    ],
)
def test_a_count_decides_and_is_mailed(
    stack: FakeStack, faults: list[str], states: list[dict[str, int]], mail: str
) -> None:
    for fault in faults:
        expired = {"contratados": 500, "usados": 250} if fault == "expiring-contract" else {}
        stack.pacs.fault("agregarContrato", fault, **expired)
    stack.create_contract(RFC, 500)

    assert [reconcile(stack, minutes=minutes) for minutes in (2, 40)] == states
    assert any(mail in text for text in stack.mails())
    assert stack.pacs.calls().count("agregarContrato") == 1
