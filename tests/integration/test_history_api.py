"""Snapshots, read: an issuer's history, and the balance of an account without one."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest
from tests.integration.harness import RFC, RFC_N, SF, World, problem

PATH = f"/accounts/{SF}/stamps/history"


def nights(world: World, *consumed: int | None) -> None:
    """Let one night pass for each number of stamps used before it; None is a night without run."""
    world.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[RFC, RFC_N])
    for stamps in consumed:
        if stamps is not None:
            if stamps:
                world.books.solucion_factible.consume(RFC, stamps)
            world.run()
        world.clock.forward(days=1)


def test_a_history_names_days_counts_and_what_was_consumed(world: World) -> None:
    nights(world, 0, 10, None, 30)
    body = world.get(PATH, rfc=RFC).body
    assert [(one["date"], one["used"], one["consumed"]) for one in body["snapshots"]] == [
        ("2026-11-19", 250, None),
        ("2026-11-20", 260, 10),
        ("2026-11-22", 290, 30),
    ]
    one_day = world.get(PATH, rfc=RFC, **{"from": "2026-11-20", "to": "2026-11-20"}).body
    assert [one["used"] for one in one_day["snapshots"]] == [260]


def test_snapshots_are_kept_for_400_days(world: World) -> None:
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
    world: World, query: dict[str, str], code: str, field: str
) -> None:
    problem(world.get(PATH, **query), 400, code, field)


def test_the_balance_is_made_of_snapshots_and_says_what_is_missing(world: World) -> None:
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


def test_a_purchase_in_between_is_no_consumption(world: World) -> None:
    nights(world, 0, 10)
    assert world.buy(RFC, 500).status == 201
    world.books.solucion_factible.consume(RFC, 5)
    world.run()
    assert world.get(f"/accounts/{SF}/balance", month="2026-11").body["transactions"] == 15


def test_a_month_without_counts_has_no_total(world: World) -> None:
    body = world.get(f"/accounts/{SF}/balance", month="2026-10").body
    assert (body["source"], body["transactions"], body["as_of"]) == ("snapshots", None, None)
    assert len(body["missing_days"]) == 31
