"""Requests to any function are parsed strictly, and responses are limited."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any

import pytest
from tests.support.events import ApiResponse, LambdaContext, check_problem

from timbres.handlers.http import MAX_BODY_BYTES, MAX_RESPONSE_BYTES, HttpHandler, json_response

VALID = '{"rfc": "A&D061009TY8", "stamps": 1}'
CSV_BYTES = 1024 * 1024
Parse = Callable[[HttpHandler], Any]


def send(parse: Parse, *, body: str | bytes | None = None, **changes: Any) -> ApiResponse:
    """Send a request to a route that responds with what ``parse`` reads; bytes in base64."""
    api = HttpHandler()

    @api.post("/")
    def route() -> Any:
        return json_response(200, {"value": parse(api)})

    event: dict[str, Any] = {
        "httpMethod": "POST",
        "path": "/",
        "requestContext": {"identity": {}},
        "headers": {},
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": isinstance(body, bytes),
    }
    result = api.handle(event | changes, LambdaContext("probe", 9))
    headers = {name.lower(): values[0] for name, values in result["multiValueHeaders"].items()}
    return ApiResponse(result["statusCode"], headers, result["body"])


def check_rejection(response: ApiResponse, status: int, code: str, field: str | None) -> str:
    """Check that a response is a short, printable problem; return its detail."""
    detail: str = check_problem(response, status, code, field)["detail"]
    assert len(response.text) < 1_000
    assert response.text.isprintable()
    return detail


read_query = methodcaller("query_params", "month", "rfc")
read_body = methodcaller("json_body", "rfc", "stamps")
read_text = methodcaller("text_body", CSV_BYTES)
read_key = methodcaller("idempotency_key")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(({name: ["1"]}, name) for name in ("mes", "RFC", "", "página", "__proto__")),
        ({"x" * 100_000: ["1"]}, "x" * 40),
        ({"\ud800": ["1"]}, "?"),
        ({"a\r\nSet-Cookie: b": ["1"]}, "a??Set-Cookie: b"),
        *(({"month": ["2026-10", month]}, "month") for month in ("2026-09", "2026-10")),
        # An & that is not encoded ends the value.
        ({"rfc": ["A"], "D061009TY8": [""]}, "D061009TY8"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_unknown_or_duplicate_parameter_is_rejected(
    query: dict[str, list[str]], field: str
) -> None:
    response = send(read_query, multiValueQueryStringParameters=query)

    detail = check_rejection(response, 400, "parameter-invalid", field)
    assert ("%26" in detail) is (field != "month")


def test_a_missing_parameter_is_none() -> None:
    response = send(read_query, multiValueQueryStringParameters={"month": ["2026-10"]})

    assert response.body["value"] == {"month": "2026-10", "rfc": None}


@pytest.mark.parametrize("body", ["\ufeff" + VALID, VALID.encode("utf-8-sig"), VALID.encode()])
def test_a_json_body_is_utf_8_with_or_without_a_mark(body: str | bytes) -> None:
    assert send(read_body, body=body).body["value"] == {"rfc": "A&D061009TY8", "stamps": 1}


NOT_AN_OBJECT = [
    *(None, "", " ", "hello", "{", '{"rfc": }', "{'rfc': 'A'}", "[]", "7", '"text"', "null"),
    *("true", "[{}]", "\x00", VALID * 2, VALID + "\0", "\ufeff" * 2 + VALID, "[" * 8_000),
    *("rfc=A%26D061009TY8&stamps=500", '{"rfc":' * 2_000),
    # Python's json would accept these, or fail at their size.
    *(f'{{"rfc": "A", "stamps": {n}}}' for n in ("NaN", "Infinity", "-Infinity", "0500", "+5")),
    '{"rfc": "A", "stamps": ' + "9" * 5_000 + "}",
    *(b"\xff\xfe\x00", b"\x80{}", b'{"rfc": "\xc3\x28"}', b'{"rfc": "\xed\xa0\x80", "stamps": 1}'),
    *(VALID.encode("utf-16"), VALID.encode("utf-32-le")),
]
WRONG_FIELDS = [
    ("{}", "rfc"),
    ('{"rfc": "A"}', "stamps"),
    ('{"stamps": 1}', "rfc"),
    ('{"rfc": "A", "stamps": 1, "stamps": 1}', "stamps"),
    ('{"\\ud800": 1, "\\ud800": 1}', "?"),
    *((f'{{"rfc": "A", "stamps": 1, "{name}": 1}}', field) for name, field in (
        ("Stamps", "Stamps"), ("__proto__", "__proto__"), ("x" * 300, "x" * 40), ("a\\nb", "a?b"),
        ("\\ud800", "?"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [*((body, "body") for body in NOT_AN_OBJECT), *WRONG_FIELDS],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_other_than_the_expected_object_is_rejected(
    body: str | bytes | None, field: str
) -> None:
    check_rejection(send(read_body, body=body), 400, "body-invalid", field)


@pytest.mark.parametrize("parse", [read_body, read_text])
@pytest.mark.parametrize(
    "body", ["{" + base64.b64encode(VALID.encode()).decode(), "Ñ".encode("latin-1")]
)
def test_a_body_that_cannot_be_decoded_is_rejected(parse: Parse, body: str | bytes) -> None:
    response = send(parse, body=body, isBase64Encoded=True)

    check_rejection(response, 400, "body-invalid", "body")


@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize(("parse", "limit"), [(read_body, MAX_BODY_BYTES), (read_text, CSV_BYTES)])
def test_a_body_above_its_limit_is_rejected(parse: Parse, limit: int, is_base64: bool) -> None:
    largest, larger = (
        send(parse, body=text.encode() if is_base64 else text)
        for text in (VALID.ljust(limit), VALID.ljust(limit + 1))
    )

    assert largest.status == 200
    assert f"{limit:,} at most" in check_rejection(larger, 413, "body-too-large", "body")


@pytest.mark.parametrize(
    ("headers", "media_type"),
    [
        ({}, ""),
        ({"content-type": "text/csv"}, "text/csv"),
        ({"content-type": "Text/CSV; header=absent"}, "text/csv"),
    ],
)
def test_a_text_body_has_a_media_type_without_parameters(
    headers: dict[str, str], media_type: str
) -> None:
    response = send(read_text, body="rfc\nÑ", headers=headers)

    assert response.body["value"] == [media_type, "rfc\nÑ"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({"Idempotency-Key": [key]} for key in (
            "", " ", "x" * 256, "clavé", "a\tb", "a\x7fb", "\u200b", "\u202e1", "\uff11", "\ud800",
            "a\r\nX-Amz-Date: 1", "a\0b")),
        *({"Idempotency-Key": keys} for keys in ([], ["one", "two"], ["one", "one"])),
        {"Idempotency-Key": ["one"], "idempotency-key": ["two"]},
        {"IDEMPOTENCY-KEY": ["", "one"]},
        {"Idempotency_Key": ["one"]},
        {"X-Idempotency-Key": ["one"]},
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_a_request_has_exactly_one_valid_key(headers: Mapping[str, list[str]]) -> None:
    response = send(read_key, multiValueHeaders=headers)

    check_rejection(response, 400, "idempotency-key-invalid", "Idempotency-Key")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"multiValueHeaders": {"idempotency-key": [" a b "]}}, "a b"),
        ({"headers": {"IDEMPOTENCY-KEY": "x" * 255}}, "x" * 255),
    ],
)
def test_a_key_has_up_to_255_printable_characters(headers: dict[str, Any], key: str) -> None:
    assert send(read_key, **headers).body["value"] == key


# A quote is escaped in JSON, and again in the JSON of Lambda.
@pytest.mark.parametrize(("character", "size"), [("x", 1), ("Ñ", 2), ('"', 4), ("\\", 4)])
def test_a_response_above_the_limit_of_lambda_is_a_problem(character: str, size: int) -> None:
    largest, larger = (
        send(lambda _api, length=length: character * (length // size))
        for length in (MAX_RESPONSE_BYTES - 100, MAX_RESPONSE_BYTES)
    )

    assert largest.status == 200
    assert "request one rfc" in check_rejection(larger, 422, "answer-too-large", None)


@pytest.mark.parametrize("changes", [{"httpMethod": "DELETE"}, {"path": "/a"}, {"path": "/\ud800"}])
def test_an_unknown_route_is_not_found(changes: dict[str, str]) -> None:
    check_rejection(send(read_query, **changes), 404, "route-not-found", None)


def test_a_function_without_a_schedule_raises() -> None:
    with pytest.raises(ValueError, match="has no schedule"):
        HttpHandler().handle({"account": None}, LambdaContext("probe", 9))
