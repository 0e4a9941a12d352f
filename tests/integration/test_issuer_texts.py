"""Issuers under a PAC's text that is not an RFC: counted, shown, removed by that text."""

from __future__ import annotations

from datetime import datetime

import pytest
from local.fake_pacs import fake_data
from local.fake_pacs.fake_data import Movement
from tests.integration.test_reports_api import sheets
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, FakeStack

from timbres.domain.clock import MEXICO_CITY

PATH = f"/accounts/{RC}/issuers"
TEXT = "Publico en general"


def known(stack: FakeStack) -> set[str]:
    return {line["rfc"] for line in stack.get(f"/accounts/{RC}/stamps").body["issuers"]}


REMOVED = [
    # By exactly the stored text, or by another spelling of an RFC.
    *(([text, RFC], text, text) for text in (
        "a&d061009ty8", "A&amp;D061009TY8", TEXT, "A&D061009TY", "ÑAN840101AB1 ", "?", "💥")),
    *(([TEXT, RFC], text, RFC) for text in (RFC, "a&d061009ty8", f" {RFC} ")),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "text", "removed"), REMOVED)
def test_an_issuer_is_removed_by_its_stored_text(
    stack: FakeStack, stored: list[str], text: str, removed: str
) -> None:
    stack.accounts.add_issuers(stored, RC)

    response = stack.call("issuers", "DELETE", PATH, {"rfc": text})

    assert response.body == {"account": RC, "rfc": removed, "removed": True}
    assert known(stack) == {*stored} - {removed}


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (TEXT.lower(), 400, "rfc-invalid"),
        ("", 400, "rfc-invalid"),
        ("x" * 5_000, 400, "rfc-invalid"),
        ("\ud800", 400, "rfc-invalid"),
        ("AAA010101AAA", 404, "issuer-unknown"),
    ],
)
def test_a_text_that_is_not_stored_removes_nothing(
    stack: FakeStack, text: str, status: int, code: str
) -> None:
    stack.accounts.add_issuers([TEXT, RFC], RC)

    check_problem(stack.call("issuers", "DELETE", PATH, {"rfc": text}), status, code, "rfc")
    assert known(stack) == {TEXT, RFC}


def test_consumption_of_a_text_is_part_of_the_totals(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake PAC registers RFCs only.
    monkeypatch.setattr(fake_data, "is_rfc", lambda _text: True)
    at = datetime(2026, 7, 20, 5, 0, tzinfo=MEXICO_CITY)
    stack.clock.at = at
    stack.pacs.state.reachcore.register("Acme Timbrado", TEXT, authorized=True)
    stack.pacs.state.reachcore.add_movements(
        "Acme Timbrado", [Movement(at.date().replace(day=2), TEXT, amount=5)]
    )

    body = stack.get(f"/accounts/{RC}/balance", month="2026-07").body
    assert body["by_issuer"] == [{"rfc": TEXT, "amount": 5}]
    assert (body["transactions"], body["consistent"]) == (5, True)
    stack.run()
    assert TEXT in known(stack)

    table = sheets(stack, RC, "2026-07")["Por RFC"]
    assert [row[:2] for row in table[1:]] == [[TEXT, "5"], ["Total: 1 RFC", "5"]]
