"""The daily run: from its schedule over the queue to snapshots, events, one mail and a record."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState, Movement, bulk_rfc
from tests.support.events import LambdaContext, check_problem, sqs_event
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.template import STACK_NAME

import timbres.schemas.runs
import timbres.services.daily_run.finalization
import timbres.services.daily_run.start
import timbres.services.daily_run.worker
from timbres.aws import clients as session
from timbres.aws.events import EventPublisher
from timbres.aws.rate_limiter import RateLimiter
from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT
from timbres.domain.run import MAX_DURATION
from timbres.pacs.solucion_factible.client import SolucionFactibleClient
from timbres.repositories.daily_counts import DailyCountRepository
from timbres.repositories.runs import RunRepository

EMPTY, UNUSED, BUSY = "AAA010101AAA", "ACM010203XY9", "GOMP800101QX2"
STRANGERS = ("XYZ010203AB1", "XYZ010203AB2")
STAMPING = (RFC, RFC_N, EMPTY)  # at Reachcore
# In six hours: after 1, 2, 4, 8 and then every 15 minutes.
ATTEMPTS = 27


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two issuers each."""
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 2)


def add_many_issuers(stack: FakeStack, count: int) -> list[str]:
    """Add issuers to the PAC and to the account; return their RFCs."""
    stack.pacs.state.solucion_factible.load_issuers(count)
    rfcs = [bulk_rfc(index) for index in range(count)]
    stack.accounts.add_issuers(rfcs)
    return rfcs


def start(stack: FakeStack) -> str:
    return str(stack.invoke("run", {"scheduled_time": stack.clock().isoformat()})["id"])


def get_run(stack: FakeStack, run: str) -> dict[str, Any]:
    body: dict[str, Any] = stack.get(f"/runs/{run}").body
    return body


def sums(run: dict[str, Any]) -> tuple[str, int, int, dict[str, int]]:
    return run["status"], run["expected"], run["done"], run["failed"]


def queried_rfcs(stack: FakeStack) -> list[str]:
    """Return the RFCs that Solución Factible was asked for, in order."""
    return [call["rfc"] for call in stack.pacs.solucion_factible.calls.as_json() if call["rfc"]]


def history(stack: FakeStack, rfc: str, account: str = SF) -> list[dict[str, Any]]:
    body = stack.get(f"/accounts/{account}/stamps/history", rfc=rfc).body
    snapshots: list[dict[str, Any]] = body["snapshots"]
    return snapshots


def line(stack: FakeStack, rfc: str, account: str = SF) -> dict[str, Any]:
    issuers = stack.get(f"/accounts/{account}/stamps").body["issuers"]
    return next(issuer for issuer in issuers if issuer["rfc"] == rfc)


def stored_items(stack: FakeStack) -> dict[str, list[dict[str, Any]]]:
    """Return the items of a run's tables, without the rate limit."""
    tables = ("IssuersTable", "SnapshotsTable", "RunsTable")
    return {
        name: sorted(stack.aws.items(name), key=lambda item: sorted(map(str, item.items())))
        for name in tables
    }


def issuer_snapshots(stack: FakeStack) -> list[dict[str, Any]]:
    """Return the snapshots of issuers, without those of accounts."""
    items = stack.aws.items("SnapshotsTable")
    return [item for item in items if not item["entry"].startswith("account#")]


def remove_account(stack: FakeStack, name: str) -> None:
    stack.accounts.delete(name)
    stack.reset_warm_functions()


def batch_events(stack: FakeStack, size: int = 1) -> list[dict[str, Any]]:
    """Take all batches from the queue; return the workers' events of ``size`` messages."""
    messages = stack.receive("RunsQueue")
    groups = [messages[first : first + size] for first in range(0, len(messages), size)]
    return [sqs_event(stack.aws.arns["RunsQueue"], group) for group in groups]


def in_threads(*calls: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_two_workers(stack: FakeStack, events: list[dict[str, Any]]) -> None:
    """Handle the events in two processes, one event of each at a time."""
    with stack.environment("run_worker"):
        workers = [stack.load_function("run_worker").handler for _ in range(2)]
        context = LambdaContext("run_worker", 300)
        for first in range(0, len(events), 2):
            pairs = zip(workers, events[first : first + 2], strict=False)
            in_threads(*(partial(worker, event, context) for worker, event in pairs))


def before_first(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    action: Callable[[], Any],
    text: str = "",
) -> list[bool]:
    """Run an action before the first call of a method whose arguments contain a text.

    Returns a list that is empty until then.
    """
    method, done = getattr(owner, name), []

    def call(self: Any, *args: Any, **options: Any) -> Any:
        if not done and text in str(args):
            done.append(True)
            action()
        return method(self, *args, **options)

    monkeypatch.setattr(owner, name, call)
    return done


def event_counts(stack: FakeStack) -> Counter[str]:
    return Counter(entry["DetailType"] for entry in stack.published)


# ----------------------------------------------------------------------------- one run


def test_a_run_counts_every_issuer_of_every_account(stack: FakeStack) -> None:
    stack.accounts.create("acme-two", stack.accounts.secret(SF))
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY])
    stack.accounts.add_issuers([BUSY, UNUSED], account="acme-two")

    run = stack.run()

    of_accounts = [account.pop("account_stamps") for account in run["accounts"]]
    assert [of and of["available"] for of in of_accounts] == [None, 8950, 8950]
    assert run == {
        "id": "2026-11-19-135341",
        "status": "finished",
        "day": "2026-11-19",
        "started_at": "2026-11-19T13:53:41-06:00",
        "finished_at": "2026-11-19T13:53:41-06:00",
        "low": 0,
        "exhausted": 1,
        "expected": 8,
        "done": 8,
        "failed": {},
        "per_minute": None,
        "expected_end": None,
        "accounts": [
            {"account": name, "expected": count, "done": count, "failed": {}, "problem": None}
            for name, count in ((RC, 3), (SF, 3), ("acme-two", 2))
        ],
    }
    of_accounts_calls = ["getTimbresImplementacion"] * 2
    assert sorted(stack.pacs.calls()) == ["getTimbres"] * 5 + of_accounts_calls + ["saldos"]
    (snapshot,) = history(stack, RFC)
    assert snapshot == {
        "date": "2026-11-19",
        "as_of": "2026-11-19T13:53:41-06:00",
        "contracted": 1000,
        "used": 250,
        "available": 750,
        "unlimited": False,
        "consumed": None,
    }
    assert line(stack, BUSY, "acme-two")["available"] == 180
    assert event_counts(stack) == {"Daily Run Completed": 1, "Stamps Exhausted": 1}


