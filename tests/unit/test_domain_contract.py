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
    ABANDONED_AFTER,
    CONFIRMED,
    COUNT_MISMATCH,
    ESCALATE_AFTER,
    NEEDS_REVIEW,
    PENDING,
    READ_LAG,
    RECONCILER,
    REJECTED,
    SETTLED,
    STATES,
    TRANSITIONS,
    UNKNOWN,
    VERIFICATION_WINDOW,
    Contract,
    InvalidTransitionError,
    Rejection,
    new_id,
    parse_outcome,
    parse_reason,
    parse_state,
)
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, Verdict, trace_by_count
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code

NOW = datetime(2026, 11, 19, 13, 53, 41, tzinfo=UTC)
BEFORE = Stamps(1000, 250, 750)
LATER = NOW + timedelta(minutes=5)
BUYER = "arn:aws:iam::123456789012:user/contract_manager"
REFUSAL = Rejection("pac-timeout", "The PAC did not answer in time", "nothing came")


def contract(status: str = PENDING, sent: bool = True, **more: Any) -> Contract:
    one = Contract.create("acme-sf", "login", Rfc("A&D061009TY8"), 500, BUYER, "pedido-1", NOW)
    if sent:
        one = one.mark_sent(NOW, BEFORE)
    return replace(one, status=status, **more)


def counts(contracted: int | None, used: int = 250) -> Stamps | None:
    """Counts that belong together; None is a PAC that did not answer."""
    return None if contracted is None else Stamps(contracted, used, contracted - used)


def traced(contract: Contract, now: Stamps | None) -> Trace:
    """What counts show of a contract; None is a PAC that did not answer."""
    if now is None:
        return Trace(Verdict.NOT_YET, None, "the PAC is away")
    return trace_by_count(contract.before, now, contract.stamps)


def look(contract: Contract, at: datetime, now: Stamps | None) -> Contract:
    return contract.evaluate(at, traced(contract, now))


def recount(contract: Contract, at: datetime, now: Stamps | None) -> Contract:
    return contract.recount(at, RECONCILER, traced(contract, now))


# What a caller may do, by the step that it is.
TAKEN: dict[str, Callable[[Contract], Contract]] = {
    "send": lambda one: replace(one, sent_at=None).mark_sent(LATER, BEFORE),
    "confirm": lambda one: one.confirm(LATER, "200", "hecho"),
    "reject": lambda one: one.reject(LATER, REFUSAL, "620", "no"),
    "abandon": lambda one: replace(one, sent_at=None).abandon(LATER),
    "mark-unknown": lambda one: one.mark_unknown(LATER, BUYER, REFUSAL),
    "count": lambda one: recount(replace(one, settled_at=NOW), LATER, counts(1500)),
    "recount": lambda one: recount(replace(one, settled_at=NOW), LATER, None),
    "check": lambda one: look(one, LATER, BEFORE),
    "confirm-by-count": lambda one: look(one, LATER, counts(1500)),
    "reject-by-count": lambda one: look(one, NOW + VERIFICATION_WINDOW, BEFORE),
    "escalate": lambda one: look(one, LATER, counts(1007)),
    "settle-confirmed": lambda one: one.settle(LATER, CONFIRMED, BUYER, "seen in the portal"),
    "settle-rejected": lambda one: one.settle(LATER, REJECTED, BUYER, "not in the portal"),
}


def test_every_step_but_the_first_is_taken_here() -> None:
    assert TAKEN.keys() == TRANSITIONS.keys() - {"create"}


@pytest.mark.parametrize("step", TAKEN)
@pytest.mark.parametrize("status", STATES)
def test_every_step_from_every_state(status: str, step: str) -> None:
    before = contract(status)
    start, end = TRANSITIONS[step]
    if status != start:
        with pytest.raises(InvalidTransitionError, match=status):
            TAKEN[step](before)
        return
    after = TAKEN[step](before)
    assert (after.status, after.step, after.version) == (end, step, before.version + 1)
    if start != CONFIRMED:
        assert (after.settled_at is not None) == (end in SETTLED)
    assert (after.id, after.rfc, after.stamps, after.requested_by) == (
        before.id,
        before.rfc,
        before.stamps,
        before.requested_by,
    )


