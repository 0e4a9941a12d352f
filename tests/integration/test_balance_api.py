"""GET /accounts/{account}/balance, and the scheduled balance."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import Movement
from tests.support.contradictions import contradict
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{RC}/balance"
KIND = "Consumo de timbre"


def fake_pac_month(stack: FakeStack, month: str) -> dict[str, Any]:
    account = stack.pacs.state.reachcore.as_json()["accounts"][0]
    values: dict[str, Any] = account["months"][month]
    return values


# ------------------------------------------------------------------------------ responses


def test_balance_of_all_issuers_has_every_field(stack: FakeStack) -> None:
    stack.pacs.state.reachcore.add_movements(
        "Acme Timbrado",
        [
            Movement(date(2026, 7, 2), RFC),
            Movement(date(2026, 7, 2), RFC_N, KIND, 3),
            Movement(date(2026, 7, 31), RFC_N, "Cancelación", 2),
        ],
    )

    response = stack.get(PATH, month="2026-07")

    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.body == {
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
        "by_issuer": [{"rfc": RFC, "amount": 1}, {"rfc": RFC_N, "amount": 3}],
        "by_kind": [{"kind": "Cancelación", "amount": 2}, {"kind": KIND, "amount": 4}],
        "movements": [
            {"rfc": RFC, "date": "2026-07-02", "kind": KIND, "amount": 1},
            {"rfc": RFC_N, "date": "2026-07-02", "kind": KIND, "amount": 3},
            {"rfc": RFC_N, "date": "2026-07-31", "kind": "Cancelación", "amount": 2},
        ],
        "truncated": False,
    }
    assert stack.pacs.calls() == ["saldos"]


def test_balance_of_an_issuer_with_an_ampersand_in_its_rfc(stack: FakeStack) -> None:
    body = stack.get(PATH, month="2026-10", rfc=RFC).body

    movements = fake_pac_month(stack, "2026-10")["movements"]
    assert body["movements"] == [movement for movement in movements if movement["rfc"] == RFC]
    assert [line["rfc"] for line in body["by_issuer"]] == [RFC]
    assert stack.pacs.reachcore.calls.as_json()[0]["rfc"] == RFC


@pytest.mark.parametrize("text", ["ñan840101ab1", f" {RFC_N} ", "N\N{COMBINING TILDE}AN840101AB1"])
def test_rfc_is_normalized(stack: FakeStack, text: str) -> None:
    assert stack.get(PATH, month="2026-10", rfc=text).status == 200
    assert stack.pacs.reachcore.calls.as_json()[0]["rfc"] == RFC_N


def test_current_month_starts_at_midnight_in_mexico_city(stack: FakeStack) -> None:
    stack.clock.at = stack.clock.at.fromisoformat("2026-12-01T05:59:50+00:00")
    check_problem(stack.get(PATH, month="2026-12"), 400, "month-invalid", "month")
    assert stack.pacs.calls() == []

    stack.clock.forward(seconds=30)
    assert stack.get(PATH, month="2026-12").status == 200


def test_balance_of_a_prepaid_account(stack: FakeStack) -> None:
    stack.accounts.create("norte", stack.accounts.norte_secret())

    body = stack.get("/accounts/norte/balance", month="2026-10").body

    assert (body["account"], body["plan"], body["issuers"]["registered"]) == ("norte", "prepaid", 2)


@pytest.mark.parametrize(("rows", "truncated"), [(5_000, False), (5_001, True)])
def test_movements_are_truncated_at_five_thousand_and_totals_are_not(
    stack: FakeStack, rows: int, truncated: bool
) -> None:
    stack.pacs.state.reachcore.load_bulk("Acme Timbrado", "2026-05", rows)

    body = stack.get(PATH, month="2026-05").body

    assert len(body["movements"]) == 5_000
    assert body["truncated"] is truncated
    assert sum(line["amount"] for line in body["by_issuer"]) == body["transactions"]
    assert ("report" in body) is truncated
    if truncated:
        assert body["report"] == {"month": "2026-05", "kind": "consumption", "format": "csv"}


def test_inconsistent_total_is_marked_and_logged(stack: FakeStack) -> None:
    contradict(stack, 171, [Movement(date(2026, 7, 2), RFC, KIND, 2)])

    body = stack.get(PATH, month="2026-07").body

    assert (body["transactions"], body["movements_total"], body["consistent"]) == (171, 2, False)
    (line,) = stack.logs.lines("the PAC's total differs")
    assert (line["account"], line["month"]) == (RC, "2026-07")
    assert (line["transactions"], line["movements_total"]) == (171, 2)


@pytest.mark.parametrize(
    ("transactions", "consistent"), [(1, False), (2, True), (171, None), (0, False)]
)
def test_larger_total_of_one_issuer_may_be_that_of_the_account(
    stack: FakeStack, transactions: int, consistent: bool | None
) -> None:
    contradict(stack, transactions, [Movement(date(2026, 7, 2), RFC, KIND, 2)])

    body = stack.get(PATH, month="2026-07", rfc=RFC).body

    assert (body["movements_total"], body["consistent"]) == (2, consistent)
    assert bool(stack.logs.lines("the PAC's total differs")) is (consistent is False)


# ---------------------------------------------------------------------------- schedule


def invoke_schedule(stack: FakeStack, **payload: Any) -> Any:
    return stack.invoke("balance", payload)


def test_daily_schedule_reads_the_current_month_of_every_account(stack: FakeStack) -> None:
    stack.accounts.create("norte", stack.accounts.norte_secret())

    result = invoke_schedule(
        stack, account=None, month="current", scheduled_time="2026-11-19T11:30:00Z"
    )

    months = {call["month"] for call in stack.pacs.reachcore.calls.as_json()}
    assert months == {"2026-11"}
    assert result["failed"] == {}
    assert set(result["done"]) == {RC, "norte"}
    assert result["done"][RC] == {
        "month": "2026-11",
        "transactions": sum(
            movement["amount"] for movement in fake_pac_month(stack, "2026-11")["movements"]
        ),
    }
    issuers = {(item["account"], item["rfc"]) for item in stack.aws.items("IssuersTable")}
    assert issuers == {
        (RC, "A&D061009TY8"),
        (RC, "AAA010101AAA"),
        (RC, "ÑAN840101AB1"),
        ("norte", "GOMP800101QX2"),
    }


@pytest.mark.parametrize(
    ("month", "due", "expected"),
    [
        ("current", "2026-11-01T05:30:00Z", "2026-10"),
        ("previous", "2026-11-01T05:30:00Z", "2026-09"),
        ("current", "2026-11-01T06:00:00Z", "2026-11"),
        ("previous", "2026-11-01T06:00:00Z", "2026-10"),
        ("previous", "2026-01-01T12:00:00Z", "2025-12"),
        ("2026-03", "2026-11-01T05:30:00Z", "2026-03"),
    ],
)
def test_month_of_a_schedule_is_that_of_its_due_time_in_mexico_city(
    stack: FakeStack, month: str, due: str, expected: str
) -> None:
    result = invoke_schedule(stack, account=RC, month=month, scheduled_time=due)

    assert result["done"][RC]["month"] == expected
    assert stack.pacs.reachcore.calls.as_json()[0]["month"] == expected


def test_schedule_without_a_time_uses_the_current_time(stack: FakeStack) -> None:
    assert invoke_schedule(stack, account=RC, month="previous")["done"][RC]["month"] == "2026-10"


def test_eventbridge_rule_passes_its_input_as_detail(stack: FakeStack) -> None:
    result = stack.invoke(
        "balance", {"detail-type": "x", "detail": {"account": RC, "month": "2026-10"}}
    )

    assert result["done"][RC]["month"] == "2026-10"


def test_failed_account_does_not_stop_the_others(stack: FakeStack) -> None:
    stack.accounts.create("acme-broken", stack.accounts.secret(RC, api_key=None))
    stack.accounts.create("acme-locked", stack.accounts.secret(RC, api_key="another-key"))

    result = invoke_schedule(stack, account=None, month="current")

    assert set(result["done"]) == {RC}
    assert result["failed"] == {
        "acme-broken": "account-misconfigured",
        "acme-locked": "pac-credentials-rejected",
    }
    assert {line["account"] for line in stack.logs.lines() if line["level"] == "ERROR"} == {
        "acme-broken",
        "acme-locked",
    }


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"account": "acme-none", "month": "current"}, "account-unknown"),
        ({"account": SF, "month": "current"}, "operation-unsupported"),
        ({"account": RC, "month": "2026-13"}, "month-invalid"),
    ],
)
def test_failed_schedule_of_one_account_raises(
    stack: FakeStack, payload: dict[str, str], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        stack.invoke("balance", payload)
    assert stack.pacs.calls() == []


def test_schedule_of_one_account_raises_the_error_of_the_pac(stack: FakeStack) -> None:
    stack.pacs.fault("saldos", "code", code="500", times=-1)

    with pytest.raises(Exception, match="pac-error"):
        invoke_schedule(stack, account=RC, month="current")


def test_repeated_schedule_registers_each_issuer_once(stack: FakeStack) -> None:
    for _ in range(2):
        invoke_schedule(stack, account=RC, month="current", scheduled_time="2026-11-19T11:30:00Z")
        stack.clock.forward(hours=1)

    items = stack.aws.items("IssuersTable")
    assert len(items) == 3
    assert {item["since"] for item in items} == {"2026-11-19T13:53:41-06:00"}
