"""GET /accounts/{account}/balance, and the balance that a schedule reads."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import Movement
from tests.integration.contradictions import contradict
from tests.integration.harness import RC, RFC, RFC_N, SF, FakeStack, check_problem

PATH = f"/accounts/{RC}/balance"
KIND = "Consumo de timbre"


def sandbox_month(world: FakeStack, month: str) -> dict[str, Any]:
    account = world.books.reachcore.as_json()["accounts"][0]
    found: dict[str, Any] = account["months"][month]
    return found


# ------------------------------------------------------------------------------ answers


def test_a_month_of_all_issuers_field_by_field(world: FakeStack) -> None:
    world.books.reachcore.add_movements(
        "Acme Timbrado",
        [
            Movement(date(2026, 7, 2), RFC),
            Movement(date(2026, 7, 2), RFC_N, KIND, 3),
            Movement(date(2026, 7, 31), RFC_N, "Cancelación", 2),
        ],
    )

    answer = world.get(PATH, month="2026-07")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == {
        "account": RC,
        "pac": "reachcore",
        "month": "2026-07",
        "source": "pac",
        "plan": "postpaid",
        "as_of": "2026-11-19T13:53:42-06:00",
        "issuers": {"registered": 5, "authorized": 4, "stamping": 2},
        "transactions": 4,
        "movements_total": 4,
        "consistent": True,
        "by_issuer": [{"rfc": RFC, "amount": 1}, {"rfc": RFC_N, "amount": 5}],
        "by_kind": [{"kind": "Cancelación", "amount": 2}, {"kind": KIND, "amount": 4}],
        "movements": [
            {"rfc": RFC, "date": "2026-07-02", "kind": KIND, "amount": 1},
            {"rfc": RFC_N, "date": "2026-07-02", "kind": KIND, "amount": 3},
            {"rfc": RFC_N, "date": "2026-07-31", "kind": "Cancelación", "amount": 2},
        ],
        "truncated": False,
    }
    assert world.calls() == ["saldos"]


def test_a_month_equals_what_the_pac_has_in_its_books(world: FakeStack) -> None:
    body = world.get(PATH, month="2026-10").body

    theirs = sandbox_month(world, "2026-10")["movements"]
    assert body["movements"] == theirs
    assert len(theirs) > 30
    assert body["transactions"] == sum(one["amount"] for one in theirs)


def test_one_issuer_whose_rfc_holds_an_ampersand(world: FakeStack) -> None:
    body = world.get(PATH, month="2026-10", rfc=RFC).body

    theirs = sandbox_month(world, "2026-10")["movements"]
    assert body["movements"] == [one for one in theirs if one["rfc"] == RFC]
    assert [line["rfc"] for line in body["by_issuer"]] == [RFC]
    assert world.reachcore.calls.as_json()[0]["rfc"] == RFC


@pytest.mark.parametrize("text", ["ñan840101ab1", f" {RFC_N} ", "N\N{COMBINING TILDE}AN840101AB1"])
def test_an_rfc_may_be_written_in_several_ways(world: FakeStack, text: str) -> None:
    assert world.get(PATH, month="2026-10", rfc=text).status == 200
    assert world.reachcore.calls.as_json()[0]["rfc"] == RFC_N


def test_a_month_without_movements(world: FakeStack) -> None:
    body = world.get(PATH, month="2011-01").body

    assert (body["transactions"], body["by_issuer"], body["movements"]) == (0, [], [])
    assert body["truncated"] is False


def test_the_current_month_begins_at_midnight_in_mexico_city(world: FakeStack) -> None:
    world.clock.at = world.clock.at.fromisoformat("2026-12-01T05:59:50+00:00")
    check_problem(world.get(PATH, month="2026-12"), 400, "month-invalid", "month")
    assert world.calls() == []

    world.clock.forward(seconds=30)
    assert world.get(PATH, month="2026-12").status == 200


def test_a_prepaid_account(world: FakeStack) -> None:
    world.create_account("norte", world.secret(RC, api_key=world.credentials.norte_api_key))

    body = world.get("/accounts/norte/balance", month="2026-10").body

    assert (body["account"], body["plan"], body["issuers"]["registered"]) == ("norte", "prepaid", 2)


@pytest.mark.parametrize(("rows", "truncated"), [(5_000, False), (5_001, True)])
def test_totals_are_of_all_movements_which_end_at_five_thousand(
    world: FakeStack, rows: int, truncated: bool
) -> None:
    world.books.reachcore.load_bulk("Acme Timbrado", "2026-05", rows)

    body = world.get(PATH, month="2026-05").body

    assert len(body["movements"]) == 5_000
    assert body["truncated"] is truncated
    assert sum(line["amount"] for line in body["by_issuer"]) == body["transactions"]
    assert ("report" in body) is truncated
    if truncated:
        assert body["report"] == {"month": "2026-05", "kind": "consumption", "format": "csv"}


def test_a_total_that_differs_from_its_movements_is_marked_and_logged(world: FakeStack) -> None:
    contradict(world, 171, [Movement(date(2026, 7, 2), RFC, KIND, 2)])

    body = world.get(PATH, month="2026-07").body

    assert (body["transactions"], body["movements_total"], body["consistent"]) == (171, 2, False)
    (line,) = world.log_lines_with("the PAC's total differs")
    assert (line["account"], line["month"]) == (RC, "2026-07")
    assert (line["transactions"], line["movements_total"]) == (171, 2)


@pytest.mark.parametrize(
    ("transactions", "consistent"), [(1, False), (2, True), (171, None), (0, False)]
)
def test_of_one_issuer_a_larger_total_may_be_the_account_s(
    world: FakeStack, transactions: int, consistent: bool | None
) -> None:
    contradict(world, transactions, [Movement(date(2026, 7, 2), RFC, KIND, 2)])

    body = world.get(PATH, month="2026-07", rfc=RFC).body

    assert (body["movements_total"], body["consistent"]) == (2, consistent)
    assert bool(world.log_lines_with("the PAC's total differs")) is (consistent is False)


def test_other_kinds_of_movement_contradict_nothing(world: FakeStack) -> None:
    contradict(
        world,
        2,
        [
            Movement(date(2026, 7, 2), RFC, " consumo  de TIMBRE ", 2),
            Movement(date(2026, 7, 2), RFC, "Compra de timbres", 500),
        ],
    )

    body = world.get(PATH, month="2026-07").body

    assert (body["movements_total"], body["consistent"]) == (2, True)


def test_the_documented_answer_that_lacks_a_comma_is_understood(world: FakeStack) -> None:
    whole = world.get(PATH, month="2026-10").body
    world.fault("saldos", "missing-comma")

    assert world.get(PATH, month="2026-10").body == whole | {"as_of": "2026-11-19T13:53:43-06:00"}


# ------------------------------------------------------------------------- by schedule


def scheduled(world: FakeStack, **wanted: Any) -> Any:
    return world.invoke("balance", wanted)


def test_the_daily_run_reads_this_month_of_every_account_that_has_one(world: FakeStack) -> None:
    world.create_account("norte", world.secret(RC, api_key=world.credentials.norte_api_key))

    result = scheduled(world, account=None, month="current", scheduled_time="2026-11-19T11:30:00Z")

    months = {call["month"] for call in world.reachcore.calls.as_json()}
    assert months == {"2026-11"}
    assert result["failed"] == {}
    assert set(result["done"]) == {RC, "norte"}
    assert result["done"][RC] == {
        "month": "2026-11",
        "transactions": sum(one["amount"] for one in sandbox_month(world, "2026-11")["movements"]),
    }
    known = {(item["account"], item["rfc"]) for item in world.stack.items("IssuersTable")}
    assert known == {
        (RC, "A&D061009TY8"),
        (RC, "AAA010101AAA"),
        (RC, "ÑAN840101AB1"),
        ("norte", "GOMP800101QX2"),
    }


@pytest.mark.parametrize(
    ("month", "due", "meant"),
    [
        ("current", "2026-11-01T05:30:00Z", "2026-10"),
        ("previous", "2026-11-01T05:30:00Z", "2026-09"),
        ("current", "2026-11-01T06:00:00Z", "2026-11"),
        ("previous", "2026-11-01T06:00:00Z", "2026-10"),
        ("previous", "2026-01-01T12:00:00Z", "2025-12"),
        ("2026-03", "2026-11-01T05:30:00Z", "2026-03"),
    ],
)
def test_the_month_of_a_run_is_that_of_mexico_city_when_it_was_due(
    world: FakeStack, month: str, due: str, meant: str
) -> None:
    result = scheduled(world, account=RC, month=month, scheduled_time=due)

    assert result["done"][RC]["month"] == meant
    assert world.reachcore.calls.as_json()[0]["month"] == meant


def test_a_run_that_names_no_time_is_of_now(world: FakeStack) -> None:
    assert scheduled(world, account=RC, month="previous")["done"][RC]["month"] == "2026-10"


def test_a_rule_of_eventbridge_puts_its_input_under_detail(world: FakeStack) -> None:
    result = world.invoke(
        "balance", {"detail-type": "x", "detail": {"account": RC, "month": "2026-10"}}
    )

    assert result["done"][RC]["month"] == "2026-10"


def test_one_broken_account_stops_no_other(world: FakeStack) -> None:
    world.create_account("acme-broken", world.secret(RC, api_key=None))
    world.create_account("acme-locked", world.secret(RC, api_key="another-key"))

    result = scheduled(world, account=None, month="current")

    assert set(result["done"]) == {RC}
    assert result["failed"] == {
        "acme-broken": "account-misconfigured",
        "acme-locked": "pac-credentials-rejected",
    }
    assert {line["account"] for line in world.log_lines() if line["level"] == "ERROR"} == {
        "acme-broken",
        "acme-locked",
    }


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"account": "acme-none", "month": "current"}, "account-unknown"),
        ({"account": SF, "month": "current"}, "operation-unsupported"),
        ({"account": RC, "month": "2026-13"}, "month-invalid"),
    ],
)
def test_a_run_for_one_account_that_fails_raises_so_that_it_is_kept(
    world: FakeStack, wanted: dict[str, str], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        world.invoke("balance", wanted)
    assert world.calls() == []


def test_a_run_for_one_account_raises_what_the_pac_said(world: FakeStack) -> None:
    world.fault("saldos", "code", code="500", times=-1)

    with pytest.raises(Exception, match="pac-error"):
        scheduled(world, account=RC, month="current")


def test_a_run_twice_remembers_every_issuer_once(world: FakeStack) -> None:
    for _ in range(2):
        scheduled(world, account=RC, month="current", scheduled_time="2026-11-19T11:30:00Z")
        world.clock.forward(hours=1)

    items = world.stack.items("IssuersTable")
    assert len(items) == 3
    assert {item["since"] for item in items} == {"2026-11-19T13:53:41-06:00"}