def test_what_is_settled_never_changes_its_state() -> None:
    for start, end in TRANSITIONS.values():
        assert start not in SETTLED or start == end


def test_a_contract_is_sent_once_and_what_was_sent_is_not_withdrawn() -> None:
    sent = contract()
    with pytest.raises(InvalidTransitionError, match="sent"):
        sent.mark_sent(LATER, BEFORE)
    with pytest.raises(InvalidTransitionError, match="abandoned"):
        sent.abandon(LATER)


@pytest.mark.parametrize("step", ["confirm", "mark-unknown"])
def test_what_was_never_sent_is_neither_confirmed_nor_doubted(step: str) -> None:
    with pytest.raises(InvalidTransitionError, match="never sent"):
        TAKEN[step](contract(sent=False))


def in_doubt(**more: Any) -> Contract:
    return replace(contract().mark_unknown(NOW, BUYER, REFUSAL), **more)


@pytest.mark.parametrize(
    ("before", "now", "minutes", "status"),
    [
        pytest.param(1000, 1500, 0, UNKNOWN, id="grown, but within the lag of reads"),
        (1000, 1500, 1, CONFIRMED),
        (1000, 1500, 60 * 48, CONFIRMED),
        (0, 500, 1, CONFIRMED),
        (1000, 1000, 0, UNKNOWN),
        (1000, 1000, 29, UNKNOWN),
        (1000, 1000, 30, REJECTED),
        (1000, 1000, 60 * 48, REJECTED),
        pytest.param(1000, 2000, 0, UNKNOWN, id="changed, but within the lag of reads"),
        (1000, 1499, 1, NEEDS_REVIEW),
        (1000, 1501, 1, NEEDS_REVIEW),
        (1000, 2000, 1, NEEDS_REVIEW),
        (1000, 999, 1, NEEDS_REVIEW),
        (1000, 0, 1, NEEDS_REVIEW),
        (1000, None, 1, UNKNOWN),
        (1000, None, 60 * 23, UNKNOWN),
        (1000, None, 60 * 24, NEEDS_REVIEW),
        (None, 500, 1, UNKNOWN),
        (None, 500, 29, UNKNOWN),
        (None, 500, 30, NEEDS_REVIEW),
        (None, None, 1, UNKNOWN),
        (None, None, 30, NEEDS_REVIEW),
    ],
)
def test_a_later_count_decides_over_an_unknown_contract(
    before: int | None, now: int | None, minutes: int, status: str
) -> None:
    after = look(in_doubt(before=counts(before)), NOW + timedelta(minutes=minutes), counts(now))
    assert after.status == status
    assert after.by == RECONCILER
    assert after.note


@pytest.mark.parametrize(
    ("before", "now", "status"),
    [
        pytest.param((500, 480, 20), (500, 480, 20), REJECTED, id="nothing changed"),
        pytest.param((500, 480, 20), (500, 500, 0), REJECTED, id="only usage"),
        pytest.param((500, 480, 20), (500, 0, 500), NEEDS_REVIEW, id="renewed as it expired"),
        pytest.param((1000, 480, 520), (1000, 0, 1000), NEEDS_REVIEW, id="usage began anew"),
        pytest.param((500, 480, 20), (500, 480, 520), NEEDS_REVIEW, id="more available"),
        pytest.param((500, 480, 20), (500, 490, 20), NEEDS_REVIEW, id="used, and refilled"),
        pytest.param((500, 480, 20), (500, 480, 10), NEEDS_REVIEW, id="gone without usage"),
        pytest.param((500, 480, 20), (500, 470, 30), NEEDS_REVIEW, id="usage went back"),
        pytest.param((500, 480, None), (500, 480, None), NEEDS_REVIEW, id="available unknown"),
        pytest.param((500, None, 20), (500, None, 20), NEEDS_REVIEW, id="used unknown"),
        pytest.param((500, 480, 20), (500, None, None), NEEDS_REVIEW, id="both unknown now"),
    ],
)
def test_only_usage_may_change_for_a_rejection(
    before: tuple[int | None, ...], now: tuple[int | None, ...], status: str
) -> None:
    unknown = in_doubt(before=Stamps(*before))
    assert look(unknown, NOW + timedelta(minutes=29), Stamps(*now)).status == UNKNOWN
    after = look(unknown, NOW + VERIFICATION_WINDOW, Stamps(*now))
    assert after.status == status
    assert all(f"{n:,}" in (after.note or "") for n in (*before, *now) if n is not None)


