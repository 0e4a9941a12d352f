"""Snapshots: the history of an issuer, and the balance of an account without a PAC balance."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

from timbres.repositories.dynamodb import serialize
from timbres.services import balances


def run_days(stack: FakeStack, *consumed: int | None) -> None:
    """Run once per day, after the given stamps are consumed; None is a day without a run."""
    stack.accounts.add_issuers([RFC, RFC_N])
    for stamps in consumed:
        if stamps is not None:
            stack.pacs.state.solucion_factible.consume(RFC, stamps)
            stack.run()
        stack.clock.forward(days=1)


def put_snapshots(stack: FakeStack, counts: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Store snapshots of 05:00: contracted and used stamps, by RFC and day."""
    for rfc, days in counts.items():
        for day, (contracted, used) in days.items():
            key = {"account": SF, "entry": f"{day}#{rfc}", "at": f"{day}T05:00:00-06:00"}
            stamps = {"contracted": contracted, "used": used, "available": contracted - used}
            stack.aws.client("dynamodb").put_item(
                TableName=stack.aws.refs["SnapshotsTable"], Item=serialize(key | stamps)
            )


def get_balance(stack: FakeStack, month: str, account: str = SF, **query: str) -> dict[str, Any]:
    response = stack.get(f"/accounts/{account}/balance", month=month, **query)
    assert response.status == 200, response.text
    body: dict[str, Any] = response.body
    return body


def test_daily_runs_give_history_and_balance(stack: FakeStack) -> None:
    run_days(stack, 1, 10)
    # A contract between snapshots is not consumption.
    assert stack.create_contract(RFC, 500).status == 201
    run_days(stack, None, 30)

    path = f"/accounts/{SF}/stamps/history"
    history = stack.get(path, rfc=RFC).body["snapshots"]
    one_day = stack.get(path, rfc=RFC, **{"from": "2026-11-20", "to": "2026-11-20"}).body
    body = get_balance(stack, "2026-11")
    other = get_balance(stack, "2026-11", rfc=RFC_N)

    assert [(line["date"], line["used"], line["consumed"]) for line in history] == [
        ("2026-11-19", 251, None),
        ("2026-11-20", 261, 10),
        ("2026-11-22", 291, 30),
    ]
    assert [line["used"] for line in one_day["snapshots"]] == [261]
    assert (body["source"], body["plan"], body["transactions"]) == ("snapshots", None, 40)
    assert body["by_issuer"] == [{"rfc": RFC, "amount": 40}]
    assert [(movement["date"], movement["amount"]) for movement in body["movements"]] == [
        ("2026-11-19", 10),
        ("2026-11-20", 30),
    ]
    missing = [day["date"] for day in body["missing_days"]]
    assert "2026-11-21" in missing
    assert "2026-11-20" not in missing
    assert (other["transactions"], other["by_issuer"]) == (0, [])
    for item in stack.aws.items("SnapshotsTable"):
        stored_at = datetime.fromisoformat(item["at"]).timestamp()
        assert float(item["expires_at"]) - stored_at == pytest.approx(400 * 24 * 3600)


@pytest.mark.parametrize(
    ("account", "days", "as_of"),
    [
        (SF, {}, None),
        (SF, {"2026-10-05": (900, 800)}, "2026-10-05T05:00:00-06:00"),
        ("acme-other", {"2026-10-05": (900, 800), "2026-10-06": (900, 810)}, None),
    ],
    ids=["none", "a single one", "those of another account"],
)
def test_without_two_snapshots_the_total_is_unknown(
    stack: FakeStack, account: str, days: dict[str, tuple[int, int]], as_of: str | None
) -> None:
    stack.accounts.create("acme-other", stack.accounts.secret(SF))
    put_snapshots(stack, {RFC: days})

    body = get_balance(stack, "2026-10", account)

    assert (body["source"], body["transactions"], body["as_of"]) == ("snapshots", None, as_of)
    assert (body["movements"], body["by_issuer"], body["issuers"]["stamping"]) == ([], [], None)
    assert len(body["missing_days"]) == 31
    assert stack.pacs.calls() == []


@pytest.mark.parametrize("excess", [0, 1])
def test_movements_are_truncated_and_totals_are_not(
    stack: FakeStack, excess: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert balances.MAX_MOVEMENTS == 5_000
    monkeypatch.setattr(balances, "MAX_MOVEMENTS", 25)
    first = date(2026, 10, 1)
    days = {f"{first + timedelta(days=n)}": (9_000, n) for n in range(26 + excess)}
    put_snapshots(stack, {RFC: days})

    body = get_balance(stack, "2026-10")

    assert body["transactions"] == 25 + excess
    assert len(body["movements"]) == 25
    assert body["truncated"] is bool(excess)
    assert ("report" in body) is bool(excess)