def test_a_finished_run_publishes_its_record(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY, STRANGERS[0]])

    run = sf.run()

    (published,) = sf.events("Daily Run Completed")
    empty = {
        "account": SF,
        "rfc": EMPTY,
        "alert": "exhausted",
        "available": 0,
        "days_left": 0,
        "burn": None,
    }
    assert published == {key: value for key, value in run.items() if key != "accounts"} | {
        "accounts": [SF],
        "problems": {},
        "exhausted_total": 1,
        "failed_issuers": [
            {"account": SF, "rfc": STRANGERS[0], "code": "pac-rejected-request"},
        ],
        "account_stamps": [],
        "account_stamps_problems": {},
        "failures": [
            {
                "account": SF,
                "expected": 3,
                "failed": {"pac-rejected-request": 1},
                "problem": None,
                "account_stamps_problem": None,
                "counted": False,
            }
        ],
        "accounts_not_counted": 1,
        "issuers": [empty],
    }
    assert sf.events("Stamps Exhausted") == [empty | {"run": run["id"]}]


def test_unknown_issuers_stop_no_others(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, *STRANGERS, BUSY])

    run = sf.run()

    assert sums(run) == ("finished", 4, 2, {"pac-rejected-request": 2})
    assert history(sf, STRANGERS[0]) == []
    assert line(sf, STRANGERS[0])["as_of"] is None
    assert line(sf, BUSY)["available"] == 180
    logged = sf.logs.lines("an issuer was not counted")
    assert {(entry["rfc"], entry["code"]) for entry in logged} == {
        (rfc, "pac-rejected-request") for rfc in STRANGERS
    }


def test_an_account_without_issuers_and_no_account_at_all(sf: FakeStack) -> None:
    assert sums(sf.run()) == ("finished", 0, 0, {})
    remove_account(sf, SF)
    assert sf.run()["accounts"] == []
    assert sf.pacs.calls() == ["getTimbresImplementacion"]
    assert sf.mails() == []


def test_batches_are_queued_by_turns_so_that_a_large_account_does_not_delay_others(
    sf: FakeStack, pairs: None
) -> None:
    sf.accounts.create("acme-two", sf.accounts.secret(SF))
    sf.accounts.add_issuers([bulk_rfc(index) for index in range(12)])
    sf.accounts.add_issuers([bulk_rfc(index) for index in range(4)], account="acme-two")

    start(sf)

    batches = [json.loads(message["Body"]) for message in sf.receive("RunsQueue")]
    assert [batch["account"] for batch in batches][:4] == [SF, "acme-two", SF, "acme-two"]
    assert len(batches) == 8
    assert {frozenset(batch) for batch in batches} == {frozenset({"run", "account", "number"})}


def test_the_metrics_of_a_run(sf: FakeStack, capsys: pytest.CaptureFixture[str]) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50))
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY, *STRANGERS])

    sf.run()

    totals: Counter[str] = Counter()
    for entry in map(json.loads, capsys.readouterr().out.splitlines()):
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], entry["service"]) == ("Timbres", STACK_NAME)
        dimensions = [entry[name] for name in sorted({"reason", "pac", "code"} & entry.keys())]
        for metric in directive["Metrics"]:
            values = entry[metric["Name"]]
            name = " ".join([metric["Name"], *dimensions])
            totals[name] += sum(values) if isinstance(values, list) else values
    assert totals.pop("PacLatency solucion-factible") > 0
    assert totals == {
        "RunsStarted": 1,
        "IssuersExpected": 5,
        "IssuersCounted": 3,
        "StampsLow": 1,
        "StampsExhausted": 1,
        "AccountStampsLow": 0,
        "AccountStampsExhausted": 0,
        "BatchesFailed": 0,
        "IssuersFailed pac-rejected-request": 2,
        "PacCalls solucion-factible": 6,
        "PacErrors pac-rejected-request solucion-factible": 2,
        "RunsFinished": 1,
        "IssuersNotReached": 0,
        "AccountsNotCounted": 1,
        "RunDuration": 0,
    }


# -------------------------------------------------------------------- repeated messages


def test_a_second_run_of_a_day_repeats_no_call_and_no_event(
    stack: FakeStack,
) -> None:
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY, STRANGERS[0]])
    stack.run()
    before, calls = stored_items(stack), queried_rfcs(stack)
    assert len(stack.mails()) == 1
    stack.clock.forward(hours=3)

    run = stack.run()

    assert sums(run) == ("finished", 7, 6, {"pac-rejected-request": 1})
    assert (run["low"], run["exhausted"]) == (0, 0)
    assert queried_rfcs(stack) == [*calls, STRANGERS[0]]
    after = stored_items(stack)
    assert after["IssuersTable"] == before["IssuersTable"]
    assert after["SnapshotsTable"] == before["SnapshotsTable"]
    assert stack.events("Daily Run Completed")[1]["issuers"] == []
    assert event_counts(stack)["Stamps Exhausted"] == 1
    _, repeated = stack.mails()
    assert repeated.startswith(f"Timbres: no se contaron 1 de 4 emisores de {SF}")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_repeated_start(stack: FakeStack, when: str) -> None:
    stack.accounts.add_issuers([RFC, EMPTY])
    due = stack.clock()
    if when == "before":
        start(stack)
    else:
        stack.run(due)
    run = stack.run(due)
    calls, events, mails = stack.pacs.calls(), event_counts(stack), stack.mails()

    assert stack.run(due) == run
    assert sums(run) == ("finished", 5, 5, {})
    assert stack.pacs.calls() == calls
    assert sorted(queried_rfcs(stack)) == [RFC, EMPTY]
    assert stack.pacs.calls().count("saldos") == 1
    assert event_counts(stack) == events
    assert events["Daily Run Completed"] == 1
    assert stack.mails() == mails
    assert len(stack.get("/runs").body["runs"]) == 1


def test_a_failed_end_is_repeated(sf: FakeStack) -> None:
    # Nothing is to be counted; only the event is missing.
    remove_account(sf, SF)
    sf.aws_faults.reject("events", "PutEvents", "InternalException", 500)
    with pytest.raises(Exception, match="InternalException"):
        start(sf)
    sf.aws_faults.restore()
    sf.clock.forward(minutes=5)
    assert sf.close_overdue() == []
    sf.clock.forward(minutes=55)

    (run,) = sf.close_overdue()

    assert sums(run) == ("finished", 0, 0, {})
    assert event_counts(sf) == {"Daily Run Completed": 1}


