"""A caller that means harm, beyond what test_bad_input has: a clear 4xx, nothing asked or kept."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections.abc import Iterator
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

MIB = 1024 * 1024
CONTRACTS = f"/accounts/{SF}/contracts"
ISSUERS = f"/accounts/{SF}/issuers"
ORDER = {"rfc": RFC, "stamps": 500}


@pytest.fixture(autouse=True)
def assert_no_side_effects(shared_stack: FakeStack) -> Iterator[FakeStack]:
    """The shared world; whatever is asked in it, no PAC is called and nothing is kept."""
    yield shared_stack
    assert shared_stack.calls() == []
    for table in ("ContractsTable", "IssuersTable", "ReportsTable"):
        assert shared_stack.stack.items(table) == []
    assert shared_stack.published == []
    assert shared_stack.queued_messages() == 0


def ask(world: FakeStack, folder: str, event: dict[str, Any]) -> ApiResponse:
    return world.parse_response(world.invoke(folder, event))


def refused(answer: ApiResponse, *codes: str) -> dict[str, Any]:
    """Check that an answer is a short 4xx of one of these codes; return it."""
    assert answer.body["code"] in codes, answer.text[:300]
    assert 400 <= answer.status < 500
    # What it tells of the caller's own text is short, and prints.
    assert len(answer.text) < 1_000
    assert answer.text.isprintable()
    return check_problem(answer, answer.status, answer.body["code"], answer.body.get("field"))


# ---------------------------------------------------------------------------------- paths

# As the gateway hands a path parameter on, decoded or not.
SEGMENTS = {
    "dots": "..",
    "dots encoded": "%2e%2e",
    "dots encoded twice": "%252e%252e",
    "a slash": "acme-sf/../acme-rc",
    "a slash encoded": "acme-sf%2F..%2Facme-rc",
    "a backslash": "acme-sf\\..\\acme-rc",
    "UTF-8 longer than needed": "%c0%ae%c0%ae",
    "long": "a" * 5_000,
    "longer": "acme-" * 50_000,
    "Cyrillic": "\u0430cme-sf",
    "full width": "\uff41cme-sf",
    "a hyphen of another kind": "acme\u2010sf",
    "a dotless i": "acme-s\u0131",
    "combining": "acme-sf\u0301",
    "invisible": "acme-sf\u200b",
    "right to left": "\u202efs-emca",
    "NUL": "acme-sf\0",
    "a line more": "acme-sf\nSet-Cookie: a=b",
    "a line feed at its end": "acme-sf\n",
    "half a pair": "acme-sf\ud800",
    "blanks": " acme-sf ",
    "upper case": "ACME-SF",
    "the prefix of the secrets": "timbres/accounts/acme-sf",
    "an ARN": "arn:aws:secretsmanager:mx-central-1:111122223333:secret:timbres/accounts/acme-sf",
    "a wildcard": "acme-*",
    "a format": "{0.__class__}",
    "a template": "${AWS::AccountId}",
    "a query": "acme-sf?a=b#c",
    "nothing": "",
}
ACCOUNT_ROUTES = {
    "balance": ("GET", f"/accounts/{RC}/balance", {"month": "2026-10"}, None),
    "stamp_count": ("GET", f"/accounts/{SF}/stamps", {"rfc": RFC}, None),
    "issuers": ("PUT", ISSUERS, {}, json.dumps([RFC])),
    "contract": ("POST", CONTRACTS, {}, json.dumps(ORDER)),
    "report": ("GET", f"/accounts/{RC}/reports", {}, None),
}


@pytest.mark.parametrize("folder", ACCOUNT_ROUTES)
def test_no_trick_with_a_path_leads_to_an_account(shared_stack: FakeStack, folder: str) -> None:
    method, path, query, body = ACCOUNT_ROUTES[folder]
    for text in SEGMENTS.values():
        event = proxy_event(method, path, query, body, {"Idempotency-Key": "k"})
        event["path"] = path.replace(RC, text).replace(SF, text)
        event["pathParameters"] = {"account": text}

        refused(ask(shared_stack, folder, event), "account-unknown", "route-not-found")


@pytest.mark.parametrize(
    ("folder", "path", "name", "code"),
    [
        ("contract", f"{CONTRACTS}/{'0' * 32}", "contract_id", "contract-not-found"),
        (
            "report",
            f"/accounts/{RC}/reports/2026-10-statement-csv-0001",
            "report_id",
            "report-not-found",
        ),
        ("run", "/runs/2026-11-19", "run_id", "run-not-found"),
    ],
)
def test_no_trick_with_a_path_leads_to_a_record(
    shared_stack: FakeStack, folder: str, path: str, name: str, code: str
) -> None:
    for text in filter(None, SEGMENTS.values()):
        event = proxy_event("GET", path)
        event["path"] = f"{path.rpartition('/')[0]}/{text}"
        event["pathParameters"] = {**(event["pathParameters"] or {}), name: text}

        refused(ask(shared_stack, folder, event), code, "route-not-found")


# -------------------------------------------------------------------------------- headers


def buying(headers: dict[str, list[str]], **changes: Any) -> dict[str, Any]:
    """Return the event of a purchase with these headers, as the gateway tells of many."""
    event = proxy_event("POST", CONTRACTS, body=json.dumps(ORDER))
    event["multiValueHeaders"] |= headers
    event["headers"] |= {name: values[-1] for name, values in headers.items() if values}
    return event | changes


@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": ["one", "two"]},
        {"Idempotency-Key": ["one", "one"]},
        {"Idempotency-Key": ["one"], "idempotency-key": ["two"]},
        {"IDEMPOTENCY-KEY": ["", "one"]},
        {"Idempotency-Key": []},
        {"Idempotency-Key": [""]},
        {"Idempotency-Key": ["x" * 256]},
        {"Idempotency-Key": ["x" * 100_000]},
        {"Idempotency-Key": ["a\r\nX-Amz-Date: 1"]},
        {"Idempotency-Key": ["a\0b"]},
        {"Idempotency-Key": ["\ud800"]},
        {"Idempotency-Key": ["\N{FULLWIDTH DIGIT ONE}"]},
        {"Idempotency-Key": ["\u202e1"]},
        {"Idempotency_Key": ["one"]},
        {"X-Idempotency-Key": ["one"]},
    ],
    ids=range(15),
)
def test_a_purchase_needs_one_sure_key(
    shared_stack: FakeStack, headers: dict[str, list[str]]
) -> None:
    body = refused(ask(shared_stack, "contract", buying(headers)), "idempotency-key-invalid")

    assert body["field"] == "Idempotency-Key"


def test_headers_of_others_change_nothing(shared_stack: FakeStack) -> None:
    tricks = {
        "X-HTTP-Method-Override": ["DELETE"],
        "X-Original-URL": ["/accounts"],
        "X-Forwarded-Host": ["example.com"],
        "Content-Length": ["-1"],
        "Transfer-Encoding": ["chunked"],
        "Content-Encoding": ["gzip"],
        "Content-Type": ["text/plain", "application/xml"],
        "Idempotency-Key": [str(uuid.uuid4())],
    }
    event = buying(tricks, body='{"rfc": "x", "stamps": 1}')

    assert refused(ask(shared_stack, "contract", event), "rfc-invalid")["field"] == "rfc"


# ---------------------------------------------------------------------------------- query


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("rfc", "A" * 100_000, "rfc-invalid"),
        ("rfc", "\ud800", "rfc-invalid"),
        ("rfc", "A&D061009TY8\r\nX: y", "rfc-invalid"),
        ("rfc", "\uff21&D061009TY8", "rfc-invalid"),
        ("rfc", "\u0410&D061009TY8", "rfc-invalid"),
        ("month", "2026-10" * 20_000, "month-invalid"),
        ("month", "\ud800", "month-invalid"),
        ("month", "2026-1\u0660", "month-invalid"),
        ("month", "9" * 10_000 + "-10", "month-invalid"),
        ("x" * 100_000, "1", "parameter-invalid"),
        ("\ud800", "1", "parameter-invalid"),
        ("a\r\nSet-Cookie: b", "1", "parameter-invalid"),
        ("__proto__", "1", "parameter-invalid"),
    ],
    ids=range(13),
)
def test_a_query_that_means_harm(shared_stack: FakeStack, name: str, value: str, code: str) -> None:
    event = proxy_event("GET", f"/accounts/{RC}/balance", {"month": "2026-10"} | {name: value})

    body = refused(ask(shared_stack, "balance", event), code)

    assert body["field"] == name[:40].replace("\ud800", "?").replace("\r\n", "??")


# ----------------------------------------------------------------------------------- body


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CONTRACTS, '{"rfc": "\\ud800", "stamps": 1}', "rfc"),
        (CONTRACTS, '{"rfc": "A&D061009TY8\\u0000", "stamps": 1}', "rfc"),
        (CONTRACTS, '{"rfc": "A&D061009TY8", "stamps": "\\udfff"}', "stamps"),
        (f"{CONTRACTS}/{'0' * 32}/settlement", '{"outcome": "\\ud800", "reason": "%s"}', "outcome"),
        (f"{CONTRACTS}/{'0' * 32}/settlement", '{"outcome": "confirmed", "reason": "%s\\ud800"}',
         "reason"),
        (f"{CONTRACTS}/{'0' * 32}/settlement", '{"outcome": "confirmed", "reason": "%s\\u202e"}',
         "reason"),
        (f"{CONTRACTS}/{'0' * 32}/settlement", '{"outcome": "confirmed", "reason": "%s\\u0000"}',
         "reason"),
        (f"/accounts/{RC}/reports", '{"month": "\\ud800", "kind": "a", "format": "b"}', "month"),
        (f"/accounts/{RC}/reports", '{"month": "2026-10", "kind": "\\ud800", "format": "b"}',
         "kind"),
        (f"/accounts/{RC}/reports",
         '{"month": "2026-10", "kind": "statement", "format": "\\ud800"}', "format"),
    ],
    ids=range(10),
)  # fmt: skip
def test_text_that_is_none_in_each_field(
    shared_stack: FakeStack, path: str, body: str, field: str
) -> None:
    folder = "report" if path.endswith("reports") else "contract"
    text = body.replace("%s", "as the portal shows ")
    event = proxy_event("POST", path, body=text, headers={"Idempotency-Key": "k"})

    answer = ask(shared_stack, folder, event)

    assert answer.status == 400
    assert check_problem(answer, 400, answer.body["code"], field)["detail"].isprintable()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"rfc": "x", "stamps": 1}'.encode("utf-8-sig"), "rfc-invalid"),
        (b"\xef\xbb\xbf" * 2 + b'{"rfc": "x", "stamps": 1}', "body-invalid"),
        ('{"rfc": "x", "stamps": 1}'.encode("utf-16"), "body-invalid"),
        ('{"rfc": "x", "stamps": 1}'.encode("utf-32-le"), "body-invalid"),
        (b'{"rfc": "\xed\xa0\x80", "stamps": 1}', "body-invalid"),
        (b'{"rfc": "x", "stamps": 1}\0', "body-invalid"),
    ],
    ids=range(6),
)
def test_an_order_is_utf_8(shared_stack: FakeStack, body: bytes, code: str) -> None:
    headers = {"Idempotency-Key": "k"}

    response = shared_stack.call(
        "contract", "POST", CONTRACTS, body=body, headers=headers, is_base64=True
    )

    refused(response, code)


DEEP = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "lists without end": "[" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "in a member": '[{"rfc": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    "900 in a threshold": f'[{{"rfc": "{RFC}", "low_stamps": ' + "[" * 900 + "]" * 900 + "}]",
}


@pytest.mark.parametrize("what", DEEP)
def test_a_list_of_issuers_nested_deep(shared_stack: FakeStack, what: str) -> None:
    body = refused(shared_stack.call("issuers", "PUT", ISSUERS, body=DEEP[what]), "body-invalid",
                   "issuers-invalid")  # fmt: skip

    assert body["field"] == "body" or body["code"] == "issuers-invalid"


def test_an_order_nested_deep(shared_stack: FakeStack) -> None:
    headers = {"Idempotency-Key": "k"}
    body = DEEP["lists"]
    check_problem(shared_stack.call("contract", "POST", CONTRACTS, body=body, headers=headers), 413,
            "body-too-large", "body")  # fmt: skip


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (f'{{"rfc": "{RFC}", "rfc": "AAA010101AAA"}}', "row"),
        (f'{{"rfc": "{RFC}", "low_stamps": NaN}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": -Infinity}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": 1e400}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": 500.0}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": 1e3}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": -1}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": true}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": "5"}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": "\\ud800"}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "low_stamps": {"9" * 4_000}}}', "low_stamps"),
        (f'{{"rfc": "{RFC}", "\\ud800": 1}}', "row"),
        ('"\\ud800"', "rfc"),
        ("\"=cmd|'/c calc'!A1\"", "rfc"),
        ('"<script>alert(1)</script>"', "rfc"),
        ('"A&D061009TY8\\u202e"', "rfc"),
        (f'"{"A" * 100_000}"', "rfc"),
    ],
    ids=range(17),
)
def test_a_row_that_means_harm_is_named(shared_stack: FakeStack, row: str, field: str) -> None:
    answer = shared_stack.call("issuers", "PUT", ISSUERS, body=f"[{row}]")

    body = refused(answer, "issuers-invalid")
    assert [(one["line"], one["field"]) for one in body["rejected"]] == [(1, field)]


CSV = {
    "a formula": (f"=cmd|'/c calc'!A1\n@SUM(A1)\n+{RFC}\n", "rfc"),
    "markup": ("<script>alert(1)</script>\n", "rfc"),
    "NULs": ("\0" * 1_000, "rfc"),
    "a NUL in an RFC": (f"{RFC}\0\n", "rfc"),
    "a field of 1 MB": ("A" * MIB, "row"),
    "a quoted field of 1 MB": (f'"{"A" * MIB}"', "row"),
    "1,000,000 columns": ("," * 1_000_000 + "x", "row"),
    "a quote never closed": (f'"{RFC}\n{RFC}\n', "row"),
    "a threshold of 4,000 digits": (f"{RFC},{'9' * 4_000}", "low_stamps"),
    "a threshold that is a formula": (f"{RFC},=1+1", "low_stamps"),
    "a threshold of other digits": (f"{RFC},\u0661\u0662", "low_stamps"),
    "no number": (f"{RFC},NaN", "low_stamps"),
}


@pytest.mark.parametrize("what", CSV)
def test_a_csv_of_issuers_that_means_harm(shared_stack: FakeStack, what: str) -> None:
    text, field = CSV[what]
    event = proxy_event("PUT", ISSUERS, body=text, headers={"Content-Type": "text/csv"})
    tracemalloc.start()
    try:
        answer = ask(shared_stack, "issuers", event)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    body = refused(answer, "issuers-invalid", "body-invalid")
    if body["code"] == "issuers-invalid":
        assert {one["field"] for one in body["rejected"]} == {field}
    # The body itself is 2 MB at most; the rest is what its cells take.
    assert peak < 160 * MIB
