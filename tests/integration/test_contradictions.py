"""A response with contradictory totals never becomes a report or a snapshot."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import CONSUMPTION, Movement
from tests.integration.test_reports_api import fail_report, make_report, sheets
from tests.support.contradictions import contradict
from tests.support.fake_stack import RC, RFC, FakeStack
from tests.support.further_cases import CSV_STATEMENT

STATED = 171
DAY = date(2026, 10, 2)


@pytest.mark.parametrize(
    ("movements", "total"),
    [
        ([], 0),
        ([Movement(DAY, RFC, CONSUMPTION, 170)], 170),
        ([Movement(DAY, RFC, CONSUMPTION, 172)], 172),
        ([Movement(DAY, RFC, "Compra de timbres", STATED)], 0),
    ],
    ids=["empty", "incomplete", "too much", "of another kind"],
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
    stack.pacs.fault(
        "csv", "wrong-shape", reply=CSV_STATEMENT.replace(":,3", f":,{STATED}"), times=-1
    )

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


def test_other_movement_kinds_cause_no_statement_difference(stack: FakeStack) -> None:
    movement = Movement(DAY, RFC, "Cancelación", 2)
    stack.pacs.state.reachcore.add_movements("Acme Timbrado", [movement])

    assert make_report(stack)["differences"] == {}


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
