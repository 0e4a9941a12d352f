"""Invalid and hostile requests on every route: a clear 4xx, no call to a PAC, nothing stored.

The parsers have their tables in tests/unit; a route has one value per rule.
"""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.events import ApiResponse, api_gateway_event, check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

MIB = 1024 * 1024
ID, REPORT_ID = "0" * 32, "2026-10-statement-csv-0001"
CONTRACT = {"rfc": RFC, "stamps": 500}
REPORT = {"month": "2026-10", "kind": "statement", "format": "csv"}
SETTLEMENT = {"outcome": "confirmed", "reason": "The portal lists the contract."}

# A valid request per route: function, method, path, query, body.
ROUTES: dict[str, tuple[str, str, str, dict[str, Any], Any]] = {
    "balance": ("balance", "GET", f"/accounts/{RC}/balance", {"month": "2026-10"}, None),
    "stamps": ("stamp_count", "GET", f"/accounts/{SF}/stamps", {"rfc": RFC}, None),
    "known": ("stamp_count", "GET", f"/accounts/{SF}/stamps", {}, None),
    "account-stamps": ("stamp_count", "GET", f"/accounts/{SF}/stamps/account", {}, None),
    "history": ("stamp_count", "GET", f"/accounts/{SF}/stamps/history", {"rfc": RFC}, None),
    "import": ("issuers", "PUT", f"/accounts/{SF}/issuers", {}, [RFC]),
    "remove": ("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": RFC}, None),
    "create": ("contract", "POST", f"/accounts/{SF}/contracts", {}, CONTRACT),
    "contracts": ("contract", "GET", f"/accounts/{SF}/contracts", {}, None),
    "contract": ("contract", "GET", f"/accounts/{SF}/contracts/{ID}", {}, None),
    "settle": ("contract", "POST", f"/accounts/{SF}/contracts/{ID}/settlement", {}, SETTLEMENT),
    "request": ("report", "POST", f"/accounts/{RC}/reports", {}, REPORT),
    "reports": ("report", "GET", f"/accounts/{RC}/reports", {}, None),
    "report": ("report", "GET", f"/accounts/{RC}/reports/{REPORT_ID}", {}, None),
    "revoke": ("report", "DELETE", f"/accounts/{RC}/reports/{REPORT_ID}/tokens", {}, None),
}
# Routes that read the account's secret before the request is rejected.
WITH_SECRET = [name for name in ROUTES if name not in ("settle", "revoke")]
WITH_BODY = ["create", "settle", "request"]


@pytest.fixture(scope="module")
def misconfigured(module_stack: FakeStack) -> str:
    """Return the name of an account with an invalid secret."""
    module_stack.accounts.create("acme-broken", {"pac": "reachcore", "environment": "uat"})
    return "acme-broken"


@pytest.fixture(autouse=True)
def assert_no_side_effects(shared_stack: FakeStack) -> Iterator[None]:
    """Check after each test that no PAC was called and nothing was stored or published."""
    yield
    assert shared_stack.pacs.calls() == []
    for table in ("ContractsTable", "IssuersTable", "ReportsTable"):
        assert shared_stack.aws.items(table) == []
    assert shared_stack.published == []
    assert shared_stack.queued_messages() == 0


def send(
    stack: FakeStack,
    route: str,
    query: dict[str, Any] | None = None,
    body: Any = None,
    *,
    account: str | None = None,
    headers: dict[str, str] | None = None,
) -> ApiResponse:
    """Send the valid request of a route; ``query`` and an object in ``body`` are added to it."""
    function, method, path, valid_query, valid_body = ROUTES[route]
    if account is not None:
        path = path.replace(RC, account).replace(SF, account)
    if body is None or isinstance(body, dict):
        body = valid_body | body if body else valid_body
    headers = {"Idempotency-Key": "key-1"} if headers is None else headers
    return stack.call(function, method, path, valid_query | (query or {}), body, headers)


def check_rejection(
    response: ApiResponse, status: int, code: str, field: str | None
) -> dict[str, Any]:
    """Check that a response is a short, printable problem; return its body."""
    assert (len(response.text) < 1_000, response.text.isprintable()) == (True, True)
    return check_problem(response, status, code, field)


@pytest.mark.parametrize("route", ROUTES)
def test_an_unknown_account_and_an_unknown_parameter_are_rejected(
    shared_stack: FakeStack, route: str
) -> None:
    account = send(shared_stack, route, account="acme-none")
    parameter = send(shared_stack, route, {"mes": "1"})

    # The links of a deleted account can still be revoked.
    expected = ("report-not-found", "id") if route == "revoke" else ("account-unknown", "account")
    check_rejection(account, 404, *expected)
    check_rejection(parameter, 400, "parameter-invalid", "mes")


