"""GET /accounts/{account}/balance, from the PAC or from snapshots; and the scheduled balance."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from local.fake_pacs.fake_data import Movement
from tests.support.contradictions import contradict
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{RC}/balance"
KIND = "Consumo de timbre"


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


def test_balance_of_one_issuer_has_its_movements_only(stack: FakeStack) -> None:
    body = stack.get(PATH, month="2026-10", rfc=f" {RFC.lower()}").body

    assert {line["rfc"] for line in body["by_issuer"] + body["movements"]} == {RFC}
    assert stack.pacs.reachcore.calls.as_json()[0]["rfc"] == RFC


@pytest.mark.parametrize(("rows", "truncated"), [(5_000, False), (5_001, True)])
def test_movements_are_truncated_at_five_thousand_and_totals_are_not(
    stack: FakeStack, rows: int, truncated: bool
) -> None:
    stack.pacs.state.reachcore.load_bulk("Acme Timbrado", "2026-05", rows)

    body = stack.get(PATH, month="2026-05").body

    assert (len(body["movements"]), body["truncated"]) == (5_000, truncated)
    assert sum(line["amount"] for line in body["by_issuer"]) == body["transactions"]
    report = {"month": "2026-05", "kind": "consumption", "format": "csv"}
    assert body.get("report") == (report if truncated else None)


def test_inconsistent_total_is_marked_and_logged(stack: FakeStack) -> None:
    contradict(stack, 171, [Movement(date(2026, 7, 2), RFC, KIND, 2)])

    body = stack.get(PATH, month="2026-07").body

    assert (body["transactions"], body["movements_total"], body["consistent"]) == (171, 2, False)
    (line,) = stack.logs.lines("the PAC's total differs")
    assert (line["account"], line["month"]) == (RC, "2026-07")
    assert (line["transactions"], line["movements_total"]) == (171, 2)
    of_one = stack.get(PATH, month="2026-07", rfc=RFC).body
    assert (of_one["movements_total"], of_one["consistent"]) == (2, None)
    assert len(stack.logs.lines("the PAC's total differs")) == 1


# Months


def test_the_first_balance_adds_the_issuers_and_months_have_totals(stack: FakeStack) -> None:
    body = stack.get(PATH, **{"from": "2026-09", "to": "2026-10"}).body

    october = stack.get(PATH, month="2026-10").body
    assert [month["month"] for month in body["months"]] == ["2026-09", "2026-10"]
    totals = body["months"][1] | {"as_of": october["as_of"]}
    assert totals == {name: october[name] for name in totals}
    listed = stack.get(f"/accounts/{RC}/issuers").body["issuers"]
    assert [i["rfc"] for i in listed] == sorted(i["rfc"] for i in october["by_issuer"])


# Snapshots


def test_a_single_snapshot_has_no_total_and_belongs_to_its_account(stack: FakeStack) -> None:
    stack.accounts.create("acme-other", stack.accounts.secret(SF))
    stack.accounts.add_snapshots({RFC: {"2026-10-05": (900, 800)}})

    own, other = (
        stack.get(f"/accounts/{account}/balance", month="2026-10").body
        for account in (SF, "acme-other")
    )

    assert (own["as_of"], other["as_of"]) == ("2026-10-05T05:00:00-06:00", None)
    for body in (own, other):
        assert (body["source"], body["transactions"]) == ("snapshots", None)
        assert body["movements"] == body["by_issuer"] == []
        assert (body["issuers"]["stamping"], len(body["missing_days"])) == (None, 31)
    assert stack.pacs.calls() == []


# The schedule


def test_daily_schedule_registers_the_issuers_of_every_account_once(stack: FakeStack) -> None:
    stack.accounts.create("norte", stack.accounts.norte_secret())
    due = {"account": None, "month": "current", "scheduled_time": "2026-11-19T11:30:00Z"}

    result = stack.invoke("balance", due)
    stack.clock.forward(hours=1)
    stack.invoke("balance", {"detail-type": "of a rule", "detail": due})

    assert {call["month"] for call in stack.pacs.reachcore.calls.as_json()} == {"2026-11"}
    assert (result["failed"], result["done"].keys()) == ({}, {RC, "norte"})
    total = stack.get(PATH, month="2026-11").body["transactions"]
    assert result["done"][RC] == {"month": "2026-11", "transactions": total}
    items = stack.aws.items("IssuersTable")
    assert sorted((item["account"], item["rfc"]) for item in items) == [
        *((RC, rfc) for rfc in (RFC, "AAA010101AAA", RFC_N)),
        ("norte", "GOMP800101QX2"),
    ]
    assert {item["since"] for item in items} == {"2026-11-19T13:53:41-06:00"}


def test_failed_account_does_not_stop_the_others(stack: FakeStack) -> None:
    stack.accounts.create("acme-broken", stack.accounts.secret(RC, api_key=None))
    stack.accounts.create("acme-locked", stack.accounts.secret(RC, api_key="another-key"))

    result = stack.invoke("balance", {"account": None, "month": "current"})

    assert set(result["done"]) == {RC}
    assert result["failed"] == {
        "acme-broken": "account-misconfigured",
        "acme-locked": "pac-credentials-rejected",
    }
    errors = {line["account"] for line in stack.logs.lines() if line["level"] == "ERROR"}
    assert errors == result["failed"].keys()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"account": SF, "month": "current"}, "operation-unsupported"),
        ({"account": RC, "month": "2026-13"}, "month-invalid"),
    ],
)
def test_failed_schedule_of_one_account_raises(
    stack: FakeStack, payload: dict[str, Any], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        stack.invoke("balance", payload)
