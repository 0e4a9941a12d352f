"""Contracts: every step from every state, and how a count settles an unknown contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.timbres_errors import expect_error

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
    new_id,
    parse_outcome,
    parse_reason,
    parse_state,
)
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import MAX_STAMPS, Stamps, parse_stamps
from timbres.domain.trace import Trace, Verdict, trace_by_count
from timbres.errors import PacError
from timbres.handlers.problem_details import status_code
from timbres.pacs.errors import TIMEOUT

NOW = datetime(2026, 11, 19, 13, 53, 41, tzinfo=UTC)
BEFORE = Stamps(1000, 250, 750)
LATER = NOW + timedelta(minutes=5)
CALLER = "arn:aws:iam::123456789012:user/contract_manager"
NOT_CONTRACTED = Stamps(None, 250, 750)
LOST_RESPONSE = PacError(TIMEOUT, "no response", pac="solucion-factible", pac_code="620")


def contract(status: str = PENDING, sent: bool = True, **fields: Any) -> Contract:
    result = Contract.create("acme-sf", "login", Rfc("A&D061009TY8"), 500, CALLER, "pedido-1", NOW)
    if sent:
        result = result.mark_sent(NOW, BEFORE)
    return replace(result, status=status, **fields)


def unknown_contract(**fields: Any) -> Contract:
    return replace(contract().mark_unknown(NOW, LOST_RESPONSE), **fields)


def confirmed(**fields: Any) -> Contract:
    return replace(contract().confirm(NOW, "200", "hecho"), **fields)


def counts(contracted: int | None, used: int = 250) -> Stamps | None:
    """Return consistent counts; None if the PAC did not respond."""
    return None if contracted is None else Stamps(contracted, used, contracted - used)


def traced(contract: Contract, now: Stamps | None) -> Trace:
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
    "reject": lambda current: current.reject(LATER, LOST_RESPONSE),
    "abandon": lambda current: replace(current, sent_at=None).abandon(LATER),
    "mark-unknown": lambda current: current.mark_unknown(LATER, LOST_RESPONSE),
    "count": lambda current: recount(replace(current, settled_at=NOW), LATER, counts(1500)),
    "recount": lambda current: recount(replace(current, settled_at=NOW), LATER, None),
    "check": lambda current: evaluate_count(current, LATER, BEFORE),
    "confirm-by-count": lambda current: evaluate_count(current, LATER, counts(1500)),
    "reject-by-count": lambda current: evaluate_count(current, NOW + VERIFICATION_WINDOW, BEFORE),
    "escalate": lambda current: evaluate_count(current, LATER, counts(1007)),
    "settle-confirmed": lambda current: current.settle(LATER, CONFIRMED, CALLER, "in the portal"),
    "settle-rejected": lambda current: current.settle(LATER, REJECTED, CALLER, "not there"),
}


@pytest.mark.parametrize("step", sorted(TRANSITIONS.keys() - {"create"}))
@pytest.mark.parametrize("status", STATES)
def test_every_step_from_every_state(status: str, step: str) -> None:
    before = contract(status)
    start, end = TRANSITIONS[step]
    assert start not in SETTLED or start == end
    if status != start:
        with pytest.raises(InvalidTransitionError, match=status):
            STEPS[step](before)
        return

    after = STEPS[step](before)

    assert (after.status, after.step, after.version) == (end, step, before.version + 1)
    if start != CONFIRMED:
        assert (after.settled_at is not None) == (end in SETTLED)
    assert (after.id, after.rfc, after.stamps) == (before.id, before.rfc, before.stamps)


@pytest.mark.parametrize(
    ("sent", "step", "message"),
    [
        (True, lambda current: current.mark_sent(LATER, BEFORE), "sent already"),
        (True, lambda current: current.abandon(LATER), "cannot abandon"),
        (False, STEPS["confirm"], "never sent"),
        (False, STEPS["mark-unknown"], "never sent"),
    ],
)
def test_a_contract_is_sent_once_and_only_then_has_an_outcome(
    sent: bool, step: Callable[[Contract], Contract], message: str
) -> None:
    with pytest.raises(InvalidTransitionError, match=message):
        step(contract(sent=sent))


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        pytest.param((1000, 250, 750), (1500, 300, 1200), Verdict.DONE, id="grown"),
        pytest.param((0, 0, 0), (500, 0, 500), Verdict.DONE, id="the first contract"),
        pytest.param((1000, 250, 750), (1499, 250, 1249), Verdict.AMBIGUOUS, id="grown by less"),
        pytest.param((1000, 250, 750), (2000, 250, 1750), Verdict.AMBIGUOUS, id="grown by more"),
        pytest.param((1000, 250, 750), (0, 0, 0), Verdict.AMBIGUOUS, id="expired"),
        pytest.param((500, 480, 20), (500, 480, 20), Verdict.NOT_DONE, id="nothing changed"),
        pytest.param((500, 480, 20), (500, 500, 0), Verdict.NOT_DONE, id="only usage"),
        pytest.param((500, 480, 20), (500, 0, 500), Verdict.INCONCLUSIVE, id="renewed"),
        pytest.param((500, 480, 20), (500, 480, 520), Verdict.INCONCLUSIVE, id="more available"),
        pytest.param((500, 480, 20), (500, 490, 20), Verdict.INCONCLUSIVE, id="used, and refilled"),
        pytest.param((500, 480, 20), (500, 480, 10), Verdict.INCONCLUSIVE, id="gone without usage"),
        pytest.param((500, 480, 20), (500, 470, 30), Verdict.INCONCLUSIVE, id="usage went back"),
        pytest.param((500, 480, None), (500, 480, None), Verdict.INCONCLUSIVE, id="no available"),
        pytest.param((500, None, 20), (500, None, 20), Verdict.INCONCLUSIVE, id="no used"),
        pytest.param((500, 480, 20), (None, 480, 20), Verdict.NOT_YET, id="no contracted now"),
        pytest.param((None, 480, 20), (500, 480, 20), Verdict.INCONCLUSIVE, id="none before"),
        pytest.param(None, (500, 0, 500), Verdict.INCONCLUSIVE, id="a new issuer"),
    ],
)
def test_counts_are_evidence_if_only_the_contract_or_usage_changed(
    before: tuple[int | None, ...] | None, now: tuple[int | None, ...], verdict: Verdict
) -> None:
    trace = trace_by_count(Stamps(*before) if before else None, Stamps(*now), 500)

    assert (trace.verdict, trace.stamps) == (verdict, Stamps(*now))
    if before and None not in (before[0], now[0]):
        assert all(f"{n:,}" in trace.note for n in (*before, *now) if n is not None)


@pytest.mark.parametrize(
    ("verdict", "has_count_before", "within_window", "after_window"),
    [
        (Verdict.DONE, True, CONFIRMED, CONFIRMED),
        (Verdict.NOT_DONE, True, UNKNOWN, REJECTED),
        (Verdict.NOT_YET, True, UNKNOWN, UNKNOWN),
        (Verdict.NOT_YET, False, UNKNOWN, NEEDS_REVIEW),
        (Verdict.INCONCLUSIVE, True, UNKNOWN, NEEDS_REVIEW),
        (Verdict.AMBIGUOUS, True, NEEDS_REVIEW, NEEDS_REVIEW),
    ],
)
def test_the_verdict_decides_regardless_of_its_source(
    verdict: Verdict, has_count_before: bool, within_window: str, after_window: str
) -> None:
    unknown = unknown_contract() if has_count_before else unknown_contract(before=None)
    trace = Trace(verdict, BEFORE, "2 lines of 500")

    within_lag = unknown.evaluate(NOW + READ_LAG / 2, trace)

    note = "the PAC's counts may not include it yet"
    assert (within_lag.status, within_lag.note) == (UNKNOWN, note)
    for minutes, status in ((1, within_window), (29, within_window), (30, after_window)):
        after = unknown.evaluate(NOW + timedelta(minutes=minutes), trace)
        assert (after.status, after.after) == (status, BEFORE if status in SETTLED else None)
        # Only a contract that is rejected or not settled has an error.
        assert (after.rejection is None) == (status == CONFIRMED)
    assert unknown.evaluate(NOW + ESCALATE_AFTER, trace).status != UNKNOWN


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

    assert (after.status, after.awaits_count, after.holds_issuer) == (CONFIRMED, waits, waits)
    assert after.pending_events == ("Contract Confirmed", *([COUNT_MISMATCH] if warns else []))
    if warns:
        assert all(f"{n:,}" in (after.warning or "") for n in (500, before or 0, now or 0, 1500))
    if not waits:
        assert after.after == counts(now)


@pytest.mark.parametrize(
    ("verdict", "before", "now", "waits"),
    [
        pytest.param(Verdict.DONE, BEFORE, NOT_CONTRACTED, False, id="a ledger shows it"),
        pytest.param(Verdict.NOT_DONE, BEFORE, NOT_CONTRACTED, True, id="nothing shows it"),
        # Nothing is compared.
        pytest.param(Verdict.NOT_DONE, NOT_CONTRACTED, BEFORE, False, id="only the count now"),
    ],
)
def test_without_contracted_stamps_a_trace_ends_the_wait(
    verdict: Verdict, before: Stamps, now: Stamps, waits: bool
) -> None:
    after = confirmed(before=before).recount(LATER, RECONCILER, Trace(verdict, now, "a ledger"))

    assert (after.holds_issuer, after.warning) == (waits, None)


def check_until_decided(now: Stamps | None) -> tuple[Contract, list[timedelta]]:
    """Return the contract with its final status, and the pauses between its checks."""
    current, pauses = unknown_contract(), []
    while current.status == UNKNOWN:
        assert current.next_check_at is not None
        pauses.append(current.next_check_at - current.at)
        current = evaluate_count(current, current.next_check_at, now)
    return current, pauses


def test_checks_are_spaced_and_end() -> None:
    final, pauses = check_until_decided(None)

    assert (final.status, final.at - NOW >= ESCALATE_AFTER) == (NEEDS_REVIEW, True)
    assert max(pauses) == timedelta(hours=1)
    assert len(pauses) == final.attempts + 1 < 40
    assert contract().next_check_at == NOW + ABANDONED_AFTER
    assert confirmed().next_check_at == NOW + READ_LAG


def test_unchanged_counts_reject_after_the_verification_window() -> None:
    rejected, _ = check_until_decided(BEFORE)

    assert (rejected.status, rejected.at) == (REJECTED, NOW + VERIFICATION_WINDOW)
    rejection = rejected.rejection
    assert rejection is not None
    assert (rejection.code, status_code(rejection.code)) == ("contract-not-bought", 409)
    assert "1,000" in rejection.detail


LOST = "mark-unknown"


@pytest.mark.parametrize(
    ("steps", "events", "locked"),
    [
        ((), (), True),
        (("reject",), (), False),
        (("confirm",), ("Contract Confirmed",), True),
        (("confirm", "count"), ("Contract Confirmed",), False),
        ((LOST,), ("Contract Outcome Unknown",), True),
        ((LOST, "confirm-by-count"), ("Contract Confirmed",), False),
        ((LOST, "reject-by-count"), ("Contract Rejected",), False),
        ((LOST, "escalate"), ("Contract Needs Review",), True),
        ((LOST, "escalate", "settle-rejected"), ("Contract Rejected",), False),
        ((LOST, "escalate", "settle-confirmed"), ("Contract Confirmed",), False),
    ],
)
@pytest.mark.parametrize("published", [(), ("Contract Outcome Unknown",)])
def test_a_state_locks_the_issuer_and_is_open_until_it_is_published(
    steps: tuple[str, ...], events: tuple[str, ...], locked: bool, published: tuple[str, ...]
) -> None:
    current = contract(published_events=published)
    for step in steps:
        current = STEPS[step](current)

    pending = tuple(event for event in events if event not in published)
    assert (current.pending_events, current.holds_issuer) == (pending, locked)
    waits = current.status in (PENDING, UNKNOWN) or current.awaits_count
    assert current.is_open == (waits or bool(pending))
    if current.is_open:
        assert current.next_check_at is not None
    assert replace(current, published_events=events).is_open == waits


def test_ids_sort_by_time_and_differ() -> None:
    first = new_id(NOW)

    assert first < new_id(NOW + timedelta(seconds=1))
    assert len({new_id(NOW) for _ in range(1000)}) == 1000
    assert re.fullmatch("[0-9a-f]{32}", first)


# Characters without a visible form: fillers, an empty Braille pattern, joiners, selectors.
BLANKS = ["ㅤ", "ﾠ", "⠀", "ᅟᅠ", "͏", "️", "\u200b"]
INVALID_REASONS = ["", "because", "x" * 501, None, 7, "ten chars\x00 or so"]
INVALID_REASONS += [blank * 20 for blank in (" ", *BLANKS)] + ["ok" + BLANKS[0] * 8]
INVALID_STAMPS = [0, -1, MAX_STAMPS + 1, 10**300, 500.0, True, "500", "5,000", None, [500], {}]


@pytest.mark.parametrize(
    ("parse", "code", "field", "expected", "values"),
    [
        (parse_state, "parameter-invalid", "status", ", ".join(STATES),
         ("", "Pending", "settled", "pending\n", "x" * 99)),
        (parse_outcome, "parameter-invalid", "outcome", "confirmed",
         ("", UNKNOWN, NEEDS_REVIEW, None, 1, ["x"])),
        (parse_reason, "parameter-invalid", "reason", "", INVALID_REASONS),
        (parse_stamps, "stamps-invalid", "stamps", "whole number", INVALID_STAMPS),
    ],
)  # fmt: skip
def test_an_invalid_parameter_is_rejected_by_name(
    parse: Callable[[Any], object], code: str, field: str, expected: str, values: Sequence[object]
) -> None:
    for value in values:
        assert expected in expect_error(code, field, parse, value).detail


def test_valid_parameters() -> None:
    assert [parse_state(state) for state in STATES] == list(STATES)
    assert [parse_stamps(number) for number in (1, MAX_STAMPS)] == [1, MAX_STAMPS]
    # A reason is stored on one line.
    assert parse_reason(" seen in\n the portal ") == "seen in the portal"
