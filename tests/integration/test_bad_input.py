"""What a caller can get wrong on every route: a problem that names the field, no call to a PAC."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from tests.integration.harness import RC, RFC, SF, Answer, World, problem, proxy_event

BALANCE = f"/accounts/{RC}/balance"
STAMPS = f"/accounts/{SF}/stamps"
CONTRACTS = f"/accounts/{SF}/contracts"
REPORTS = f"/accounts/{RC}/reports"
ORDER = {"rfc": RFC, "stamps": 500}
WANTED = {"month": "2026-10", "kind": "statement", "format": "csv"}

# One good request for each route: function, method, path after the account, query, body.
ROUTES: dict[str, tuple[str, str, str, str, dict[str, str], Any]] = {
    "balance": ("balance", "GET", RC, "/balance", {"month": "2026-10"}, None),
    "stamps": ("stamp_count", "GET", SF, "/stamps", {"rfc": RFC}, None),
    "known": ("stamp_count", "GET", SF, "/stamps", {}, None),
    "history": ("stamp_count", "GET", SF, "/stamps/history", {"rfc": RFC}, None),
    "import": ("issuers", "PUT", SF, "/issuers", {}, [RFC]),
    "remove": ("issuers", "DELETE", SF, "/issuers", {"rfc": RFC}, None),
    "buy": ("contract", "POST", SF, "/contracts", {}, ORDER),
    "contracts": ("contract", "GET", SF, "/contracts", {}, None),
    "contract": ("contract", "GET", SF, f"/contracts/{'0' * 32}", {}, None),
    "ask": ("report", "POST", RC, "/reports", {}, WANTED),
    "reports": ("report", "GET", RC, "/reports", {}, None),
    "report": ("report", "GET", RC, "/reports/2026-10-statement-csv-0001", {}, None),
}
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)
WITH_BODY = pytest.mark.parametrize("route", ["buy", "ask"])

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
        {"pac": "reachcore", "environment": "uat", "api_key": "k", "low_stamps": "5"},
        "low_stamps",
    ),
}


@pytest.fixture(scope="module")
def accounts(shared_world: World) -> None:
    """Every account that is not right, beside those that are."""
    for name, (value, _) in BROKEN.items():
        shared_world.create_account(name, value)


@pytest.fixture
def quiet(accounts: None, reader: World) -> Any:
    """The shared world; whatever is asked in it, no PAC is called and nothing is kept."""
    yield reader
    assert reader.calls() == []
    for table in ("ContractsTable", "IssuersTable", "ReportsTable"):
        assert reader.stack.items(table) == []
    assert reader.published == []
    assert reader.waiting() == 0


def send(
    world: World,
    route: str,
    *,
    account: str | None = None,
    query: dict[str, Any] | None = None,
    body: Any = None,
    raw: bool = False,
    headers: dict[str, str] | None = None,
    is_base64: bool = False,
) -> Answer:
    """Send a route's good request, but for what is given otherwise."""
    folder, method, own, rest, good_query, good_body = ROUTES[route]
    if headers is None and route == "buy":
        headers = {"Idempotency-Key": str(uuid.uuid4())}
    return world.call(
        folder,
        method,
        f"/accounts/{account or own}{rest}",
        good_query if query is None else query,
        body if raw or body is not None else good_body,
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
def test_an_account_that_there_is_not(quiet: World, route: str, name: str) -> None:
    answer = send(quiet, route, account=name)

    body = problem(answer, 404, "account-unknown", "account")
    assert name[:40] in body["detail"]


@EVERY_ROUTE
@pytest.mark.parametrize("name", ["💣", 'acme"rc', "acme\\rc", "a#b", "a?b"])
def test_an_account_that_no_route_takes(quiet: World, route: str, name: str) -> None:
    answer = send(quiet, route, account=name)

    assert answer.status == 404
    problem(answer, 404, "route-not-found")


@EVERY_ROUTE
@pytest.mark.parametrize("name", BROKEN)
def test_a_secret_that_is_not_right(quiet: World, route: str, name: str) -> None:
    body = problem(send(quiet, route, account=name), 409, "account-misconfigured", BROKEN[name][1])

    assert name in body["detail"]


@pytest.mark.parametrize(
    ("route", "account"),
    [
        ("stamps", RC),
        ("buy", RC),
        ("contracts", RC),
        ("contract", RC),
        ("ask", SF),
    ],
)
def test_an_account_whose_pac_does_not_offer_it(quiet: World, route: str, account: str) -> None:
    body = problem(send(quiet, route, account=account), 422, "operation-unsupported", "account")

    assert account in body["detail"]


# --------------------------------------------------------------------------------- query


@EVERY_ROUTE
@pytest.mark.parametrize(
    ("name", "value"), [("mes", "2026-10"), ("RFC", RFC), ("", ""), ("página", "2")]
)
def test_a_parameter_that_the_route_does_not_know(
    quiet: World, route: str, name: str, value: str
) -> None:
    answer = send(quiet, route, query=ROUTES[route][4] | {name: value})

    problem(answer, 400, "parameter-invalid", name)


def test_accounts_take_no_parameter(quiet: World) -> None:
    problem(quiet.get("/accounts", page="2"), 400, "parameter-invalid", "page")


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
def test_a_parameter_that_stands_there_twice(
    quiet: World, route: str, name: str, values: list[str]
) -> None:
    answer = send(quiet, route, query=ROUTES[route][4] | {name: values})

    problem(answer, 400, "parameter-invalid", name)


@pytest.mark.parametrize(
    ("route", "rest"),
    [
        ("balance", {"month": "2026-10"}),
        ("stamps", {}),
        ("history", {}),
        ("remove", {}),
        ("contracts", {}),
    ],
)
def test_an_ampersand_that_splits_the_query(quiet: World, route: str, rest: dict[str, str]) -> None:
    answer = send(quiet, route, query=rest | {"rfc": "A", "D061009TY8": ""})

    body = problem(answer, 400, "parameter-invalid", "D061009TY8")
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
    "A&amp;D061009TY8",
    "A%26D061009TY8",
    "A&D 061009TY8",
    "A&D061009TY8\x00",
    "' OR 1=1 --",
    "x" * 5_000,
]


