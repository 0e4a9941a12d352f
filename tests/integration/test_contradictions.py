"""A response with contradictory totals never becomes a report or a snapshot."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import CONSUMPTION, Movement
from tests.integration.contradictions import contradict, contradict_in_the_statement
from tests.integration.harness import RC, RFC, FakeStack
from tests.integration.test_history_api import put_snapshots
from tests.integration.test_reports_api import make_report, rows, section

SF = "acme-sf"
STATED = 171
MOVEMENTS = {
    "empty": [],
    "incomplete": [Movement(date(2026, 10, 2), RFC, CONSUMPTION, 170)],
    "too much": [Movement(date(2026, 10, 2), RFC, CONSUMPTION, 172)],
    "of another kind": [Movement(date(2026, 10, 2), RFC, "Compra de timbres", STATED)],
}
SUMS = {"empty": 0, "incomplete": 170, "too much": 172, "of another kind": 0}


def fail_report(world: FakeStack, *request: Any) -> dict[str, Any]:
    """Request a report, retry it until it fails, and return its error."""
    report = world.request_report(*request).body
    assert [world.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]
    path = f"/accounts/{report['account']}/reports/{report['id']}"
    body = world.get(path, redirect="false").body
    assert body["status"] == "failed"
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("case", MOVEMENTS)
@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf", "html"])
def test_consumption_report_fails_with_both_totals(world: FakeStack, form: str, case: str) -> None:
    contradict(world, STATED, MOVEMENTS[case])

    error = fail_report(world, RC, "2026-10", "consumption", form)

    assert error["code"] == "pac-protocol-error"
    assert str(STATED) in error["detail"]
    assert str(SUMS[case]) in error["detail"]
    (mail,) = world.mails()
    assert mail.startswith("Timbres: no se pudo hacer")
    assert error["detail"] in mail


def test_report_succeeds_after_a_temporary_contradiction(world: FakeStack) -> None:
    contradict(world, STATED, times=1)
    report = world.request_report(RC, "2026-10", "consumption", "csv").body
    assert world.deliver() == (0, 1)
    assert world.deliver() == (1, 0)

    body = world.get(f"/accounts/{RC}/reports/{report['id']}", redirect="false").body
    assert body["status"] == "ready"
    assert body["rows"] > 30


def test_report_of_all_accounts_names_the_account_with_a_contradiction(world: FakeStack) -> None:
    world.add_issuers([RFC])
    put_snapshots(world, {RFC: {"2026-10-01": (100, 20), "2026-10-02": (100, 30)}})
    contradict(world, STATED)
    report = world.request_report("all", "2026-10", "consumption", "csv").body
    assert [world.deliver() for _ in range(3)] == [(0, 1), (0, 1), (1, 0)]

    body = world.get(f"/accounts/all/reports/{report['id']}", redirect="false").body
    table = rows(world.download(body["url"]).content)
    problems = {source[0]: source[-1] for source in section(table, "Fuentes")}
    assert f"a total of {STATED} stamps" in problems[RC]
    assert problems[SF] == ""
    assert [line[0] for line in section(table, "Consumo por RFC")] == [SF, "Total"]


def test_contradictory_previous_month_is_not_reported_as_zero(
    world: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance = world.books.reachcore.balance

    def contradict_next(*request: Any) -> Any:
        contradict(world, STATED)
        return balance(*request)

    monkeypatch.setattr(world.books.reachcore, "balance", contradict_next)

    body = make_report(world, RC, "2026-10", "consumption", "csv")

    table = rows(world.download(body["url"]).content)
    assert table[6:8] == [["Mes anterior (timbres)", "sin dato"], ["Cambio", "sin dato"]]


def test_contradictory_statement_fails(world: FakeStack) -> None:
    contradict_in_the_statement(world, STATED)

    error = fail_report(world)

    assert error["code"] == "pac-protocol-error"
    assert f"a total of {STATED} stamps" in error["detail"]
    assert "adds up to 1." in error["detail"]


def test_statement_differs_from_a_contradictory_balance(world: FakeStack) -> None:
    total = world.get(f"/accounts/{RC}/balance", month="2026-10").body["transactions"]
    contradict(world, total)

    body = make_report(world)

    assert body["status"] == "ready"
    assert body["differences"]["amount"] == [total, 0]
    assert len(world.events("Statement Mismatch Detected")) == 1


def test_other_movement_kinds_cause_no_statement_difference(world: FakeStack) -> None:
    world.books.reachcore.add_movements(
        "Acme Timbrado", [Movement(date(2026, 10, 2), RFC, "Cancelación", 2)]
    )

    assert make_report(world)["differences"] == {}


@pytest.mark.parametrize("case", ["empty", "incomplete"])
def test_daily_run_stores_no_snapshot_of_a_contradictory_balance(
    world: FakeStack, case: str
) -> None:
    contradict(world, STATED, [Movement(date(2026, 11, 2), RFC, CONSUMPTION, 1)][: case != "empty"])

    run = world.run()

    assert run["failed"] == {"pac-protocol-error": 1}
    assert [item for item in world.stack.items("SnapshotsTable") if item["account"] == RC] == []
    assert any("no se pudieron contar" in mail for mail in world.mails())


def test_daily_run_retries_after_a_contradiction(world: FakeStack) -> None:
    contradict(world, STATED, times=1)

    run = world.run()

    assert run["failed"] == {}
    assert [item for item in world.stack.items("SnapshotsTable") if item["account"] == RC]