@pytest.mark.parametrize("new", [0, 20])
@pytest.mark.parametrize(
    ("service", "operation", "after"),
    [
        ("dynamodb", "PutItem", 2),
        ("dynamodb", "TransactWriteItems", 0),
        ("sqs", "SendMessageBatch", 0),
        ("dynamodb", "UpdateItem", 0),
    ],
)
def test_a_start_repeated_after_an_import_counts_every_planned_issuer_once(
    sf: FakeStack, pairs: None, service: str, operation: str, after: int, new: int
) -> None:
    """The start fails at a write; an issuer is imported; the start is repeated."""
    rfcs = [bulk_rfc(index) for index in range(10, 15)]
    sf.pacs.state.solucion_factible.load_issuers(21)
    sf.accounts.add_issuers(rfcs)
    due = sf.clock()
    sf.aws_faults.reject(service, operation, "InternalServerError", 500, after=after)
    # A plan that cannot be stored is repeated, like a start that fails.
    expected = nullcontext() if operation == "PutItem" else pytest.raises(Exception, match="Server")
    with expected:
        sf.run(due)
    sf.aws_faults.restore()
    sf.accounts.add_issuers([bulk_rfc(new)])

    run = sf.run(due)

    planned = rfcs if operation in ("SendMessageBatch", "UpdateItem") else [*rfcs, bulk_rfc(new)]
    assert sums(run) == ("finished", len(planned), len(planned), {})
    assert sorted(queried_rfcs(sf)) == sorted(planned)
    assert (sf.clock() - due).total_seconds() < 60
    assert event_counts(sf) == {"Daily Run Completed": 1}