@pytest.mark.parametrize("route", ["balance", "stamps", "history", "remove", "contracts", "buy"])
@pytest.mark.parametrize("rfc", RFCS)
def test_an_rfc_that_is_none(quiet: World, route: str, rfc: str) -> None:
    if route == "buy":
        answer = send(quiet, route, body=ORDER | {"rfc": rfc})
    else:
        answer = send(quiet, route, query=ROUTES[route][4] | {"rfc": rfc})

    assert len(problem(answer, 400, "rfc-invalid", "rfc")["detail"]) < 300


@pytest.mark.parametrize("rfc", [None, 7, True, 1.5, [RFC], {"rfc": RFC}])
def test_an_rfc_that_is_no_text(quiet: World, rfc: object) -> None:
    problem(send(quiet, "buy", body=ORDER | {"rfc": rfc}), 400, "rfc-invalid", "rfc")


@pytest.mark.parametrize("route", ["stamps", "buy"])
@pytest.mark.parametrize("rfc", ["XAXX010101000", "XEXX010101000", " xaxx010101000 "])
def test_a_generic_rfc_is_no_issuer(quiet: World, route: str, rfc: str) -> None:
    if route == "buy":
        answer = send(quiet, route, body=ORDER | {"rfc": rfc})
    else:
        answer = send(quiet, route, query={"rfc": rfc})

    body = problem(answer, 422, "rfc-generic", "rfc")
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


@pytest.mark.parametrize("route", ["balance", "ask", "reports"])
@pytest.mark.parametrize("month", MONTHS)
def test_a_month_that_is_none(quiet: World, route: str, month: str) -> None:
    if route == "ask":
        answer = send(quiet, route, body=WANTED | {"month": month})
    else:
        answer = send(quiet, route, query={"month": month})

    problem(answer, 400, "month-invalid", "month")


@pytest.mark.parametrize("route", ["history", "remove"])
def test_an_rfc_that_is_missing(quiet: World, route: str) -> None:
    problem(send(quiet, route, query={}), 400, "rfc-invalid", "rfc")


def test_a_balance_without_a_month(quiet: World) -> None:
    problem(send(quiet, "balance", query={}), 400, "month-invalid", "month")


@pytest.mark.parametrize("month", [None, 202610, 2026.10, True, ["2026-10"], {}])
def test_a_month_that_is_no_text(quiet: World, month: object) -> None:
    problem(send(quiet, "ask", body=WANTED | {"month": month}), 400, "month-invalid", "month")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


