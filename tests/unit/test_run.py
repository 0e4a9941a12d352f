"""Runs: ids, delays between attempts, and when a run is complete."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.aws.queues import batch_from_json, batch_to_json
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.run import (
    MAX_DURATION,
    MAX_RETRY_SECONDS,
    RUNNING,
    AccountCount,
    AccountRun,
    Batch,
    BatchId,
    Rfcs,
    Run,
    is_run_id,
    retry_delay,
    run_id,
)
from timbres.schemas.runs import run_to_event

DUE = datetime(2026, 11, 21, 5, 0, tzinfo=MEXICO_CITY)
BATCH = BatchId(run_id(DUE), "acme-sf", "0123abcd-0007")


def account(**changes: object) -> AccountRun:
    return replace(AccountRun("acme-sf", 10, 0, {}, plan="0123abcd"), **changes)  # type: ignore[arg-type]


def run(*accounts: AccountRun, enqueued: bool = True) -> Run:
    return Run(run_id(DUE), RUNNING, DUE, enqueued=enqueued, accounts=accounts)


dues = st.datetimes(datetime(2020, 1, 1), datetime(9999, 12, 31))


@given(st.lists(dues, min_size=1, max_size=5))
def test_ids_are_valid_contain_their_day_and_sort_by_time(moments: list[datetime]) -> None:
    for due in moments:
        assert is_run_id(run_id(due))
        assert Run(run_id(due), RUNNING, due).day == due.date()
    assert sorted(map(run_id, moments)) == [run_id(due) for due in sorted(moments)]
    assert (run_id(DUE), run().day) == ("2026-11-21-050000", date(2026, 11, 21))


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21-05000", "2026-11-21-0500000", "2026-11-21T050000",
     "2026-11-21-050000\n", " 2026-11-21-050000", "2026-11-21-05:00:00", "run",
     "batch#acme-sf#0001",     "２０２６-11-21-050000"],
)  # fmt: skip
def test_invalid_ids(text: str) -> None:
    assert not is_run_id(text)


@pytest.mark.parametrize(
    ("base", "delays"),
    [
        (60, [60, 120, 240, 480, 900, 900, 900]),
        (1, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]),
        (900, [900, 900]),
    ],
)
def test_the_delay_doubles_up_to_a_quarter_of_an_hour(base: float, delays: list[float]) -> None:
    assert [retry_delay(attempt, base) for attempt in range(1, len(delays) + 1)] == delays
    # SQS accepts every delay.
    assert retry_delay(1000, base) == MAX_RETRY_SECONDS == 900


@given(st.from_regex(r"[A-Za-z0-9 &Ññ\"\\\\]+", fullmatch=True))
def test_every_name_survives_a_round_trip(text: str) -> None:
    batch = BatchId(text, text, text)
    assert batch_from_json(batch_to_json(batch)) == batch


@pytest.mark.parametrize(
    ("rfcs", "complete"), [((), True), (("A&D061009TY8",), False), (None, False)]
)
def test_a_batch_is_complete_when_no_issuer_is_left(rfcs: Rfcs, complete: bool) -> None:
    assert Batch(BATCH, rfcs).is_complete is complete


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({"done": 10}, True),
        ({"done": 9}, False),
        ({"done": 9, "failed": {"pac-timeout": 1}}, True),
        ({"failed": {"pac-timeout": 4, "pac-error": 6}}, True),
        ({"failed": {"pac-timeout": 4, "pac-error": 5}}, False),
        ({"done": 11}, True),
        ({"done": 10, "plan": None}, False),
        ({"expected": 0}, True),
        ({"expected": 0, "plan": None}, False),
        ({"expected": 0, "plan_problem": "account-misconfigured"}, True),
        # A repeated start plans it again.
        ({"expected": 0, "plan_problem": "internal-error"}, False),
    ],
)
def test_when_an_account_is_complete(changes: dict[str, object], complete: bool) -> None:
    assert account(**changes).is_complete is complete


@pytest.mark.parametrize(
    ("changes", "problem", "counted"),
    [
        ({}, None, True),
        ({"expected": 0}, None, True),
        ({"expected": 20, "failed": {"pac-timeout": 1}}, None, True),
        ({"expected": 39, "failed": {"pac-timeout": 2}}, "pac-timeout", False),
        ({"expected": 605, "failed": {"a": 299, "b": 301}}, "b", False),
        ({"expected": 1, "failed": {"pac-unreachable": 1}}, "pac-unreachable", False),
        ({"plan_problem": "account-unreadable"}, "account-unreadable", False),
        ({"count": AccountCount(problem="pac-error")}, None, False),
        ({"count": AccountCount()}, None, True),
    ],
)
def test_when_an_account_is_counted(
    changes: dict[str, object], problem: str | None, counted: bool
) -> None:
    result = account(**changes)
    assert (result.problem, result.is_counted) == (problem, counted)


def test_the_event_of_a_run_fits_if_no_account_of_2_000_is_counted() -> None:
    failed = {f"a-code-of-{n:020}": n for n in range(1, 5)}
    problem = AccountCount(problem="pac-permission-denied")
    accounts = [account(account=f"{n:041}", failed=failed, count=problem) for n in range(2_000)]
    event = run_to_event(run(account(account="counted"), *accounts), [])
    assert event["accounts_not_counted"] == 2_000
    assert not any(one["counted"] for one in event["failures"])
    # EventBridge accepts 256 KB.
    assert len(json.dumps(event)) < 250_000


def test_when_a_run_is_complete() -> None:
    done, open_ = account(done=10), account(done=3)
    for complete in (run(), run(done, done)):
        assert complete.is_complete
    # Further accounts may follow as long as it is not enqueued.
    for incomplete in (run(done, open_), run(done, enqueued=False), run(enqueued=False)):
        assert not incomplete.is_complete


def test_a_run_is_closed_before_the_next_run() -> None:
    begun = replace(run(), started_at=DUE + timedelta(minutes=2))
    assert begun.closes_at == DUE + timedelta(minutes=2) + MAX_DURATION
    assert begun.closes_at < DUE + timedelta(days=1)
