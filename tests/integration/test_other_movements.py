"""Movements that are not consumption: the API, the daily run and the report show them apart."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from local.fake_pacs.fake_data import Movement
from tests.integration.test_reports_api import make_report
from tests.support.fake_stack import RC, RFC, RFC_N, FakeStack
from tests.support.report_readers import sheets_of

from timbres.domain.clock import MEXICO_CITY

ADDED = "Compra de timbres"
MOVEMENTS = [
    Movement(date(2026, 7, 2), RFC, amount=3),
    Movement(date(2026, 7, 2), RFC, ADDED, 500),
    Movement(date(2026, 7, 3), RFC_N, amount=4),
    Movement(date(2026, 7, 4), RFC_N, "Ajuste", 9),
]


@pytest.fixture
def month(stack: FakeStack) -> FakeStack:
    stack.clock.at = datetime(2026, 7, 20, 5, 0, tzinfo=MEXICO_CITY)
    stack.pacs.state.reachcore.add_movements("Acme Timbrado", MOVEMENTS)
    return stack


def other_kinds_in_log(stack: FakeStack) -> list[list[str]]:
    return [line["kinds"] for line in stack.logs.lines("movements that are not consumption")]


def test_the_balance_counts_consumption_only(month: FakeStack) -> None:
    body = month.get(f"/accounts/{RC}/balance", month="2026-07").body

    assert body["by_issuer"] == [{"rfc": RFC, "amount": 3}, {"rfc": RFC_N, "amount": 4}]
    assert (body["transactions"], body["movements_total"]) == (7, 7)
    assert body["by_kind"] == [
        {"kind": "Ajuste", "amount": 9},
        {"kind": ADDED, "amount": 500},
        {"kind": "Consumo de timbre", "amount": 7},
    ]
    assert len(body["movements"]) == 4
    assert other_kinds_in_log(month) == [["Ajuste", ADDED]]


def test_a_daily_run_counts_consumption_only(month: FakeStack) -> None:
    assert month.run()["done"] > 0

    snapshots = month.aws.items("SnapshotsTable")
    consumed = {
        item["entry"].partition("#")[2]: item["consumed"]
        for item in snapshots
        if item["account"] == RC
    }
    assert {rfc: number for rfc, number in consumed.items() if number} == {RFC: 3, RFC_N: 4}
    assert other_kinds_in_log(month) == [["Ajuste", ADDED]]


def test_a_report_shows_other_movements_apart(month: FakeStack) -> None:
    body = make_report(month, RC, "2026-07", "consumption", "xlsx")

    book = sheets_of(month.download(body["url"]).content)
    assert [row[:2] for row in book["Por RFC"][1:]] == [
        [RFC_N, "4"],
        [RFC, "3"],
        ["Total: 2 RFC", "7"],
    ]
    assert book["Otros movimientos"][1:] == [
        [RFC, "02/07/2026", ADDED, "500"],
        [RFC_N, "04/07/2026", "Ajuste", "9"],
    ]
    assert [row[2:] for row in book["Movimientos"][1:]] == [
        ["Consumo de timbre", "3"],
        ["Consumo de timbre", "4"],
    ]
    assert body["rows"] == 4
    assert other_kinds_in_log(month) == [["Ajuste", ADDED]]
