"""GET /accounts/{account}/stamps, and the counts that a schedule takes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.harness import RC, RFC, RFC_N, SF, World, problem

PATH = f"/accounts/{SF}/stamps"


def known(world: World) -> dict[str, dict[str, Any]]:
    return {item["rfc"]: item for item in world.stack.items("IssuersTable")}


# ------------------------------------------------------------------------------ answers


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
    world: World, rfc: str, contracted: int, used: int, available: int
) -> None:
    answer = world.get(PATH, rfc=rfc)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == {
        "account": SF,
        "rfc": rfc,
        "contracted": contracted,
        "used": used,
        "available": available,
        "as_of": "2026-11-19T13:53:42-06:00",
    }
    assert world.calls() == ["getTimbres"]


def test_the_count_is_live_and_remembered(world: World) -> None:
    world.get(PATH, rfc=RFC)
    world.books.solucion_factible.consume(RFC, 50)

    assert world.get(PATH, rfc=RFC).body["available"] == 700

    (line,) = world.get(PATH).body["issuers"]
    assert (line["rfc"], line["available"]) == (RFC, 700)


def test_known_issuers_with_their_last_count_without_a_call(world: World) -> None:
    for rfc in (RFC_N, RFC):
        world.get(PATH, rfc=rfc)
    world.clock.forward(days=3)
    before = world.calls()

    answer = world.get(PATH)

    assert answer.status == 200
    assert answer.body == {
        "account": SF,
        "issuers": [
            {
                "rfc": RFC,
                "contracted": 1000,
                "used": 250,
                "available": 750,
                "as_of": "2026-11-19T13:53:43-06:00",
                "days_left": None,
            },
            {
                "rfc": RFC_N,
                "contracted": 500,
                "used": 480,
                "available": 20,
                "as_of": "2026-11-19T13:53:42-06:00",
                "days_left": None,
            },
        ],
        "next": None,
    }
    assert world.calls() == before


def test_no_issuer_is_known_at_first(world: World) -> None:
    assert world.get(PATH).body == {"account": SF, "issuers": [], "next": None}


def test_more_known_issuers_than_a_page_holds(world: World) -> None:
    dynamodb, table = world.stack.client("dynamodb"), world.stack.refs["IssuersTable"]
    rfcs = [f"AB{chr(65 + number // 25)}{900101 + number % 25}AA1" for number in range(520)]
    for rfc in rfcs:
        dynamodb.put_item(
            TableName=table,
            Item={"account": {"S": SF}, "rfc": {"S": rfc}, "since": {"S": "2026-11-19"}},
        )

    first = world.get(PATH).body
    second = world.get(PATH, cursor=first["next"]).body

    assert len(first["issuers"]) == 500
    assert second["next"] is None
    assert [one["rfc"] for one in first["issuers"] + second["issuers"]] == rfcs
    assert first["issuers"][0] == {
        "rfc": rfcs[0],
        "contracted": None,
        "used": None,
        "available": None,
        "as_of": None,
        "days_left": None,
    }


def test_accounts_do_not_see_one_another(world: World) -> None:
    world.create_account("acme-two", world.secret(SF))
    world.get(PATH, rfc=RFC)

    assert world.get("/accounts/acme-two/stamps").body["issuers"] == []


def test_what_the_pac_leaves_out_is_null_and_no_zero(world: World) -> None:
    reply = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<n:getTimbresResponse xmlns:n="http://utilerias.timbrado.ws.cfdi.solucionfactible.com">'
        '<n:return><x:status xmlns:x="http://utilerias.timbrado.ws.cfdi.solucionfactible.com/xsd"'
        ">200</x:status><x:disponibles xmlns:x="
        '"http://utilerias.timbrado.ws.cfdi.solucionfactible.com/xsd">7</x:disponibles>'
        "</n:return></n:getTimbresResponse></e:Body></e:Envelope>"
    )
    world.get(PATH, rfc=RFC)
    world.fault("getTimbres", "wrong-shape", reply=reply)

    body = world.get(PATH, rfc=RFC).body

    assert (body["contracted"], body["used"], body["available"]) == (None, None, 7)
    (line,) = world.get(PATH).body["issuers"]
    assert (line["contracted"], line["used"], line["available"]) == (None, None, 7)


@pytest.mark.parametrize("status", [400, 500])
def test_dynamodb_failing_is_a_problem_that_says_so(world: World, status: int) -> None:
    world.break_aws("dynamodb", "Query", "ThrottlingException", status)
    world.break_aws("dynamodb", "UpdateItem", "InternalServerError", status)

    for query in ({}, {"rfc": RFC}):
        answer = world.get(PATH, **query)
        problem(answer, 503, "storage-unavailable")
        assert answer.headers["retry-after"] == "5"


# ------------------------------------------------------------------------- by schedule


def scheduled(world: World, **wanted: Any) -> Any:
    return world.invoke("stamp_count", wanted)


def test_the_daily_run_counts_every_known_issuer(world: World) -> None:
    for rfc in (RFC, RFC_N):
        world.get(PATH, rfc=rfc)
    world.books.solucion_factible.consume(RFC, 100)
    world.clock.forward(days=1)

    result = scheduled(world, account=None, rfc=None, scheduled_time="2026-11-20T11:00:00Z")

    assert result == {
        "done": {SF: {"account": SF, "counted": 2, "failed": {}, "left_out": 0}},
        "failed": {},
    }
    assert (known(world)[RFC]["used"], known(world)[RFC_N]["used"]) == (350, 480)
    assert known(world)[RFC]["as_of"] == "2026-11-20T13:53:43-06:00"


def test_a_run_for_one_account_and_one_issuer(world: World) -> None:
    result = scheduled(world, account=SF, rfc=RFC_N)

    assert result["done"][SF]["available"] == 20
    assert list(known(world)) == [RFC_N]


def test_a_run_for_one_account_and_all_its_issuers(world: World) -> None:
    world.get(PATH, rfc=RFC)

    result = scheduled(world, account=SF, rfc=None)

    assert result["done"][SF]["counted"] == 1


def test_one_issuer_that_cannot_be_counted_stops_no_other(world: World) -> None:
    for rfc in (RFC, RFC_N):
        world.get(PATH, rfc=rfc)
    world.fault("getTimbres", "code", code="631", rfc=RFC)

    result = scheduled(world, account=None, rfc=None)

    assert result["done"][SF] == {
        "account": SF,
        "counted": 1,
        "failed": {"issuer-stamps-exhausted": 1},
        "left_out": 0,
    }
    (line,) = world.logged("an issuer was not counted")
    assert (line["rfc"], line["code"], line["pac_code"]) == (
        RFC,
        "issuer-stamps-exhausted",
        "631",
    )


def test_rejected_credentials_end_the_run_after_one_call(world: World) -> None:
    for rfc in (RFC, RFC_N, "AAA010101AAA"):
        world.get(PATH, rfc=rfc)
    world.factible.calls.clear()
    world.fault("getTimbres", "code", code="601", times=-1)

    result = scheduled(world, account=None, rfc=None)

    assert result["done"][SF] == {
        "account": SF,
        "counted": 0,
        "failed": {"pac-credentials-rejected": 1},
        "left_out": 2,
    }
    assert world.calls() == ["getTimbres"]


def test_time_that_runs_out_leaves_issuers_for_the_next_run(world: World) -> None:
    for rfc in (RFC, RFC_N, "AAA010101AAA"):
        world.get(PATH, rfc=rfc)
    world.fault("getTimbres", "slow", seconds=0.6)

    result = world.invoke("stamp_count", {"account": None, "rfc": None}, seconds=4.5)

    assert result["done"][SF] == {"account": SF, "counted": 1, "failed": {}, "left_out": 2}


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"account": "acme-none"}, "account-unknown"),
        ({"account": RC}, "operation-unsupported"),
        ({"account": SF, "rfc": "AAA"}, "rfc-invalid"),
        ({"account": SF, "rfc": "XAXX010101000"}, "rfc-generic"),
    ],
)
def test_a_run_for_what_cannot_be_counted_raises(
    world: World, wanted: dict[str, str], code: str
) -> None:
    with pytest.raises(Exception, match=code):
        world.invoke("stamp_count", wanted)
    assert world.calls() == []


def test_one_broken_account_stops_no_other(world: World) -> None:
    world.get(PATH, rfc=RFC)
    world.create_account("acme-broken", "no JSON")

    result = scheduled(world, account=None, rfc=None)

    assert result["failed"] == {"acme-broken": "account-misconfigured"}
    assert result["done"][SF]["counted"] == 1
