"""Contracts: every step from every state, and how a count settles an unknown contract."""

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
CALLER = "arn:aws:iam::123456789012:user/contract_manager"
REJECTION = Rejection("pac-timeout", "The PAC did not answer in time", "nothing came")


def contract(status: str = PENDING, sent: bool = True, **fields: Any) -> Contract:
    result = Contract.create("acme-sf", "login", Rfc("A&D061009TY8"), 500, CALLER, "pedido-1", NOW)
    if sent:
        result = result.mark_sent(NOW, BEFORE)
    return replace(result, status=status, **fields)


def counts(contracted: int | None, used: int = 250) -> Stamps | None:
    """Return consistent counts; None if the PAC did not respond."""
    return None if contracted is None else Stamps(contracted, used, contracted - used)


def traced(contract: Contract, now: Stamps | None) -> Trace:
    """Return the trace of counts; None if the PAC did not respond."""
    if now is None:
        return Trace(Verdict.NOT_YET, None, "the PAC is away")
    return trace_by_count(contract.before, now, contract.stamps)


def evaluate_count(contract: Contract, at: datetime, now: Stamps | None) -> Contract:
    return contract.evaluate(at, traced(contract, now))


def recount(contract: Contract, at: datetime, now: Stamps | None) -> Contract:
    return contract.recount(at, RECONCILER, traced(contract, now))


# Each step, as a call.
STEPS: dict[str, Callable[[Contract], Contract]] = {
    "send": lambda current: replace(current, sent_at=None).mark_sent(LATER, BEFORE),
    "confirm": lambda current: current.confirm(LATER, "200", "hecho"),
    "reject": lambda current: current.reject(LATER, REJECTION, "620", "no"),
    "abandon": lambda current: replace(current, sent_at=None).abandon(LATER),
    "mark-unknown": lambda current: current.mark_unknown(LATER, CALLER, REJECTION),
    "count": lambda current: recount(replace(current, settled_at=NOW), LATER, counts(1500)),
    "recount": lambda current: recount(replace(current, settled_at=NOW), LATER, None),
    "check": lambda current: evaluate_count(current, LATER, BEFORE),
    "confirm-by-count": lambda current: evaluate_count(current, LATER, counts(1500)),
    "reject-by-count": lambda current: evaluate_count(current, NOW + VERIFICATION_WINDOW, BEFORE),
    "escalate": lambda current: evaluate_count(current, LATER, counts(1007)),
    "settle-confirmed": lambda current: current.settle(
        LATER, CONFIRMED, CALLER, "seen in the portal"
    ),
    "settle-rejected": lambda current: current.settle(LATER, REJECTED, CALLER, "not in the portal"),
}


