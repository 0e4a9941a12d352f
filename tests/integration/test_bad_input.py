"""Invalid requests on every route: a problem that names the field, and no call to a PAC."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from tests.integration.harness import (
    RC,
    RFC,
    SF,
    ApiResponse,
    FakeStack,
    check_problem,
    proxy_event,
)

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"
CONTRACTS = f"/accounts/{SF}/contracts"
REPORTS = f"/accounts/{RC}/reports"
CONTRACT = {"rfc": RFC, "stamps": 500}
REPORT = {"month": "2026-10", "kind": "statement", "format": "csv"}

# A valid request per route: function, method, account, path after the account, query, body.
ROUTES: dict[str, tuple[str, str, str, str, dict[str, str], Any]] = {
    "balance": ("balance", "GET", RC, "/balance", {"month": "2026-10"}, None),
    "stamps": ("stamp_count", "GET", SF, "/stamps", {"rfc": RFC}, None),
    "known": ("stamp_count", "GET", SF, "/stamps", {}, None),
    "history": ("stamp_count", "GET", SF, "/stamps/history", {"rfc": RFC}, None),
    "import": ("issuers", "PUT", SF, "/issuers", {}, [RFC]),
    "remove": ("issuers", "DELETE", SF, "/issuers", {"rfc": RFC}, None),
    "create-contract": ("contract", "POST", SF, "/contracts", {}, CONTRACT),
    "contracts": ("contract", "GET", SF, "/contracts", {}, None),
    "contract": ("contract", "GET", SF, f"/contracts/{'0' * 32}", {}, None),
    "request-report": ("report", "POST", RC, "/reports", {}, REPORT),
    "reports": ("report", "GET", RC, "/reports", {}, None),
    "report": ("report", "GET", RC, "/reports/2026-10-statement-csv-0001", {}, None),
}
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)
WITH_BODY = pytest.mark.parametrize("route", ["create-contract", "request-report"])

BROKEN = {
    "no-json": ("hello {", "secret"),
    "no-object": ('["pac"]', "secret"),
    "empty": (" ", "secret"),
    "deep": ("[" * 30_000, "secret"),
    "no-pac": ({"environment": "uat", "api_key": "k"}, "pac"),
    "other-pac": ({"pac": "otro", "environment": "uat", "api_key": "k"}, "pac"),
    "no-environment": ({"pac": "reachcore", "api_key": "k"}, "environment"),
    "other-environment": (
        {"pac": "reachcore", "environment": "testing", "api_key": "k"},
        "environment",
    ),
    "no-key": ({"pac": "reachcore", "environment": "uat"}, "api_key"),
    "empty-key": ({"pac": "reachcore", "environment": "uat", "api_key": ""}, "api_key"),
    "number-key": ({"pac": "reachcore", "environment": "uat", "api_key": 7}, "api_key"),
    "broken-key": ({"pac": "reachcore", "environment": "uat", "api_key": "a\nb"}, "api_key"),
    "no-password": (
        {"pac": "solucion-factible", "environment": "testing", "username": "u"},
        "password",
    ),
    "no-username": (
        {"pac": "solucion-factible", "environment": "testing", "password": "p"},
        "username",
    ),
    "outside": (
        {
            "pac": "reachcore",
            "environment": "sandbox",
            "endpoint": "http://example.com",
            "api_key": "k",
        },
        "endpoint",
    ),
    "elsewhere": (
        {
            "pac": "reachcore",
            "environment": "production",
            "endpoint": "https://example.com",
            "api_key": "k",
        },
        "endpoint",
    ),
    "low": (
        {"pac": "reachcore", "environment": "uat", "api_key": "k", "low_stamps": "5.5"},
        "low_stamps",
    ),
}


@pytest.fixture(scope="module")
def accounts(shared_world: FakeStack) -> None:
    """Create all misconfigured accounts."""
    for name, (value, _) in BROKEN.items():
        shared_world.create_account(name, value)


@pytest.fixture(autouse=True)
def assert_no_side_effects(accounts: None, shared_stack: FakeStack) -> Any:
    """Check after each test that no PAC was called and nothing was stored or published."""
    yield
    assert shared_stack.calls() == []
    for table in ("ContractsTable", "IssuersTable", "ReportsTable"):
        assert shared_stack.stack.items(table) == []
    assert shared_stack.published == []
    assert shared_stack.queued_messages() == 0


def send(
    world: FakeStack,
    route: str,
    *,
    account: str | None = None,
    query: dict[str, Any] | None = None,
    body: Any = None,
    raw: bool = False,
    headers: dict[str, str] | None = None,
    is_base64: bool = False,
) -> ApiResponse:
    """Send the valid request of a route with the given changes."""
    folder, method, own_account, path, valid_query, valid_body = ROUTES[route]
    if headers is None and route == "create-contract":
        headers = {"Idempotency-Key": str(uuid.uuid4())}
    return world.call(
        folder,
        method,
        f"/accounts/{account or own_account}{path}",
        valid_query if query is None else query,
        body if raw or body is not None else valid_body,
        headers,
        is_base64=is_base64,
    )


# ------------------------------------------------------------------------------ accounts


@EVERY_ROUTE
@pytest.mark.parametrize(
    "name",
    [
        "acme-none",
        "ACME-RC",
        "a",
        "-acme",
        "a" * 42,
        "acme%20rc",
        "acme rc",
        "acme.rc",
        "acme_rc",
        "ñandú-rc",
        "..",
        "acme-rc%00",
        "acme-rc%2F..",
        "acme-rc'",
        "*",
        "${jndi:x}",
        "<script>",
    ],
)
def test_unknown_account_returns_404(shared_stack: FakeStack, route: str, name: str) -> None:
    response = send(shared_stack, route, account=name)

    body = check_problem(response, 404, "account-unknown", "account")
    assert name[:40] in body["detail"]


@EVERY_ROUTE
@pytest.mark.parametrize("name", ["💣", 'acme"rc', "acme\\rc", "a#b", "a?b"])
def test_account_name_with_invalid_characters_matches_no_route(
    shared_stack: FakeStack, route: str, name: str
) -> None:
    response = send(shared_stack, route, account=name)

    assert response.status == 404
    check_problem(response, 404, "route-not-found")


@EVERY_ROUTE
@pytest.mark.parametrize("name", BROKEN)
def test_misconfigured_secret_names_its_field(
    shared_stack: FakeStack, route: str, name: str
) -> None:
    body = check_problem(
        send(shared_stack, route, account=name), 409, "account-misconfigured", BROKEN[name][1]
    )

    assert name in body["detail"]


@pytest.mark.parametrize(
    ("route", "account"),
    [
        ("stamps", RC),
        ("create-contract", RC),
        ("contracts", RC),
        ("contract", RC),
        ("request-report", SF),
    ],
)
def test_operation_unsupported_by_the_pac_returns_422(
    shared_stack: FakeStack, route: str, account: str
) -> None:
    body = check_problem(
        send(shared_stack, route, account=account), 422, "operation-unsupported", "account"
    )

    assert account in body["detail"]


# --------------------------------------------------------------------------------- query


@EVERY_ROUTE
@pytest.mark.parametrize(
    ("name", "value"), [("mes", "2026-10"), ("RFC", RFC), ("", ""), ("página", "2")]
)
def test_unknown_parameter_is_rejected(
    shared_stack: FakeStack, route: str, name: str, value: str
) -> None:
    response = send(shared_stack, route, query=ROUTES[route][4] | {name: value})

    check_problem(response, 400, "parameter-invalid", name)


def test_accounts_take_no_parameter(shared_stack: FakeStack) -> None:
    check_problem(shared_stack.get("/accounts", page="2"), 400, "parameter-invalid", "page")


@pytest.mark.parametrize(
    ("route", "name", "values"),
    [
        ("balance", "month", ["2026-10", "2026-09"]),
        ("balance", "month", ["2026-10", "2026-10"]),
        ("balance", "rfc", [RFC, RFC]),
        ("stamps", "rfc", [RFC, "AAA010101AAA"]),
        ("known", "cursor", ["a", "b"]),
        ("history", "rfc", [RFC, RFC]),
        ("history", "from", ["2026-11-01", "2026-11-01"]),
        ("import", "on_invalid", ["good", "none"]),
        ("remove", "rfc", [RFC, "AAA010101AAA"]),
        ("contracts", "status", ["unknown", "pending"]),
        ("contracts", "rfc", [RFC, RFC]),
        ("reports", "month", ["2026-10", "2026-10"]),
        ("report", "redirect", ["false", "true"]),
    ],
)
def test_duplicate_parameter_is_rejected(
    shared_stack: FakeStack, route: str, name: str, values: list[str]
) -> None:
    response = send(shared_stack, route, query=ROUTES[route][4] | {name: values})

    check_problem(response, 400, "parameter-invalid", name)


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("balance", {"month": "2026-10"}),
        ("stamps", {}),
        ("history", {}),
        ("remove", {}),
        ("contracts", {}),
    ],
)
def test_unencoded_ampersand_is_rejected_with_a_hint(
    shared_stack: FakeStack, route: str, query: dict[str, str]
) -> None:
    response = send(shared_stack, route, query=query | {"rfc": "A", "D061009TY8": ""})

    body = check_problem(response, 400, "parameter-invalid", "D061009TY8")
    assert "%26" in body["detail"]


RFCS = [
    "",
    "A",
    "AAA",
    "A&D061009TY",
    "A&D061009TY81",
    "A&D061309TY8",
    "A&D061032TY8",
    "A&D061009TYB",
    "AÉD061009TY8",
    "ßAA010101AAA",
    "ſAA010101AAA",
    "AAA010101AA\u0661",
    "A&amp;amp;D061009TY8",
    "A%26D061009TY8",
    "A&D 061009TY8",
    "A&D061009TY8\x00",
    "' OR 1=1 --",
    "x" * 5_000,
]


@pytest.mark.parametrize(
    "route", ["balance", "stamps", "history", "remove", "contracts", "create-contract"]
)
@pytest.mark.parametrize("rfc", RFCS)
def test_invalid_rfc_is_rejected(shared_stack: FakeStack, route: str, rfc: str) -> None:
    if route == "create-contract":
        response = send(shared_stack, route, body=CONTRACT | {"rfc": rfc})
    else:
        response = send(shared_stack, route, query=ROUTES[route][4] | {"rfc": rfc})

    assert len(check_problem(response, 400, "rfc-invalid", "rfc")["detail"]) < 300


@pytest.mark.parametrize("rfc", [None, 7, True, 1.5, [RFC], {"rfc": RFC}])
def test_rfc_of_another_type_is_rejected(shared_stack: FakeStack, rfc: object) -> None:
    check_problem(
        send(shared_stack, "create-contract", body=CONTRACT | {"rfc": rfc}),
        400,
        "rfc-invalid",
        "rfc",
    )


@pytest.mark.parametrize("route", ["stamps", "create-contract"])
@pytest.mark.parametrize("rfc", ["XAXX010101000", "XEXX010101000", " xaxx010101000 "])
def test_generic_rfc_is_rejected(shared_stack: FakeStack, route: str, rfc: str) -> None:
    if route == "create-contract":
        response = send(shared_stack, route, body=CONTRACT | {"rfc": rfc})
    else:
        response = send(shared_stack, route, query={"rfc": rfc})

    body = check_problem(response, 422, "rfc-generic", "rfc")
    assert rfc.strip().upper() in body["detail"]


MONTHS = [
    "2026-13",
    "2026-00",
    "2026-12",
    "2027-01",
    "9999-12",
    "2010-12",
    "0000-01",
    "2026-1",
    "26-10",
    "2026-10-01",
    "202610",
    "10-2026",
    " 2026-10",
    "2026-10\n",
    "２０２６-１０",
    "octubre",
    "",
    "-1",
    "2026-10' OR '1'='1",
]


@pytest.mark.parametrize("route", ["balance", "request-report", "reports"])
@pytest.mark.parametrize("month", MONTHS)
def test_invalid_month_is_rejected(shared_stack: FakeStack, route: str, month: str) -> None:
    if route == "request-report":
        response = send(shared_stack, route, body=REPORT | {"month": month})
    else:
        response = send(shared_stack, route, query={"month": month})

    check_problem(response, 400, "month-invalid", "month")


@pytest.mark.parametrize("route", ["history", "remove"])
def test_missing_rfc_is_rejected(shared_stack: FakeStack, route: str) -> None:
    check_problem(send(shared_stack, route, query={}), 400, "rfc-invalid", "rfc")


def test_missing_month_is_rejected(shared_stack: FakeStack) -> None:
    check_problem(send(shared_stack, "balance", query={}), 400, "month-invalid", "month")


@pytest.mark.parametrize("month", [None, 202610, 2026.10, True, ["2026-10"], {}])
def test_month_of_another_type_is_rejected(shared_stack: FakeStack, month: object) -> None:
    check_problem(
        send(shared_stack, "request-report", body=REPORT | {"month": month}),
        400,
        "month-invalid",
        "month",
    )


def encode_cursor(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


SORT_KEYS = {"known": "urgency", "contracts": "entry", "reports": "id"}
CURSORS = [
    "",
    "x",
    "not base64!",
    "ñ",
    "AAAA",
    encode_cursor([]),
    encode_cursor("text"),
    encode_cursor({}),
    encode_cursor({"account": "ACCOUNT"}),
    encode_cursor({"account": "another", "SORT": "contract#2026-10"}),
    encode_cursor({"account": "ACCOUNT", "SORT": 7}),
    encode_cursor({"account": "ACCOUNT", "SORT": ""}),
    encode_cursor({"account": "ACCOUNT", "SORT": "\ud800"}),
    encode_cursor({"account": "ACCOUNT", "SORT": "contract#" + "9" * 2_000}),
    encode_cursor({"account": "ACCOUNT", "SORT": "contract#1", "more": "x"}),
    encode_cursor({"account": "ACCOUNT", "other": "contract#1"}),
]


@pytest.mark.parametrize("route", SORT_KEYS)
@pytest.mark.parametrize("cursor", CURSORS)
def test_invalid_cursor_is_rejected(shared_stack: FakeStack, route: str, cursor: str) -> None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        text = text.replace("ACCOUNT", ROUTES[route][2]).replace("SORT", SORT_KEYS[route])
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    except ValueError:
        pass

    check_problem(
        send(shared_stack, route, query={"cursor": cursor}), 400, "parameter-invalid", "cursor"
    )


@pytest.mark.parametrize("entry", ["key#0", "in-flight#A&D061009TY8", "contract#", "a"])
def test_cursor_of_another_item_type_is_rejected(shared_stack: FakeStack, entry: str) -> None:
    cursor = encode_cursor({"account": SF, "entry": entry})

    check_problem(
        send(shared_stack, "contracts", query={"cursor": cursor}),
        400,
        "parameter-invalid",
        "cursor",
    )


@pytest.mark.parametrize("value", ["", "yes", "False", "0", "true "])
def test_invalid_redirect_is_rejected(shared_stack: FakeStack, value: str) -> None:
    check_problem(
        send(shared_stack, "report", query={"redirect": value}),
        400,
        "parameter-invalid",
        "redirect",
    )


@pytest.mark.parametrize("status", ["", "Confirmed", "lost", "pending,unknown"])
def test_invalid_contract_status_is_rejected(shared_stack: FakeStack, status: str) -> None:
    check_problem(
        send(shared_stack, "contracts", query={"status": status}),
        400,
        "parameter-invalid",
        "status",
    )


@pytest.mark.parametrize(
    "contract_id", ["nope", "0" * 31, "0" * 32, "G" * 32, "0" * 3_000, "..", "key#0", "%00"]
)
def test_unknown_contract_returns_404(shared_stack: FakeStack, contract_id: str) -> None:
    response = shared_stack.call(
        "contract", "GET", f"{CONTRACTS}/{contract_id.replace('#', '%23')}"
    )

    check_problem(response, 404, "contract-not-found", "id")


@pytest.mark.parametrize(
    "report_id",
    ["nope", "2026-10-statement-csv-0001", "2026-10-statement-csv-1", "0" * 3_000, ".."],
)
def test_unknown_report_returns_404(shared_stack: FakeStack, report_id: str) -> None:
    check_problem(shared_stack.get(f"{REPORTS}/{report_id}"), 404, "report-not-found", "id")


# ---------------------------------------------------------------------------------- body


def test_invalid_number_of_stamps_is_rejected(shared_stack: FakeStack) -> None:
    for stamps in (
        *(0, -1, -500, 1_000_001, 10**30, 1.5, 500.0, 1e3, 1e-7),
        *("500", "", "quinientos", True, False, None, [500], {"n": 500}),
    ):
        response = send(shared_stack, "create-contract", body=CONTRACT | {"stamps": stamps})
        check_problem(response, 400, "stamps-invalid", "stamps")


@pytest.mark.parametrize(
    ("stamps", "code", "field"),
    [
        ("1e400", "stamps-invalid", "stamps"),
        ("-0", "stamps-invalid", "stamps"),
        ("NaN", "body-invalid", "body"),
        ("Infinity", "body-invalid", "body"),
        ("-Infinity", "body-invalid", "body"),
        ("0500", "body-invalid", "body"),
        ("+5", "body-invalid", "body"),
        ("9" * 5_000, "body-invalid", "body"),
    ],
)
def test_invalid_number_in_json_text_is_rejected(
    shared_stack: FakeStack, stamps: str, code: str, field: str
) -> None:
    body = f'{{"rfc": "{RFC}", "stamps": {stamps}}}'

    check_problem(send(shared_stack, "create-contract", body=body), 400, code, field)


@pytest.mark.parametrize("kind", ["", "Statement", "estado", "statement/../../x", None, 1, []])
def test_unknown_report_kind_is_rejected(shared_stack: FakeStack, kind: object) -> None:
    check_problem(
        send(shared_stack, "request-report", body=REPORT | {"kind": kind}),
        400,
        "parameter-invalid",
        "kind",
    )


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("statement", "xlsx"),
        ("statement", "CSV"),
        ("statement", ""),
        ("statement", None),
        ("statement", ["csv"]),
        ("consumption", "docx"),
    ],
)
def test_format_unsupported_by_the_report_kind_is_rejected(
    shared_stack: FakeStack, kind: str, form: object
) -> None:
    response = send(shared_stack, "request-report", body=REPORT | {"kind": kind, "format": form})

    check_problem(response, 400, "parameter-invalid", "format")


@WITH_BODY
@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "hello",
        "{",
        '{"rfc": }',
        "{'rfc': 'A'}",
        '{"rfc": "A"} {"rfc": "A"}',
        "rfc=A%26D061009TY8&stamps=500",
        "[" * 8_000,
        '{"rfc":' * 2_000,
        "\ufeff[",
        "\x00",
    ],
)
def test_body_that_is_not_json_is_rejected(shared_stack: FakeStack, route: str, body: str) -> None:
    check_problem(send(shared_stack, route, body=body), 400, "body-invalid", "body")


@WITH_BODY
def test_missing_body_is_rejected(shared_stack: FakeStack, route: str) -> None:
    check_problem(send(shared_stack, route, body=None, raw=True), 400, "body-invalid", "body")


@WITH_BODY
@pytest.mark.parametrize("body", ["[]", "7", '"text"', "null", "true", "[{}]"])
def test_body_that_is_not_an_object_is_rejected(
    shared_stack: FakeStack, route: str, body: str
) -> None:
    check_problem(send(shared_stack, route, body=body), 400, "body-invalid", "body")


@WITH_BODY
@pytest.mark.parametrize("nested", ["[" * 4_000 + "]" * 4_000, '{"a":' * 2_000 + "1" + "}" * 2_000])
def test_deeply_nested_body_is_rejected(shared_stack: FakeStack, route: str, nested: str) -> None:
    body = f'{{"rfc": {nested}, "stamps": 1, "month": 1}}'

    response = send(shared_stack, route, body=body)

    assert response.status == 400
    assert response.body["code"] in ("body-invalid", "rfc-invalid")
    check_problem(response, 400, response.body["code"], response.body["field"])


@WITH_BODY
def test_missing_member_is_rejected(shared_stack: FakeStack, route: str) -> None:
    valid_body = ROUTES[route][5]
    for name in valid_body:
        body = {key: value for key, value in valid_body.items() if key != name}
        check_problem(send(shared_stack, route, body=body), 400, "body-invalid", name)
    check_problem(send(shared_stack, route, body={}), 400, "body-invalid", next(iter(valid_body)))


@WITH_BODY
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("more", "more"),
        ("Stamps", "Stamps"),
        ("account", "account"),
        ("x" * 300, "x" * 40),
        ("a\nb", "a?b"),
        ("__proto__", "__proto__"),
    ],
)
def test_unknown_member_is_rejected(
    shared_stack: FakeStack, route: str, name: str, field: str
) -> None:
    body = ROUTES[route][5] | {name: 1}

    check_problem(send(shared_stack, route, body=body), 400, "body-invalid", field)


@WITH_BODY
@pytest.mark.parametrize("text", ['{"\\ud800": 1, %s', '{"\\ud800": 1, "\\ud800": 1, %s'])
def test_member_with_an_invalid_name_is_rejected(
    shared_stack: FakeStack, route: str, text: str
) -> None:
    body = text % json.dumps(ROUTES[route][5])[1:]

    check_problem(send(shared_stack, route, body=body), 400, "body-invalid", "?")


@WITH_BODY
def test_duplicate_member_is_rejected(shared_stack: FakeStack, route: str) -> None:
    valid_body = ROUTES[route][5]
    for name, value in valid_body.items():
        duplicate = f', "{name}": {json.dumps(value)}}}'
        check_problem(
            send(shared_stack, route, body=json.dumps(valid_body)[:-1] + duplicate),
            400,
            "body-invalid",
            name,
        )


@WITH_BODY
@pytest.mark.parametrize("size", [16 * 1024 + 1, 2 * 1024 * 1024])
def test_large_body_is_rejected(shared_stack: FakeStack, route: str, size: int) -> None:
    body = json.dumps(ROUTES[route][5])
    body += " " * (size - len(body))

    check_problem(send(shared_stack, route, body=body), 413, "body-too-large", "body")
    check_problem(
        send(shared_stack, route, body=body, is_base64=True), 413, "body-too-large", "body"
    )


@WITH_BODY
@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x80{}", b'{"rfc": "\xc3\x28"}'])
def test_body_that_is_not_utf_8_is_rejected(
    shared_stack: FakeStack, route: str, body: bytes
) -> None:
    check_problem(send(shared_stack, route, body=body, is_base64=True), 400, "body-invalid", "body")


@WITH_BODY
def test_invalid_base64_is_rejected(shared_stack: FakeStack, route: str) -> None:
    folder, method, account, path, _, _ = ROUTES[route]
    event = proxy_event(
        method, f"/accounts/{account}{path}", body="{}", headers={"Idempotency-Key": "k"}
    )
    event |= {"isBase64Encoded": True, "body": "{no base64}"}

    check_problem(
        shared_stack.parse_response(shared_stack.invoke(folder, event)), 400, "body-invalid", "body"
    )


# ------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    "key", [None, "", " ", "x" * 256, "clavé", "a\tb", "a\x7fb", "\N{ZERO WIDTH SPACE}"]
)
def test_invalid_idempotency_key_is_rejected(shared_stack: FakeStack, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}

    check_problem(
        send(shared_stack, "create-contract", headers=headers),
        400,
        "idempotency-key-invalid",
        "Idempotency-Key",
    )


# -------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    "folder", ["accounts", "balance", "stamp_count", "issuers", "run", "contract", "report"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/accounts"), ("GET", "/"), ("GET", "/accounts/a/b/c/d/e")]
)
def test_unknown_route_returns_404(
    shared_stack: FakeStack, folder: str, method: str, path: str
) -> None:
    event = proxy_event("GET", "/accounts") | {"httpMethod": method, "path": path}

    check_problem(
        shared_stack.parse_response(shared_stack.invoke(folder, event)), 404, "route-not-found"
    )


@pytest.mark.parametrize("folder", ["accounts", "issuers", "contract"])
def test_schedule_payload_to_another_function_raises(shared_stack: FakeStack, folder: str) -> None:
    with pytest.raises(ValueError, match="has no schedule"):
        shared_stack.invoke(folder, {"account": None})
