"""Contracts: every pair of states, the ways that are open and the many that are not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.contract import (
    CONFIRMED,
    NEEDS_REVIEW,
    PENDING,
    REJECTED,
    SETTLED,
    STATES,
    UNKNOWN,
    Contract,
    IllegalTransitionError,
    Refusal,
    new_id,
    parse_state,
)
from timbres.domain.rfc import Rfc
from timbres.errors import TimbresError

NOW = datetime(2026, 11, 19, 13, 53, 41, tzinfo=UTC)
REFUSAL = Refusal("pac-timeout", 504, "The PAC did not answer in time", "nothing came")

# The picture in the module, as pairs; needs-review ends only where a person says so.
OPEN = {
    (PENDING, CONFIRMED),
    (PENDING, REJECTED),
    (PENDING, UNKNOWN),
    (UNKNOWN, CONFIRMED),
    (UNKNOWN, REJECTED),
    (UNKNOWN, NEEDS_REVIEW),
    (NEEDS_REVIEW, CONFIRMED),
    (NEEDS_REVIEW, REJECTED),
}


def contract(status: str = PENDING, sent: bool = True) -> Contract:
    return Contract(
        id="0" * 32,
        account="acme-sf",
        rfc=Rfc("A&D061009TY8"),
        stamps=500,
        status=status,
        requested_by="arn:aws:iam::123456789012:user/buyer",
        created_at=NOW,
        sent_at=NOW if sent else None,
        contracted_before=1000 if sent else None,
    )


MOVES: dict[str, Callable[[Contract], Contract]] = {
    CONFIRMED: lambda one: one.confirmed(NOW, "200", "hecho"),
    REJECTED: lambda one: one.rejected(NOW, REFUSAL, "620", "no"),
    UNKNOWN: lambda one: one.unknown(REFUSAL, None, None),
}


@pytest.mark.parametrize("target", MOVES)
@pytest.mark.parametrize("status", STATES)
def test_every_pair_of_states(status: str, target: str) -> None:
    before = contract(status)
    if (status, target) in OPEN:
        after = MOVES[target](before)
        assert after.status == target
        assert (after.settled_at == NOW) == (target in SETTLED)
        unchanged = {"status": status, "settled_at": None, "pac_code": None, "pac_message": None}
        assert replace(after, **unchanged, refusal=None) == before  # type: ignore[arg-type]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{status}.*{target}"):
            MOVES[target](before)
    assert before == contract(status)


def test_what_is_settled_never_changes() -> None:
    assert {status for status, _ in OPEN}.isdisjoint(SETTLED)
    assert {target for _, target in OPEN} == set(STATES) - {PENDING}


def test_a_confirmed_contract_keeps_the_pacs_words_and_no_refusal() -> None:
    after = MOVES[CONFIRMED](MOVES[UNKNOWN](contract()))
    assert (after.pac_code, after.pac_message, after.refusal) == ("200", "hecho", None)


@pytest.mark.parametrize("target", [REJECTED, UNKNOWN])
def test_a_refusal_is_kept_so_that_it_can_be_told_again(target: str) -> None:
    assert MOVES[target](contract()).refusal == REFUSAL


def test_a_pending_contract_is_sent_once() -> None:
    sent = contract(sent=False).sending(NOW, 1000)
    assert (sent.status, sent.sent_at, sent.contracted_before) == (PENDING, NOW, 1000)
    with pytest.raises(IllegalTransitionError):
        sent.sending(NOW, 1000)


@pytest.mark.parametrize("status", sorted(set(STATES) - {PENDING}))
@pytest.mark.parametrize("sent", [False, True])
def test_nothing_but_a_pending_contract_is_sent(status: str, sent: bool) -> None:
    with pytest.raises(IllegalTransitionError):
        contract(status, sent).sending(NOW, 1000)


def test_a_count_that_is_not_known_is_none() -> None:
    sent = contract(sent=False).sending(NOW, None)
    assert sent.contracted_before is None
    assert MOVES[CONFIRMED](sent).counted(1500).contracted_after == 1500
    assert MOVES[CONFIRMED](sent).counted(None).contracted_after is None


# --------------------------------------------------------------------------------- ids


@given(st.lists(st.datetimes(datetime(2011, 1, 1), datetime(2200, 1, 1)), min_size=2, max_size=20))
def test_ids_sort_by_time(moments: list[datetime]) -> None:
    moments = sorted(moment.replace(tzinfo=UTC) for moment in moments)
    ids = [new_id(moment) for moment in moments]
    for (one, other), (earlier, later) in zip(pairwise(ids), pairwise(moments), strict=True):
        assert one != other
        if later - earlier >= timedelta(milliseconds=1):
            assert one < other


def test_an_id_is_32_hexadecimal_digits_and_knows_no_zone() -> None:
    made = new_id(NOW)
    assert len(made) == 32
    assert set(made) <= set("0123456789abcdef")
    elsewhere = new_id(NOW.astimezone(timezone(timedelta(hours=-6))))
    assert made[:12] == elsewhere[:12]
    assert made != elsewhere


def test_ten_thousand_ids_of_one_moment_differ() -> None:
    started = time.monotonic()
    assert len({new_id(NOW) for _ in range(10_000)}) == 10_000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("state", STATES)
def test_states_are_parsed(state: str) -> None:
    assert parse_state(state) == state


@pytest.mark.parametrize("value", ["", "Pending", "settled", "needs_review", "pending\n", "x" * 99])
def test_what_is_no_state_is_refused(value: str) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_state(value)
    assert (caught.value.kind.code, caught.value.field) == ("parameter-invalid", "status")
    assert all(state in caught.value.detail for state in STATES)