amounts = st.integers(0, 10**6)


@given(amounts, amounts, amounts, amounts, amounts, amounts, st.integers(0, 60 * 72))
def test_exactly_n_more_confirms_and_a_settled_standstill_rejects(
    contracted: int, used: int, available: int, now: int, used_now: int, left: int, minutes: int
) -> None:
    at = NOW + timedelta(minutes=minutes)
    before, counted = Stamps(contracted, used, available), Stamps(now, used_now, left)
    after = look(in_doubt(before=before), at, counted)
    visible = at - NOW >= READ_LAG
    assert (after.status == CONFIRMED) == (visible and now == contracted + 500)
    unchanged = now == contracted and used_now - used == available - left >= 0
    assert (after.status == REJECTED) == (unchanged and at - NOW >= VERIFICATION_WINDOW)


@given(st.integers(0, 3000), st.integers(0, 60 * 72))
def test_usage_alone_never_changes_the_outcome(used: int, minutes: int) -> None:
    at = NOW + timedelta(minutes=minutes)
    unknown = in_doubt(before=Stamps(3000, 0, 3000))
    quiet = look(unknown, at, Stamps(3000, 0, 3000))
    busy = look(unknown, at, Stamps(3000, used, 3000 - used))
    assert (busy.status, busy.step) == (quiet.status, quiet.step)


NOTE = "2 lines of 500"


@pytest.mark.parametrize(
    ("verdict", "before_settling", "after_settling"),
    [
        (Verdict.DONE, CONFIRMED, CONFIRMED),
        (Verdict.NOT_DONE, UNKNOWN, REJECTED),
        (Verdict.NOT_YET, UNKNOWN, UNKNOWN),
        (Verdict.INCONCLUSIVE, UNKNOWN, NEEDS_REVIEW),
        (Verdict.AMBIGUOUS, NEEDS_REVIEW, NEEDS_REVIEW),
    ],
)
@pytest.mark.parametrize("stamps", [None, BEFORE])
def test_a_verdict_decides_whatever_it_was_found_by(
    verdict: Verdict, before_settling: str, after_settling: str, stamps: Stamps | None
) -> None:
    trace = Trace(verdict, stamps, NOTE)
    within = in_doubt().evaluate(NOW + READ_LAG / 2, trace)
    assert (within.status, within.note) == (UNKNOWN, "the PAC's counts may not include it yet")
    for minutes, status in ((1, before_settling), (29, before_settling), (30, after_settling)):
        after = in_doubt().evaluate(NOW + timedelta(minutes=minutes), trace)
        assert (after.status, after.note) == (status, NOTE)
        assert after.after == (stamps if status in SETTLED else None)
    assert in_doubt().evaluate(NOW + ESCALATE_AFTER, trace).status != UNKNOWN


def test_a_trace_that_shows_the_contract_ends_the_wait_for_a_count() -> None:
    shown = Trace(Verdict.DONE, Stamps(None, 250, 1250), NOTE)
    assert not confirmed().recount(NOW, RECONCILER, shown).holds_issuer
    missing = Trace(Verdict.NOT_DONE, Stamps(None, 250, 750), NOTE)
    assert confirmed().recount(LATER, RECONCILER, missing).holds_issuer


