"""DynamoDB: values, batches, cursors, conditional writes and transactions."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import timbres.repositories.dynamodb
from timbres.domain.forecast import Forecast, urgency
from timbres.errors import TimbresError
from timbres.repositories.dynamodb import (
    batched,
    conditional_write,
    decode_cursor,
    deserialize,
    encode_cursor,
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


@given(st.integers(0, 250), st.integers(1, 110))
def test_batches_keep_every_value_in_order(count: int, size: int) -> None:
    batches = list(batched(range(count), size))

    assert [value for batch in batches for value in batch] == list(range(count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


FIXED = {"account": "acme-sf"}
RFC = "ÑA&D061009TY8"
URGENCY = urgency(Forecast(None, None, 6.5, "low"), 40, RFC)
INVALID_CURSOR = ("parameter-invalid", "cursor")
KEYS = {"account": "acme-sf", "urgency": URGENCY, "rfc": RFC}


def forged_cursor(keys: object) -> str:
    text = keys if isinstance(keys, str) else json.dumps(keys)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def is_rejected(text: str, *fields: Any, **options: Any) -> bool:
    try:
        decode_cursor(text, *fields, **options)
    except TimbresError as error:
        is_short = len(error.detail) < 200 and error.detail.isprintable()
        return is_short and (error.problem_type.code, error.field) == INVALID_CURSOR
    return False


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
    assert is_rejected(text, {"account": "acme-rc"}, "urgency", "rfc")
    # The first and the last page have no cursor.
    assert encode_cursor(None) is encode_cursor({}) is None
    assert decode_cursor(None, FIXED, "urgency", "rfc") is None


TAMPERED = [
    *[KEYS | {"account": account} for account in ("other", "", ["acme-sf"])],
    *[KEYS | {"rfc": rfc} for rfc in ("", None, 7, "a\nb", "\ud800", "x" * 600)],
    *[KEYS | {"urgency": value} for value in ("", ["a"], {"S": "a"})],
    KEYS | {"more": "x"},
    *[{k: v for k, v in KEYS.items() if k != name} for name in KEYS],
    *({}, [], [KEYS], "null", "7", '"account"', "NaN", "{", "", "[" * 440, "[" * 100_000),
    "9" * 440,
]
MALFORMED = ["", "x", "xx", "xxx", "====", "á", "ab cd", "a\nb", "{}", "\x00", "😀", "A" * 10_000]
MALFORMED += [forged_cursor(KEYS)[:-1], forged_cursor(KEYS)[1:], forged_cursor(KEYS) + "!"]


@pytest.mark.parametrize(
    "text", [*map(forged_cursor, TAMPERED), *MALFORMED], ids=lambda text: repr(text)[:40]
)
def test_a_forged_cursor_is_rejected(text: str) -> None:
    assert not is_rejected(forged_cursor(KEYS), FIXED, "urgency", "rfc")
    assert is_rejected(text, FIXED, "urgency", "rfc")


@given(st.text(max_size=80))
def test_arbitrary_text_is_rejected(text: str) -> None:
    assert is_rejected(text, FIXED, "urgency", "rfc")


@pytest.mark.parametrize(
    ("sort", "fits"),
    [("report#2026-10", True), ("report#", False), ("report", False), ("contract#01", False)],
)
def test_a_cursor_stays_within_the_lists_prefix(sort: str, fits: bool) -> None:
    text = forged_cursor(FIXED | {"entry": sort})

    assert is_rejected(text, FIXED, "entry", prefix="report#") != fits


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
    """A client whose transactions fail as listed, and then succeed."""

    def __init__(self, *failures: tuple[str, ...]) -> None:
        self.failures = list(failures)
        self.tokens: list[str] = []

    def transact_write_items(self, *, ClientRequestToken: str, **_: Any) -> None:  # noqa: N803
        self.tokens.append(ClientRequestToken)
        if self.failures:
            code, *reasons = self.failures.pop(0)
            response: Any = {"Error": {"Code": code, "Message": ""}}
            response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
            raise ClientError(response, "TransactWriteItems")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    recorded: list[float] = []
    monkeypatch.setattr(timbres.repositories.dynamodb.time, "sleep", recorded.append)
    monkeypatch.setattr(
        timbres.repositories.dynamodb.random, "uniform", lambda _minimum, maximum: maximum
    )
    return recorded


@pytest.mark.parametrize(
    "failure",
    [
        (CANCELLED, "TransactionConflict", "None"),
        (CANCELLED, "None", "ThrottlingError"),
        (CANCELLED, "ProvisionedThroughputExceeded"),
        ("ProvisionedThroughputExceededException",),
        ("RequestLimitExceeded",),
        ("ThrottlingException",),
    ],
    ids=" ".join,
)
def test_a_transient_failure_of_a_transaction_is_retried_with_the_same_token(
    failure: tuple[str, ...], pauses: list[float]
) -> None:
    client = Transactions(failure, failure)

    assert transact_write(client, [{}, {}]) == set()

    assert len(client.tokens) == 3
    assert len(set(client.tokens)) == 1
    assert len(pauses) == 2


def test_throttling_is_waited_for_longer_than_a_conflict(pauses: list[float]) -> None:
    seconds = []
    for reason in ("TransactionConflict", "ThrottlingError"):
        transact_write(Transactions(*[(CANCELLED, reason)] * 7), [{}])
        seconds.append(sum(pauses))
        pauses.clear()

    assert seconds[1] > 3 * seconds[0]


@pytest.mark.parametrize(
    "failures",
    [
        [("AccessDeniedException",)],
        [(CANCELLED, "ValidationError")],
        [(CANCELLED, "TransactionConflict")] * 8,
    ],
    ids=["denied", "invalid", "no end"],
)
def test_a_permanent_failure_is_raised(
    failures: list[tuple[str, ...]], pauses: list[float]
) -> None:
    with pytest.raises(ClientError):
        transact_write(Transactions(*failures), [{}])


def test_a_failed_condition_is_reported_and_not_retried(pauses: list[float]) -> None:
    client = Transactions((CANCELLED, "ConditionalCheckFailed", "TransactionConflict", "None"))

    assert transact_write(client, [{}, {}, {}]) == {0}
    assert pauses == []