SORT_KEYS = {"known": "urgency", "contracts": "entry", "reports": "id"}
CURSORS = [
    "",
    "x",
    "not base64!",
    "ñ",
    "AAAA",
    encoded([]),
    encoded("text"),
    encoded({}),
    encoded({"account": "ACCOUNT"}),
    encoded({"account": "another", "SORT": "contract#2026-10"}),
    encoded({"account": "ACCOUNT", "SORT": 7}),
    encoded({"account": "ACCOUNT", "SORT": ""}),
    encoded({"account": "ACCOUNT", "SORT": "\ud800"}),
    encoded({"account": "ACCOUNT", "SORT": "contract#" + "9" * 2_000}),
    encoded({"account": "ACCOUNT", "SORT": "contract#1", "more": "x"}),
    encoded({"account": "ACCOUNT", "other": "contract#1"}),
]


@pytest.mark.parametrize("route", SORT_KEYS)
@pytest.mark.parametrize("cursor", CURSORS)
def test_a_cursor_that_is_none(quiet: World, route: str, cursor: str) -> None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        text = text.replace("ACCOUNT", ROUTES[route][2]).replace("SORT", SORT_KEYS[route])
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    except ValueError:
        pass

    problem(send(quiet, route, query={"cursor": cursor}), 400, "parameter-invalid", "cursor")


@pytest.mark.parametrize("entry", ["key#0", "in-flight#A&D061009TY8", "contract#", "a"])
def test_a_cursor_to_what_is_no_contract(quiet: World, entry: str) -> None:
    cursor = encoded({"account": SF, "entry": entry})

    problem(send(quiet, "contracts", query={"cursor": cursor}), 400, "parameter-invalid", "cursor")


@pytest.mark.parametrize("value", ["", "yes", "False", "0", "true "])
def test_redirect_that_is_neither_true_nor_false(quiet: World, value: str) -> None:
    problem(send(quiet, "report", query={"redirect": value}), 400, "parameter-invalid", "redirect")


@pytest.mark.parametrize("status", ["", "Confirmed", "lost", "pending,unknown"])
def test_a_status_that_contracts_do_not_have(quiet: World, status: str) -> None:
    problem(send(quiet, "contracts", query={"status": status}), 400, "parameter-invalid", "status")


@pytest.mark.parametrize(
    "one", ["nope", "0" * 31, "0" * 32, "G" * 32, "0" * 3_000, "..", "key#0", "%00"]
)
def test_a_contract_that_there_is_not(quiet: World, one: str) -> None:
    answer = quiet.call("contract", "GET", f"{CONTRACTS}/{one.replace('#', '%23')}")

    problem(answer, 404, "contract-not-found", "id")


@pytest.mark.parametrize(
    "one", ["nope", "2026-10-statement-csv-0001", "2026-10-statement-csv-1", "0" * 3_000, ".."]
)
def test_a_report_that_there_is_not(quiet: World, one: str) -> None:
    problem(quiet.get(f"{REPORTS}/{one}"), 404, "report-not-found", "id")


# ---------------------------------------------------------------------------------- body


def test_a_number_of_stamps_in_another_form(quiet: World) -> None:
    for stamps in (
        *(0, -1, -500, 1_000_001, 10**30, 1.5, 500.0, 1e3, 1e-7),
        *("500", "", "quinientos", True, False, None, [500], {"n": 500}),
    ):
        answer = send(quiet, "buy", body=ORDER | {"stamps": stamps})
        problem(answer, 400, "stamps-invalid", "stamps")


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
def test_numbers_that_only_text_can_say(quiet: World, stamps: str, code: str, field: str) -> None:
    body = f'{{"rfc": "{RFC}", "stamps": {stamps}}}'

    problem(send(quiet, "buy", body=body), 400, code, field)


@pytest.mark.parametrize("kind", ["", "Statement", "estado", "statement/../../x", None, 1, []])
def test_a_kind_of_report_that_there_is_not(quiet: World, kind: object) -> None:
    problem(send(quiet, "ask", body=WANTED | {"kind": kind}), 400, "parameter-invalid", "kind")


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
def test_a_format_that_the_kind_does_not_have(quiet: World, kind: str, form: object) -> None:
    answer = send(quiet, "ask", body=WANTED | {"kind": kind, "format": form})

    problem(answer, 400, "parameter-invalid", "format")


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
def test_a_body_that_is_no_json(quiet: World, route: str, body: str) -> None:
    problem(send(quiet, route, body=body), 400, "body-invalid", "body")