# ------------------------------------------------------------------- the count after a 200


def confirmed(**more: Any) -> Contract:
    return replace(contract().confirm(NOW, "200", "hecho"), **more)


@pytest.mark.parametrize(
    ("before", "now", "minutes", "waits", "warns"),
    [
        pytest.param(1000, 1500, 0, False, False, id="included at once"),
        pytest.param(1000, 1000, 0, True, False, id="not yet visible"),
        pytest.param(1000, 2000, 0, True, False, id="within the lag nothing is compared"),
        pytest.param(1000, 1500, 5, False, False, id="included later"),
        pytest.param(1000, 2000, 5, False, True, id="created twice"),
        pytest.param(1000, 1000, 5, False, True, id="never created"),
        pytest.param(1000, None, 5, True, False, id="no count"),
        pytest.param(1000, None, 60 * 24, False, False, id="no count for a day"),
        pytest.param(None, 500, 0, False, False, id="a new issuer"),
        pytest.param(None, 700, 0, True, False, id="a new issuer, with more"),
        pytest.param(None, 700, 5, False, False, id="a new issuer: nothing to compare with"),
    ],
)
def test_the_count_after_a_confirmation(
    before: int | None, now: int | None, minutes: int, waits: bool, warns: bool
) -> None:
    after = recount(confirmed(before=counts(before)), NOW + timedelta(minutes=minutes), counts(now))
    assert after.status == CONFIRMED
    assert (after.awaits_count, after.warning is not None) == (waits, warns)
    assert after.holds_issuer == waits
    assert (COUNT_MISMATCH in after.pending_events) == warns
    if not waits:
        assert after.after == counts(now)


def test_a_warning_states_the_figures() -> None:
    warning = recount(confirmed(), LATER, counts(2000)).warning
    assert warning is not None
    assert all(figure in warning for figure in ("500", "1,000", "2,000", "1,500"))


def test_a_pac_that_returns_no_contracted_stamps_is_waited_for_and_not_compared() -> None:
    unsaid = confirmed(before=Stamps(None, 250, 750))
    assert recount(unsaid, NOW, counts(1500)).awaits_count
    after = recount(unsaid, LATER, counts(1500))
    assert (after.awaits_count, after.warning) == (False, None)


def test_looks_are_spaced_and_end() -> None:
    one, pauses = in_doubt(), []
    while one.status == UNKNOWN:
        assert one.next_check_at is not None
        at = one.next_check_at
        one = look(one, at, None)
        if one.status == UNKNOWN and one.next_check_at is not None:
            pauses.append(one.next_check_at - at)
    assert one.status == NEEDS_REVIEW
    assert one.at - NOW >= ESCALATE_AFTER
    assert max(pauses) == timedelta(hours=1)
    assert len(pauses) == one.attempts < 40


def test_a_standstill_is_looked_at_the_moment_it_means_something() -> None:
    one = in_doubt()
    while one.status == UNKNOWN:
        assert one.next_check_at is not None
        one = look(one, one.next_check_at, BEFORE)
    assert (one.status, one.at) == (REJECTED, NOW + VERIFICATION_WINDOW)


def test_each_state_has_its_events_until_they_are_published() -> None:
    assert contract().pending_events == ()
    assert confirmed().pending_events == ("Contract Confirmed",)
    doubted = in_doubt()
    assert doubted.pending_events == ("Contract Outcome Unknown",)
    published = replace(doubted, published_events=("Contract Outcome Unknown",))
    assert published.pending_events == ()
    assert look(published, LATER, counts(1007)).pending_events == ("Contract Needs Review",)
    assert look(published, NOW + VERIFICATION_WINDOW, BEFORE).pending_events == (
        "Contract Rejected",
    )
    # Without a doubt, the response to the request itself says it.
    assert contract().reject(LATER, REFUSAL).pending_events == ()


