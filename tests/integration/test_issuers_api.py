"""PUT and DELETE /accounts/{account}/issuers: import and removal of issuers."""

from __future__ import annotations

from typing import Any

from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack

PATH = f"/accounts/{SF}/issuers"
CSV = {"Content-Type": "text/csv; charset=utf-8"}
LOW = [{"rfc": RFC, "low_stamps": 7}, {"rfc": RFC_N, "low_stamps": 8}]


def put_issuers(
    stack: FakeStack, body: Any, headers: dict[str, str] | None = None, **query: str
) -> ApiResponse:
    return stack.call("issuers", "PUT", PATH, query, body, headers)


def thresholds(stack: FakeStack, account: str = SF) -> dict[str, Any]:
    body = stack.get(f"/accounts/{account}/stamps").body
    return {issuer["rfc"]: issuer["low_stamps"] for issuer in body["issuers"]}


def test_a_json_list_is_imported(stack: FakeStack) -> None:
    response = put_issuers(stack, [RFC, {"rfc": RFC_N, "low_stamps": 50}])

    assert response.status == 200
    assert response.body == {"account": SF, "kept": 2, "removed": 0, "rejected": []}
    assert thresholds(stack) == {RFC: None, RFC_N: 50}


def test_names_are_listed_kept_and_removed(stack: FakeStack) -> None:
    names = []
    for body in ({"name": "Ñandú, S.A."}, {"low_stamps": 7}, {"name": None, "low_stamps": None}):
        assert put_issuers(stack, [{"rfc": RFC} | body]).status == 200
        (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
        names.append((issuer["name"], issuer["low_stamps"]))
    assert names == [("Ñandú, S.A.", None), ("Ñandú, S.A.", 7), (None, None)]


def test_a_missing_threshold_is_kept_an_empty_one_removed_and_counts_stay(
    stack: FakeStack,
) -> None:
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    put_issuers(stack, LOW)

    put_issuers(stack, f"\ufeffrfc;low_stamps\r\n{RFC};\r\n\r\n{RFC_N}\r\n", CSV)

    assert thresholds(stack) == {RFC: None, RFC_N: 8}
    issuers = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert [(issuer["rfc"], issuer["available"]) for issuer in issuers] == [
        (RFC, 750),
        (RFC_N, None),
    ]


def test_invalid_rows_are_listed_and_skipped_only_on_request(stack: FakeStack) -> None:
    text = f"{RFC},10\nno-rfc,1\n{RFC_N},-3\n"

    problem = check_problem(put_issuers(stack, text, CSV), 422, "issuers-invalid", "body")

    rows = [(row["line"], row["field"], bool(row["detail"])) for row in problem["rejected"]]
    assert rows == [(2, "rfc", True), (3, "low_stamps", True)]
    assert thresholds(stack) == {}
    skipped = put_issuers(stack, text, CSV, on_invalid="skip")
    assert skipped.body == {"account": SF, "kept": 1, "removed": 0, "rejected": problem["rejected"]}
    assert thresholds(stack) == {RFC: 10}


def test_a_body_of_another_media_type_is_rejected(stack: FakeStack) -> None:
    response = put_issuers(stack, RFC, {"Content-Type": "text/plain"})

    check_problem(response, 400, "body-invalid", "Content-Type")


def test_a_removed_issuer_returns_with_the_next_count(stack: FakeStack) -> None:
    put_issuers(stack, LOW)

    response = stack.call("issuers", "DELETE", PATH, {"rfc": RFC})

    assert (response.status, response.body) == (200, {"account": SF, "rfc": RFC, "removed": True})
    assert list(thresholds(stack)) == [RFC_N]
    again = stack.call("issuers", "DELETE", PATH, {"rfc": RFC})
    check_problem(again, 404, "issuer-unknown", "rfc")
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)
    assert RFC in thresholds(stack)


def test_a_list_is_replaced_and_issuers_are_removed_together(stack: FakeStack) -> None:
    rfcs = [bulk_rfc(number) for number in range(120)]
    put_issuers(stack, [*rfcs, RFC])
    invalid = put_issuers(stack, [RFC, "no-rfc"], mode="replace")
    check_problem(invalid, 422, "issuers-invalid", "body")
    for query in ({"mode": "replace", "on_invalid": "skip"}, {"mode": "all"}):
        check_problem(put_issuers(stack, [RFC], **query), 400, "parameter-invalid", "mode")
    replaced = put_issuers(stack, [*rfcs[:3], RFC_N], mode="replace")
    assert replaced.body["removed"] == 118
    assert [item["rfc"] for item in stack.get(PATH).body["issuers"]] == [*rfcs[:3], RFC_N]

    texts = [rfcs[0].lower(), rfcs[1], RFC]
    removed = stack.call("issuers", "DELETE", PATH, {"rfc": texts})
    assert removed.body == {"account": SF, "rfcs": rfcs[:2], "unknown": [RFC]}
    unknown = stack.call("issuers", "DELETE", PATH, {"rfc": texts, "mes": "1"})
    check_problem(unknown, 400, "parameter-invalid", "mes")
    many = stack.call("issuers", "DELETE", PATH, {"rfc": ["x"] * 101})
    check_problem(many, 400, "parameter-invalid", "rfc")
    assert [item["rfc"] for item in stack.get(PATH).body["issuers"]] == [rfcs[2], RFC_N]