@WITH_BODY
def test_no_body(quiet: World, route: str) -> None:
    problem(send(quiet, route, body=None, raw=True), 400, "body-invalid", "body")


@WITH_BODY
@pytest.mark.parametrize("body", ["[]", "7", '"text"', "null", "true", "[{}]"])
def test_a_body_that_is_no_object(quiet: World, route: str, body: str) -> None:
    problem(send(quiet, route, body=body), 400, "body-invalid", "body")


@WITH_BODY
@pytest.mark.parametrize("nested", ["[" * 4_000 + "]" * 4_000, '{"a":' * 2_000 + "1" + "}" * 2_000])
def test_a_body_nested_deep(quiet: World, route: str, nested: str) -> None:
    body = f'{{"rfc": {nested}, "stamps": 1, "month": 1}}'

    answer = send(quiet, route, body=body)

    assert answer.status == 400
    assert answer.body["code"] in ("body-invalid", "rfc-invalid")
    problem(answer, 400, answer.body["code"], answer.body["field"])


@WITH_BODY
def test_a_member_that_is_missing(quiet: World, route: str) -> None:
    good = ROUTES[route][5]
    for name in good:
        body = {key: value for key, value in good.items() if key != name}
        problem(send(quiet, route, body=body), 400, "body-invalid", name)
    problem(send(quiet, route, body={}), 400, "body-invalid", next(iter(good)))


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
def test_a_member_that_is_not_known(quiet: World, route: str, name: str, field: str) -> None:
    body = ROUTES[route][5] | {name: 1}

    problem(send(quiet, route, body=body), 400, "body-invalid", field)


@WITH_BODY
@pytest.mark.parametrize("text", ['{"\\ud800": 1, %s', '{"\\ud800": 1, "\\ud800": 1, %s'])
def test_a_member_whose_name_is_no_text(quiet: World, route: str, text: str) -> None:
    body = text % json.dumps(ROUTES[route][5])[1:]

    problem(send(quiet, route, body=body), 400, "body-invalid", "?")


@WITH_BODY
def test_a_member_that_stands_there_twice(quiet: World, route: str) -> None:
    good = ROUTES[route][5]
    for name, value in good.items():
        again = f', "{name}": {json.dumps(value)}}}'
        problem(send(quiet, route, body=json.dumps(good)[:-1] + again), 400, "body-invalid", name)


@WITH_BODY
@pytest.mark.parametrize("size", [16 * 1024 + 1, 2 * 1024 * 1024])
def test_a_body_that_is_too_large(quiet: World, route: str, size: int) -> None:
    body = json.dumps(ROUTES[route][5])
    body += " " * (size - len(body))

    problem(send(quiet, route, body=body), 413, "body-too-large", "body")
    problem(send(quiet, route, body=body, is_base64=True), 413, "body-too-large", "body")


@WITH_BODY
@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x80{}", b'{"rfc": "\xc3\x28"}'])
def test_a_body_that_is_no_utf_8(quiet: World, route: str, body: bytes) -> None:
    problem(send(quiet, route, body=body, is_base64=True), 400, "body-invalid", "body")


@WITH_BODY
def test_base64_that_is_none(quiet: World, route: str) -> None:
    folder, method, account, rest, _, _ = ROUTES[route]
    event = proxy_event(
        method, f"/accounts/{account}{rest}", body="{}", headers={"Idempotency-Key": "k"}
    )
    event |= {"isBase64Encoded": True, "body": "{no base64}"}

    problem(quiet.answer(quiet.invoke(folder, event)), 400, "body-invalid", "body")


# ------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    "key", [None, "", " ", "x" * 256, "clavé", "a\tb", "a\x7fb", "\N{ZERO WIDTH SPACE}"]
)
def test_an_idempotency_key_that_is_none(quiet: World, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}

    problem(
        send(quiet, "buy", headers=headers),
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
def test_a_route_that_there_is_not(quiet: World, folder: str, method: str, path: str) -> None:
    event = proxy_event("GET", "/accounts") | {"httpMethod": method, "path": path}

    problem(quiet.answer(quiet.invoke(folder, event)), 404, "route-not-found")


@pytest.mark.parametrize("folder", ["accounts", "issuers", "contract"])
def test_a_function_that_no_schedule_starts(quiet: World, folder: str) -> None:
    with pytest.raises(ValueError, match="has no schedule"):
        quiet.invoke(folder, {"account": None})
