"""Snapshots: the history of an issuer, and the balance of an account without a PAC balance."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import check_problem
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

from timbres.services import balances

PATH = f"/accounts/{SF}/stamps/history"


def run_days(stack: FakeStack, *consumed: int | None) -> None:
    """Run once per day, after the given stamps are consumed; None is a day without a run."""
    stack.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[RFC, RFC_N])
    for stamps in consumed:
        if stamps is not None:
            if stamps:
                stack.pacs.state.solucion_factible.consume(RFC, stamps)
            stack.run()
        stack.clock.forward(days=1)


def test_history_has_days_counts_and_consumption(stack: FakeStack) -> None:
    run_days(stack, 0, 10, None, 30)
    body = stack.get(PATH, rfc=RFC).body
    assert [
        (snapshot["date"], snapshot["used"], snapshot["consumed"]) for snapshot in body["snapshots"]
    ] == [
        ("2026-11-19", 250, None),
        ("2026-11-20", 260, 10),
        ("2026-11-22", 290, 30),
    ]
    filtered = stack.get(PATH, rfc=RFC, **{"from": "2026-11-20", "to": "2026-11-20"}).body
    assert [snapshot["used"] for snapshot in filtered["snapshots"]] == [260]


def test_snapshots_expire_after_400_days(stack: FakeStack) -> None:
    run_days(stack, 0)
    for item in stack.aws.items("SnapshotsTable"):
        seconds = item["expires_at"] - Decimal(datetime.fromisoformat(item["at"]).timestamp())
        assert seconds == 400 * 24 * 3600
    assert len(stack.aws.items("SnapshotsTable")) >= 2


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({}, "rfc-invalid", "rfc"),
        ({"rfc": "no"}, "rfc-invalid", "rfc"),
        ({"rfc": RFC, "from": "19/11/2026"}, "parameter-invalid", "from"),
        ({"rfc": RFC, "from": "2026-11-20", "to": "2026-11-19"}, "parameter-invalid", "from"),
        ({"rfc": RFC, "from": "2024-01-01"}, "parameter-invalid", "from"),
        ({"rfc": RFC, "until": "2026-11-19"}, "parameter-invalid", "until"),
    ],
)
def test_invalid_parameters_are_rejected(
    stack: FakeStack, query: dict[str, str], code: str, field: str
) -> None:
    check_problem(stack.get(PATH, **query), 400, code, field)


def test_balance_from_snapshots_lists_the_missing_days(stack: FakeStack) -> None:
    run_days(stack, 0, 10, None, 30)
    body = stack.get(f"/accounts/{SF}/balance", month="2026-11").body
    assert (body["source"], body["plan"], body["transactions"]) == ("snapshots", None, 40)
    assert body["by_issuer"] == [{"rfc": RFC, "amount": 40}]
    assert [(movement["date"], movement["amount"]) for movement in body["movements"]] == [
        ("2026-11-19", 10),
        ("2026-11-20", 30),
    ]
    missing = [day["date"] for day in body["missing_days"]]
    assert "2026-11-21" in missing
    assert "2026-11-20" not in missing
    issuer_balance = stack.get(f"/accounts/{SF}/balance", month="2026-11", rfc=RFC_N).body
    assert (issuer_balance["transactions"], issuer_balance["by_issuer"]) == (0, [])


def test_contract_between_snapshots_is_not_consumption(stack: FakeStack) -> None:
    run_days(stack, 0, 10)
    assert stack.create_contract(RFC, 500).status == 201
    stack.pacs.state.solucion_factible.consume(RFC, 5)
    stack.run()
    assert stack.get(f"/accounts/{SF}/balance", month="2026-11").body["transactions"] == 15


def test_month_without_snapshots_has_no_total(stack: FakeStack) -> None:
    body = stack.get(f"/accounts/{SF}/balance", month="2026-10").body
    assert (body["source"], body["transactions"], body["as_of"]) == ("snapshots", None, None)
    assert len(body["missing_days"]) == 31


# --------------------------------------------------------------- balances from snapshots


def put_snapshots(stack: FakeStack, counts: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Store snapshots of 05:00: contracted and used stamps, by RFC and day."""
    puts = [
        {
            "PutRequest": {
                "Item": {
                    "account": {"S": SF},
                    "entry": {"S": f"{day}#{rfc}"},
                    "at": {"S": f"{day}T05:00:00-06:00"},
                    "contracted": {"N": str(contracted)},
                    "used": {"N": str(used)},
                    "available": {"N": str(contracted - used)},
                }
            }
        }
        for rfc, days in counts.items()
        for day, (contracted, used) in days.items()
    ]
    for begin in range(0, len(puts), 25):
        stack.aws.client("dynamodb").batch_write_item(
            RequestItems={stack.aws.refs["SnapshotsTable"]: puts[begin : begin + 25]}
        )


