"""A response with contradictory totals never becomes a report or a snapshot."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import CONSUMPTION, Movement
from tests.integration.test_history_api import put_snapshots
from tests.integration.test_reports_api import make_report, rows, section
from tests.support.contradictions import contradict, contradict_in_the_statement
from tests.support.fake_stack import RC, RFC, FakeStack

SF = "acme-sf"
STATED = 171
MOVEMENTS = {
    "empty": [],
    "incomplete": [Movement(date(2026, 10, 2), RFC, CONSUMPTION, 170)],
    "too much": [Movement(date(2026, 10, 2), RFC, CONSUMPTION, 172)],
    "of another kind": [Movement(date(2026, 10, 2), RFC, "Compra de timbres", STATED)],
}
SUMS = {"empty": 0, "incomplete": 170, "too much": 172, "of another kind": 0}


def fail_report(stack: FakeStack, *request: Any) -> dict[str, Any]:
    """Request a report, retry it until it fails, and return its error."""
    report = stack.request_report(*request).body
    assert [stack.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]
    path = f"/accounts/{report['account']}/reports/{report['id']}"
    body = stack.get(path, redirect="false").body
    assert body["status"] == "failed"
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("case", MOVEMENTS)
@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf", "html"])
def test_consumption_report_fails_with_both_totals(stack: FakeStack, form: str, case: str) -> None:
    contradict(stack, STATED, MOVEMENTS[case])

    error = fail_report(stack, RC, "2026-10", "consumption", form)

    assert error["code"] == "pac-protocol-error"
    assert str(STATED) in error["detail"]
    assert str(SUMS[case]) in error["detail"]
    (mail,) = stack.mails()
    assert mail.startswith("Timbres: no se pudo hacer")
    assert error["detail"] in mail


def test_report_succeeds_after_a_temporary_contradiction(stack: FakeStack) -> None:
    contradict(stack, STATED, times=1)
    report = stack.request_report(RC, "2026-10", "consumption", "csv").body
    assert stack.deliver() == (0, 1)
    assert stack.deliver() == (1, 0)

    body = stack.get(f"/accounts/{RC}/reports/{report['id']}", redirect="false").body
    assert body["status"] == "ready"
    assert body["rows"] > 30


def test_report_of_all_accounts_names_the_account_with_a_contradiction(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    put_snapshots(stack, {RFC: {"2026-10-01": (100, 20), "2026-10-02": (100, 30)}})
    contradict(stack, STATED)
    report = stack.request_report("all", "2026-10", "consumption", "csv").body
    assert [stack.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]

    body = stack.get(f"/accounts/all/reports/{report['id']}", redirect="false").body
    table = rows(stack.download(body["url"]).content)
    problems = {source[0]: source[-1] for source in section(table, "Fuentes")}
    assert f"a total of {STATED} stamps" in problems[RC]
    assert problems[SF] == ""
    assert [line[0] for line in section(table, "Consumo por RFC")] == [SF, "Total"]


def test_contradictory_previous_month_is_not_reported_as_zero(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = stack.pacs.state.reachcore.balance

    def contradict_next(*request: Any) -> Any:
        contradict(stack, STATED)
        return balance(*request)

    monkeypatch.setattr(stack.pacs.state.reachcore, "balance", contradict_next)

    body = make_report(stack, RC, "2026-10", "consumption", "csv")

    table = rows(stack.download(body["url"]).content)
    assert table[6:8] == [["Mes anterior (timbres)", "sin dato"], ["Cambio", "sin dato"]]


def test_contradictory_statement_fails(stack: FakeStack) -> None:
    contradict_in_the_statement(stack, STATED)

    error = fail_report(stack)

    assert error["code"] == "pac-protocol-error"
    assert f"a total of {STATED} stamps" in error["detail"]
    assert "adds up to 1." in error["detail"]


def test_statement_differs_from_a_contradictory_balance(stack: FakeStack) -> None:
    total = stack.get(f"/accounts/{RC}/balance", month="2026-10").body["transactions"]
    contradict(stack, total)

    body = make_report(stack)

    assert body["status"] == "ready"
    assert body["differences"]["amount"] == [total, 0]
    assert len(stack.events("Statement Mismatch Detected")) == 1


def test_other_movement_kinds_cause_no_statement_difference(stack: FakeStack) -> None:
    stack.pacs.state.reachcore.add_movements(
        "Acme Timbrado", [Movement(date(2026, 10, 2), RFC, "Cancelación", 2)]
    )

    assert make_report(stack)["differences"] == {}


@pytest.mark.parametrize("case", ["empty", "incomplete"])
def test_daily_run_stores_no_snapshot_of_a_contradictory_balance(
    stack: FakeStack, case: str
) -> None:
    contradict(stack, STATED, [Movement(date(2026, 11, 2), RFC, CONSUMPTION, 1)][: case != "empty"])

    run = stack.run()

    assert run["failed"] == {"pac-protocol-error": 1}
    assert [item for item in stack.aws.items("SnapshotsTable") if item["account"] == RC] == []
    assert any("no se pudieron contar" in mail for mail in stack.mails())


def test_daily_run_retries_after_a_contradiction(stack: FakeStack) -> None:
    contradict(stack, STATED, times=1)

    run = stack.run()

    assert run["failed"] == {}
    assert [item for item in stack.aws.items("SnapshotsTable") if item["account"] == RC]
