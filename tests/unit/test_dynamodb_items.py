"""DynamoDB items: conversion of values, batches, and validation of cursors."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.forecast import Forecast, urgency
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code
from timbres.repositories.dynamodb import (
    batched,
    decode_cursor,
    deserialize,
    encode_cursor,
    serialize,
)

# --------------------------------------------------------------------------- plain values

numbers = st.integers(-(10**37), 10**37) | st.floats(-1e15, 1e15, allow_subnormal=False).map(
    lambda number: round(number, 6)
)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), plain, max_size=6))
def test_values_survive_a_round_trip(values: dict[str, Any]) -> None:
    expected = {name: value for name, value in values.items() if value is not None}
    assert deserialize(serialize(values)) == expected


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


@pytest.mark.parametrize("number", [0, 7, -1, 10**12, 0.5, 12.34, 1 / 3])
def test_numbers_keep_their_type(number: float) -> None:
    back = deserialize(serialize({"x": number, "inside": {"x": [number]}}))
    assert back == {"x": number, "inside": {"x": [number]}}
    assert not isinstance(back["x"], Decimal)
    assert isinstance(back["x"], int) == (number == int(number))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_and_infinity_are_rejected(number: float) -> None:
    with pytest.raises(TypeError):
        serialize({"x": number})


@given(st.lists(st.integers(), max_size=250), st.integers(1, 110))
def test_batches_keep_every_value_in_order(values: list[int], size: int) -> None:
    batches = list(batched(values, size))
    assert [value for batch in batches for value in batch] == values
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)


# -------------------------------------------------------------------------------- cursors

FIXED = {"account": "acme-sf"}
RFC = "ÑA&D061009TY8"
URGENCY = urgency(Forecast(None, None, 6.5, "low"), 40, RFC)
LAST = {"account": {"S": "acme-sf"}, "urgency": {"S": URGENCY}, "rfc": {"S": RFC}}


def make_cursor(keys: object) -> str:
    """Return a cursor that a caller could forge."""
    text = keys if isinstance(keys, str) else json.dumps(keys)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def assert_rejected(text: str, *fields: Any, **options: Any) -> None:
    with pytest.raises(TimbresError) as caught:
        decode_cursor(text, *fields, **options)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "parameter-invalid",
        400,
    )
    assert caught.value.field == "cursor"
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 200


def test_the_first_and_the_last_page_have_no_cursor() -> None:
    assert encode_cursor(None) is None
    assert encode_cursor({}) is None
    assert decode_cursor(None, FIXED, "urgency", "rfc") is None


def test_a_cursor_resumes_a_list() -> None:
    text = encode_cursor(LAST)
    assert text is not None
    assert text.isascii()
    assert set(text).isdisjoint("+/= &%")
    assert decode_cursor(text, FIXED, "urgency", "rfc") == LAST


@given(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40),
    st.from_regex(r"[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{3}", fullmatch=True),
)
def test_any_keys_survive_a_round_trip(sort: str, rfc: str) -> None:
    keys = serialize({"account": "acme-sf", "urgency": sort, "rfc": rfc})
    assert decode_cursor(encode_cursor(keys), FIXED, "urgency", "rfc") == keys
    # It is invalid in another account's list.
    assert_rejected(encode_cursor(keys) or "", {"account": "acme-rc"}, "urgency", "rfc")


KEYS = {"account": "acme-sf", "urgency": URGENCY, "rfc": RFC}


@pytest.mark.parametrize(
    "keys",
    [
        KEYS | {"account": "other"},
        KEYS | {"account": ""},
        KEYS | {"rfc": ""},
        KEYS | {"urgency": ""},
        KEYS | {"rfc": None},
        KEYS | {"rfc": 7},
        KEYS | {"urgency": ["a"]},
        KEYS | {"urgency": {"S": "a"}},
        KEYS | {"account": ["acme-sf"]},
        KEYS | {"rfc": "a\nb"},
        KEYS | {"rfc": "\ud800"},
        KEYS | {"more": "x"},
        {"account": "acme-sf", "urgency": URGENCY},
        {"urgency": URGENCY, "rfc": RFC},
        KEYS | {"rfc": "x" * 600},
        {},
        [],
        [KEYS],
        "null",
        "7",
        '"account"',
        "NaN",
        "{",
        "",
        "[" * 440,
        "[" * 100_000,
        "9" * 440,
    ],
    ids=lambda value: repr(value)[:60],
)
def test_tampered_keys_are_rejected(keys: object) -> None:
    assert_rejected(make_cursor(keys), FIXED, "urgency", "rfc")


@pytest.mark.parametrize(
    "text",
    ["", "x", "xx", "xxx", "====", "á", "ab cd", "a\nb", "{}", "\x00", "😀", "A" * 10_000,
     make_cursor(KEYS)[:-1], make_cursor(KEYS)[1:], make_cursor(KEYS) + "!"],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_malformed_cursors_are_rejected(text: str) -> None:
    assert_rejected(text, FIXED, "urgency", "rfc")


@given(st.text(max_size=80))
def test_arbitrary_text_is_rejected(text: str) -> None:
    assert_rejected(text, FIXED, "urgency", "rfc")


@pytest.mark.parametrize(
    ("sort", "fits"),
    [
        ("report#2026-10", True),
        ("report#", False),
        ("report", False),
        ("contract#0190", False),
        ("settlement#0190", False),
        ("", False),
    ],
)
def test_a_cursor_stays_within_the_lists_prefix(sort: str, fits: bool) -> None:
    text = make_cursor(FIXED | {"entry": sort})
    if fits:
        assert decode_cursor(text, FIXED, "entry", prefix="report#") == serialize(
            FIXED | {"entry": sort}
        )
    else:
        assert_rejected(text, FIXED, "entry", prefix="report#")
