"""Unusual movements of Reachcore: contradictory totals, other kinds, texts that are no RFC."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from local.fake_pacs import fake_data
from local.fake_pacs.fake_data import CONSUMPTION, Movement
from tests.support.contradictions import contradict
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, FakeStack
from tests.support.further_cases import CSV_STATEMENT
from tests.support.report_readers import sheets_of
from tests.support.reports import fail_report, make_report, sheets

from timbres.domain.clock import MEXICO_CITY

ACME = "Acme Timbrado"
ADDED = "Compra de timbres"
JULY_20 = datetime(2026, 7, 20, 5, 0, tzinfo=MEXICO_CITY)
ISSUERS = f"/accounts/{RC}/issuers"
TEXT = "Publico en general"
# The total of contradictory responses.
STATED = 171


# Contradictory totals never become a report or a snapshot.


@pytest.mark.parametrize(
    ("movements", "total"),
    [
        ([], 0),
        ([Movement(date(2026, 10, 2), RFC, ADDED, STATED)], 0),
        ([Movement(date(2026, 10, 2), RFC, CONSUMPTION, 172)], 172),
    ],
)
def test_a_consumption_report_fails_with_both_totals(
    stack: FakeStack, movements: list[Movement], total: int
) -> None:
    contradict(stack, STATED, movements)

    error = fail_report(stack, RC, "2026-10", "consumption", "csv")["error"]

    assert error["code"] == "pac-protocol-error"
    assert f"a total of {STATED} stamps" in error["detail"]
    assert f"adds up to {total}." in error["detail"]
    (mail,) = stack.mails()
    assert mail.startswith("Timbres: no se pudo generar")
    assert error["detail"] in mail


def test_a_contradictory_previous_month_is_not_zero(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = stack.pacs.state.reachcore.balance

    def contradict_next(*request: Any) -> Any:
        contradict(stack, STATED)
        return balance(*request)

    monkeypatch.setattr(stack.pacs.state.reachcore, "balance", contradict_next)

    summary = sheets(stack, RC, "2026-10")["Resumen"]

    assert summary[4][:3] == ["Contra septiembre", "sin dato", "septiembre de 2026: sin dato"]


def test_a_contradictory_statement_fails(stack: FakeStack) -> None:
    reply = CSV_STATEMENT.replace(":,3", f":,{STATED}")
    stack.pacs.fault("csv", "wrong-shape", reply=reply, times=-1)

    error = fail_report(stack)["error"]

    assert error["code"] == "pac-protocol-error"
    assert f"a total of {STATED} stamps" in error["detail"]
    assert "adds up to 3." in error["detail"]


def test_a_statement_differs_from_a_contradictory_balance(stack: FakeStack) -> None:
    total = stack.get(f"/accounts/{RC}/balance", month="2026-10").body["transactions"]
    contradict(stack, total)

    body = make_report(stack)

    assert body["status"] == "ready"
    assert body["differences"]["amount"] == [total, 0]
    assert len(stack.events("Statement Mismatch Detected")) == 1


@pytest.mark.parametrize("times", [1, -1])
def test_a_daily_run_retries_and_stores_no_contradictory_balance(
    stack: FakeStack, times: int
) -> None:
    contradict(stack, STATED, [Movement(date(2026, 11, 2), RFC, CONSUMPTION, 1)], times)

    run = stack.run()

    stored = [item for item in stack.aws.items("SnapshotsTable") if item["account"] == RC]
    if times == 1:
        assert (run["failed"], bool(stored)) == ({}, True)
    else:
        assert (run["failed"], stored) == ({"pac-protocol-error": 1}, [])
        assert any("no se pudieron contar" in mail for mail in stack.mails())


# Reports list movements that are not consumption separately.


def test_other_kinds_cause_no_statement_difference(stack: FakeStack) -> None:
    movement = Movement(date(2026, 10, 2), RFC, "Cancelación", 2)
    stack.pacs.state.reachcore.add_movements(ACME, [movement])

    assert make_report(stack)["differences"] == {}


def test_a_balance_a_run_and_a_report_count_consumption_only(stack: FakeStack) -> None:
    movements = [
        Movement(date(2026, 7, 2), RFC, amount=3),
        Movement(date(2026, 7, 2), RFC, ADDED, 500),
        Movement(date(2026, 7, 3), RFC_N, amount=4),
        Movement(date(2026, 7, 4), RFC_N, "Ajuste", 9),
    ]
    stack.clock.at = JULY_20
    stack.pacs.state.reachcore.add_movements(ACME, movements)

    body = stack.get(f"/accounts/{RC}/balance", month="2026-07").body
    assert (body["transactions"], body["movements_total"], len(body["movements"])) == (7, 7, 4)

    assert stack.run()["done"] > 0
    snapshots = [item for item in stack.aws.items("SnapshotsTable") if item["account"] == RC]
    consumed = {item["entry"].partition("#")[2]: item["consumed"] for item in snapshots}
    assert {rfc: number for rfc, number in consumed.items() if number} == {RFC: 3, RFC_N: 4}

    report = make_report(stack, RC, "2026-07", "consumption", "xlsx")
    book = sheets_of(stack.download(report["url"]).content)
    by_rfc = [row[:2] for row in book["Por RFC"][1:]]
    assert by_rfc == [[RFC_N, "4"], [RFC, "3"], ["Total: 2 RFC", "7"]]
    assert book["Otros movimientos"][1:] == [
        [RFC, "02/07/2026", ADDED, "500"],
        [RFC_N, "04/07/2026", "Ajuste", "9"],
    ]
    kinds = [row[2:] for row in book["Movimientos"][1:]]
    assert kinds == [["Consumo de timbre", "3"], ["Consumo de timbre", "4"]]
    assert report["rows"] == 4
    logged = [line["kinds"] for line in stack.logs.lines("movements that are not consumption")]
    # Once each.
    assert logged == [["Ajuste", ADDED]] * 3


# An issuer under a text that is not an RFC is counted, listed and removed by that text.


def known(stack: FakeStack) -> set[str]:
    return {line["rfc"] for line in stack.get(f"/accounts/{RC}/stamps").body["issuers"]}


@pytest.mark.parametrize(
    ("stored", "text", "removed"),
    [
        # By exactly the stored text, or by another spelling of an RFC.
        *(([text, RFC], text, text)
          for text in ("a&d061009ty8", "A&amp;D061009TY8", TEXT, "ÑAN840101AB1 ", "💥")),
        *(([TEXT, RFC], text, RFC) for text in (RFC, "a&d061009ty8", f" {RFC} ")),
    ],
)  # fmt: skip
def test_an_issuer_is_removed_by_its_stored_text(
    stack: FakeStack, stored: list[str], text: str, removed: str
) -> None:
    stack.accounts.add_issuers(stored, RC)

    response = stack.call("issuers", "DELETE", ISSUERS, {"rfc": text})

    assert response.body == {"account": RC, "rfc": removed, "removed": True}
    assert known(stack) == {*stored} - {removed}


def test_a_text_that_is_not_stored_removes_nothing(stack: FakeStack) -> None:
    stack.accounts.add_issuers([TEXT, RFC], RC)

    for text in (TEXT.lower(), "", "x" * 5_000, "\ud800"):
        response = stack.call("issuers", "DELETE", ISSUERS, {"rfc": text})
        check_problem(response, 400, "rfc-invalid", "rfc")
    response = stack.call("issuers", "DELETE", ISSUERS, {"rfc": "AAA010101AAA"})
    check_problem(response, 404, "issuer-unknown", "rfc")
    assert known(stack) == {TEXT, RFC}


def test_consumption_of_a_text_is_part_of_the_totals(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake PAC registers RFCs only.
    monkeypatch.setattr(fake_data, "is_rfc", lambda _text: True)
    stack.clock.at = JULY_20
    stack.pacs.state.reachcore.register(ACME, TEXT, authorized=True)
    stack.pacs.state.reachcore.add_movements(ACME, [Movement(date(2026, 7, 2), TEXT, amount=5)])

    body = stack.get(f"/accounts/{RC}/balance", month="2026-07").body
    assert body["by_issuer"] == [{"rfc": TEXT, "amount": 5}]
    assert (body["transactions"], body["consistent"]) == (5, True)
    stack.run()
    assert TEXT in known(stack)

    table = sheets(stack, RC, "2026-07")["Por RFC"]
    assert [row[:2] for row in table[1:]] == [[TEXT, "5"], ["Total: 1 RFC", "5"]]
