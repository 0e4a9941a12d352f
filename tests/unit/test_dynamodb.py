"""DynamoDB: values, batches, cursors, conditional writes and transactions."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.forecast import Forecast, urgency
from timbres.repositories.dynamodb import (
    conditional_write,
    decode_cursor,
    deserialize,
    encode_cursor,
    query_all,
    serialize,
    transact_write,
)

numbers = st.integers(-(10**37), 10**37) | st.floats(-1e15, 1e15, allow_subnormal=False).map(
    lambda number: round(number, 6)
)
plain_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), plain_values, max_size=6))
def test_values_survive_a_round_trip(values: dict[str, Any]) -> None:
    expected = {name: value for name, value in values.items() if value is not None}
    restored = deserialize(serialize(values))
    assert restored == expected
    # A number is an int, or a float with a fraction; never a Decimal.
    assert "Decimal" not in repr(restored)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, {"BOOL": True}),
        (0.1, {"N": "0.1"}),
        (5.0, {"N": "5.0"}),
        ([1, 0.5, None], {"L": [{"N": "1"}, {"N": "0.5"}, {"NULL": True}]}),
        (("a",), {"L": [{"S": "a"}]}),
        ({"a": 0.5, "b": [1.5]}, {"M": {"a": {"N": "0.5"}, "b": {"L": [{"N": "1.5"}]}}}),
    ],
    ids=repr,
)
def test_stored_form_of_values(value: object, stored: object) -> None:
    assert serialize({"x": value, "none": None}) == {"x": stored}
    for number in (float("nan"), float("inf")):
        with pytest.raises(TypeError):
            serialize({"x": number})


FIXED, RFC = {"account": "acme-sf"}, "ÑA&D061009TY8"
KEYS = FIXED | {"urgency": urgency(Forecast(None, None, 6.5, "low"), 40, RFC), "rfc": RFC}


def forged_cursor(keys: object) -> str:
    text = keys if isinstance(keys, str) else json.dumps(keys)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def reject(text: str, *fields: Any, **options: Any) -> None:
    fields = fields or (FIXED, "urgency", "rfc")
    expect_error("parameter-invalid", "cursor", decode_cursor, text, *fields, **options)


@given(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40),
    st.from_regex(r"[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{3}", fullmatch=True),
)
def test_a_cursor_resumes_only_its_own_list(sort: str, rfc: str) -> None:
    keys = serialize({"account": "acme-sf", "urgency": sort, "rfc": rfc})

    text = encode_cursor(keys) or ""

    assert text.isascii()
    assert set(text).isdisjoint("+/= &%")
    assert decode_cursor(text, FIXED, "urgency", "rfc") == keys
    reject(text, {"account": "acme-rc"}, "urgency", "rfc")


def test_the_first_and_the_last_page_have_no_cursor() -> None:
    assert encode_cursor(None) is encode_cursor({}) is decode_cursor(None, FIXED, "rfc") is None


TAMPERED = [
    *[KEYS | {"account": account} for account in ("other", ["acme-sf"])],
    *[KEYS | {"rfc": rfc} for rfc in ("", None, 7, "a\nb", "\ud800", "x" * 600)],
    KEYS | {"more": "x"},
    *[{k: v for k, v in KEYS.items() if k != name} for name in KEYS],
    *([], [KEYS], "null", "7", '"account"', "NaN", "{", "", "[" * 440, "9" * 440),
]
MALFORMED = ["x", "xx", "xxx", "====", "á", "ab cd", "a\nb", "{}", "\x00", "A" * 10_000]
MALFORMED += [forged_cursor(KEYS)[:-1], forged_cursor(KEYS)[1:], forged_cursor(KEYS) + "!"]


@pytest.mark.parametrize(
    "text", [*map(forged_cursor, TAMPERED), *MALFORMED], ids=lambda text: repr(text)[:40]
)
def test_a_forged_cursor_is_rejected(text: str) -> None:
    assert decode_cursor(forged_cursor(KEYS), FIXED, "urgency", "rfc") == serialize(KEYS)
    reject(text)


@pytest.mark.parametrize("sort", ["report#", "report", "contract#01"])
def test_a_cursor_stays_within_the_lists_prefix(sort: str) -> None:
    cursor = forged_cursor(FIXED | {"entry": "report#2026-10"})
    assert decode_cursor(cursor, FIXED, "entry", prefix="report#")
    reject(forged_cursor(FIXED | {"entry": sort}), FIXED, "entry", prefix="report#")


FAILED, CANCELLED = "ConditionalCheckFailedException", "TransactionCanceledException"


@pytest.mark.parametrize(
    ("code", "item", "applied"),
    [
        pytest.param(None, {"a": 1}, True, id="took effect"),
        pytest.param(FAILED, {"a": 1, "b": 2}, True, id="took effect, and the response was lost"),
        pytest.param(FAILED, {"a": 2}, False, id="another writer was first"),
        pytest.param(FAILED, {"b": 1}, False, id="another item"),
        pytest.param(FAILED, None, False, id="no item"),
        pytest.param("ThrottlingException", None, None, id="another error"),
    ],
)
def test_after_a_failed_condition_the_item_is_compared(
    code: str | None, item: dict[str, Any] | None, applied: bool | None
) -> None:
    def write(**request: Any) -> dict[str, Any]:
        assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
        if code is None:
            return {"Attributes": serialize(item or {})}
        stored = {} if item is None else {"Item": serialize(item)}
        raise ClientError({"Error": {"Code": code, "Message": ""}, **stored}, "UpdateItem")

    if applied is None:
        with pytest.raises(ClientError, match=code):
            conditional_write(write, {"a": 1}, TableName="t")
        return
    result = conditional_write(write, {"a": 1}, TableName="t")
    assert (result.applied, result.item) == (applied, item or {})


class Transactions:
    """A client whose first transactions fail, with a code and the reasons of a cancellation."""

    def __init__(self, failures: int, code: str, *reasons: str) -> None:
        response: Any = {"Error": {"Code": code, "Message": ""}}
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
        self.error = ClientError(response, "TransactWriteItems")
        self.failures = failures
        self.tokens: list[str] = []

    def transact_write_items(self, *, ClientRequestToken: str, **_: Any) -> None:  # noqa: N803
        self.tokens.append(ClientRequestToken)
        if len(self.tokens) <= self.failures:
            raise self.error


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        ((CANCELLED, "TransactionConflict", "None"), 2.8),
        # Throttling lasts longer than a conflict.
        ((CANCELLED, "None", "ThrottlingError"), 12.0),
        ((CANCELLED, "ProvisionedThroughputExceeded"), 12.0),
        (("ProvisionedThroughputExceededException",), 12.0),
        (("RequestLimitExceeded",), 12.0),
        (("ThrottlingException",), 12.0),
    ],
    ids=str,
)
def test_a_transient_failure_of_a_transaction_is_retried_with_the_same_token(
    failure: tuple[str, ...], seconds: float
) -> None:
    recovering, failing = Transactions(7, *failure), Transactions(8, *failure)
    pauses: list[float] = []

    assert transact_write(recovering, [{}, {}], pauses.append) == set()
    with pytest.raises(ClientError):
        transact_write(failing, [{}, {}], lambda _: None)

    assert len(recovering.tokens) == len(failing.tokens) == 8
    assert len(set(recovering.tokens)) == 1
    assert sum(pauses) == pytest.approx(seconds)


@pytest.mark.parametrize("failure", [("AccessDeniedException",), (CANCELLED, "ValidationError")])
def test_a_permanent_failure_is_raised_at_once(failure: tuple[str, ...]) -> None:
    client = Transactions(1, *failure)

    with pytest.raises(ClientError):
        transact_write(client, [{}])
    assert len(client.tokens) == 1


def test_a_failed_condition_is_reported_and_not_retried() -> None:
    client = Transactions(1, CANCELLED, "ConditionalCheckFailed", "TransactionConflict", "None")

    assert transact_write(client, [{}, {}, {}]) == {0}


def test_a_query_that_starts_after_a_key_continues_on_the_next_pages() -> None:
    pages = [
        {"Items": [serialize({"id": "b"})], "LastEvaluatedKey": serialize({"id": "b"})},
        {"Items": [serialize({"id": "c"})]},
    ]
    starts = []

    def query(**request: Any) -> Any:
        starts.append(request["ExclusiveStartKey"])
        return pages[len(starts) - 1]

    found = query_all(
        SimpleNamespace(query=query), "table", "c", {}, ExclusiveStartKey=serialize({"id": "a"})
    )

    assert [item["id"] for item in found] == ["b", "c"]
    assert starts == [serialize({"id": "a"}), serialize({"id": "b"})]
