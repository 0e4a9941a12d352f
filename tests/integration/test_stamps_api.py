"""GET /accounts/{account}/stamps, and the scheduled count."""

from __future__ import annotations

from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{SF}/stamps"

# An issuer without a count.
UNKNOWN: dict[str, Any] = {
    "contracted": None,
    "used": None,
    "available": None,
    "unlimited": False,
    "as_of": None,
    "burn_7": None,
    "burn_30": None,
    "days_left": None,
    "alert": None,
    "low_stamps": None,
    "name": None,
}


def issuers_by_rfc(stack: FakeStack) -> dict[str, dict[str, Any]]:
    return {item["rfc"]: item for item in stack.aws.items("IssuersTable")}


# ---------------------------------------------------------------------------- responses


@pytest.mark.parametrize(
    ("rfc", "contracted", "used", "available"),
    [
        (RFC, 1000, 250, 750),
        (RFC_N, 500, 480, 20),
        ("AAA010101AAA", 200, 200, 0),
        ("ACM010203XY9", 50, 0, 50),
    ],
)
def test_one_issuer_live(
    stack: FakeStack, rfc: str, contracted: int, used: int, available: int
) -> None:
    response = stack.get(PATH, rfc=rfc)

    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.body == UNKNOWN | {
        "account": SF,
        "rfc": rfc,
        "contracted": contracted,
        "used": used,
        "available": available,
        "unlimited": False,
        "as_of": "2026-11-19T13:53:42-06:00",
        "days_left": None if available else 0,
        "alert": "ok" if available else "exhausted",
        "expires_on": None,
        "expiring_stamps": None,
    }
    assert stack.pacs.calls() == ["getTimbres"]


def test_known_issuers_with_their_last_count_without_a_call(stack: FakeStack) -> None:
    for rfc in (RFC_N, RFC):
        stack.get(PATH, rfc=rfc)
    stack.clock.forward(days=3)
    before = stack.pacs.calls()

    response = stack.get(PATH)

    assert response.status == 200
    # 20 stamps are fewer than 750, so they come first.
    assert response.body == {
        "account": SF,
        "issuers": [
            UNKNOWN
            | {
                "account": SF,
                "alert": "ok",
                "rfc": RFC_N,
                "contracted": 500,
                "used": 480,
                "available": 20,
                "unlimited": False,
                "as_of": "2026-11-19T13:53:42-06:00",
            },
            UNKNOWN
            | {
                "account": SF,
                "alert": "ok",
                "rfc": RFC,
                "contracted": 1000,
                "used": 250,
                "available": 750,
                "unlimited": False,
                "as_of": "2026-11-19T13:53:43-06:00",
            },
        ],
        "next": None,
    }
    assert stack.pacs.calls() == before


def test_more_known_issuers_than_a_page_holds(stack: FakeStack) -> None:
    rfcs = [bulk_rfc(number) for number in range(520)]
    stack.accounts.add_issuers(rfcs)

    first = stack.get(PATH).body
    second = stack.get(PATH, cursor=first["next"]).body

    assert len(first["issuers"]) == 500
    assert second["next"] is None
    assert [issuer["rfc"] for issuer in first["issuers"] + second["issuers"]] == rfcs
    assert first["issuers"][0] == UNKNOWN | {"account": SF, "rfc": rfcs[0]}


def test_the_issuers_of_an_account_whose_pac_counts_no_stamps(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N], account=RC)

    body = stack.get(f"/accounts/{RC}/stamps").body

    assert body == {
        "account": RC,
        "issuers": [UNKNOWN | {"account": RC, "rfc": rfc} for rfc in (RFC, RFC_N)],
        "next": None,
    }
    assert stack.pacs.calls() == []


