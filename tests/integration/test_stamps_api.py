"""GET /accounts/{account}/stamps, …/account and …/history, and the scheduled count."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.reports import days_of, sheets

PATH = f"/accounts/{SF}/stamps"
OF_ACCOUNT = "getTimbresImplementacion"
NO_COUNT = dict.fromkeys(("contracted", "used", "available", "as_of"))
# An issuer without a count.
UNKNOWN: dict[str, Any] = {
    **NO_COUNT,
    **dict.fromkeys(("burn_7", "burn_30", "days_left", "alert", "low_stamps", "name")),
    "account": SF,
    "unlimited": False,
}


def counted(rfc: str, contracted: int, used: int, second: int = 42) -> dict[str, Any]:
    return UNKNOWN | {
        "rfc": rfc,
        "contracted": contracted,
        "used": used,
        "available": contracted - used,
        "as_of": f"2026-11-19T13:53:{second}-06:00",
        "alert": "ok",
    }


@pytest.mark.parametrize(
    ("rfc", "contracted", "used", "forecast"),
    [
        (RFC, 1000, 250, {}),
        ("AAA010101AAA", 200, 200, {"alert": "exhausted", "days_left": 0}),
        ("NUE200229AB3", 0, 7, {"alert": "no-contract"}),
    ],
)
def test_one_issuer_live(
    stack: FakeStack, rfc: str, contracted: int, used: int, forecast: dict[str, Any]
) -> None:
    stack.pacs.state.solucion_factible.set_issuer(rfc, contratados=contracted, usados=used)

    response = stack.get(PATH, rfc=rfc)

    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    expiry = {"expires_on": None, "expiring_stamps": None}
    expected = counted(rfc, contracted, used) | {"available": max(contracted - used, 0)}
    assert response.body == expected | expiry | forecast
    assert stack.pacs.calls() == ["getTimbres"]


def test_known_issuers_with_their_last_count_without_a_call(stack: FakeStack) -> None:
    for rfc in (RFC_N, RFC):
        stack.get(PATH, rfc=rfc)
    stack.clock.forward(days=3)
    before = stack.pacs.calls()

    body = stack.get(PATH).body

    # 20 stamps are fewer than 750, so they come first.
    issuers = [counted(RFC_N, 500, 480), counted(RFC, 1000, 250, second=43)]
    assert body == {"account": SF, "issuers": issuers, "next": None}
    assert stack.pacs.calls() == before


def test_more_known_issuers_than_a_page_holds(stack: FakeStack) -> None:
    rfcs = [bulk_rfc(number) for number in range(520)]
    stack.accounts.add_issuers(rfcs)

    first = stack.get(PATH).body
    second = stack.get(PATH, cursor=first["next"]).body

    assert (len(first["issuers"]), second["next"]) == (500, None)
    assert first["issuers"] + second["issuers"] == [UNKNOWN | {"rfc": rfc} for rfc in rfcs]


def test_a_schedule_counts_and_stores_one_issuer(stack: FakeStack) -> None:
    result = stack.invoke("stamp_count", {"account": SF, "rfc": RFC_N})

    assert (result["account"], result["rfc"], result["available"]) == (SF, RFC_N, 20)
    (issuer,) = stack.aws.items("IssuersTable")
    assert (issuer["rfc"], issuer["used"]) == (RFC_N, 480)
    with pytest.raises(Exception, match="rfc-invalid"):
        stack.invoke("stamp_count", {"account": SF})


# The stamps of the account itself


def test_the_stamps_of_an_account_are_read_from_the_pac(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.consume(RFC, 50)

    body = stack.get(f"{PATH}/account").body

    as_of = stack.clock().isoformat()
    counts = {"contracted": 10_000, "used": 1100, "available": 8900}
    assert body == {"account": SF, **counts, "as_of": as_of}
    assert stack.pacs.calls() == [OF_ACCOUNT]
    # Nothing is stored: an account is not an issuer.
    assert stack.aws.items("IssuersTable") == stack.aws.items("SnapshotsTable") == []


@pytest.mark.parametrize(("account", "fault"), [(RC, None), (SF, "soap-fault"), (SF, "nil-fields")])
def test_account_stamps_that_the_pac_does_not_return_are_null(
    stack: FakeStack, account: str, fault: str | None
) -> None:
    if fault:
        stack.pacs.fault(OF_ACCOUNT, fault, times=-1)

    response = stack.get(f"/accounts/{account}/stamps/account")

    assert (response.status, response.body) == (200, {"account": account} | NO_COUNT)
    # Everything else works.
    assert stack.get(PATH, rfc=RFC).body["available"] == 750


def test_a_failure_is_an_error_and_not_unknown(stack: FakeStack) -> None:
    stack.pacs.fault(OF_ACCOUNT, "code", code="620")

    check_problem(stack.get(f"{PATH}/account"), 403, "pac-permission-denied")


# History


def test_daily_runs_give_history_and_balance(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N])
    for consumed in (1, 10, None, 30):
        if consumed is None:
            # A contract between snapshots is not consumption.
            assert stack.create_contract(RFC, 500).status == 201
        else:
            stack.pacs.state.solucion_factible.consume(RFC, consumed)
            stack.run()
        stack.clock.forward(days=1)

    history = stack.get(f"{PATH}/history", rfc=RFC).body["snapshots"]
    one_day = {"from": "2026-11-20", "to": "2026-11-20"}
    body, other = (
        stack.get(f"/accounts/{SF}/balance", month="2026-11", **query).body
        for query in ({}, {"rfc": RFC_N})
    )

    assert [(line["date"], line["used"], line["consumed"]) for line in history] == [
        ("2026-11-19", 251, None),
        ("2026-11-20", 261, 10),
        ("2026-11-22", 291, 30),
    ]
    snapshots = stack.get(f"{PATH}/history", rfc=RFC, **one_day).body["snapshots"]
    assert [line["used"] for line in snapshots] == [261]
    assert (body["source"], body["plan"], body["transactions"]) == ("snapshots", None, 40)
    assert body["by_issuer"] == [{"rfc": RFC, "amount": 40}]
    movements = [(movement["date"], movement["amount"]) for movement in body["movements"]]
    assert movements == [("2026-11-19", 10), ("2026-11-20", 30)]
    missing = [day["date"] for day in body["missing_days"]]
    assert ("2026-11-21" in missing, "2026-11-20" in missing) == (True, False)
    assert (other["transactions"], other["by_issuer"]) == (0, [])
    # The consumption since the newest count, of the 22nd, is not known.
    days = days_of(sheets(stack, SF, "2026-11")["Resumen"])
    stamps = [days[f"{day}/11/2026"] for day in (19, 20, 21, 22, 23)]
    assert stamps == ["10", "30", "sin dato", "sin dato", "sin dato"]
    for item in stack.aws.items("SnapshotsTable"):
        stored_at = datetime.fromisoformat(item["at"]).timestamp()
        assert float(item["expires_at"]) - stored_at == pytest.approx(400 * 24 * 3600)
