"""Runs: ids, delays between attempts, and when a run is complete."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from timbres.aws.queues import RunQueue
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.run import (
    RUNNING,
    AccountCount,
    AccountRun,
    AlertChange,
    Batch,
    BatchId,
    Failure,
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


def test_a_running_run_is_expected_to_end_at_its_rate_so_far() -> None:
    now = DUE + timedelta(minutes=10)
    half = account(expected=100, done=40, failed={"pac-timeout": 10})
    running, slow = run(half, account(done=10)), run(account(expected=10_000, done=1))
    finished = replace(running, finished_at=now)

    assert running.per_minute(now) == finished.per_minute(now + timedelta(hours=1)) == 6
    assert running.expected_end(now) == now + timedelta(minutes=50 / 6)
    assert slow.expected_end(now) == slow.closes_at
    # Nothing is expected of a finished run, or before the first result.
    assert finished.expected_end(now) is None
    assert run(account()).expected_end(now) is running.expected_end(DUE) is None


@given(st.datetimes(datetime(2020, 1, 1), datetime(9999, 12, 31)))
def test_an_id_is_the_local_time_of_its_run(due: datetime) -> None:
    assert run_id(due) == f"{due.date()}-{due:%H%M%S}"
    assert is_run_id(run_id(due))
    assert Run(run_id(due), RUNNING, due).day == due.date()


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-11-21-05000", "2026-11-21-0500000", "2026-11-21T050000",
     "2026-11-21-050000\n", "run", "２０２６-11-21-050000"],
)  # fmt: skip
def test_invalid_ids(text: str) -> None:
    assert not is_run_id(text)


def test_the_delay_doubles_up_to_a_quarter_of_an_hour() -> None:
    delays = [retry_delay(attempt, 60) for attempt in (*range(1, 7), 1000)]
    assert delays == [60, 120, 240, 480, 900, 900, 900]


def test_a_message_that_sqs_rejects_is_an_error() -> None:
    response = {"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError"}]}
    sqs = SimpleNamespace(send_message_batch=lambda **_: response)

    with pytest.raises(ClientError, match="InternalError"):
        RunQueue(sqs, "https://sqs").send(["a message"])


def test_a_batch_is_complete_when_nothing_is_left() -> None:
    rfcs: list[Rfcs] = [(), ("A&D061009TY8",), None]
    assert [Batch(BATCH, left).is_complete for left in rfcs] == [True, False, False]
    assert not Batch(BATCH, (), counts_account=True).is_complete


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({"done": 10}, True),
        ({"done": 9}, False),
        ({"done": 9, "failed": {"pac-timeout": 1}}, True),
        ({"done": 11}, True),
        ({"done": 10, "count_due": True}, False),
        ({"done": 10, "plan": None}, False),
        ({"expected": 0}, True),
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


def test_the_event_of_a_run_fits_although_2_000_accounts_fail_and_5_000_issuers_are_low() -> None:
    failed = {f"a-code-of-{n:020}": n for n in range(1, 5)}
    problem = AccountCount(problem="pac-permission-denied")
    accounts = [account(account=f"{n:041}", failed=failed, count=problem) for n in range(2_000)]
    change = AlertChange("acme-sf", "A&D061009TY8", "low", 10**9, 0.123, 10.0**9)
    failures = [Failure("acme-sf", f"AAA{n:06}AAA", "pac-timeout") for n in range(100)]
    failures.append(Failure("acme-sf", "A&D061009TY8", "pac-rejected-request"))
    record = run(account(account="counted"), *accounts)

    event = run_to_event(record, [change] * 5_000, failures)

    assert (len(event["issuers"]), len(event["failed_issuers"])) == (200, 60)
    # The issuers that the PAC does not know are first.
    assert event["failed_issuers"][0]["rfc"] == "A&D061009TY8"
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