@pytest.mark.parametrize("route", WITH_SECRET)
def test_a_misconfigured_secret_names_its_field(
    shared_stack: FakeStack, misconfigured: str, route: str
) -> None:
    response = send(shared_stack, route, account=misconfigured)

    body = check_rejection(response, 409, "account-misconfigured", "api_key")
    assert misconfigured in body["detail"]


@pytest.mark.parametrize(
    ("route", "account"),
    [("stamps", RC), ("create", RC), ("contracts", RC), ("contract", RC), ("request", SF)],
)
def test_an_operation_that_the_pac_does_not_support_is_rejected(
    shared_stack: FakeStack, route: str, account: str
) -> None:
    response = send(shared_stack, route, account=account)

    body = check_rejection(response, 422, "operation-unsupported", "account")
    assert account in body["detail"]


@pytest.mark.parametrize("route", WITH_BODY)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("hello", 400, "body-invalid"),
        ("[" * 5_000 + "]" * 5_000, 400, "body-invalid"),
        (" " * 16_385, 413, "body-too-large"),
    ],
    ids=["text", "nested", "large"],
)
def test_a_body_other_than_an_object_is_rejected(
    shared_stack: FakeStack, route: str, body: str, status: int, code: str
) -> None:
    check_rejection(send(shared_stack, route, body=body), status, code, "body")


@pytest.mark.parametrize("route", WITH_BODY)
def test_every_member_is_required_and_no_other_is_known(
    shared_stack: FakeStack, route: str
) -> None:
    for name, value in ROUTES[route][4].items():
        body = {key: item for key, item in ROUTES[route][4].items() if key != name}

        missing = send(shared_stack, route, body=json.dumps(body))
        other = send(shared_stack, route, body={f"{name}s": value})

        check_rejection(missing, 400, "body-invalid", name)
        check_rejection(other, 400, "body-invalid", f"{name}s")


