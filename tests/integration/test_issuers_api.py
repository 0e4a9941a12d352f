"""PUT and DELETE /accounts/{account}/issuers: the list of issuers, kept row by row."""

from __future__ import annotations

from typing import Any

import pytest
from local.sandboxes.books import bulk_rfc
from tests.integration.harness import RC, RFC, RFC_N, SF, Answer, World, problem

PATH = f"/accounts/{SF}/issuers"
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def put(world: World, body: Any, keep: str | None = None, **more: Any) -> Answer:
    query = {"keep": keep} if keep else {}
    return world.call("issuers", "PUT", more.pop("path", PATH), query, body, **more)


def known(world: World, account: str = SF) -> dict[str, Any]:
    body = world.get(f"/accounts/{account}/stamps").body
    return {one["rfc"]: one["low_stamps"] for one in body["issuers"]}


@pytest.mark.parametrize("account", [SF, RC])
def test_a_json_list_is_kept(world: World, account: str) -> None:
    body = [RFC, {"rfc": RFC_N, "low_stamps": 50}]
    answer = put(world, body, path=f"/accounts/{account}/issuers")
    assert (answer.status, answer.body) == (200, {"account": account, "kept": 2, "rejected": []})
    assert known(world, account) == {RFC: None, RFC_N: 50}


@pytest.mark.parametrize(
    "text",
    [
        f"{RFC}\n{RFC_N},50\n",
        f"\ufeffRFC;low_stamps\r\n{RFC};\r\n\r\n{RFC_N};50\r\n",
        f'low_stamps,rfc\n,{RFC}\n"50",{RFC_N}\n',
    ],
)
def test_a_csv_is_kept(world: World, text: str) -> None:
    assert put(world, text, headers=CSV).body["kept"] == 2
    assert known(world) == {RFC: None, RFC_N: 50}


def test_the_threshold_stays_when_it_is_not_said_and_goes_when_it_is_null(world: World) -> None:
    put(world, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put(world, [RFC, {"rfc": RFC_N, "low_stamps": None}])
    assert known(world) == {RFC: 7, RFC_N: None}


def test_a_list_leaves_counts_and_other_issuers_alone(world: World) -> None:
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    put(world, [{"rfc": RFC, "low_stamps": 9}])
    put(world, [RFC_N])
    (counted,) = (
        one
        for one in world.get(f"/accounts/{SF}/stamps").body["issuers"]
        if one["available"] is not None
    )
    assert (counted["rfc"], counted["available"], counted["low_stamps"]) == (RFC, 750, 9)


BAD = f"rfc,low_stamps\n{RFC},10\nno-rfc,1\nXAXX010101000,\n{RFC_N},-3\n"


def test_every_bad_row_is_named_and_nothing_is_kept(world: World) -> None:
    body = problem(put(world, BAD, headers=CSV), 422, "issuers-invalid", "body")
    assert [(row["line"], row["field"]) for row in body["rejected"]] == [
        (3, "rfc"),
        (4, "rfc"),
        (5, "low_stamps"),
    ]
    assert all(row["detail"] for row in body["rejected"])
    assert known(world) == {}


def test_the_good_rows_are_kept_where_that_is_wanted(world: World) -> None:
    answer = put(world, BAD, "good", headers=CSV)
    assert (answer.status, answer.body["kept"]) == (200, 1)
    assert [row["line"] for row in answer.body["rejected"]] == [3, 4, 5]
    assert known(world) == {RFC: 10}


def test_ten_thousand_rows_in_a_call_and_no_more(world: World) -> None:
    rfcs = [bulk_rfc(n) for n in range(10_001)]
    problem(put(world, rfcs), 400, "body-invalid", "body")
    assert put(world, rfcs[:-1]).body["kept"] == 10_000
    assert len(world.stack.items("IssuersTable")) == 10_000


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "field"),
    [
        ("{}", {}, 400, "body-invalid", "body"),
        ("[", {}, 400, "body-invalid", "body"),
        ("[]", {}, 400, "body-invalid", "body"),
        ("", CSV, 400, "body-invalid", "body"),
        (RFC, {"Content-Type": "text/plain"}, 400, "body-invalid", "Content-Type"),
        ("x" * (2 * 1024 * 1024 + 1), CSV, 413, "body-too-large", "body"),
    ],
)
def test_what_is_no_list(
    world: World, body: str, headers: dict[str, str], status: int, code: str, field: str
) -> None:
    problem(put(world, body, headers=headers), status, code, field)


def test_an_odd_wish_and_an_unknown_account(world: World) -> None:
    problem(put(world, [RFC], "some"), 400, "parameter-invalid", "keep")
    answer = put(world, [RFC], path="/accounts/none/issuers")
    problem(answer, 404, "account-unknown", "account")


def test_an_issuer_is_removed_until_it_is_seen_again(world: World) -> None:
    put(world, [RFC, RFC_N])
    answer = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    assert (answer.status, answer.body) == (200, {"account": SF, "rfc": RFC, "removed": True})
    assert list(known(world)) == [RFC_N]
    again = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    problem(again, 404, "issuer-unknown", "rfc")
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    assert RFC in known(world)
