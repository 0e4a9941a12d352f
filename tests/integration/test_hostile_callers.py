"""Requests of hostile callers: a clear 4xx, no call to a PAC, nothing stored."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.events import ApiResponse, api_gateway_event, check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack

MIB = 1024 * 1024
CONTRACTS = f"/accounts/{SF}/contracts"
ISSUERS = f"/accounts/{SF}/issuers"
REQUEST = {"rfc": RFC, "stamps": 500}


@pytest.fixture(autouse=True)
def assert_no_side_effects(shared_stack: FakeStack) -> Iterator[None]:
    """Check after each test that no PAC was called and nothing was stored or published."""
    yield
    assert shared_stack.pacs.calls() == []
    for table in ("ContractsTable", "IssuersTable", "ReportsTable"):
        assert shared_stack.aws.items(table) == []
    assert shared_stack.published == []
    assert shared_stack.queued_messages() == 0


def invoke(stack: FakeStack, folder: str, event: dict[str, Any]) -> ApiResponse:
    return stack.parse_response(stack.invoke(folder, event))


def check_rejection(response: ApiResponse, *codes: str) -> dict[str, Any]:
    """Check that a response is a short 4xx with one of these codes; return its body."""
    assert response.body["code"] in codes, response.text[:300]
    assert 400 <= response.status < 500
    # It quotes the text of the caller truncated and printable.
    assert len(response.text) < 1_000
    assert response.text.isprintable()
    return check_problem(
        response, response.status, response.body["code"], response.body.get("field")
    )


# ---------------------------------------------------------------------------------- paths

# API Gateway passes a path parameter decoded or encoded.
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
    "contract": ("POST", CONTRACTS, {}, json.dumps(REQUEST)),
    "report": ("GET", f"/accounts/{RC}/reports", {}, None),
}


@pytest.mark.parametrize("folder", ACCOUNT_ROUTES)
def test_manipulated_path_reaches_no_account(shared_stack: FakeStack, folder: str) -> None:
    method, path, query, body = ACCOUNT_ROUTES[folder]
    for text in SEGMENTS.values():
        event = api_gateway_event(method, path, query, body, {"Idempotency-Key": "k"})
        event["path"] = path.replace(RC, text).replace(SF, text)
        event["pathParameters"] = {"account": text}

        check_rejection(invoke(shared_stack, folder, event), "account-unknown", "route-not-found")


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
def test_manipulated_path_reaches_no_record(
    shared_stack: FakeStack, folder: str, path: str, name: str, code: str
) -> None:
    for text in filter(None, SEGMENTS.values()):
        event = api_gateway_event("GET", path)
        event["path"] = f"{path.rpartition('/')[0]}/{text}"
        event["pathParameters"] = {**(event["pathParameters"] or {}), name: text}

        check_rejection(invoke(shared_stack, folder, event), code, "route-not-found")


# -------------------------------------------------------------------------------- headers


def contract_event(headers: dict[str, list[str]], **changes: Any) -> dict[str, Any]:
    """Return the event of a contract request with these multi-value headers."""
    event = api_gateway_event("POST", CONTRACTS, body=json.dumps(REQUEST))
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
def test_contract_request_needs_exactly_one_valid_key(
    shared_stack: FakeStack, headers: dict[str, list[str]]
) -> None:
    body = check_rejection(
        invoke(shared_stack, "contract", contract_event(headers)), "idempotency-key-invalid"
    )

    assert body["field"] == "Idempotency-Key"


def test_unrelated_headers_change_nothing(shared_stack: FakeStack) -> None:
    headers = {
        "X-HTTP-Method-Override": ["DELETE"],
        "X-Original-URL": ["/accounts"],
        "X-Forwarded-Host": ["example.com"],
        "Content-Length": ["-1"],
        "Transfer-Encoding": ["chunked"],
        "Content-Encoding": ["gzip"],
        "Content-Type": ["text/plain", "application/xml"],
        "Idempotency-Key": [str(uuid.uuid4())],
    }
    event = contract_event(headers, body='{"rfc": "x", "stamps": 1}')

    assert check_rejection(invoke(shared_stack, "contract", event), "rfc-invalid")["field"] == "rfc"


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
def test_hostile_query_is_rejected(
    shared_stack: FakeStack, name: str, value: str, code: str
) -> None:
    event = api_gateway_event(
        "GET", f"/accounts/{RC}/balance", {"month": "2026-10"} | {name: value}
    )

    body = check_rejection(invoke(shared_stack, "balance", event), code)

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
def test_invalid_text_is_rejected_in_every_field(
    shared_stack: FakeStack, path: str, body: str, field: str
) -> None:
    folder = "report" if path.endswith("reports") else "contract"
    text = body.replace("%s", "as the portal shows ")
    event = api_gateway_event("POST", path, body=text, headers={"Idempotency-Key": "k"})

    response = invoke(shared_stack, folder, event)

    assert response.status == 400
    assert check_problem(response, 400, response.body["code"], field)["detail"].isprintable()


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
def test_contract_body_must_be_utf_8(shared_stack: FakeStack, body: bytes, code: str) -> None:
    headers = {"Idempotency-Key": "k"}

    response = shared_stack.call(
        "contract", "POST", CONTRACTS, body=body, headers=headers, is_base64=True
    )

    check_rejection(response, code)


DEEP = {
    "lists": "[" * 100_000 + "]" * 100_000,
    "lists without end": "[" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "in a member": '[{"rfc": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    "900 in a threshold": f'[{{"rfc": "{RFC}", "low_stamps": ' + "[" * 900 + "]" * 900 + "}]",
}


@pytest.mark.parametrize("case", DEEP)
def test_deeply_nested_issuer_list_is_rejected(shared_stack: FakeStack, case: str) -> None:
    response = shared_stack.call("issuers", "PUT", ISSUERS, body=DEEP[case])

    body = check_rejection(response, "body-invalid", "issuers-invalid")

    assert body["field"] == "body" or body["code"] == "issuers-invalid"


def test_deeply_nested_contract_body_is_rejected(shared_stack: FakeStack) -> None:
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
def test_hostile_row_is_rejected_with_its_line_and_field(
    shared_stack: FakeStack, row: str, field: str
) -> None:
    response = shared_stack.call("issuers", "PUT", ISSUERS, body=f"[{row}]")

    body = check_rejection(response, "issuers-invalid")
    assert [(row["line"], row["field"]) for row in body["rejected"]] == [(1, field)]


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


@pytest.mark.parametrize("case", CSV)
def test_hostile_csv_of_issuers_is_rejected(shared_stack: FakeStack, case: str) -> None:
    text, field = CSV[case]
    event = api_gateway_event("PUT", ISSUERS, body=text, headers={"Content-Type": "text/csv"})
    tracemalloc.start()
    try:
        response = invoke(shared_stack, "issuers", event)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    body = check_rejection(response, "issuers-invalid", "body-invalid")
    if body["code"] == "issuers-invalid":
        assert {row["field"] for row in body["rejected"]} == {field}
    # The body has at most 2 MB; its cells need the rest.
    assert peak < 160 * MIB
