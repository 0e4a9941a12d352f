"""The daily run when calls fail, workers stop, or time runs out: no result is lost or doubled.

The matrix of failures, test_reliability.py, breaks each call to AWS.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from tests.support import runs
from tests.support.events import LambdaContext
from tests.support.fake_stack import RFC, RFC_N, SF, FakeStack
from tests.support.fault_injection import Killed
from tests.support.runs import BUSY, EMPTY

from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT
from timbres.domain.run import MAX_DURATION, AlertChange
from timbres.repositories.dynamodb import serialize
from timbres.services.daily_run.bulk_query import MAX_FAILURES_IN_A_ROW

# In six hours: after 1, 2, 4, 8 and then every 15 minutes.
ATTEMPTS = 27


def kill() -> None:
    raise Killed


# ---------------------------------------------------------------------- worker failures


def test_a_worker_killed_before_it_publishes_loses_no_event(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=60))
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY])
    run = runs.start(sf)
    sf.aws_faults.before("events", "PutEvents", kill)
    with pytest.raises(Killed):
        sf.run_worker_once()
    sf.reset_warm_functions()

    assert runs.sums(runs.finish(sf, run)) == ("finished", 3, 3, {})

    for event_type, rfc in (("Stamps Exhausted", EMPTY), ("Stamps Low", RFC_N)):
        events = sf.events(event_type)
        assert [(event["rfc"], event["run"]) for event in events] == [(rfc, run)]
    (mail,) = sf.mails()
    assert EMPTY in mail
    assert RFC_N in mail


def test_a_batch_with_unexpected_errors_is_given_up_and_its_stored_counts_are_kept(
    sf: FakeStack,
) -> None:
    """EMPTY is counted, BUSY is not, and the result of their batch cannot be stored."""
    sf.accounts.add_issuers([EMPTY, BUSY, RFC_N])
    sf.pacs.fault("getTimbres", "code", code="500", rfc=BUSY, times=-1)
    run = runs.start(sf, batch_size=2)
    sf.aws_faults.reject(
        "dynamodb", "TransactWriteItems", "ValidationException", times=3, about="-0001"
    )

    rounds = []
    for _ in range(4):
        rounds.append(sf.run_worker_once())
        sf.advance_to_delayed()

    assert rounds == [(1, 1), (0, 1), (1, 0), (0, 0)]
    assert runs.sums(runs.get(sf, run)) == ("finished", 3, 2, {"internal-error": 1})
    assert runs.get(sf, run)["exhausted"] == 1
    assert (runs.event_counts(sf)["Daily Run Completed"], len(sf.mails())) == (1, 1)
    assert "ValidationException" in str(sf.logs.lines("batch failed"))
    (dead,) = sf.receive("RunsDeadLetterQueue")
    assert json.loads(dead["Body"])["run"] == run


def test_invalid_messages_go_to_the_dead_letter_queue_at_once(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])
    key = {"run": "2026-11-19-050000", "account": SF}
    bodies = ["hello", "[]", "null", "{}"]
    # Not a text, more than a batch has, and an unknown run.
    bodies += [json.dumps(key | more) for more in ({"number": 1}, {"number": "1", "rfcs": ["A"]})]
    bodies += [json.dumps(key | {"number": "1"})]
    for body in bodies:
        sf.aws.client("sqs").send_message(QueueUrl=sf.aws.refs["RunsQueue"], MessageBody=body)
    run = runs.start(sf)

    assert sf.run_worker_once() == (1 + len(bodies), 0)

    assert runs.sums(runs.get(sf, run)) == ("finished", 1, 1, {})
    assert sorted(dead["Body"] for dead in sf.receive("RunsDeadLetterQueue")) == sorted(bodies)


# ----------------------------------------------------- temporary and permanent failures


def test_an_issuer_that_times_out_is_retried_until_the_run_closes(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, BUSY])
    sf.pacs.fault("getTimbres", "cut-before", rfc=RFC, times=-1)
    begun = sf.clock()
    run = runs.start(sf)

    delays = []
    while sf.run_worker_once() == (0, 1):
        delays.append(round(sf.advance_to_delayed() / 60))

    assert delays == [1, 2, 4, 8, *[15] * (ATTEMPTS - 5)]
    assert runs.sums(runs.get(sf, run)) == ("finished", 2, 1, {"pac-timeout": 1})
    assert Counter(runs.queried_rfcs(sf)) == {RFC: ATTEMPTS, BUSY: 1}
    # The last attempt is within the run's maximum duration.
    assert MAX_DURATION - timedelta(minutes=16) < sf.clock() - begun < MAX_DURATION
    assert sf.close_overdue() == []


def test_an_invocation_without_time_for_a_call_is_not_a_failure(sf: FakeStack) -> None:
    runs.add_many_issuers(sf, 3)
    run = runs.start(sf)

    for _ in range(4):
        assert sf.run_worker_once(seconds=17) == (0, 1)
        assert sf.advance_to_delayed()

    assert runs.queried_rfcs(sf) == []
    assert runs.sums(runs.get(sf, run)) == ("running", 3, 0, {})
    assert runs.sums(runs.finish(sf, run)) == ("finished", 3, 3, {})


@pytest.mark.parametrize(("code", "times"), [("501", 9), ("503", 1)])
def test_a_busy_pac_gets_one_call_at_each_attempt(sf: FakeStack, code: str, times: int) -> None:
    runs.add_many_issuers(sf, 5)
    sf.pacs.fault("getTimbres", "code", code=code, times=times)

    assert runs.sums(sf.run()) == ("finished", 5, 5, {})
    assert len(runs.queried_rfcs(sf)) == times + 5


def test_issuers_that_fail_do_not_block_others(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, calls_in_flight=1))
    # More than end an attempt, and sorted before the others.
    rfcs = runs.add_many_issuers(sf, MAX_FAILURES_IN_A_ROW + 4)
    others = rfcs[-3:]
    for rfc in rfcs[:-3]:
        sf.pacs.fault("getTimbres", "code", code="500", rfc=rfc, times=-1)
    runs.start(sf)

    for _ in range(8):
        sf.run_worker_once()
        sf.advance_to_delayed()

    assert sorted(runs.snapshots(sf)) == others
    calls = Counter(runs.queried_rfcs(sf))
    assert {calls[rfc] for rfc in others} == {1}


@pytest.mark.parametrize(
    ("code", "failures", "result", "failed"),
    [
        ("500", MAX_FAILURES_IN_A_ROW, (0, 1), {}),
        # The password expires: no later attempt succeeds.
        ("602", 1, (1, 0), {"pac-credentials-rejected": 25}),
    ],
)
def test_a_pac_that_fails_during_a_batch_gets_few_more_calls(
    sf: FakeStack, code: str, failures: int, result: tuple[int, int], failed: dict[str, int]
) -> None:
    # More than are stored at a time.
    counted = 55
    runs.add_many_issuers(sf, counted + 25)
    # A fault without effect, on the first calls.
    sf.pacs.fault("getTimbres", "slow", seconds=0, times=counted)
    sf.pacs.fault("getTimbres", "code", code=code, times=-1)
    run = runs.start(sf)

    assert sf.run_worker_once() == result

    assert len(runs.snapshots(sf)) == counted
    assert len(runs.queried_rfcs(sf)) <= counted + failures + DEFAULT_CALLS_IN_FLIGHT
    assert runs.get(sf, run)["failed"] == failed


@pytest.mark.parametrize(
    ("code", "reason", "calls"),
    [
        ("401", "pac-credentials-rejected", 1),
        ("500", "pac-error", ATTEMPTS),
        # An unexpected error, which the queue repeats.
        (None, "internal-error", 3),
    ],
)
def test_a_balance_that_fails(stack: FakeStack, code: str | None, reason: str, calls: int) -> None:
    stack.accounts.delete(SF)
    if code:
        stack.pacs.fault("saldos", "code", times=-1, code=code)
    else:
        table = stack.aws.refs["IssuersTable"]
        stack.aws_faults.reject("dynamodb", "Query", "ValidationException", about=table)

    assert runs.sums(stack.run()) == ("finished", 1, 0, {reason: 1})
    assert stack.pacs.calls() == ["saldos"] * calls


# ----------------------------------------------------------------------- account failures


def test_rejected_credentials_are_one_sign_in_for_each_worker_in_flight(sf: FakeStack) -> None:
    runs.add_many_issuers(sf, 20)
    sf.pacs.state.solucion_factible.set_account(password="another")
    run = runs.start(sf, batch_size=2)
    # The template allows two workers at a time.
    assert int(sf.aws.refs["MaxConcurrentRunWorkers"]) == 2

    workers = [sf.load_function("run_worker").handler for _ in range(2)]

    def work(worker: Any, event: Any) -> None:
        worker(event, LambdaContext("run_worker", 300))

    with sf.environment("run_worker"), ThreadPoolExecutor(2) as threads:
        list(threads.map(work, workers, runs.batch_events(sf, size=5)))

    assert 1 <= len(sf.pacs.calls()) <= 2
    record = runs.get(sf, run)
    assert runs.sums(record) == ("finished", 20, 0, {"pac-credentials-rejected": 20})
    assert record["accounts"][0]["account_stamps"]["problem"] == "pac-credentials-rejected"
    assert runs.event_counts(sf) == {"Credentials Rejected": 1, "Daily Run Completed": 1}
    rejected, counted = sf.mails()
    assert "rechazó las credenciales" in rejected
    assert "20 de 20 emisores: el PAC rechazó las credenciales" in counted


def test_an_account_whose_secret_was_deleted_after_the_start(sf: FakeStack) -> None:
    name = runs.add_second_account(sf, RFC, BUSY)
    sf.accounts.add_issuers([RFC])
    run = runs.start(sf)
    sf.accounts.delete(name)

    assert runs.sums(runs.finish(sf, run)) == ("finished", 3, 1, {"account-unknown": 2})


# ---------------------------------------------------------------------- the end of a run


def published_events(stack: FakeStack) -> list[dict[str, Any]]:
    """Check that each run was published and its failures are listed; return the events."""
    published = stack.events("Daily Run Completed")
    for event in published:
        record = runs.get(stack, event["id"])
        accounts = record.pop("accounts")
        assert record.items() <= event.items()
        alerts = Counter(issuer["alert"] for issuer in event["issuers"])
        assert (alerts["low"], alerts["exhausted"]) == (event["low"], event["exhausted"])
        listed = stack.get(f"/runs/{event['id']}/failures").body["failures"]
        for account in accounts:
            failed = Counter(account["failed"])
            failed[(account["account_stamps"] or {}).get("problem")] += 1
            own = Counter(one["code"] for one in listed if one["account"] == account["account"])
            assert own == failed - Counter([None])
    return published


def test_an_overdue_run_is_closed_with_its_results(stack: FakeStack) -> None:
    runs.add_many_issuers(stack, 3)
    run = runs.start(stack, batch_size=2)
    balance, first, second = runs.batch_events(stack)
    stack.invoke("run_worker", first)
    stack.clock.forward(hours=5, minutes=59)
    assert stack.close_overdue() == []
    stack.clock.forward(minutes=1)

    (closed,) = stack.close_overdue()

    assert runs.sums(closed) == ("finished", 4, 2, {"not-reached": 2})
    assert stack.close_overdue() == []
    # A late message adds nothing to a published run, and makes no call.
    record, calls = runs.get(stack, run), stack.pacs.calls()
    for late in (balance, second):
        assert stack.invoke("run_worker", late) == {"batchItemFailures": []}
    assert (runs.get(stack, run), stack.pacs.calls()) == (record, calls)
    assert len(published_events(stack)) == 1


def test_a_run_closed_during_its_start_plans_nothing_more(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])

    def close() -> None:
        sf.clock.forward(hours=6)
        sf.invoke("run", {"close": "overdue"}, module=sf.load_function("run"))

    sf.aws_faults.before("dynamodb", "TransactWriteItems", close)

    assert runs.sums(sf.run()) == ("finished", 0, 0, {})
    assert len(published_events(sf)) == 1
    assert runs.queried_rfcs(sf) == []


@pytest.mark.parametrize(
    ("service", "operation", "table", "is_killed"),
    [
        ("dynamodb", "TransactWriteItems", "SnapshotsTable", False),
        ("events", "PutEvents", None, False),
        ("dynamodb", "TransactWriteItems", "RunsTable", False),
        ("dynamodb", "TransactWriteItems", "RunsTable", True),
    ],
)
def test_a_run_closed_while_a_worker_counts_publishes_what_is_stored(
    sf: FakeStack, service: str, operation: str, table: str | None, is_killed: bool
) -> None:
    """Six hours pass and the run is closed during a step of the worker, which may be killed."""
    sf.accounts.add_issuers([EMPTY, BUSY, RFC_N])
    run = runs.start(sf, batch_size=1)

    def close() -> None:
        sf.clock.forward(hours=6)
        sf.close_overdue()
        if is_killed:
            raise Killed

    about = sf.aws.refs[table] if table else ""
    closed = sf.aws_faults.before(service, operation, close, about)
    with suppress(Killed):
        sf.run_worker_until_idle()
    sf.run_worker_until_idle()

    assert closed
    (published,) = published_events(sf)
    assert (published["id"], published["exhausted"]) == (run, 0)
    assert published["failed"] == {"not-reached": 3}
    # The late worker's counts are stored, and the next run publishes their alerts.
    assert runs.line(sf, EMPTY)["alert"] == "exhausted"
    sf.clock.forward(hours=18)
    sf.run()
    sf.clock.forward(days=1)
    sf.run()
    listed = [[issuer["rfc"] for issuer in event["issuers"]] for event in published_events(sf)]
    assert listed == [[], [EMPTY], []]
    assert sum(f"- {EMPTY} (cuenta {SF}): 0" in mail for mail in sf.mails()) == 1


def test_more_late_alerts_than_a_transaction_holds_are_published_by_two_runs(sf: FakeStack) -> None:
    change = asdict(AlertChange(SF, RFC, "low", 1, 1.0, 1.0))
    for n in range(100):
        item = {"run": "late", "entry": f"a-run#{SF}#1#{n}", "alerts#0": [change]}
        sf.aws.client("dynamodb").put_item(TableName=sf.aws.refs["RunsTable"], Item=serialize(item))

    for _ in range(2):
        sf.run()
        sf.clock.forward(days=1)

    assert [event["low"] for event in published_events(sf)] == [99, 1]


@pytest.mark.parametrize(
    ("service", "operation", "about"),
    [
        # The steps of the end: close, seal, publish, finish.
        ("dynamodb", "UpdateItem", '"closed"'),
        ("dynamodb", "TransactWriteItems", "finished_at"),
        ("events", "PutEvents", ""),
        ("dynamodb", "UpdateItem", '"finished"'),
    ],
)
def test_a_killed_end_publishes_what_is_stored(
    sf: FakeStack, service: str, operation: str, about: str
) -> None:
    """The closing function is killed; the workers continue; the closing is repeated."""
    runs.add_many_issuers(sf, 3)
    sf.accounts.add_issuers([EMPTY])
    run = runs.start(sf, batch_size=2)
    events = list(runs.batch_events(sf))
    sf.clock.forward(hours=6)
    sf.aws_faults.before(service, operation, kill, about)
    with pytest.raises(Killed):
        sf.close_overdue()
    sf.reset_warm_functions()
    for event in events:
        sf.invoke("run_worker", event)
    sf.clock.forward(hours=1)
    sf.close_overdue()

    # Published twice at most, and the same both times.
    first, *others = published_events(sf)
    assert others in ([], [first])
    assert (first["id"], runs.get(sf, run)["status"]) == (run, "finished")
    sf.clock.forward(hours=17)
    sf.run()
    assert sum(f"{EMPTY} (cuenta" in mail for mail in sf.mails()) == 1


def test_two_ends_at_the_same_time_publish_the_same_event(sf: FakeStack) -> None:
    """The first end pauses for longer than its lease, and then continues."""
    sf.accounts.add_issuers([EMPTY])
    runs.start(sf)

    def close_too() -> None:
        sf.clock.forward(minutes=11)
        assert sf.close_overdue()
        sf.clock.forward(minutes=1)

    sf.aws_faults.before("dynamodb", "TransactWriteItems", close_too, "finished_at")
    sf.run_worker_until_idle()

    first, second = published_events(sf)
    assert first == second
    assert first["exhausted"] == len(sf.mails()) == 1