def encode(keys: dict[str, str]) -> str:
    """Return a cursor that a caller could forge."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


# Route, parameter (?) or member, an invalid value of it, and the error.
VALUES: list[tuple[str, str, Any, str]] = [
    ("balance", "?month", "2026-12", "month-invalid"),
    ("balance", "?rfc", "\ud800", "rfc-invalid"),
    ("stamps", "?rfc", "A" * 100_000, "rfc-invalid"),
    ("stamps", "?rfc", "XAXX010101000", "rfc-generic"),
    ("known", "?cursor", "x", "parameter-invalid"),
    ("contracts", "?cursor", encode({"account": SF, "entry": "key#0"}), "parameter-invalid"),
    ("reports", "?cursor", encode({"account": SF, "id": REPORT_ID}), "parameter-invalid"),
    ("history", "?rfc", "A", "rfc-invalid"),
    ("history", "?from", "19/11/2026", "parameter-invalid"),
    ("history", "?to", "2026-11-31", "parameter-invalid"),
    ("import", "?on_invalid", "some", "parameter-invalid"),
    ("remove", "?rfc", "A", "rfc-invalid"),
    ("contracts", "?rfc", "A", "rfc-invalid"),
    ("contracts", "?status", "lost", "parameter-invalid"),
    ("reports", "?month", "2026-1\u0660", "month-invalid"),
    ("report", "?redirect", "", "parameter-invalid"),
    ("create", "rfc", None, "rfc-invalid"),
    ("create", "rfc", "\ud800", "rfc-invalid"),
    ("create", "rfc", "XAXX010101000", "rfc-generic"),
    ("create", "stamps", 500.0, "stamps-invalid"),
    ("create", "stamps", 10**30, "stamps-invalid"),
    ("request", "month", 202610, "month-invalid"),
    ("request", "kind", [], "parameter-invalid"),
    ("request", "format", "xlsx", "parameter-invalid"),
    ("settle", "outcome", "\ud800", "parameter-invalid"),
    ("settle", "reason", "as the portal shows\u202e", "parameter-invalid"),
]


@pytest.mark.parametrize(("route", "name", "value", "code"), VALUES, ids=lambda v: repr(v)[:20])
def test_an_invalid_value_is_rejected_with_its_field(
    shared_stack: FakeStack, route: str, name: str, value: Any, code: str
) -> None:
    if name.startswith("?"):
        response = send(shared_stack, route, {name[1:]: value})
    else:
        # With \uXXXX escapes, because the text may contain half a surrogate pair.
        body = json.dumps(ROUTES[route][4] | {name: value})
        response = send(shared_stack, route, body=body)

    status = 422 if code == "rfc-generic" else 400
    check_rejection(response, status, code, name.removeprefix("?"))


@pytest.mark.parametrize("route", ["balance", "history", "remove"])
def test_a_missing_parameter_is_rejected(shared_stack: FakeStack, route: str) -> None:
    function, method, path, query, _ = ROUTES[route]

    response = shared_stack.call(function, method, path)

    (field,) = query
    check_rejection(response, 400, f"{field}-invalid", field)
    without_key = send(shared_stack, "create", headers={})
    check_rejection(without_key, 400, "idempotency-key-invalid", "Idempotency-Key")


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/accounts/all/stamps", {}, "alert"),
        ("/accounts/all/stamps", {"alert": "ok"}, "alert"),
        ("/accounts/all/stamps", {"alert": "low", "cursor": "x"}, "cursor"),
        ("/accounts/all/contracts", {"cursor": "ALL.x"}, "cursor"),
        ("/accounts/all/contracts", {"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ("/accounts/acme-sf/contracts", {"reference": "x" * 101}, "reference"),
        ("/accounts/acme-sf/contracts", {"limit": "101"}, "limit"),
        ("/accounts/acme-sf/stamps", {"limit": "0"}, "limit"),
        ("/accounts/acme-sf/issuers", {"limit": "ten"}, "limit"),
        ("/accounts/acme-rc/balance", {"from": "2026-01", "to": "2026-02", "rfc": RFC}, "rfc"),
        ("/accounts/acme-rc/balance", {"from": "2025-09", "to": "2026-10"}, "from"),
        ("/accounts/acme-rc/balance", {"from": "2026-10", "to": "2026-09"}, "from"),
    ],
)
def test_an_invalid_filter_names_its_field(
    shared_stack: FakeStack, path: str, query: dict[str, str], field: str
) -> None:
    months = "balance" in path and field == "from"
    code = "month-invalid" if months else "parameter-invalid"
    check_rejection(shared_stack.get(path, **query), 400, code, field)


# API Gateway passes a path parameter decoded or encoded.
SEGMENTS = [
    *("..", "%252e%252e", "acme-sf/../acme-rc", "acme-sf%2F..%2Facme-rc", "%c0%ae%c0%ae", ""),
    *("acme-sf\\..\\acme-rc", "acme-" * 50_000, " acme-sf ", "ACME-SF", "acme-sf?a=b#c", "💣"),
    # A Cyrillic letter, full width, combining, invisible, mirrored.
    *("\u0430cme-sf", "\uff41cme-sf", "acme-sf\u0301", "acme-sf\u200b", "\u202efs-emca"),
    *("acme-sf\0", "acme-sf\nSet-Cookie: a=b", "acme-sf\ud800", "acme-*", "${jndi:x}"),
    *("timbres/accounts/acme-sf", "arn:aws:secretsmanager:mx-central-1:111122223333:secret:a"),
]
RECORDS = {
    "contract": ("contract_id", "contract-not-found"),
    "report": ("report_id", "report-not-found"),
    "run": ("run_id", "run-not-found"),
}


@pytest.mark.parametrize("route", [*ROUTES, "run"])
def test_a_manipulated_path_reaches_nothing(shared_stack: FakeStack, route: str) -> None:
    function, method, path, query, body = ROUTES.get(
        route, ("run", "GET", "/runs/2026-11-19", {}, None)
    )
    parameter, code = RECORDS.get(route, ("account", "account-unknown"))
    # Without its id, the path of a record is that of a list.
    for text in filter(None, SEGMENTS) if route in RECORDS else SEGMENTS:
        sent = None if body is None else json.dumps(body)
        event = api_gateway_event(method, path, query, sent, {"Idempotency-Key": "k"})
        if route in RECORDS:
            event["path"] = f"{path.rpartition('/')[0]}/{text}"
        else:
            event["path"] = path.replace(RC, text).replace(SF, text)
        event["pathParameters"] = (event["pathParameters"] or {}) | {parameter: text}

        response = shared_stack.parse_response(shared_stack.invoke(function, event))

        assert response.body["code"] in (code, "route-not-found")
        check_rejection(response, 404, response.body["code"], response.body.get("field"))


@pytest.mark.parametrize(
    "body", [f'"{"A" * MIB}"', "," * 200_000 + "x"], ids=["one cell", "many cells"]
)
def test_a_hostile_list_of_issuers_is_rejected_in_little_memory(
    shared_stack: FakeStack, body: str
) -> None:
    tracemalloc.start()
    try:
        response = send(shared_stack, "import", body=body, headers={"Content-Type": "text/csv"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    check_rejection(response, 422, "issuers-invalid", "body")
    # The body has at most 2 MB; its cells need the rest.
    assert peak < 80 * MIB