@pytest.mark.parametrize("published_events", [(), ("Contract Outcome Unknown",)])
def test_a_rejection_after_a_doubt_is_published_though_the_note_of_the_doubt_was_lost(
    published_events: tuple[str, ...],
) -> None:
    unknown = in_doubt(published_events=published_events)
    assert look(unknown, NOW + VERIFICATION_WINDOW, BEFORE).pending_events == ("Contract Rejected",)
    review = look(unknown, LATER, counts(1007))
    settled = review.settle(LATER, REJECTED, BUYER, "not in the portal")
    assert settled.pending_events == ("Contract Rejected",)


def test_a_contradicting_count_is_published_after_the_confirmation() -> None:
    after = recount(confirmed(), LATER, counts(2000))
    assert after.pending_events == ("Contract Confirmed", COUNT_MISMATCH)
    assert replace(after, published_events=("Contract Confirmed",)).pending_events == (
        COUNT_MISMATCH,
    )


def test_the_reconciler_lets_go_once_all_is_published_and_counted() -> None:
    assert contract().is_open
    assert contract().next_check_at == NOW + ABANDONED_AFTER
    assert not contract().reject(LATER, REFUSAL).is_open
    published = confirmed(published_events=("Contract Confirmed",))
    assert published.is_open
    assert published.next_check_at == NOW + READ_LAG
    assert not recount(published, LATER, counts(1500)).is_open
    review = look(in_doubt(published_events=("Contract Outcome Unknown",)), LATER, counts(1007))
    assert review.is_open
    assert not replace(review, published_events=("Contract Needs Review",)).is_open


def test_an_issuer_is_held_until_the_contract_is_settled_and_counted() -> None:
    assert contract().holds_issuer
    assert in_doubt().holds_issuer
    assert look(in_doubt(), LATER, counts(1007)).holds_issuer
    assert confirmed().holds_issuer
    assert not recount(confirmed(), NOW, counts(1500)).holds_issuer
    assert not contract().reject(LATER, REFUSAL).holds_issuer
    assert not look(in_doubt(), LATER, counts(1500)).holds_issuer
    assert not look(in_doubt(), NOW + VERIFICATION_WINDOW, BEFORE).holds_issuer


def test_a_contract_confirmed_by_count_keeps_no_error_and_a_rejected_one_says_how_to_go_on() -> (
    None
):
    assert look(in_doubt(), LATER, counts(1500)).rejection is None
    rejection = look(in_doubt(), NOW + VERIFICATION_WINDOW, BEFORE).rejection
    assert rejection is not None
    assert (rejection.code, status_code(rejection.code)) == ("contract-not-bought", 409)
    assert "1,000" in rejection.detail


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
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "status")
    assert all(state in caught.value.detail for state in STATES)


@pytest.mark.parametrize("value", ["", "unknown", "needs-review", "Confirmed", None, 1, ["x"]])
def test_an_outcome_is_one_of_two(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_outcome(value)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "outcome")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "because",
        " " * 40,
        "x" * 501,
        None,
        7,
        "ten chars\x00 or so",
        pytest.param("\u3164" * 20, id="Hangul fillers"),
        pytest.param("\uffa0" * 20, id="halfwidth fillers"),
        pytest.param("\u2800" * 20, id="empty Braille"),
        pytest.param("\u115f\u1160" * 10, id="Jamo fillers"),
        pytest.param("\u034f" * 20, id="grapheme joiners"),
        pytest.param("\ufe0f" * 20, id="variation selectors"),
        pytest.param("\u200b" * 20, id="zero width spaces"),
        pytest.param("ok\u3164\u3164\u3164\u3164\u3164\u3164\u3164\u3164", id="two letters"),
    ],
)
def test_a_reason_says_something(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_reason(value)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "reason")


def test_a_reason_is_kept_on_one_line() -> None:
    assert parse_reason(" seen in\n the portal ") == "seen in the portal"
