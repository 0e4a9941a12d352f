"""PUT and DELETE /accounts/{account}/issuers: import and removal of issuers."""

from __future__ import annotations

from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{SF}/issuers"
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def put_issuers(
    stack: FakeStack, body: Any, on_invalid: str | None = None, **options: Any
) -> ApiResponse:
    query = {"on_invalid": on_invalid} if on_invalid else {}
    return stack.call("issuers", "PUT", options.pop("path", PATH), query, body, **options)


def thresholds(stack: FakeStack, account: str = SF) -> dict[str, Any]:
    body = stack.get(f"/accounts/{account}/stamps").body
    return {issuer["rfc"]: issuer["low_stamps"] for issuer in body["issuers"]}


@pytest.mark.parametrize("account", [SF, RC])
def test_json_list_is_imported(stack: FakeStack, account: str) -> None:
    body = [RFC, {"rfc": RFC_N, "low_stamps": 50}]
    response = put_issuers(stack, body, path=f"/accounts/{account}/issuers")
    assert (response.status, response.body) == (
        200,
        {"account": account, "kept": 2, "rejected": []},
    )
    assert thresholds(stack, account) == {RFC: None, RFC_N: 50}


@pytest.mark.parametrize(
    "text",
    [
        f"{RFC}\n{RFC_N},50\n",
        f"\ufeffRFC;low_stamps\r\n{RFC};\r\n\r\n{RFC_N};50\r\n",
        f'low_stamps,rfc\n,{RFC}\n"50",{RFC_N}\n',
    ],
)
def test_csv_is_imported(stack: FakeStack, text: str) -> None:
    assert put_issuers(stack, text, headers=CSV).body["kept"] == 2
    assert thresholds(stack) == {RFC: None, RFC_N: 50}


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
def test_csv_of_spreadsheets_is_imported(stack: FakeStack, text: str, media_type: str) -> None:
    response = put_issuers(stack, text, headers={"Content-Type": media_type})

    assert response.body == {"account": SF, "kept": 1, "rejected": []}
    assert thresholds(stack) == {RFC: 1000}


def test_empty_cell_removes_a_threshold_and_a_missing_column_does_not(
    stack: FakeStack,
) -> None:
    put_issuers(stack, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put_issuers(stack, f"rfc\n{RFC}\n{RFC_N}\n", headers=CSV)
    assert thresholds(stack) == {RFC: 7, RFC_N: 8}
    put_issuers(stack, f"{RFC},\n{RFC_N}\n", headers=CSV)
    assert thresholds(stack) == {RFC: None, RFC_N: 8}


def test_null_removes_a_threshold_and_a_missing_member_does_not(stack: FakeStack) -> None:
    put_issuers(stack, [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}])
    put_issuers(stack, [RFC, {"rfc": RFC_N, "low_stamps": None}])
    assert thresholds(stack) == {RFC: 7, RFC_N: None}


def test_import_does_not_change_counts_and_other_issuers(stack: FakeStack) -> None:
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    put_issuers(stack, [{"rfc": RFC, "low_stamps": 9}])
    put_issuers(stack, [RFC_N])
    (counted,) = (
        issuer
        for issuer in stack.get(f"/accounts/{SF}/stamps").body["issuers"]
        if issuer["available"] is not None
    )
    assert (counted["rfc"], counted["available"], counted["low_stamps"]) == (RFC, 750, 9)


INVALID_CSV = f"rfc,low_stamps\n{RFC},10\nno-rfc,1\nXAXX010101000,\n{RFC_N},-3\n"


def test_invalid_rows_are_listed_and_nothing_is_imported(stack: FakeStack) -> None:
    body = check_problem(
        put_issuers(stack, INVALID_CSV, headers=CSV), 422, "issuers-invalid", "body"
    )
    assert [(row["line"], row["field"]) for row in body["rejected"]] == [
        (3, "rfc"),
        (4, "rfc"),
        (5, "low_stamps"),
    ]
    assert all(row["detail"] for row in body["rejected"])
    assert thresholds(stack) == {}


def test_valid_rows_are_imported_with_on_invalid_skip(stack: FakeStack) -> None:
    response = put_issuers(stack, INVALID_CSV, "skip", headers=CSV)
    assert (response.status, response.body["kept"]) == (200, 1)
    assert [row["line"] for row in response.body["rejected"]] == [3, 4, 5]
    assert thresholds(stack) == {RFC: 10}


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
def test_invalid_json_row_is_rejected(stack: FakeStack, row: Any, field: str) -> None:
    body = [{"rfc": RFC_N, "low_stamps": 8}, row]

    problem = check_problem(put_issuers(stack, body), 422, "issuers-invalid", "body")
    (rejected,) = put_issuers(stack, body, "skip").body["rejected"]

    assert problem["rejected"] == [rejected]
    assert (rejected["line"], rejected["field"]) == (2, field)
    assert len(rejected["detail"]) < 300
    assert thresholds(stack) == {RFC_N: 8}


def test_import_accepts_at_most_ten_thousand_rows(stack: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(300)]
    rows = [*rfcs, *(f"row-{n}" for n in range(301, 10_002))]
    check_problem(put_issuers(stack, rows, "skip"), 400, "body-invalid", "body")
    assert thresholds(stack) == {}

    response = put_issuers(stack, rows[:-1], "skip")

    assert (response.status, response.body["kept"]) == (200, 300)
    assert [row["line"] for row in response.body["rejected"]] == list(range(301, 10_001))
    assert set(thresholds(stack)) <= set(rfcs)
    assert len(stack.aws.items("IssuersTable")) == 300


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
    stack: FakeStack, body: str, headers: dict[str, str], status: int, code: str, field: str
) -> None:
    check_problem(put_issuers(stack, body, headers=headers), status, code, field)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", "rfc\nÑAN840101AB1".encode("latin-1")])
def test_csv_that_is_not_utf_8_is_rejected(stack: FakeStack, body: bytes) -> None:
    check_problem(
        put_issuers(stack, body, headers=CSV, is_base64=True), 400, "body-invalid", "body"
    )


def test_partly_imported_list_returns_503_and_can_be_repeated(stack: FakeStack) -> None:
    rfcs = [bulk_rfc(n) for n in range(250)]
    stack.aws_faults.reject("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=1)
    check_problem(put_issuers(stack, rfcs), 503, "storage-unavailable")
    assert len(stack.aws.items("IssuersTable")) == 100

    stack.aws_faults.restore()
    assert put_issuers(stack, rfcs).body["kept"] == 250
    assert len(stack.aws.items("IssuersTable")) == 250


def test_invalid_on_invalid_and_unknown_account_are_rejected(stack: FakeStack) -> None:
    check_problem(put_issuers(stack, [RFC], "some"), 400, "parameter-invalid", "on_invalid")
    response = put_issuers(stack, [RFC], path="/accounts/none/issuers")
    check_problem(response, 404, "account-unknown", "account")


def test_removed_issuer_returns_with_the_next_count(stack: FakeStack) -> None:
    put_issuers(stack, [RFC, RFC_N])
    response = stack.call("issuers", "DELETE", PATH, {"rfc": RFC})
    assert (response.status, response.body) == (200, {"account": SF, "rfc": RFC, "removed": True})
    assert list(thresholds(stack)) == [RFC_N]
    response = stack.call("issuers", "DELETE", PATH, {"rfc": RFC})
    check_problem(response, 404, "issuer-unknown", "rfc")
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    assert RFC in thresholds(stack)
