"""The number of stamps of a contract: a whole number from 1 to a million."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.stamps import MAX_STAMPS, parse_stamps

NUMBERS = st.integers(1, MAX_STAMPS)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers() | NUMBERS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("number", [1, MAX_STAMPS])
def test_the_first_and_the_last_number_are_accepted(number: int) -> None:
    assert parse_stamps(number) == number


@pytest.mark.parametrize(
    "value",
    [0, -1, MAX_STAMPS + 1, 10**300, 500.0, True, "500", "5,000", None, [500], [[[]]] * 300],
    ids=lambda value: repr(value)[:20],
)
def test_any_other_value_is_rejected_with_the_callers_field(value: object) -> None:
    error = expect_error("stamps-invalid", "timbres", parse_stamps, value, field="timbres")

    assert "whole number" in error.detail


@given(json_values)
def test_any_json_value_is_a_valid_number_or_rejected(value: object) -> None:
    if type(value) is int and 1 <= value <= MAX_STAMPS:
        assert parse_stamps(value) == value
    else:
        expect_error("stamps-invalid", "stamps", parse_stamps, value)