def test_the_most_urgent_come_first(stack: FakeStack) -> None:
    lines = {
        "AAA900101AA1": {"contracted": 9, "used": 9, "available": 0},
        "AAA900101AA2": {"contracted": 500, "used": 10, "available": 490},
        "AAA900101AA3": {"contracted": 500, "used": 40, "available": 460},
        "AAA900101AA4": {"contracted": 50, "used": 1, "available": 49},
        "AAA900101AA5": {"contracted": 700, "used": 0, "available": 700},
    }
    for rfc, line in lines.items():
        stack.pacs.state.solucion_factible.set_issuer(
            rfc, contratados=line["contracted"], usados=line["used"]
        )
    stack.accounts.change(SF, stack.accounts.secret(SF, low_stamps=50))
    stack.accounts.add_issuers([*lines, "AAA900101AA6"])
    stack.run()
    # Two issuers consume 20 and 5 stamps per day.
    for rfc, used in (("AAA900101AA2", 20), ("AAA900101AA3", 5)):
        stack.pacs.state.solucion_factible.consume(rfc, used)
    stack.clock.forward(days=1)
    stack.run()

    ordered = stack.get(PATH).body["issuers"]

    assert [(issuer["rfc"][-1], issuer["alert"]) for issuer in ordered] == [
        ("1", "exhausted"),
        ("4", "low"),
        ("2", "ok"),
        ("3", "ok"),
        ("5", "ok"),
        ("6", None),
    ]
    assert [issuer["days_left"] for issuer in ordered] == [0, None, 23.5, 91, None, None]
    assert ordered[-1]["available"] is None


def test_accounts_do_not_see_one_another(stack: FakeStack) -> None:
    stack.accounts.create("acme-two", stack.accounts.secret(SF))
    stack.get(PATH, rfc=RFC)

    assert stack.get("/accounts/acme-two/stamps").body["issuers"] == []


def test_a_missing_count_is_null(stack: FakeStack) -> None:
    reply = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<n:getTimbresResponse xmlns:n="http://utilerias.timbrado.ws.cfdi.solucionfactible.com">'
        '<n:return><x:status xmlns:x="http://utilerias.timbrado.ws.cfdi.solucionfactible.com/xsd"'
        ">200</x:status><x:disponibles xmlns:x="
        '"http://utilerias.timbrado.ws.cfdi.solucionfactible.com/xsd">7</x:disponibles>'
        "</n:return></n:getTimbresResponse></e:Body></e:Envelope>"
    )
    stack.get(PATH, rfc=RFC)
    stack.pacs.fault("getTimbres", "wrong-shape", reply=reply)

    body = stack.get(PATH, rfc=RFC).body

    assert (body["contracted"], body["used"], body["available"]) == (None, None, 7)
    (line,) = stack.get(PATH).body["issuers"]
    assert (line["contracted"], line["used"], line["available"]) == (None, None, 7)


@pytest.mark.parametrize("status", [400, 500])
def test_a_dynamodb_failure_is_a_problem_response(stack: FakeStack, status: int) -> None:
    stack.aws_faults.reject("dynamodb", "Query", "ThrottlingException", status)
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", status)

    for query in ({}, {"rfc": RFC}):
        response = stack.get(PATH, **query)
        check_problem(response, 503, "storage-unavailable")
        assert response.headers["retry-after"] == "5"


# ------------------------------------------------------------------------- by schedule


def test_a_schedule_counts_and_stores_one_issuer(stack: FakeStack) -> None:
    result = stack.invoke("stamp_count", {"account": SF, "rfc": RFC_N})

    assert (result["account"], result["rfc"], result["available"]) == (SF, RFC_N, 20)
    assert list(issuers_by_rfc(stack)) == [RFC_N]
    assert issuers_by_rfc(stack)[RFC_N]["used"] == 480


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"account": "acme-none", "rfc": RFC}, "account-unknown"),
        ({"account": RC, "rfc": RFC}, "operation-unsupported"),
        ({"account": SF, "rfc": "AAA"}, "rfc-invalid"),
        ({"account": SF}, "rfc-invalid"),
        ({"account": SF, "rfc": "XAXX010101000"}, "rfc-generic"),
    ],
)
def test_a_start_for_an_invalid_issuer_raises(
    stack: FakeStack, query: dict[str, str], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        stack.invoke("stamp_count", query)
    assert stack.pacs.calls() == []
