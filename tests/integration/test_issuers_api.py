"""PUT and DELETE /accounts/{account}/issuers: the list of issuers, kept row by row."""

from __future__ import annotations

from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.integration.harness import RC, RFC, RFC_N, SF, ApiResponse, FakeStack, check_problem

PATH = f"/accounts/{SF}/issuers"
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def put(world: FakeStack, body: Any, keep: str | None = None, **more: Any) -> ApiResponse:
    query = {"on_invalid": keep} if keep else {}
    return world.call("issuers", "PUT", more.pop("path", PATH), query, body, **more)


def known(world: FakeStack, account: str = SF) -> dict[str, Any]:
    body = world.get(f"/accounts/{account}/stamps").body
    return {one["rfc"]: one["low_stamps"] for one in body["issuers"]}


@pytest.mark.parametrize("account", [SF, RC])
def test_a_json_list_is_kept(world: FakeStack, account: str) -> None:
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
def test_a_csv_is_kept(world: FakeStack, text: str) -> None:
    assert put(world, text, headers=CSV).body["kept"] == 2
    assert known(world) == {RFC: None, RFC_N: 50}


@pytest.mark.parametrize(
    "text",
    [
        f'{RFC},"1,000"\n',
        f"{RFC};1,000",
        f'"{RFC}" , 1000 \r\n',
        f"\r\n\r\nrfc;low_stamps\r\n;\r\n{RFC.lower()};1000\r\n\r\n",
        f"{RFC},1000\n{RFC.lower()},1000\n",
    ],
)
@pytest.mark.parametrize("media_type", ["text/csv", "Text/CSV; header=absent"])
def test_a_csv_as_sheets_write_it(world: FakeStack, text: str, media_type: str) -> None:
    answer = put(world, text, headers={"Content-Type": media_type})

    assert answer.body == {"account": SF, "kept": 1, "rejected": []}
    assert known(world) == {RFC: 1000}


def test_a_cell_that_is_empty_takes_a_threshold_away_and_a_column_that_is_missing_does_not(
    world: FakeStack,
) -> None:
    put(world, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put(world, f"rfc\n{RFC}\n{RFC_N}\n", headers=CSV)
    assert known(world) == {RFC: 7, RFC_N: 8}
    put(world, f"{RFC},\n{RFC_N}\n", headers=CSV)
    assert known(world) == {RFC: None, RFC_N: 8}


def test_the_threshold_stays_when_it_is_not_said_and_goes_when_it_is_null(world: FakeStack) -> None:
    put(world, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put(world, [RFC, {"rfc": RFC_N, "low_stamps": None}])
    assert known(world) == {RFC: 7, RFC_N: None}


def test_a_list_leaves_counts_and_other_issuers_alone(world: FakeStack) -> None:
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


def test_every_bad_row_is_named_and_nothing_is_kept(world: FakeStack) -> None:
    body = check_problem(put(world, BAD, headers=CSV), 422, "issuers-invalid", "body")
    assert [(row["line"], row["field"]) for row in body["rejected"]] == [
        (3, "rfc"),
        (4, "rfc"),
        (5, "low_stamps"),
    ]
    assert all(row["detail"] for row in body["rejected"])
    assert known(world) == {}


def test_the_good_rows_are_kept_where_that_is_wanted(world: FakeStack) -> None:
    answer = put(world, BAD, "skip", headers=CSV)
    assert (answer.status, answer.body["kept"]) == (200, 1)
    assert [row["line"] for row in answer.body["rejected"]] == [3, 4, 5]
    assert known(world) == {RFC: 10}


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (7, "row"),
        (None, "row"),
        ([RFC], "row"),
        ({}, "rfc"),
        ({"rfc": None}, "rfc"),
        ({"rfc": 7}, "rfc"),
        ({"rfc": RFC, "stamps": 7}, "row"),
        ("XEXX010101000", "rfc"),
        ({"rfc": RFC, "low_stamps": -1}, "low_stamps"),
        ({"rfc": RFC, "low_stamps": "50"}, "low_stamps"),
        ({"rfc": RFC, "low_stamps": 1.5}, "low_stamps"),
        ({"rfc": RFC, "low_stamps": True}, "low_stamps"),
        ({"rfc": RFC, "low_stamps": 10**40}, "low_stamps"),
        # Not the same as what an earlier row says.
        ({"rfc": RFC_N.lower(), "low_stamps": 9}, "low_stamps"),
    ],
)
def test_a_row_of_json_that_is_not_right(world: FakeStack, row: Any, field: str) -> None:
    body = [{"rfc": RFC_N, "low_stamps": 8}, row]

    told = check_problem(put(world, body), 422, "issuers-invalid", "body")
    (rejected,) = put(world, body, "skip").body["rejected"]

    assert told["rejected"] == [rejected]
    assert (rejected["line"], rejected["field"]) == (2, field)
    assert len(rejected["detail"]) < 300
    assert known(world) == {RFC_N: 8}


def test_ten_thousand_rows_in_a_call_and_no_more(world: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(300)]
    rows = [*rfcs, *(f"row-{n}" for n in range(301, 10_002))]
    check_problem(put(world, rows, "skip"), 400, "body-invalid", "body")
    assert known(world) == {}

    answer = put(world, rows[:-1], "skip")

    assert (answer.status, answer.body["kept"]) == (200, 300)
    assert [row["line"] for row in answer.body["rejected"]] == list(range(301, 10_001))
    assert set(known(world)) <= set(rfcs)
    assert len(world.stack.items("IssuersTable")) == 300


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
    world: FakeStack, body: str, headers: dict[str, str], status: int, code: str, field: str
) -> None:
    check_problem(put(world, body, headers=headers), status, code, field)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", "rfc\nÑAN840101AB1".encode("latin-1")])
def test_a_csv_that_is_no_utf_8(world: FakeStack, body: bytes) -> None:
    check_problem(put(world, body, headers=CSV, is_base64=True), 400, "body-invalid", "body")


def test_a_list_that_is_half_kept_is_a_problem_and_can_be_sent_again(world: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(250)]
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)
    check_problem(put(world, rfcs), 503, "storage-unavailable")
    assert len(world.stack.items("IssuersTable")) == 100

    world.restore_aws()
    assert put(world, rfcs).body["kept"] == 250
    assert len(world.stack.items("IssuersTable")) == 250


def test_an_odd_wish_and_an_unknown_account(world: FakeStack) -> None:
    check_problem(put(world, [RFC], "some"), 400, "parameter-invalid", "on_invalid")
    answer = put(world, [RFC], path="/accounts/none/issuers")
    check_problem(answer, 404, "account-unknown", "account")


def test_an_issuer_is_removed_until_it_is_seen_again(world: FakeStack) -> None:
    put(world, [RFC, RFC_N])
    answer = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    assert (answer.status, answer.body) == (200, {"account": SF, "rfc": RFC, "removed": True})
    assert list(known(world)) == [RFC_N]
    again = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    check_problem(again, 404, "issuer-unknown", "rfc")
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    assert RFC in known(world)
