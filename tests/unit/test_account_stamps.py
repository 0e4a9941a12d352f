"""The over-allotment of an account's stamps; test_issuer.py has their alerts, too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.account_stamps import Allotment, sum_unused
from timbres.domain.stamps import Stamps

UNKNOWN = Stamps(None, None, None)
# Issuers that have no stamps of their own.
WITHOUT = (Stamps(0, 90, 0), Stamps(None, 5, None, unlimited=True))


@pytest.mark.parametrize(
    ("issuers", "expected"),
    [
        ([], Allotment(0, 0)),
        ([Stamps(1000, 250, 750), Stamps(500, 480, 20)], Allotment(770, 0)),
        # Not returned, but known from the others.
        ([Stamps(1000, 250, None)], Allotment(750, 0)),
        ([Stamps(1000, 250, 750), UNKNOWN, Stamps(1000, None, None)], Allotment(750, 2)),
        # Used more than contracted: nothing is left to use.
        ([Stamps(100, 120, -20), Stamps(10, 0, 10)], Allotment(10, 0)),
        ([*WITHOUT, Stamps(10, 0, 10)], Allotment(10, 0)),
    ],
)
def test_unused_stamps_are_summed_over_issuers_with_a_contract(
    issuers: list[Stamps], expected: Allotment
) -> None:
    assert sum_unused(issuers) == expected


@pytest.mark.parametrize(
    ("unused", "unknown", "account", "expected"),
    [
        (1000, 0, Stamps(5000, 4001, 999), True),
        (1000, 0, Stamps(5000, 4000, 1000), False),
        (1, 0, Stamps(5000, 5010, -10), True),
        (0, 0, Stamps(5000, 5010, -10), False),
        # The account's count is not known.
        (1000, 0, UNKNOWN, None),
        (1000, 0, Stamps(5000, 4500, None), True),
        # Missing counts can only increase the sum.
        (1000, 3, Stamps(5000, 4001, 999), True),
        (1000, 3, Stamps(5000, 4000, 1000), None),
        (1000, 0, Stamps(None, 5, None, unlimited=True), False),
    ],
)
def test_an_account_is_over_allotted_if_its_issuers_have_more_than_it_has(
    unused: int, unknown: int, account: Stamps, expected: bool | None
) -> None:
    assert Allotment(unused, unknown).exceeds(account) is expected


@given(st.lists(st.integers(-5, 500), max_size=8), st.integers(-5, 2000), st.integers(0, 8))
def test_a_missing_count_never_changes_a_known_result(
    issuers: list[int], available: int, known: int
) -> None:
    counts = [Stamps(1000, 1000 - left, left) for left in issuers]
    account = Stamps(9000, 9000 - available, available)
    complete = sum_unused(counts).exceeds(account)
    partial = sum_unused([*counts[:known], *[UNKNOWN] * len(counts[known:])]).exceeds(account)

    assert partial in (None, complete)
    assert complete is not None