def balance(stack: FakeStack, month: str, **query: str) -> dict[str, Any]:
    response = stack.get(f"/accounts/{SF}/balance", month=month, **query)
    assert response.status == 200, response.text
    body: dict[str, Any] = response.body
    return body


def test_consumption_at_month_boundaries_is_counted_once(stack: FakeStack) -> None:
    put_snapshots(
        stack,
        {
            RFC: {
                "2026-09-01": (900, 100),
                "2026-09-29": (900, 130),
                # The consumption of a gap belongs to its first day.
                "2026-10-03": (900, 150),
                "2026-10-31": (900, 180),
                "2026-11-01": (900, 187),
                "2026-11-10": (900, 200),
            },
            RFC_N: {"2026-10-30": (900, 10), "2026-11-02": (900, 15)},
        },
    )

    balances_by_month = {
        month: balance(stack, month) for month in ("2026-09", "2026-10", "2026-11")
    }

    assert [body["transactions"] for body in balances_by_month.values()] == [50, 42, 13]
    total = sum(body["transactions"] for body in balances_by_month.values())
    assert total == (200 - 100) + (15 - 10)
    assert balances_by_month["2026-10"]["movements"] == [
        {"rfc": rfc, "date": day, "kind": "Consumo de timbre", "amount": amount}
        for rfc, day, amount in (
            (RFC, "2026-10-03", 30),
            (RFC_N, "2026-10-30", 5),
            (RFC, "2026-10-31", 7),
        )
    ]
    assert balances_by_month["2026-10"]["issuers"] == {
        "registered": None,
        "authorized": None,
        "stamping": 2,
    }
    issuer_balance = balance(stack, "2026-10", rfc=RFC)
    assert (issuer_balance["transactions"], issuer_balance["by_issuer"]) == (
        37,
        [{"rfc": RFC, "amount": 37}],
    )


def test_day_of_a_decreased_count_is_missing(stack: FakeStack) -> None:
    put_snapshots(
        stack,
        {RFC: {"2026-10-01": (900, 800), "2026-10-02": (500, 3), "2026-10-03": (500, 10)}},
    )

    body = balance(stack, "2026-10")

    assert body["transactions"] == 7
    assert [movement["date"] for movement in body["movements"]] == ["2026-10-02"]
    missing = [day["date"] for day in body["missing_days"]]
    assert "2026-10-01" in missing
    assert "2026-10-02" not in missing


def test_single_snapshot_has_no_consumption(stack: FakeStack) -> None:
    put_snapshots(stack, {RFC: {"2026-10-05": (900, 800)}})

    body = balance(stack, "2026-10")

    assert (body["transactions"], body["issuers"]["stamping"]) == (None, None)
    assert (body["movements"], body["by_issuer"]) == ([], [])
    assert body["as_of"] == "2026-10-05T05:00:00-06:00"


@pytest.mark.parametrize("excess", [0, 1])
def test_movements_are_truncated_and_totals_are_not(
    stack: FakeStack, excess: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert balances.MAX_MOVEMENTS == 5_000
    monkeypatch.setattr(balances, "MAX_MOVEMENTS", 100)
    first = date(2026, 10, 1)

    def days(count: int) -> dict[str, tuple[int, int]]:
        return {f"{first + timedelta(days=n)}": (9_000, n) for n in range(count + 1)}

    counts = {bulk_rfc(n): days(25) for n in range(4)}
    put_snapshots(stack, counts | ({RFC: days(1)} if excess else {}))

    body = balance(stack, "2026-10")

    assert body["transactions"] == 100 + excess
    assert len(body["movements"]) == 100
    assert body["truncated"] is bool(excess)
    assert ("report" in body) is bool(excess)


def test_snapshots_of_another_account_are_ignored(stack: FakeStack) -> None:
    put_snapshots(stack, {RFC: {"2026-10-05": (900, 800), "2026-10-06": (900, 810)}})
    stack.accounts.create("acme-sf-two", stack.accounts.secret(SF))

    body = stack.get("/accounts/acme-sf-two/balance", month="2026-10").body

    assert body["transactions"] is None
    assert stack.pacs.calls() == []