@pytest.mark.parametrize(("operation", "number"), [("PutItem", 3), ("TransactWriteItems", 1)])
def test_two_starts_at_the_same_time_and_an_import_between(
    sf: FakeStack, pairs: None, operation: str, number: int
) -> None:
    """The first start has stored some batches; the second plans more issuers and enqueues them."""
    rfcs = [bulk_rfc(index) for index in range(10, 15)]
    sf.pacs.state.solucion_factible.load_issuers(21)
    sf.accounts.add_issuers(rfcs)
    due, left = sf.clock(), [number]

    def start_again(**_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            sf.accounts.add_issuers([bulk_rfc(0)])
            sf.invoke("run", {"scheduled_time": due.isoformat()}, module=sf.load_function("run"))

    sf.aws_faults.watch("dynamodb", operation, start_again)

    run = sf.run(due)

    assert sums(run) == ("finished", 6, 6, {})
    assert sorted(queried_rfcs(sf)) == [bulk_rfc(0), *rfcs]
    assert event_counts(sf) == {"Daily Run Completed": 1}


@pytest.mark.parametrize("how", ["after", "together"])
def test_a_message_that_arrives_twice_changes_nothing(stack: FakeStack, how: str) -> None:
    stack.accounts.add_issuers([RFC, EMPTY, STRANGERS[0]])
    run = start(stack)
    (event,) = batch_events(stack, 10)
    if how == "together":
        event["Records"] *= 2
    success = {"batchItemFailures": []}
    assert stack.invoke("run_worker", event) == success
    before, published, calls = stored_items(stack), list(stack.published), stack.pacs.calls()

    assert stack.invoke("run_worker", event) == success

    assert stored_items(stack) == before
    assert (stack.published, stack.pacs.calls()) == (published, calls)
    assert sums(get_run(stack, run)) == ("finished", 6, 5, {"pac-rejected-request": 1})
    assert len(stack.mails()) == 1


def test_a_message_that_arrives_twice_while_it_is_retried_adds_nothing_twice(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    sf.pacs.fault("getTimbres", "cut-before", rfc=RFC, times=2)
    run = start(sf)
    (event,) = batch_events(sf)
    sent: list[str] = []
    for operation in ("SendMessage", "SendMessageBatch"):
        sf.aws_faults.watch("sqs", operation, lambda request, **_: sent.append(request.url))

    results = [sf.invoke("run_worker", event)["batchItemFailures"] for _ in range(4)]

    assert [len(failures) for failures in results] == [1, 1, 0, 0]
    assert sums(get_run(sf, run)) == ("finished", 2, 2, {})
    assert Counter(queried_rfcs(sf)) == {RFC: 3, EMPTY: 1}
    assert event_counts(sf) == {"Stamps Exhausted": 1, "Daily Run Completed": 1}
    # A worker sends nothing to the queue that triggers it.
    assert sent == []


def test_two_workers_with_the_same_message_at_the_same_time(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker counts the batch while the first has not stored its result."""
    sf.accounts.add_issuers([RFC, EMPTY, STRANGERS[0]])
    # The run does not end with this batch.
    sf.accounts.create("acme-two", sf.accounts.secret(SF))
    sf.accounts.add_issuers([BUSY], account="acme-two")
    run = start(sf)
    (event,) = (one for one in batch_events(sf) if SF in str(one))
    results: list[Any] = []

    def work() -> None:
        results.append(sf.invoke("run_worker", event))

    before_first(monkeypatch, RunRepository, "save_result", work)
    work()

    assert results == [{"batchItemFailures": []}] * 2
    assert sums(get_run(sf, run)) == ("running", 4, 2, {"pac-rejected-request": 1})
    sf.advance_to_delayed()
    sf.run_worker_until_idle()
    assert sums(get_run(sf, run)) == ("finished", 4, 3, {"pac-rejected-request": 1})
    assert event_counts(sf)["Daily Run Completed"] == 1
    assert len(sf.mails()) == 1


def test_two_runs_at_the_same_time_publish_an_alert_once(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run by hand counts an issuer while the daily run has its stamps, not yet stored."""
    sf.accounts.add_issuers([EMPTY])
    start(sf)
    sf.clock.forward(minutes=1)
    before_first(monkeypatch, DailyCountRepository, "save", sf.run)

    sf.run_worker_until_idle()

    runs = sf.get("/runs").body["runs"]
    assert [run["status"] for run in runs] == ["finished"] * 2
    assert sorted(run["exhausted"] for run in runs) == [0, 1]
    assert event_counts(sf) == {"Stamps Exhausted": 1, "Daily Run Completed": 2}
    assert len(sf.mails()) == 1


# ---------------------------------------------------------------------- worker failures


class Killed(BaseException):
    """The worker's process is gone."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, step: str, when: str) -> Iterator[None]:
    """Kill the function before or after it publishes or calls a method of the run repository."""
    owner: Any = EventPublisher if step == "publish" else RunRepository
    method = getattr(owner, step)

    def kill(self: Any, *args: Any) -> Any:
        if when == "after":
            method(self, *args)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, kill)
        with pytest.raises(Killed):
            yield


@pytest.mark.parametrize("step", ["publish", "save_result"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_at_publishing_or_storing_loses_no_event(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=60))
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY])
    run = start(sf)
    with killed_at(monkeypatch, step, when):
        sf.run_worker_once()

    sf.reset_warm_functions()
    sf.run_worker_until_idle()
    sf.close_overdue()

    for event_type, rfc in (("Stamps Exhausted", EMPTY), ("Stamps Low", RFC_N)):
        events = sf.events(event_type)
        assert {(event["rfc"], event["run"]) for event in events} == {(rfc, run)}
        # At least once: an event that was published but not stored is published again.
        assert len(events) <= 2
    assert sums(get_run(sf, run)) == ("finished", 3, 3, {})
    (mail,) = sf.mails()
    assert EMPTY in mail
    assert RFC_N in mail


def test_a_message_is_redelivered_although_its_delay_could_not_be_set(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, BUSY])
    sf.pacs.fault("getTimbres", "cut-before", rfc=RFC)
    run = start(sf)
    sf.aws_faults.reject("sqs", "ChangeMessageVisibility", "InternalError", 500)
    assert sf.run_worker_once() == (0, 1)
    sf.aws_faults.restore()
    assert sums(get_run(sf, run)) == ("running", 2, 1, {})

    # After the queue's own visibility timeout.
    assert 1790 < sf.advance_to_delayed() <= 1800
    assert sf.run_worker_once() == (1, 0)

    assert sums(get_run(sf, run)) == ("finished", 2, 2, {})
    assert Counter(queried_rfcs(sf)) == {RFC: 2, BUSY: 1}


def test_an_unexpected_error_is_retried_and_then_given_up(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = SolucionFactibleClient.stamps

    def broken(self: SolucionFactibleClient, rfc: Any, deadline: Any) -> Any:
        if rfc == RFC_N:
            raise ZeroDivisionError("of the test")
        return stamps(self, rfc, deadline)

    monkeypatch.setattr(SolucionFactibleClient, "stamps", broken)
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 1)
    sf.accounts.add_issuers([RFC, RFC_N, BUSY])
    run = start(sf)

    rounds = []
    for _ in range(4):
        rounds.append(sf.run_worker_once())
        sf.advance_to_delayed()

    assert rounds == [(2, 1), (0, 1), (1, 0), (0, 0)]
    assert sums(get_run(sf, run)) == ("finished", 3, 2, {"internal-error": 1})
    assert event_counts(sf)["Daily Run Completed"] == 1
    assert "ZeroDivisionError" in str(sf.logs.lines("batch failed"))
    (dead,) = sf.receive("RunsDeadLetterQueue")
    assert json.loads(dead["Body"])["run"] == run


def test_issuers_of_a_batch_that_is_given_up_are_done_if_they_were_counted(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.accounts.add_issuers([EMPTY, RFC_N])
    run = start(sf)
    save, left = DailyCountRepository.save, [1]

    def broken(self: Any, day: Any, issuers: Any, **options: Any) -> None:
        if left:
            left.clear()
            save(self, day, [issuer for issuer in issuers if issuer.rfc == EMPTY], **options)
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(DailyCountRepository, "save", broken)
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 2, 1, {"internal-error": 1})
    assert get_run(sf, run)["exhausted"] == 1
    assert len(sf.mails()) == 1


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "[]",
        "null",
        "{}",
        '{"run": "2026-11-19-050000", "account": "acme-sf", "number": 1}',
        '{"run": "2026-11-19-050000", "account": "acme-sf", "number": "1", "rfcs": ["A"]}',
        '{"run": "2020-01-01-050000", "account": "acme-sf", "number": "1"}',
    ],
)
def test_an_invalid_message_goes_to_the_dead_letter_queue_at_once(sf: FakeStack, body: str) -> None:
    sf.accounts.add_issuers([RFC])
    sf.aws.client("sqs").send_message(QueueUrl=sf.aws.refs["RunsQueue"], MessageBody=body)
    run = start(sf)

    assert sf.run_worker_once() == (2, 0)

    assert sums(get_run(sf, run)) == ("finished", 1, 1, {})
    assert [dead["Body"] for dead in sf.receive("RunsDeadLetterQueue")] == [body]


# ----------------------------------------------------- temporary and permanent failures


def test_an_issuer_that_times_out_is_retried_until_the_run_closes(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, RFC_N, BUSY])
    sf.pacs.fault("getTimbres", "cut-before", rfc=RFC, times=-1)
    begun = sf.clock()
    run = start(sf)
    delays = []
    while sf.run_worker_once() == (0, 1):
        delays.append(round(sf.advance_to_delayed() / 60))

    assert delays[:7] == [1, 2, 4, 8, 15, 15, 15]
    assert set(delays[7:]) == {15}
    assert sums(get_run(sf, run)) == ("finished", 3, 2, {"pac-timeout": 1})
    assert Counter(queried_rfcs(sf)) == {RFC: len(delays) + 1, RFC_N: 1, BUSY: 1}
    # The last attempt is within the run's maximum duration.
    assert MAX_DURATION - timedelta(minutes=16) < sf.clock() - begun < MAX_DURATION
    assert sf.close_overdue() == []


def test_an_outage_of_three_hours_is_counted_by_the_same_run(sf: FakeStack) -> None:
    rfcs = add_many_issuers(sf, 5)
    sf.pacs.fault("getTimbres", "code", code="503", times=-1)
    begun = sf.clock()
    run = start(sf)
    while sf.clock() - begun < timedelta(hours=3):
        sf.run_worker_once()
        assert sf.advance_to_delayed()
    sf.pacs.solucion_factible.faults.clear()
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 5, 5, {})
    assert {item["entry"][11:] for item in issuer_snapshots(sf)} == set(rfcs)


def test_a_timeout_is_not_a_failure(sf: FakeStack) -> None:
    add_many_issuers(sf, 20)
    run = start(sf)

    # Too short for any call: the batch is redelivered each time.
    for _ in range(5):
        assert sf.run_worker_once(seconds=17) == (0, 1)
        assert sf.advance_to_delayed()
    assert queried_rfcs(sf) == []
    assert sums(get_run(sf, run)) == ("running", 20, 0, {})
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 20, 20, {})


@pytest.mark.parametrize("code", ["501", "503"])
@pytest.mark.parametrize("times", [1, 9])
def test_a_busy_pac_is_not_called_until_the_next_attempt(
    sf: FakeStack, code: str, times: int
) -> None:
    rfcs = add_many_issuers(sf, 20)
    sf.pacs.fault("getTimbres", "code", code=code, times=times)

    run = sf.run()

    assert sums(run) == ("finished", 20, 20, {})
    assert set(queried_rfcs(sf)) == set(rfcs)
    # One call at each attempt while it refuses.
    assert len(queried_rfcs(sf)) == 20 + times


@pytest.mark.parametrize(
    ("count", "failing", "times", "failed"),
    [(24, slice(8, 16), 1, {}), (60, slice(40), -1, {"pac-error": 40})],
    ids=["once", "always"],
)
def test_issuers_that_fail_do_not_block_others(
    sf: FakeStack, count: int, failing: slice, times: int, failed: dict[str, int]
) -> None:
    rfcs = add_many_issuers(sf, count)
    for rfc in rfcs[failing]:
        sf.pacs.fault("getTimbres", "code", code="500", rfc=rfc, times=times)

    run = sf.run()

    assert sums(run) == ("finished", count, count - sum(failed.values()), failed)
    calls = Counter(queried_rfcs(sf))
    assert {calls[rfc] for rfc in set(rfcs) - set(rfcs[failing])} == {1}
    assert failed or {calls[rfc] for rfc in rfcs[failing]} == {2}


@pytest.mark.parametrize("fault", [{"fault": "code", "code": "500"}, {"fault": "cut-before"}])
def test_an_outage_during_a_batch_gets_few_calls(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    add_many_issuers(sf, 180)
    begin = sf.pacs.solucion_factible.calls.begin

    def fail_after_60(*call: Any) -> Any:
        if len(queried_rfcs(sf)) == 60:
            sf.pacs.fault("getTimbres", times=-1, **fault)
        return begin(*call)

    monkeypatch.setattr(sf.pacs.solucion_factible.calls, "begin", fail_after_60)
    start(sf)

    assert sf.run_worker_once() == (0, 1)

    # Ten failures in a row, and the calls in flight by then.
    assert len(queried_rfcs(sf)) <= 61 + 10 + 2 * 32


def test_an_outage_gets_few_calls_and_ends_with_the_run(sf: FakeStack) -> None:
    add_many_issuers(sf, 60)
    sf.pacs.fault("getTimbres", "code", code="503", times=-1)

    run = sf.run()

    assert sums(run) == ("finished", 60, 0, {"pac-unavailable": 60})
    # Six hours of it are not sixty calls each time.
    assert len(queried_rfcs(sf)) < 40
    (mail,) = sf.mails()
    assert "60 emisores: el PAC no estaba disponible" in mail


def test_an_overdue_run_is_closed_with_its_results(sf: FakeStack, pairs: None) -> None:
    add_many_issuers(sf, 4)
    sf.accounts.add_issuers([EMPTY])
    run = start(sf)
    # The last of three batches is late.
    first, second, late = batch_events(sf)
    for event in (first, second):
        sf.invoke("run_worker", event)
    done = get_run(sf, run)["done"]
    sf.clock.forward(hours=5, minutes=59)
    assert sf.close_overdue() == []
    sf.clock.forward(minutes=1)

    (closed,) = sf.close_overdue()

    assert sums(closed) == ("finished", 5, done, {"not-reached": 5 - done})
    (published,) = sf.events("Daily Run Completed")
    assert published["failed"] == {"not-reached": 5 - done}
    assert sf.close_overdue() == []
    # A late message adds nothing to a published run, and makes no call.
    record, calls = get_run(sf, run), sf.pacs.calls()
    assert sf.invoke("run_worker", late) == {"batchItemFailures": []}
    assert get_run(sf, run) == record
    assert sf.pacs.calls() == calls
    assert event_counts(sf)["Daily Run Completed"] == 1

    sf.clock.forward(days=1)
    assert sums(sf.run()) == ("finished", 5, 5, {})


def published_events(stack: FakeStack) -> list[dict[str, Any]]:
    """Check that each run was published as it is stored; return the events."""
    published = stack.events("Daily Run Completed")
    for event in published:
        record = get_run(stack, event["id"])
        assert {name: record[name] for name in record if name != "accounts"} == {
            name: event[name] for name in record if name != "accounts"
        }
        alerts = Counter(issuer["alert"] for issuer in event["issuers"])
        assert (alerts["low"], alerts["exhausted"]) == (event["low"], event["exhausted"])
        assert event["exhausted_total"] >= event["exhausted"]
        lines = record["accounts"]
        assert event["done"] == sum(line["done"] for line in lines)
        assert event["expected"] == event["done"] + sum(event["failed"].values())
    assert len({event["id"] for event in published}) == len(published)
    return published


def test_a_run_closed_during_its_start_plans_nothing_more(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])
    closed: list[dict[str, Any]] = []

    def close(**_: Any) -> None:
        if not closed:
            closed.append({})
            sf.clock.forward(hours=6)
            closed[:] = sf.invoke("run", {"close": "overdue"}, module=sf.load_function("run"))[
                "closed"
            ]

    sf.aws_faults.watch("dynamodb", "TransactWriteItems", close)
    run = sf.run()

    assert sums(run) == sums(closed[0]) == ("finished", 0, 0, {})
    assert len(published_events(sf)) == 1
    assert queried_rfcs(sf) == []


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (DailyCountRepository, "save"),
        (EventPublisher, "publish"),
        (RunRepository, "save_result"),
    ],
)
def test_a_run_closed_while_a_worker_counts_publishes_what_is_stored(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch, pairs: None, owner: Any, step: str
) -> None:
    """Six hours pass and the run is closed during a step of the worker."""
    add_many_issuers(sf, 5)
    sf.accounts.add_issuers([EMPTY])
    run = start(sf)

    def close() -> None:
        sf.clock.forward(hours=6)
        sf.close_overdue()

    closed = before_first(monkeypatch, owner, step, close, EMPTY)
    sf.run_worker_until_idle()

    assert closed
    (published,) = published_events(sf)
    assert (published["id"], published["exhausted"]) == (run, 0)
    assert published["failed"].keys() == {"not-reached"}
    # The late worker's counts are stored, and the next run publishes their alerts.
    assert line(sf, EMPTY)["alert"] == "exhausted"
    sf.clock.forward(hours=18)
    sf.run()
    _, next_published = published_events(sf)
    assert [issuer["rfc"] for issuer in next_published["issuers"]] == [EMPTY]
    sf.clock.forward(days=1)
    sf.run()
    assert published_events(sf)[2]["issuers"] == []
    # The first mail names it among those that were not counted.
    assert sum(f"- {EMPTY} (" in mail for mail in sf.mails()) == 1


def test_an_alert_of_a_killed_worker_is_mailed_although_the_run_was_closed(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is closed when the issuer is counted and its alert is not yet stored."""
    sf.accounts.add_issuers([EMPTY])
    start(sf)
    with killed_at(monkeypatch, "save_result", "before"):
        sf.run_worker_once()
    sf.reset_warm_functions()
    sf.clock.forward(hours=6)
    assert sums(sf.close_overdue()[0]) == ("finished", 1, 0, {"not-reached": 1})
    calls = sf.pacs.calls()

    sf.run_worker_until_idle()

    assert sf.pacs.calls() == calls
    sf.clock.forward(hours=18)
    sf.run()
    assert [published["exhausted"] for published in published_events(sf)] == [0, 1]
    assert sum(f"{EMPTY} (cuenta" in mail for mail in sf.mails()) == 1


@pytest.mark.parametrize("step", ["acquire_finalization", "close", "seal", "publish", "finish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_end_publishes_what_is_stored(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch, pairs: None, step: str, when: str
) -> None:
    """The closing function is killed; the workers continue; the closing is repeated."""
    add_many_issuers(sf, 3)
    sf.accounts.add_issuers([EMPTY])
    run = start(sf)
    events = batch_events(sf)
    sf.clock.forward(hours=6)
    with killed_at(monkeypatch, step, when):
        sf.close_overdue()
    sf.reset_warm_functions()
    for event in events:
        sf.invoke("run_worker", event)
    sf.clock.forward(hours=1)
    sf.close_overdue()

    published = sf.events("Daily Run Completed")
    assert {run_event["id"] for run_event in published} == {run}
    # Published twice at most, and the same both times.
    assert len(published) <= 2
    assert published[0] == published[-1]
    assert get_run(sf, run)["status"] == "finished"
    record = get_run(sf, run)
    assert {name: record[name] for name in record if name != "accounts"} == {
        name: published[0][name] for name in record if name != "accounts"
    }
    sf.clock.forward(hours=17)
    sf.run()
    assert sum(f"{EMPTY} (cuenta" in mail for mail in sf.mails()) == 1


def test_two_ends_at_the_same_time_publish_the_same_event(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first end pauses for longer than its lease, and then continues."""
    sf.accounts.add_issuers([EMPTY])
    run = start(sf)

    def close_too() -> None:
        sf.clock.forward(minutes=11)
        assert sf.close_overdue()
        sf.clock.forward(minutes=1)

    before_first(monkeypatch, RunRepository, "seal", close_too)
    sf.run_worker_until_idle()

    first, second = sf.events("Daily Run Completed")
    assert first == second
    record = get_run(sf, run)
    assert (record["finished_at"], record["exhausted"]) == (first["finished_at"], 1)
    assert len(sf.mails()) == 1


def test_an_account_that_cannot_be_reached_waits_while_others_are_counted(sf: FakeStack) -> None:
    sf.accounts.create("acme-away", sf.accounts.secret(SF, endpoint="http://127.0.0.1:9"))
    sf.accounts.add_issuers([RFC, BUSY])
    sf.accounts.add_issuers([RFC, BUSY, EMPTY], account="acme-away")
    run = start(sf)
    assert sf.run_worker_once() == (1, 1)
    accounts = {account["account"]: account for account in get_run(sf, run)["accounts"]}
    assert (accounts[SF]["done"], accounts["acme-away"]["done"]) == (2, 0)

    sf.accounts.change("acme-away", sf.accounts.secret(SF))
    sf.reset_warm_functions()
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 5, 5, {})


# ----------------------------------------------------------------------- account failures


def test_rejected_credentials_are_one_sign_in_for_each_worker_in_flight(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many messages as ten thousand issuers have.
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 30)
    add_many_issuers(sf, 1_500)
    sf.pacs.state.solucion_factible.set_account(password="another")
    run = start(sf)
    # The template allows two workers at a time.
    assert int(sf.aws.refs["MaxConcurrentRunWorkers"]) == 2

    in_two_workers(sf, batch_events(sf, 10))

    assert 1 <= len(sf.pacs.solucion_factible.calls.as_json()) <= 2
    assert sums(get_run(sf, run)) == ("finished", 1_500, 0, {"pac-credentials-rejected": 1_500})
    assert event_counts(sf) == {"Credentials Rejected": 1, "Daily Run Completed": 1}
    rejected, counted = sf.mails()
    assert "rechazó las credenciales" in rejected
    assert "1,500 de 1,500 emisores: el PAC rechazó las credenciales" in counted


def test_a_password_that_expires_during_a_run(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many_issuers(sf, 80)
    state = sf.pacs.state.solucion_factible
    authenticate, signed_in = state.authenticate, iter(range(20))

    def until_it_expires(username: str, password: str) -> int:
        if next(signed_in, None) is None:
            state.set_account(state=AccountState.EXPIRED)
        return authenticate(username, password)

    monkeypatch.setattr(state, "authenticate", until_it_expires)
    run = sf.run()

    failed = 80 - run["done"]
    assert 0 < run["done"] <= 20
    assert sums(run)[::3] == ("finished", {"pac-credentials-rejected": failed})
    assert len(queried_rfcs(sf)) <= 20 + DEFAULT_CALLS_IN_FLIGHT
    assert len(issuer_snapshots(sf)) == run["done"]
    assert event_counts(sf) == {"Credentials Rejected": 1, "Daily Run Completed": 1}

    # After a new password, the next run counts the remaining issuers.
    monkeypatch.setattr(state, "authenticate", authenticate)
    state.set_account(state=AccountState.ACTIVE)
    sf.accounts.change(SF, sf.accounts.secret(SF))
    sf.reset_warm_functions()
    sf.clock.forward(hours=1)
    assert sums(sf.run()) == ("finished", 80, 80, {})


def test_an_account_whose_secret_was_deleted_after_the_start(sf: FakeStack) -> None:
    sf.accounts.create("acme-gone", sf.accounts.secret(SF))
    sf.accounts.add_issuers([RFC, BUSY], account="acme-gone")
    sf.accounts.add_issuers([RFC])
    run = start(sf)
    sf.accounts.delete("acme-gone")
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 3, 1, {"account-unknown": 2})


@pytest.mark.parametrize("when", ["queued", "queried"])
def test_an_issuer_that_is_removed_during_a_run_does_not_come_back(
    sf: FakeStack, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.accounts.add_issuers([RFC, BUSY])
    run = start(sf)

    def remove() -> None:
        key = {"account": {"S": SF}, "rfc": {"S": BUSY}}
        sf.aws.client("dynamodb").delete_item(TableName=sf.aws.refs["IssuersTable"], Key=key)

    if when == "queued":
        remove()
    else:
        stamps = sf.pacs.state.solucion_factible.stamps

        def remove_then_count(username: str, rfc: str) -> Any:
            if rfc == BUSY:
                remove()
            return stamps(username, rfc)

        monkeypatch.setattr(sf.pacs.state.solucion_factible, "stamps", remove_then_count)
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 2, 2, {})
    assert [issuer["rfc"] for issuer in sf.get(f"/accounts/{SF}/stamps").body["issuers"]] == [RFC]
    assert history(sf, BUSY) == []
    assert queried_rfcs(sf).count(BUSY) == (0 if when == "queued" else 1)


# ------------------------------------------------------------------------ the call rate


@pytest.mark.parametrize(("rate", "count"), [(7, 1), (20, 5), (1000, 250)])
def test_calls_reserved_by_many_workers_keep_their_distance(
    sf: FakeStack, rate: int, count: int
) -> None:
    sf.time.real = True
    dynamodb, table = session.client("dynamodb"), sf.aws.refs["RateLimitTable"]
    limiters = [RateLimiter(dynamodb, table) for _ in range(4)]
    reserved: list[float] = []

    def reserve(limiter: RateLimiter) -> None:
        for _ in range(6):
            begin = limiter.reserve(SF, rate, count, time.time() + 100)
            assert begin is not None
            reserved.append(begin)

    in_threads(*(partial(reserve, limiter) for limiter in limiters))

    gaps = [later - earlier for earlier, later in pairwise(sorted(reserved))]
    assert len(gaps) == 23
    assert min(gaps) >= count / rate - 1e-5


def test_a_call_that_would_begin_too_late_is_not_reserved(sf: FakeStack) -> None:
    sf.time.real = True
    limiter = RateLimiter(session.client("dynamodb"), sf.aws.refs["RateLimitTable"])
    now = time.time()
    assert limiter.reserve(SF, 1, 1, now - 1) is None
    assert limiter.reserve(SF, 1, 30, now + 10) is not None
    assert limiter.reserve(SF, 1, 1, now + 10) is None
    # Each account has its own rate.
    assert limiter.reserve(RC, 1, 1, now + 10) is not None
    # A refused reservation reserves nothing.
    begin = limiter.reserve(SF, 1, 1, now + 100)
    assert begin is not None
    assert 30 <= begin - now < 31


def test_the_call_rate_holds_across_two_workers(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, calls_per_second=5))
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 7)
    rfcs = add_many_issuers(sf, 14)
    start(sf)
    sf.time.real = True
    at: list[float] = []
    begin = sf.pacs.solucion_factible.calls.begin

    def record_time(*call: Any) -> Any:
        at.append(time.time())
        return begin(*call)

    monkeypatch.setattr(sf.pacs.solucion_factible.calls, "begin", record_time)
    in_two_workers(sf, batch_events(sf))

    assert sorted(queried_rfcs(sf)) == rfcs
    # Fourteen calls take about three seconds at this rate.
    assert max(at) - min(at) > 1
    # A call may arrive one second after its reservation.
    assert max(Counter(int(moment) for moment in at).values()) <= 2 * 5


# ----------------------------------------------------------------------------- Reachcore


@pytest.fixture
def rc(stack: FakeStack) -> FakeStack:
    """A stack with only the Reachcore account."""
    remove_account(stack, SF)
    return stack


def add_consumption(stack: FakeStack, day: date, amount: int, rfc: str = RFC) -> None:
    stack.pacs.state.reachcore.add_movements("Acme Timbrado", [Movement(day, rfc, amount=amount)])


def set_clock_to_five(stack: FakeStack, day: date) -> None:
    """Move the clock to 05:00 of a day in Mexico City."""
    stack.clock.at = stack.clock.at.replace(
        year=day.year, month=day.month, day=day.day, hour=5, minute=0, second=0
    )


def test_one_balance_contains_all_issuers(rc: FakeStack) -> None:
    rc.accounts.add_issuers([BUSY], account=RC)

    run = rc.run()

    assert sums(run) == ("finished", 4, 4, {})
    assert [(c["operation"], c["month"]) for c in rc.pacs.reachcore.calls.as_json()] == [
        ("saldos", "2026-11")
    ]
    issuers = rc.get(f"/accounts/{RC}/stamps").body["issuers"]
    assert {one["rfc"] for one in issuers} == {*STAMPING, BUSY}
    month = rc.pacs.state.reachcore.as_json()["accounts"][0]["months"]["2026-11"]["movements"]
    for rfc in STAMPING:
        (item,) = (
            one for one in rc.aws.items("SnapshotsTable") if one["entry"] == f"2026-11-19#{rfc}"
        )
        # Up to yesterday: today is not complete.
        assert item["consumed"] == sum(
            one["amount"] for one in month if one["rfc"] == rfc and one["date"] < "2026-11-19"
        )
        assert item["at"] == "2026-11-19T00:00:00-06:00"


def test_the_end_of_a_month_is_an_ordinary_day(rc: FakeStack) -> None:
    rc.accounts.add_issuers([RFC], account=RC)
    days = [date(2026, 11, 29), date(2026, 11, 30), date(2026, 12, 1), date(2026, 12, 2)]
    add_consumption(rc, date(2026, 11, 29), 3)
    add_consumption(rc, date(2026, 11, 30), 5)
    add_consumption(rc, date(2026, 12, 1), 7)
    for day in days:
        set_clock_to_five(rc, day)
        assert rc.run()["status"] == "finished"
        # Another run of the day changes nothing.
        rc.run()

    months = [call["month"] for call in rc.pacs.reachcore.calls.as_json()]
    assert months == ["2026-11"] * 6 + ["2026-12"] * 2
    published = rc.get(
        f"/accounts/{RC}/stamps/history", rfc=RFC, **{"from": "2026-11-29", "to": "2026-12-02"}
    ).body["snapshots"]
    assert [snapshot["date"] for snapshot in published] == [day.isoformat() for day in days]
    assert [snapshot["consumed"] for snapshot in published] == [None, 3, 5, 7]
    assert line(rc, RFC, RC)["burn_7"] == 5


def test_a_balance_that_takes_two_attempts_counts_each_issuer_once(rc: FakeStack) -> None:
    # More than are stored at a time.
    rc.accounts.add_issuers([bulk_rfc(index) for index in range(510)], account=RC)
    slow = iter([True])

    def delay_first_call(**_: Any) -> None:
        if next(slow, False):
            time.sleep(1.0)

    run = start(rc)
    rc.aws_faults.watch("dynamodb", "TransactWriteItems", delay_first_call)
    assert rc.run_worker_once(seconds=18.9) == (0, 1)
    assert 0 < len(rc.aws.items("SnapshotsTable")) < 513
    rc.run_worker_until_idle()

    assert sums(get_run(rc, run)) == ("finished", 513, 513, {})
    assert len(rc.aws.items("SnapshotsTable")) == 513


@pytest.mark.parametrize(
    ("fault", "options", "reason", "calls"),
    [
        ("code", {"code": "401"}, "pac-credentials-rejected", 1),
        ("code", {"code": "404"}, "pac-endpoint-not-found", 1),
        ("code", {"code": "500"}, "pac-error", ATTEMPTS),
        ("cut-before", {}, "pac-timeout", ATTEMPTS),
    ],
)
def test_a_balance_that_fails(
    rc: FakeStack, fault: str, options: dict[str, str], reason: str, calls: int
) -> None:
    rc.pacs.fault("saldos", fault, times=-1, **options)

    assert sums(rc.run()) == ("finished", 1, 0, {reason: 1})
    assert rc.pacs.calls() == ["saldos"] * calls


# -------------------------------------------------------------------------------- alerts


def run_days(stack: FakeStack, days: list[tuple[int, int]], rfc: str = BUSY) -> list[str | None]:
    """Run once per day with these counts (contracted, used); return the alert of each day."""
    published: list[str | None] = []
    for contracted, used in days:
        stack.pacs.state.solucion_factible.set_issuer(rfc, contratados=contracted, usados=used)
        before = len(stack.events())
        mails = len(stack.mails())
        stack.run()
        events = stack.published[before:]
        alerts = [e["DetailType"] for e in events if e["DetailType"] != "Daily Run Completed"]
        assert len(alerts) <= 1
        published.append(alerts[0].removeprefix("Stamps ") if alerts else None)
        assert len(stack.mails()) - mails == len(alerts)
        stack.clock.forward(days=1)
    return published


@pytest.mark.parametrize(
    ("days", "published"),
    [
        # Once for each crossing, and again after a refill.
        (
            [
                *((200, used) for used in (100, 160, 170, 200, 200)),
                *((700, used) for used in (200, 300, 660, 661)),
            ],
            [None, "Low", None, "Exhausted", None, None, None, "Low", None],
        ),
        # A contract that is too small changes nothing, and publishes nothing.
        ([(100, 70), (100, 100), (110, 100), (110, 110)], ["Low", "Exhausted", None, "Exhausted"]),
        # Exhausted at once.
        ([(100, 0), (100, 100), (300, 100), (300, 300)], [None, "Exhausted", None, "Exhausted"]),
    ],
)
def test_each_alert_is_published_once(
    sf: FakeStack, days: list[tuple[int, int]], published: list[str | None]
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50, low_days=0))
    sf.accounts.add_issuers([BUSY])

    assert run_days(sf, days) == published


@pytest.mark.parametrize(
    ("account", "own", "published"),
    [(50, None, "Low"), (50, 10, None), (None, 50, "Low"), (10, 0, None), (None, None, None)],
)
def test_an_issuer_s_threshold_overrides_the_account_s(
    sf: FakeStack, account: int | None, own: int | None, published: str | None
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=account))
    sf.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[{"rfc": BUSY, "low_stamps": own}])

    assert run_days(sf, [(100, 70)]) == [published]


def test_few_days_left_are_low_without_any_threshold(sf: FakeStack) -> None:
    sf.accounts.add_issuers([BUSY])

    # 20 a day: 160 last for eight days, 120 for six.
    assert run_days(sf, [(1000, 820), (1000, 840), (1000, 860), (1000, 880), (1000, 900)]) == [
        None,
        None,
        None,
        "Low",
        None,
    ]
    assert round(line(sf, BUSY)["days_left"]) == 5
    (event,) = sf.events("Stamps Low")
    assert event["available"] == 120
    assert (round(event["days_left"]), round(event["burn"])) == (6, 20)


def test_a_live_count_between_runs_publishes_and_clears_nothing(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50))
    sf.accounts.add_issuers([BUSY])
    assert run_days(sf, [(100, 40)]) == [None]
    sf.pacs.state.solucion_factible.set_issuer(BUSY, usados=60)
    assert sf.get(f"/accounts/{SF}/stamps", rfc=BUSY).body["alert"] == "low"
    assert sf.events("Stamps Low") == []

    assert run_days(sf, [(100, 60), (100, 61)]) == ["Low", None]

    # A contract clears the alert at once; the next alert is published.
    sf.create_contract(BUSY, 100)
    assert line(sf, BUSY)["alert"] == "ok"
    assert run_days(sf, [(200, 160)]) == ["Low"]


def test_one_mail_lists_all_alerts_of_a_run(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=60))
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY, UNUSED, BUSY, STRANGERS[0]])

    run = sf.run()

    assert (run["low"], run["exhausted"]) == (2, 1)
    (mail,) = sf.mails()
    subject, text = mail.split("\n\n", 1)
    assert subject.startswith("Timbres: ")
    assert subject.isascii()
    for fact in (EMPTY, RFC_N, "20 timbres", UNUSED, "50 timbres", SF, "19/11/2026"):
        assert fact in text
    # The most urgent first; issuers without an alert are not listed.
    assert text.index(EMPTY) < text.index(RFC_N) < text.index(UNUSED)
    assert RFC not in text
    assert BUSY not in text
    assert "quedó incompleto" in text
    assert "Qué hacer" in text


def test_many_crossings_are_one_event_and_one_mail_that_fit(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.schemas.runs, "MAX_LISTED", 20)
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=2_000))
    add_many_issuers(sf, 45)

    run = sf.run()

    assert (run["low"], len(sf.events("Stamps Low"))) == (45, 45)
    (published,) = sf.events("Daily Run Completed")
    assert published["low"] == 45
    assert len(published["issuers"]) == 20
    (mail,) = sf.mails()
    assert "45 emisores" in mail
    assert "25 más" in mail


def test_a_run_without_news_is_not_mailed(sf: FakeStack) -> None:
    sf.accounts.add_issuers([*add_many_issuers(sf, 19), STRANGERS[0]])
    assert sf.run()["failed"] == {"pac-rejected-request": 1}
    assert event_counts(sf) == {"Daily Run Completed": 1}
    assert sf.mails() == []


# --------------------------------------------------------------------------- the records


def test_more_runs_than_a_page_holds(sf: FakeStack) -> None:
    for _ in range(5):
        start(sf)
        sf.clock.forward(days=1)

    first = sf.get("/runs", limit="3").body
    second = sf.get("/runs", limit="3", cursor=first["next"]).body

    ids = [run["id"] for run in first["runs"] + second["runs"]]
    assert len(first["runs"]) == 3
    assert (len(ids), second["next"]) == (5, None)
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    "name", ["nope", "2026-11-19-050000", "2026-11-19", "..", "0" * 3_000, "run", "%00"]
)
def test_an_unknown_run(sf: FakeStack, name: str) -> None:
    check_problem(sf.get(f"/runs/{name}"), 404, "run-not-found", "id")


@pytest.mark.parametrize(
    ("path", "field"),
    [("/runs", "cursor"), ("/runs", "page"), ("/runs/2026-11-19-050000", "more")],
)
def test_an_invalid_parameter_of_runs(sf: FakeStack, path: str, field: str) -> None:
    check_problem(sf.get(path, **{field: "2"}), 400, "parameter-invalid", field)


def test_the_day_of_a_run_is_in_mexico_city_time(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])
    sf.clock.at = sf.clock.at.fromisoformat("2026-11-20T04:30:00+00:00").astimezone(
        sf.clock.at.tzinfo
    )

    # A start without a time is due now.
    id_ = sf.invoke("run", {})["id"]
    sf.run_worker_until_idle()

    assert (id_, get_run(sf, id_)["day"]) == ("2026-11-19-223000", "2026-11-19")
    assert [snapshot["date"] for snapshot in history(sf, RFC)] == ["2026-11-19"]