def test_every_step_except_create_is_covered() -> None:
    assert STEPS.keys() == TRANSITIONS.keys() - {"create"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", STATES)
def test_every_step_from_every_state(status: str, step: str) -> None:
    before = contract(status)
    start, end = TRANSITIONS[step]
    if status != start:
        with pytest.raises(InvalidTransitionError, match=status):
            STEPS[step](before)
        return
    after = STEPS[step](before)
    assert (after.status, after.step, after.version) == (end, step, before.version + 1)
    if start != CONFIRMED:
        assert (after.settled_at is not None) == (end in SETTLED)
    assert (after.id, after.rfc, after.stamps, after.requested_by) == (
        before.id,
        before.rfc,
        before.stamps,
        before.requested_by,
    )


def test_a_settled_contract_never_changes_its_state() -> None:
    for start, end in TRANSITIONS.values():
        assert start not in SETTLED or start == end


def test_a_contract_is_sent_once_and_then_not_abandoned() -> None:
    sent = contract()
    with pytest.raises(InvalidTransitionError, match="sent"):
        sent.mark_sent(LATER, BEFORE)
    with pytest.raises(InvalidTransitionError, match="abandoned"):
        sent.abandon(LATER)


@pytest.mark.parametrize("step", ["confirm", "mark-unknown"])
def test_an_unsent_contract_is_neither_confirmed_nor_unknown(step: str) -> None:
    with pytest.raises(InvalidTransitionError, match="never sent"):
        STEPS[step](contract(sent=False))


def unknown_contract(**fields: Any) -> Contract:
    return replace(contract().mark_unknown(NOW, CALLER, REJECTION), **fields)


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
def test_a_later_count_settles_an_unknown_contract(
    before: int | None, now: int | None, minutes: int, status: str
) -> None:
    after = evaluate_count(
        unknown_contract(before=counts(before)), NOW + timedelta(minutes=minutes), counts(now)
    )
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
def test_a_rejection_requires_counts_that_changed_by_usage_only(
    before: tuple[int | None, ...], now: tuple[int | None, ...], status: str
) -> None:
    unknown = unknown_contract(before=Stamps(*before))
    assert evaluate_count(unknown, NOW + timedelta(minutes=29), Stamps(*now)).status == UNKNOWN
    after = evaluate_count(unknown, NOW + VERIFICATION_WINDOW, Stamps(*now))
    assert after.status == status
    assert all(f"{n:,}" in (after.note or "") for n in (*before, *now) if n is not None)


amounts = st.integers(0, 10**6)


@given(amounts, amounts, amounts, amounts, amounts, amounts, st.integers(0, 60 * 72))
def test_exact_growth_confirms_and_unchanged_counts_reject(
    contracted: int, used: int, available: int, now: int, used_now: int, left: int, minutes: int
) -> None:
    at = NOW + timedelta(minutes=minutes)
    before, counted = Stamps(contracted, used, available), Stamps(now, used_now, left)
    after = evaluate_count(unknown_contract(before=before), at, counted)
    visible = at - NOW >= READ_LAG
    assert (after.status == CONFIRMED) == (visible and now == contracted + 500)
    unchanged = now == contracted and used_now - used == available - left >= 0
    assert (after.status == REJECTED) == (unchanged and at - NOW >= VERIFICATION_WINDOW)


@given(st.integers(0, 3000), st.integers(0, 60 * 72))
def test_usage_alone_never_changes_the_outcome(used: int, minutes: int) -> None:
    at = NOW + timedelta(minutes=minutes)
    unknown = unknown_contract(before=Stamps(3000, 0, 3000))
    quiet = evaluate_count(unknown, at, Stamps(3000, 0, 3000))
    busy = evaluate_count(unknown, at, Stamps(3000, used, 3000 - used))
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
def test_the_verdict_decides_regardless_of_its_source(
    verdict: Verdict, before_settling: str, after_settling: str, stamps: Stamps | None
) -> None:
    trace = Trace(verdict, stamps, NOTE)
    within = unknown_contract().evaluate(NOW + READ_LAG / 2, trace)
    assert (within.status, within.note) == (UNKNOWN, "the PAC's counts may not include it yet")
    for minutes, status in ((1, before_settling), (29, before_settling), (30, after_settling)):
        after = unknown_contract().evaluate(NOW + timedelta(minutes=minutes), trace)
        assert (after.status, after.note) == (status, NOTE)
        assert after.after == (stamps if status in SETTLED else None)
    assert unknown_contract().evaluate(NOW + ESCALATE_AFTER, trace).status != UNKNOWN


def test_a_trace_that_shows_the_contract_ends_the_wait_for_a_count() -> None:
    found_trace = Trace(Verdict.DONE, Stamps(None, 250, 1250), NOTE)
    assert not confirmed().recount(NOW, RECONCILER, found_trace).holds_issuer
    missing_trace = Trace(Verdict.NOT_DONE, Stamps(None, 250, 750), NOTE)
    assert confirmed().recount(LATER, RECONCILER, missing_trace).holds_issuer


# ------------------------------------------------------------------- the count after a 200


def confirmed(**fields: Any) -> Contract:
    return replace(contract().confirm(NOW, "200", "hecho"), **fields)


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


def test_a_warning_has_the_figures() -> None:
    warning = recount(confirmed(), LATER, counts(2000)).warning
    assert warning is not None
    assert all(figure in warning for figure in ("500", "1,000", "2,000", "1,500"))


def test_without_contracted_stamps_nothing_is_compared() -> None:
    without_contracted = confirmed(before=Stamps(None, 250, 750))
    assert recount(without_contracted, NOW, counts(1500)).awaits_count
    after = recount(without_contracted, LATER, counts(1500))
    assert (after.awaits_count, after.warning) == (False, None)


def test_checks_are_spaced_and_end() -> None:
    current, pauses = unknown_contract(), []
    while current.status == UNKNOWN:
        assert current.next_check_at is not None
        at = current.next_check_at
        current = evaluate_count(current, at, None)
        if current.status == UNKNOWN and current.next_check_at is not None:
            pauses.append(current.next_check_at - at)
    assert current.status == NEEDS_REVIEW
    assert current.at - NOW >= ESCALATE_AFTER
    assert max(pauses) == timedelta(hours=1)
    assert len(pauses) == current.attempts < 40


def test_unchanged_counts_are_checked_at_the_end_of_the_window() -> None:
    current = unknown_contract()
    while current.status == UNKNOWN:
        assert current.next_check_at is not None
        current = evaluate_count(current, current.next_check_at, BEFORE)
    assert (current.status, current.at) == (REJECTED, NOW + VERIFICATION_WINDOW)


def test_each_state_has_its_events_until_they_are_published() -> None:
    assert contract().pending_events == ()
    assert confirmed().pending_events == ("Contract Confirmed",)
    unknown = unknown_contract()
    assert unknown.pending_events == ("Contract Outcome Unknown",)
    published = replace(unknown, published_events=("Contract Outcome Unknown",))
    assert published.pending_events == ()
    assert evaluate_count(published, LATER, counts(1007)).pending_events == (
        "Contract Needs Review",
    )
    assert evaluate_count(published, NOW + VERIFICATION_WINDOW, BEFORE).pending_events == (
        "Contract Rejected",
    )
    # Without an unknown outcome, the caller gets the rejection in the response.
    assert contract().reject(LATER, REJECTION).pending_events == ()


@pytest.mark.parametrize("published_events", [(), ("Contract Outcome Unknown",)])
def test_a_rejection_after_an_unknown_outcome_is_published(
    published_events: tuple[str, ...],
) -> None:
    unknown = unknown_contract(published_events=published_events)
    assert evaluate_count(unknown, NOW + VERIFICATION_WINDOW, BEFORE).pending_events == (
        "Contract Rejected",
    )
    review = evaluate_count(unknown, LATER, counts(1007))
    settled = review.settle(LATER, REJECTED, CALLER, "not in the portal")
    assert settled.pending_events == ("Contract Rejected",)


def test_a_mismatched_count_is_published_after_the_confirmation() -> None:
    after = recount(confirmed(), LATER, counts(2000))
    assert after.pending_events == ("Contract Confirmed", COUNT_MISMATCH)
    assert replace(after, published_events=("Contract Confirmed",)).pending_events == (
        COUNT_MISMATCH,
    )


def test_a_contract_is_closed_once_published_and_counted() -> None:
    assert contract().is_open
    assert contract().next_check_at == NOW + ABANDONED_AFTER
    assert not contract().reject(LATER, REJECTION).is_open
    published = confirmed(published_events=("Contract Confirmed",))
    assert published.is_open
    assert published.next_check_at == NOW + READ_LAG
    assert not recount(published, LATER, counts(1500)).is_open
    review = evaluate_count(
        unknown_contract(published_events=("Contract Outcome Unknown",)), LATER, counts(1007)
    )
    assert review.is_open
    assert not replace(review, published_events=("Contract Needs Review",)).is_open


def test_an_issuer_is_locked_until_the_contract_is_settled_and_counted() -> None:
    assert contract().holds_issuer
    assert unknown_contract().holds_issuer
    assert evaluate_count(unknown_contract(), LATER, counts(1007)).holds_issuer
    assert confirmed().holds_issuer
    assert not recount(confirmed(), NOW, counts(1500)).holds_issuer
    assert not contract().reject(LATER, REJECTION).holds_issuer
    assert not evaluate_count(unknown_contract(), LATER, counts(1500)).holds_issuer
    assert not evaluate_count(unknown_contract(), NOW + VERIFICATION_WINDOW, BEFORE).holds_issuer


def test_only_a_contract_rejected_by_count_has_an_error() -> None:
    assert evaluate_count(unknown_contract(), LATER, counts(1500)).rejection is None
    rejection = evaluate_count(unknown_contract(), NOW + VERIFICATION_WINDOW, BEFORE).rejection
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
def test_an_invalid_state_is_rejected(value: str) -> None:
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
def test_an_empty_or_unreadable_reason_is_rejected(value: object) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_reason(value)
    assert (caught.value.problem_type.code, caught.value.field) == ("parameter-invalid", "reason")


def test_a_reason_is_stored_on_one_line() -> None:
    assert parse_reason(" seen in\n the portal ") == "seen in the portal"
