"""PUT and DELETE /accounts/{account}/issuers: import and removal of issuers."""

from __future__ import annotations

from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.integration.harness import RC, RFC, RFC_N, SF, ApiResponse, FakeStack, check_problem

PATH = f"/accounts/{SF}/issuers"
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def put_issuers(
    world: FakeStack, body: Any, on_invalid: str | None = None, **options: Any
) -> ApiResponse:
    query = {"on_invalid": on_invalid} if on_invalid else {}
    return world.call("issuers", "PUT", options.pop("path", PATH), query, body, **options)


def thresholds(world: FakeStack, account: str = SF) -> dict[str, Any]:
    body = world.get(f"/accounts/{account}/stamps").body
    return {issuer["rfc"]: issuer["low_stamps"] for issuer in body["issuers"]}


@pytest.mark.parametrize("account", [SF, RC])
def test_json_list_is_imported(world: FakeStack, account: str) -> None:
    body = [RFC, {"rfc": RFC_N, "low_stamps": 50}]
    response = put_issuers(world, body, path=f"/accounts/{account}/issuers")
    assert (response.status, response.body) == (
        200,
        {"account": account, "kept": 2, "rejected": []},
    )
    assert thresholds(world, account) == {RFC: None, RFC_N: 50}


@pytest.mark.parametrize(
    "text",
    [
        f"{RFC}\n{RFC_N},50\n",
        f"\ufeffRFC;low_stamps\r\n{RFC};\r\n\r\n{RFC_N};50\r\n",
        f'low_stamps,rfc\n,{RFC}\n"50",{RFC_N}\n',
    ],
)
def test_csv_is_imported(world: FakeStack, text: str) -> None:
    assert put_issuers(world, text, headers=CSV).body["kept"] == 2
    assert thresholds(world) == {RFC: None, RFC_N: 50}


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
def test_csv_of_spreadsheets_is_imported(world: FakeStack, text: str, media_type: str) -> None:
    response = put_issuers(world, text, headers={"Content-Type": media_type})

    assert response.body == {"account": SF, "kept": 1, "rejected": []}
    assert thresholds(world) == {RFC: 1000}


def test_empty_cell_removes_a_threshold_and_a_missing_column_does_not(
    world: FakeStack,
) -> None:
    put_issuers(world, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put_issuers(world, f"rfc\n{RFC}\n{RFC_N}\n", headers=CSV)
    assert thresholds(world) == {RFC: 7, RFC_N: 8}
    put_issuers(world, f"{RFC},\n{RFC_N}\n", headers=CSV)
    assert thresholds(world) == {RFC: None, RFC_N: 8}


def test_null_removes_a_threshold_and_a_missing_member_does_not(world: FakeStack) -> None:
    put_issuers(world, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put_issuers(world, [RFC, {"rfc": RFC_N, "low_stamps": None}])
    assert thresholds(world) == {RFC: 7, RFC_N: None}


def test_import_does_not_change_counts_and_other_issuers(world: FakeStack) -> None:
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    put_issuers(world, [{"rfc": RFC, "low_stamps": 9}])
    put_issuers(world, [RFC_N])
    (counted,) = (
        issuer
        for issuer in world.get(f"/accounts/{SF}/stamps").body["issuers"]
        if issuer["available"] is not None
    )
    assert (counted["rfc"], counted["available"], counted["low_stamps"]) == (RFC, 750, 9)


INVALID_CSV = f"rfc,low_stamps\n{RFC},10\nno-rfc,1\nXAXX010101000,\n{RFC_N},-3\n"


def test_invalid_rows_are_listed_and_nothing_is_imported(world: FakeStack) -> None:
    body = check_problem(
        put_issuers(world, INVALID_CSV, headers=CSV), 422, "issuers-invalid", "body"
    )
    assert [(row["line"], row["field"]) for row in body["rejected"]] == [
        (3, "rfc"),
        (4, "rfc"),
        (5, "low_stamps"),
    ]
    assert all(row["detail"] for row in body["rejected"])
    assert thresholds(world) == {}


def test_valid_rows_are_imported_with_on_invalid_skip(world: FakeStack) -> None:
    response = put_issuers(world, INVALID_CSV, "skip", headers=CSV)
    assert (response.status, response.body["kept"]) == (200, 1)
    assert [row["line"] for row in response.body["rejected"]] == [3, 4, 5]
    assert thresholds(world) == {RFC: 10}


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
        # Contradicts an earlier row.
        ({"rfc": RFC_N.lower(), "low_stamps": 9}, "low_stamps"),
    ],
)
def test_invalid_json_row_is_rejected(world: FakeStack, row: Any, field: str) -> None:
    body = [{"rfc": RFC_N, "low_stamps": 8}, row]

    problem = check_problem(put_issuers(world, body), 422, "issuers-invalid", "body")
    (rejected,) = put_issuers(world, body, "skip").body["rejected"]

    assert problem["rejected"] == [rejected]
    assert (rejected["line"], rejected["field"]) == (2, field)
    assert len(rejected["detail"]) < 300
    assert thresholds(world) == {RFC_N: 8}


def test_import_accepts_at_most_ten_thousand_rows(world: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(300)]
    rows = [*rfcs, *(f"row-{n}" for n in range(301, 10_002))]
    check_problem(put_issuers(world, rows, "skip"), 400, "body-invalid", "body")
    assert thresholds(world) == {}

    response = put_issuers(world, rows[:-1], "skip")

    assert (response.status, response.body["kept"]) == (200, 300)
    assert [row["line"] for row in response.body["rejected"]] == list(range(301, 10_001))
    assert set(thresholds(world)) <= set(rfcs)
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
def test_body_that_is_not_a_list_is_rejected(
    world: FakeStack, body: str, headers: dict[str, str], status: int, code: str, field: str
) -> None:
    check_problem(put_issuers(world, body, headers=headers), status, code, field)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", "rfc\nÑAN840101AB1".encode("latin-1")])
def test_csv_that_is_not_utf_8_is_rejected(world: FakeStack, body: bytes) -> None:
    check_problem(
        put_issuers(world, body, headers=CSV, is_base64=True), 400, "body-invalid", "body"
    )


def test_partly_imported_list_returns_503_and_can_be_repeated(world: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(250)]
    world.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)
    check_problem(put_issuers(world, rfcs), 503, "storage-unavailable")
    assert len(world.stack.items("IssuersTable")) == 100

    world.restore_aws()
    assert put_issuers(world, rfcs).body["kept"] == 250
    assert len(world.stack.items("IssuersTable")) == 250


def test_invalid_on_invalid_and_unknown_account_are_rejected(world: FakeStack) -> None:
    check_problem(put_issuers(world, [RFC], "some"), 400, "parameter-invalid", "on_invalid")
    response = put_issuers(world, [RFC], path="/accounts/none/issuers")
    check_problem(response, 404, "account-unknown", "account")


def test_removed_issuer_returns_with_the_next_count(world: FakeStack) -> None:
    put_issuers(world, [RFC, RFC_N])
    response = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    assert (response.status, response.body) == (200, {"account": SF, "rfc": RFC, "removed": True})
    assert list(thresholds(world)) == [RFC_N]
    response = world.call("issuers", "DELETE", PATH, {"rfc": RFC})
    check_problem(response, 404, "issuer-unknown", "rfc")
    world.get(f"/accounts/{SF}/stamps", rfc=RFC)
    assert RFC in thresholds(world)
