"""Snapshots, read: an issuer's history, and the balance of an account without one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.integration.harness import RFC, RFC_N, SF, FakeStack, check_problem

import timbres.services.balances as work_balance

PATH = f"/accounts/{SF}/stamps/history"


def nights(world: FakeStack, *consumed: int | None) -> None:
    """Let one night pass for each number of stamps used before it; None is a night without run."""
    world.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[RFC, RFC_N])
    for stamps in consumed:
        if stamps is not None:
            if stamps:
                world.books.solucion_factible.consume(RFC, stamps)
            world.run()
        world.clock.forward(days=1)


def test_a_history_names_days_counts_and_what_was_consumed(world: FakeStack) -> None:
    nights(world, 0, 10, None, 30)
    body = world.get(PATH, rfc=RFC).body
    assert [(one["date"], one["used"], one["consumed"]) for one in body["snapshots"]] == [
        ("2026-11-19", 250, None),
        ("2026-11-20", 260, 10),
        ("2026-11-22", 290, 30),
    ]
    one_day = world.get(PATH, rfc=RFC, **{"from": "2026-11-20", "to": "2026-11-20"}).body
    assert [one["used"] for one in one_day["snapshots"]] == [260]


def test_snapshots_are_kept_for_400_days(world: FakeStack) -> None:
    nights(world, 0)
    for item in world.stack.items("SnapshotsTable"):
        kept = item["expires_at"] - Decimal(datetime.fromisoformat(item["at"]).timestamp())
        assert kept == 400 * 24 * 3600
    assert len(world.stack.items("SnapshotsTable")) >= 2


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
def test_a_question_that_is_none(
    world: FakeStack, query: dict[str, str], code: str, field: str
) -> None:
    check_problem(world.get(PATH, **query), 400, code, field)


def test_the_balance_is_made_of_snapshots_and_says_what_is_missing(world: FakeStack) -> None:
    nights(world, 0, 10, None, 30)
    body = world.get(f"/accounts/{SF}/balance", month="2026-11").body
    assert (body["source"], body["plan"], body["transactions"]) == ("snapshots", None, 40)
    assert body["by_issuer"] == [{"rfc": RFC, "amount": 40}]
    assert [(one["date"], one["amount"]) for one in body["movements"]] == [
        ("2026-11-19", 10),
        ("2026-11-20", 30),
    ]
    missing = [one["date"] for one in body["missing_days"]]
    assert "2026-11-21" in missing
    assert "2026-11-20" not in missing
    one = world.get(f"/accounts/{SF}/balance", month="2026-11", rfc=RFC_N).body
    assert (one["transactions"], one["by_issuer"]) == (0, [])


def test_a_purchase_in_between_is_no_consumption(world: FakeStack) -> None:
    nights(world, 0, 10)
    assert world.create_contract(RFC, 500).status == 201
    world.books.solucion_factible.consume(RFC, 5)
    world.run()
    assert world.get(f"/accounts/{SF}/balance", month="2026-11").body["transactions"] == 15


def test_a_month_without_counts_has_no_total(world: FakeStack) -> None:
    body = world.get(f"/accounts/{SF}/balance", month="2026-10").body
    assert (body["source"], body["transactions"], body["as_of"]) == ("snapshots", None, None)
    assert len(body["missing_days"]) == 31


# ------------------------------------------------------- the balance, from snapshots put there


def put_snapshots(world: FakeStack, counts: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Put snapshots of 05:00 where a run keeps them: contracted and used, by RFC and day."""
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
        world.stack.client("dynamodb").batch_write_item(
            RequestItems={world.stack.refs["SnapshotsTable"]: puts[begin : begin + 25]}
        )


def balance(world: FakeStack, month: str, **query: str) -> dict[str, Any]:
    answer = world.get(f"/accounts/{SF}/balance", month=month, **query)
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.body
    return body


def test_months_add_up_at_their_edges(world: FakeStack) -> None:
    put_snapshots(
        world,
        {
            RFC: {
                "2026-09-01": (900, 100),
                "2026-09-29": (900, 130),
                # A gap over the month's end: it stands on the day on which it begins.
                "2026-10-03": (900, 150),
                "2026-10-31": (900, 180),
                "2026-11-01": (900, 187),
                "2026-11-10": (900, 200),
            },
            RFC_N: {"2026-10-30": (900, 10), "2026-11-02": (900, 15)},
        },
    )

    amounts = {month: balance(world, month) for month in ("2026-09", "2026-10", "2026-11")}

    assert [one["transactions"] for one in amounts.values()] == [50, 42, 13]
    assert sum(one["transactions"] for one in amounts.values()) == (200 - 100) + (15 - 10)
    assert amounts["2026-10"]["movements"] == [
        {"rfc": rfc, "date": day, "kind": "Consumo de timbre", "amount": amount}
        for rfc, day, amount in (
            (RFC, "2026-10-03", 30),
            (RFC_N, "2026-10-30", 5),
            (RFC, "2026-10-31", 7),
        )
    ]
    assert amounts["2026-10"]["issuers"] == {"registered": None, "authorized": None, "stamping": 2}
    one = balance(world, "2026-10", rfc=RFC)
    assert (one["transactions"], one["by_issuer"]) == (37, [{"rfc": RFC, "amount": 37}])


def test_a_counter_that_went_down_tells_nothing_and_says_so(world: FakeStack) -> None:
    put_snapshots(
        world,
        {RFC: {"2026-10-01": (900, 800), "2026-10-02": (500, 3), "2026-10-03": (500, 10)}},
    )

    body = balance(world, "2026-10")

    assert body["transactions"] == 7
    assert [one["date"] for one in body["movements"]] == ["2026-10-02"]
    missing = [one["date"] for one in body["missing_days"]]
    assert "2026-10-01" in missing
    assert "2026-10-02" not in missing


def test_one_count_is_no_consumption_and_no_zero(world: FakeStack) -> None:
    put_snapshots(world, {RFC: {"2026-10-05": (900, 800)}})

    body = balance(world, "2026-10")

    assert (body["transactions"], body["issuers"]["stamping"]) == (None, None)
    assert (body["movements"], body["by_issuer"]) == ([], [])
    assert body["as_of"] == "2026-10-05T05:00:00-06:00"


@pytest.mark.parametrize("more", [0, 1])
def test_movements_end_where_an_answer_is_long_enough_and_totals_do_not(
    world: FakeStack, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert work_balance.MAX_MOVEMENTS == 5_000
    monkeypatch.setattr(work_balance, "MAX_MOVEMENTS", 100)
    first = date(2026, 10, 1)

    def days(count: int) -> dict[str, tuple[int, int]]:
        return {f"{first + timedelta(days=n)}": (9_000, n) for n in range(count + 1)}

    counts = {bulk_rfc(n): days(25) for n in range(4)}
    put_snapshots(world, counts | ({RFC: days(1)} if more else {}))

    body = balance(world, "2026-10")

    assert body["transactions"] == 100 + more
    assert len(body["movements"]) == 100
    assert body["truncated"] is bool(more)
    assert ("report" in body) is bool(more)


def test_another_account_s_snapshots_are_not_counted(world: FakeStack) -> None:
    put_snapshots(world, {RFC: {"2026-10-05": (900, 800), "2026-10-06": (900, 810)}})
    world.create_account("acme-sf-two", world.secret(SF))

    body = world.get("/accounts/acme-sf-two/balance", month="2026-10").body

    assert body["transactions"] is None
    assert world.calls() == []
