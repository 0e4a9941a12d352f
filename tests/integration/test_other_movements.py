"""Movements that are not consumption: the daily run and the report show them apart."""

from __future__ import annotations

from datetime import date, datetime

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


def test_a_balance_a_run_and_a_report_count_consumption_only(stack: FakeStack) -> None:
    stack.clock.at = datetime(2026, 7, 20, 5, 0, tzinfo=MEXICO_CITY)
    stack.pacs.state.reachcore.add_movements("Acme Timbrado", MOVEMENTS)

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
