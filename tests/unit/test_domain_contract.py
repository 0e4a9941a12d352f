"""Contracts: every step from every state, and what a count says of a contract in doubt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.contract import (
    CONFIRMED,
    GIVE_UP_AFTER,
    NEEDS_REVIEW,
    OVERDUE_AFTER,
    PENDING,
    RECONCILER,
    REJECTED,
    SETTLED,
    SETTLING,
    STATES,
    STEPS,
    UNKNOWN,
    Contract,
    IllegalStepError,
    Refusal,
    new_id,
    opened,
    parse_outcome,
    parse_reason,
    parse_state,
)
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError

NOW = datetime(2026, 11, 19, 13, 53, 41, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
BUYER = "arn:aws:iam::123456789012:user/buyer"
REFUSAL = Refusal("pac-timeout", 504, "The PAC did not answer in time", "nothing came")


def contract(status: str = PENDING, sent: bool = True, **more: Any) -> Contract:
    one = opened("acme-sf", Rfc("A&D061009TY8"), 500, BUYER, "pedido-1", NOW)
    if sent:
        one = one.send(NOW, 1000)
    return replace(one, status=status, **more)


# What a caller may do, by the step that it is.
TAKEN: dict[str, Callable[[Contract], Contract]] = {
    "send": lambda one: replace(one, sent_at=None).send(LATER, 1000),
    "confirm": lambda one: one.confirm(LATER, "200", "hecho"),
    "refuse": lambda one: one.refuse(LATER, REFUSAL, "620", "no"),
    "withdraw": lambda one: replace(one, sent_at=None).withdraw(LATER),
    "doubt": lambda one: one.doubt(LATER, BUYER, REFUSAL),
    "count": lambda one: one.count(LATER, 1500),
    "look": lambda one: one.judge(LATER, 1000),
    "prove": lambda one: one.judge(LATER, 1500),
    "disprove": lambda one: one.judge(NOW + SETTLING, 1000),
    "give-up": lambda one: one.judge(LATER, 1007),
    "settle-confirmed": lambda one: one.settle(LATER, CONFIRMED, BUYER, "seen in the portal"),
    "settle-rejected": lambda one: one.settle(LATER, REJECTED, BUYER, "not in the portal"),
}


def test_every_step_but_the_first_is_taken_here() -> None:
    assert TAKEN.keys() == STEPS.keys() - {"open"}


@pytest.mark.parametrize("step", TAKEN)
@pytest.mark.parametrize("status", STATES)
def test_every_step_from_every_state(status: str, step: str) -> None:
    before = contract(status)
    start, end = STEPS[step]
    if status != start:
        with pytest.raises(IllegalStepError, match=status):
            TAKEN[step](before)
        return
    after = TAKEN[step](before)
    assert (after.status, after.step, after.version) == (end, step, before.version + 1)
    if step != "count":
        assert (after.settled_at is not None) == (end in SETTLED)
    assert (after.id, after.rfc, after.stamps, after.requested_by) == (
        before.id,
        before.rfc,
        before.stamps,
        before.requested_by,
    )


def test_what_is_settled_never_changes_its_state() -> None:
    for start, end in STEPS.values():
        assert start not in SETTLED or start == end


def test_a_contract_is_sent_once_and_what_was_sent_is_not_withdrawn() -> None:
    sent = contract()
    with pytest.raises(IllegalStepError, match="sent"):
        sent.send(LATER, 1000)
    with pytest.raises(IllegalStepError, match="withdrawn"):
        sent.withdraw(LATER)


@pytest.mark.parametrize("step", ["confirm", "doubt"])
def test_what_was_never_sent_is_neither_confirmed_nor_doubted(step: str) -> None:
    with pytest.raises(IllegalStepError, match="never sent"):
        TAKEN[step](contract(sent=False))


def in_doubt(**more: Any) -> Contract:
    return replace(contract().doubt(NOW, BUYER, REFUSAL), **more)


@pytest.mark.parametrize(
    ("before", "now", "minutes", "status"),
    [
        (1000, 1500, 0, CONFIRMED),
        (1000, 1500, 60 * 48, CONFIRMED),
        (0, 500, 0, CONFIRMED),
        (1000, 1000, 0, UNKNOWN),
        (1000, 1000, 29, UNKNOWN),
        (1000, 1000, 30, REJECTED),
        (1000, 1000, 60 * 48, REJECTED),
        (1000, 1499, 0, NEEDS_REVIEW),
        (1000, 1501, 0, NEEDS_REVIEW),
        (1000, 2000, 0, NEEDS_REVIEW),
        (1000, 999, 0, NEEDS_REVIEW),
        (1000, 0, 0, NEEDS_REVIEW),
        (1000, None, 0, UNKNOWN),
        (1000, None, 60 * 23, UNKNOWN),
        (1000, None, 60 * 24, NEEDS_REVIEW),
        (None, 500, 0, UNKNOWN),
        (None, 500, 29, UNKNOWN),
        (None, 500, 30, NEEDS_REVIEW),
        (None, None, 0, UNKNOWN),
        (None, None, 30, NEEDS_REVIEW),
    ],
)
def test_what_a_count_says(before: int | None, now: int | None, minutes: int, status: str) -> None:
    after = in_doubt(contracted_before=before).judge(
        NOW + timedelta(minutes=minutes), now, "no count"
    )
    assert after.status == status
    assert after.by == RECONCILER
    assert after.note


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 60 * 72))
def test_only_exactly_n_more_is_a_yes_and_only_a_settled_standstill_a_no(
    before: int, now: int, minutes: int
) -> None:
    at = NOW + timedelta(minutes=minutes)
    after = in_doubt(contracted_before=before).judge(at, now)
    assert (after.status == CONFIRMED) == (now == before + 500)
    assert (after.status == REJECTED) == (now == before and at - NOW >= SETTLING)


def test_looks_are_spaced_and_end() -> None:
    one, pauses = in_doubt(contracted_before=1000), []
    while one.status == UNKNOWN:
        assert one.look_at is not None
        at = one.look_at
        one = one.judge(at, None, "the PAC is away")
        if one.status == UNKNOWN and one.look_at is not None:
            pauses.append(one.look_at - at)
    assert one.status == NEEDS_REVIEW
    assert one.at - NOW >= GIVE_UP_AFTER
    assert max(pauses) == timedelta(hours=1)
    assert len(pauses) == one.attempts < 40


def test_a_standstill_is_looked_at_the_moment_it_means_something() -> None:
    one = in_doubt()
    while one.status == UNKNOWN:
        assert one.look_at is not None
        one = one.judge(one.look_at, 1000)
    assert (one.status, one.at) == (REJECTED, NOW + SETTLING)


def test_who_is_told_what() -> None:
    assert contract().event is None
    assert contract().confirm(LATER, "200", None).event == "Contract Confirmed"
    doubted = in_doubt()
    assert doubted.event == "Contract Unknown"
    told = replace(doubted, announced=UNKNOWN)
    assert told.event is None
    assert told.judge(LATER, 1007).event == "Contract Needs Review"
    assert told.judge(NOW + SETTLING, 1000).event == "Contract Rejected"
    # Who was told of no doubt has the answer to the request itself.
    assert contract().refuse(LATER, REFUSAL).event is None


def test_the_reconciler_lets_go_once_all_is_told() -> None:
    assert contract().open
    assert contract().look_at == NOW + OVERDUE_AFTER
    assert not contract().refuse(LATER, REFUSAL).open
    confirmed = contract().confirm(LATER, "200", None)
    assert confirmed.open
    assert not replace(confirmed, announced=CONFIRMED).open
    review = in_doubt(announced=UNKNOWN).judge(LATER, 1007)
    assert review.open
    assert not replace(review, announced=NEEDS_REVIEW).open


def test_a_proved_contract_keeps_no_refusal_and_a_disproved_one_says_how_to_go_on() -> None:
    assert in_doubt().judge(LATER, 1500).refusal is None
    refusal = in_doubt().judge(NOW + SETTLING, 1000).refusal
    assert refusal is not None
    assert (refusal.code, refusal.status) == ("contract-not-bought", 409)
    assert "1,000" in refusal.detail


def test_ids_sort_by_time_and_differ() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first < second
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    assert len({new_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("state", STATES)
def test_states_are_parsed(state: str) -> None:
    assert parse_state(state) == state


@pytest.mark.parametrize("value", ["", "Pending", "settled", "needs_review", "pending\n", "x" * 99])
def test_what_is_no_state_is_refused(value: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_state(value)
    assert (caught.value.kind.code, caught.value.field) == ("parameter-invalid", "status")
    assert all(state in caught.value.detail for state in STATES)


@pytest.mark.parametrize("value", ["", "unknown", "needs-review", "Confirmed", None, 1, ["x"]])
def test_an_outcome_is_one_of_two(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_outcome(value)
    assert (caught.value.kind.code, caught.value.field) == ("parameter-invalid", "outcome")


@pytest.mark.parametrize(
    "value", ["", "because", " " * 40, "x" * 501, None, 7, "ten chars\x00 or so"]
)
def test_a_reason_says_something(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_reason(value)
    assert (caught.value.kind.code, caught.value.field) == ("parameter-invalid", "reason")


def test_a_reason_is_kept_on_one_line() -> None:
    assert parse_reason(" seen in\n the portal ") == "seen in the portal"
