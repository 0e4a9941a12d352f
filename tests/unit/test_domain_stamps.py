"""The number of stamps of a contract: a whole number from 1 to a million."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.stamps import MAX_STAMPS, parse_stamps
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("number", [1, 2, 500, 999_999, MAX_STAMPS])
def test_whole_numbers_are_accepted(number: int) -> None:
    assert parse_stamps(number) == number


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        -500,
        MAX_STAMPS + 1,
        2**31,
        2**63,
        10**300,
        1.5,
        500.0,
        0.0,
        -0.0,
        1e3,
        float("nan"),
        float("inf"),
        True,
        False,
        "500",
        "",
        "quinientos",
        "5,000",
        None,
        [],
        [500],
        {},
        {"stamps": 500},
    ],
    ids=repr,
)
def test_other_values_are_rejected(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_stamps(value)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "stamps-invalid",
        400,
    )
    assert caught.value.field == "stamps"
    assert "whole number" in caught.value.detail
    assert len(caught.value.detail) < 200


@given(json_values)
def test_any_json_value_is_a_valid_number_or_rejected(value: object) -> None:
    if type(value) is int and 1 <= value <= MAX_STAMPS:
        assert parse_stamps(value) == value
    else:
        with pytest.raises(TimbresError, match="stamps-invalid"):
            parse_stamps(value)


@pytest.mark.parametrize("depth", [10, 500, 900, 960, 980])
def test_deep_nesting_is_rejected(depth: int) -> None:
    try:
        value = json.loads("[" * depth + "]" * depth)
    except RecursionError:
        return  # The JSON parser rejects it.
    with pytest.raises(TimbresError):
        parse_stamps(value)


def test_the_error_names_the_callers_field() -> None:
    with pytest.raises(TimbresError) as caught:
        parse_stamps(0, field="timbres")
    assert caught.value.field == "timbres"
