"""The daily run: from its schedule over the queue to snapshots, events, one mail and a record."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from local.fake_pacs.fake_data import AccountState, Movement, bulk_rfc
from tests.support.events import LambdaContext, check_problem, sqs_event
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.fault_injection import Killed

import timbres.services.daily_run.start
from timbres.aws import clients
from timbres.aws.events import EventPublisher
from timbres.aws.rate_limiter import RateLimiter
from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT
from timbres.domain.run import MAX_DURATION, AlertChange
from timbres.pacs.solucion_factible.client import SolucionFactibleClient
from timbres.repositories.daily_counts import DailyCountRepository
from timbres.repositories.dynamodb import serialize
from timbres.repositories.runs import RunRepository

EMPTY, UNUSED, BUSY = "AAA010101AAA", "ACM010203XY9", "GOMP800101QX2"
STRANGERS = ("XYZ010203AB1", "XYZ010203AB2")
STAMPING = (RFC, RFC_N, EMPTY)  # at Reachcore
# In six hours: after 1, 2, 4, 8 and then every 15 minutes.
ATTEMPTS = 27
SUCCESS: dict[str, Any] = {"batchItemFailures": []}


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two issuers each."""
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 2)


@pytest.fixture
def rc(stack: FakeStack) -> FakeStack:
    """A stack with only the Reachcore account."""
    stack.accounts.delete(SF)
    return stack


def add_many_issuers(stack: FakeStack, count: int) -> list[str]:
    """Add issuers to the PAC and to the account; return their RFCs."""
    stack.pacs.state.solucion_factible.load_issuers(count)
    rfcs = [bulk_rfc(index) for index in range(count)]
    stack.accounts.add_issuers(rfcs)
    return rfcs


def add_second_account(stack: FakeStack, *rfcs: str) -> str:
    """Add another account at Solución Factible with these issuers; return its name."""
    stack.accounts.create("acme-two", stack.accounts.secret(SF))
    stack.accounts.add_issuers(rfcs, account="acme-two")
    return "acme-two"


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


def history(stack: FakeStack, rfc: str, account: str = SF, **query: str) -> list[dict[str, Any]]:
    body = stack.get(f"/accounts/{account}/stamps/history", rfc=rfc, **query).body
    snapshots: list[dict[str, Any]] = body["snapshots"]
    return snapshots


def line(stack: FakeStack, rfc: str, account: str = SF) -> dict[str, Any]:
    issuers = stack.get(f"/accounts/{account}/stamps").body["issuers"]
    return next(issuer for issuer in issuers if issuer["rfc"] == rfc)


def stored_items(stack: FakeStack, *tables: str) -> list[list[str]]:
    return [sorted(map(str, stack.aws.items(name))) for name in tables]


def snapshots(stack: FakeStack) -> dict[str, dict[str, Any]]:
    """Return the snapshots of issuers by RFC, without those of accounts."""
    items = stack.aws.items("SnapshotsTable")
    return {item["entry"][11:]: item for item in items if item["entry"][0] != "a"}


def batch_events(stack: FakeStack, size: int = 1) -> list[dict[str, Any]]:
    """Take all batches from the queue; return the workers' events of ``size`` messages."""
    messages = stack.receive("RunsQueue")
    groups = [messages[first : first + size] for first in range(0, len(messages), size)]
    return [sqs_event(stack.aws.arns["RunsQueue"], group) for group in groups]


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


def once(action: Callable[[], Any]) -> Callable[..., None]:
    """Return a hook for ``AwsFaults.watch`` that runs an action before the first request."""
    actions = [action]

    def hook(**_: Any) -> None:
        if actions:
            actions.pop()()

    return hook


def event_counts(stack: FakeStack) -> Counter[str]:
    return Counter(entry["DetailType"] for entry in stack.published)


# ----------------------------------------------------------------------------- one run


def test_a_run_counts_every_issuer_of_every_account(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY])
    add_second_account(stack, BUSY, UNUSED)

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
    calls = {"getTimbres": 5, "getTimbresImplementacion": 2, "saldos": 1}
    assert Counter(stack.pacs.calls()) == calls
    assert history(stack, RFC) == [
        {
            "date": "2026-11-19",
            "as_of": "2026-11-19T13:53:41-06:00",
            "contracted": 1000,
            "used": 250,
            "available": 750,
            "unlimited": False,
            "consumed": None,
        }
    ]
    assert line(stack, BUSY, "acme-two")["available"] == 180
    assert event_counts(stack) == {"Daily Run Completed": 1, "Stamps Exhausted": 1}


def test_unknown_issuers_stop_no_others_and_are_published(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY, *STRANGERS])

    run = sf.run()

    code = "pac-rejected-request"
    assert sums(run) == ("finished", 4, 2, {code: 2})
    assert (history(sf, STRANGERS[0]), line(sf, STRANGERS[0])["as_of"]) == ([], None)
    logged = sf.logs.lines("an issuer was not counted")
    assert {entry["rfc"] for entry in logged} == {*STRANGERS}
    change = {"account": SF, "rfc": EMPTY, "alert": "exhausted", "available": 0}
    empty = change | {"days_left": 0, "burn": None}
    assert sf.events("Stamps Exhausted") == [empty | {"run": run["id"]}]
    assert sf.events("Daily Run Completed") == [
        run
        | {
            "accounts": [SF],
            "problems": {},
            "exhausted_total": 1,
            "failed_issuers": [{"account": SF, "rfc": rfc, "code": code} for rfc in STRANGERS],
            "account_stamps": [],
            "account_stamps_problems": {},
            "failures": [
                {"account": SF, "expected": 4, "failed": {code: 2}, "problem": None}
                | {"account_stamps_problem": None, "counted": False}
            ],
            "accounts_not_counted": 1,
            "issuers": [empty],
        }
    ]


def test_an_account_without_issuers_and_no_account_at_all(sf: FakeStack) -> None:
    assert sums(sf.run()) == ("finished", 0, 0, {})
    sf.accounts.delete(SF)
    sf.reset_warm_functions()
    assert sf.run()["accounts"] == []
    assert sf.pacs.calls() == ["getTimbresImplementacion"]
    assert sf.mails() == []


def test_batches_are_queued_by_turns_so_that_a_large_account_does_not_delay_others(
    sf: FakeStack, pairs: None
) -> None:
    sf.accounts.add_issuers(map(bulk_rfc, range(12)))
    other = add_second_account(sf, *map(bulk_rfc, range(4)))

    start(sf)

    batches = [json.loads(message["Body"]) for message in sf.receive("RunsQueue")]
    assert [batch["account"] for batch in batches] == [SF, other, SF, other, SF, SF, SF, SF]
    assert {frozenset(batch) for batch in batches} == {frozenset({"run", "account", "number"})}


# -------------------------------------------------------------------- repeated messages


def test_a_second_run_of_a_day_repeats_no_call_and_no_event(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY, STRANGERS[0]])
    stack.run()
    before, calls = stored_items(stack, "IssuersTable", "SnapshotsTable"), queried_rfcs(stack)
    assert len(stack.mails()) == 1
    stack.clock.forward(hours=3)

    run = stack.run()

    assert sums(run) == ("finished", 7, 6, {"pac-rejected-request": 1})
    assert (run["low"], run["exhausted"]) == (0, 0)
    assert queried_rfcs(stack) == [*calls, STRANGERS[0]]
    assert stored_items(stack, "IssuersTable", "SnapshotsTable") == before
    assert stack.events("Daily Run Completed")[1]["issuers"] == []
    assert event_counts(stack)["Stamps Exhausted"] == 1
    _, repeated = stack.mails()
    assert repeated.startswith(f"Timbres: no se contaron 1 de 4 emisores de {SF}")


def test_a_repeated_start_repeats_nothing(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, EMPTY])
    due = stack.clock()
    run = stack.run(due)
    calls, events, mails = stack.pacs.calls(), event_counts(stack), stack.mails()

    assert stack.run(due) == run
    assert sums(run) == ("finished", 5, 5, {})
    assert (stack.pacs.calls(), event_counts(stack), stack.mails()) == (calls, events, mails)
    assert len(stack.get("/runs").body["runs"]) == 1


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
    sf: FakeStack, pairs: None, service: str, operation: str, after: int
) -> None:
    """The start fails at a write; an issuer is imported; the start is repeated."""
    new, *planned = add_many_issuers(sf, 6)
    sf.call("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": new})
    due = sf.clock()
    sf.aws_faults.reject(service, operation, "InternalServerError", 500, after=after)
    # A plan that cannot be stored is repeated, like a start that fails.
    with nullcontext() if operation == "PutItem" else pytest.raises(Exception, match="Server"):
        sf.run(due)
    sf.aws_faults.restore()
    sf.accounts.add_issuers([new])

    run = sf.run(due)

    planned += [new] * (operation in ("PutItem", "TransactWriteItems"))
    assert sums(run) == ("finished", len(planned), len(planned), {})
    assert sorted(queried_rfcs(sf)) == sorted(planned)
    assert event_counts(sf) == {"Daily Run Completed": 1}


def test_two_starts_at_the_same_time_and_an_import_between(sf: FakeStack, pairs: None) -> None:
    """The first start has stored its batches; the second plans more issuers and enqueues them."""
    rfcs = add_many_issuers(sf, 6)
    sf.call("issuers", "DELETE", f"/accounts/{SF}/issuers", {"rfc": rfcs[0]})
    due = {"scheduled_time": sf.clock().isoformat()}

    def start_again() -> None:
        sf.accounts.add_issuers(rfcs[:1])
        sf.invoke("run", due, module=sf.load_function("run"))

    sf.aws_faults.watch("dynamodb", "TransactWriteItems", once(start_again))

    run = sf.run()

    assert sums(run) == ("finished", 6, 6, {})
    assert sorted(queried_rfcs(sf)) == rfcs
    assert event_counts(sf) == {"Daily Run Completed": 1}


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
    add_second_account(sf, BUSY)
    run = start(sf)
    (event,) = (one for one in batch_events(sf) if SF in str(one))
    results: list[Any] = []

    def work() -> None:
        results.append(sf.invoke("run_worker", event))

    before_first(monkeypatch, RunRepository, "save_result", work)
    work()

    assert results == [SUCCESS] * 2
    assert sums(get_run(sf, run)) == ("running", 4, 2, {"pac-rejected-request": 1})
    sf.advance_to_delayed()
    sf.run_worker_until_idle()
    assert sums(get_run(sf, run)) == ("finished", 4, 3, {"pac-rejected-request": 1})
    assert (event_counts(sf)["Daily Run Completed"], len(sf.mails())) == (1, 1)


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
    assert sorted((run["status"], run["exhausted"]) for run in runs) == [
        ("finished", 0),
        ("finished", 1),
    ]
    assert event_counts(sf) == {"Stamps Exhausted": 1, "Daily Run Completed": 2}
    assert len(sf.mails()) == 1


# ---------------------------------------------------------------------- worker failures


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


@pytest.mark.parametrize(("step", "when"), [("publish", "before"), ("save_result", "after")])
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
        assert [(event["rfc"], event["run"]) for event in events] == [(rfc, run)]
    assert sums(get_run(sf, run)) == ("finished", 3, 3, {})
    (mail,) = sf.mails()
    assert EMPTY in mail
    assert RFC_N in mail


def test_a_batch_with_unexpected_errors_is_given_up_and_its_stored_counts_are_kept(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch, pairs: None
) -> None:
    save, left = DailyCountRepository.save, [1]

    def broken(self: Any, day: Any, issuers: Any, **options: Any) -> None:
        rfcs = [issuer.rfc for issuer in issuers]
        if BUSY not in rfcs or left:
            save(self, day, [one for one in issuers if one.rfc != BUSY], **options)
        if BUSY in rfcs:
            left.clear()
            raise ZeroDivisionError("of the test")

    monkeypatch.setattr(DailyCountRepository, "save", broken)
    sf.accounts.add_issuers([EMPTY, BUSY, RFC_N])
    run = start(sf)

    rounds = []
    for _ in range(4):
        rounds.append(sf.run_worker_once())
        sf.advance_to_delayed()

    assert rounds == [(1, 1), (0, 1), (1, 0), (0, 0)]
    assert sums(get_run(sf, run)) == ("finished", 3, 2, {"internal-error": 1})
    assert get_run(sf, run)["exhausted"] == 1
    assert (event_counts(sf)["Daily Run Completed"], len(sf.mails())) == (1, 1)
    assert "ZeroDivisionError" in str(sf.logs.lines("batch failed"))
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
    run = start(sf)

    assert sf.run_worker_once() == (1 + len(bodies), 0)

    assert sums(get_run(sf, run)) == ("finished", 1, 1, {})
    assert sorted(dead["Body"] for dead in sf.receive("RunsDeadLetterQueue")) == sorted(bodies)


# ----------------------------------------------------- temporary and permanent failures


def test_an_issuer_that_times_out_is_retried_until_the_run_closes(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, RFC_N, BUSY])
    sf.pacs.fault("getTimbres", "cut-before", rfc=RFC, times=-1)
    begun = sf.clock()
    run = start(sf)
    delays = []
    while sf.run_worker_once() == (0, 1):
        delays.append(round(sf.advance_to_delayed() / 60))

    assert delays == [1, 2, 4, 8, *[15] * (ATTEMPTS - 5)]
    assert sums(get_run(sf, run)) == ("finished", 3, 2, {"pac-timeout": 1})
    assert Counter(queried_rfcs(sf)) == {RFC: ATTEMPTS, RFC_N: 1, BUSY: 1}
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
    assert sorted(snapshots(sf)) == rfcs


def test_an_invocation_without_time_for_a_call_is_not_a_failure(sf: FakeStack) -> None:
    add_many_issuers(sf, 20)
    run = start(sf)

    for _ in range(5):
        assert sf.run_worker_once(seconds=17) == (0, 1)
        assert sf.advance_to_delayed()
    assert queried_rfcs(sf) == []
    assert sums(get_run(sf, run)) == ("running", 20, 0, {})
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 20, 20, {})


@pytest.mark.parametrize(
    ("code", "times", "done", "calls"),
    [("501", 9, 20, 29), ("503", 1, 20, 21), ("503", -1, 0, ATTEMPTS)],
)
def test_a_busy_pac_gets_one_call_at_each_attempt(
    sf: FakeStack, code: str, times: int, done: int, calls: int
) -> None:
    rfcs = add_many_issuers(sf, 20)
    sf.pacs.fault("getTimbres", "code", code=code, times=times)

    run = sf.run()

    assert sums(run)[1:3] == (20, done)
    assert sorted(snapshots(sf)) == rfcs[:done]
    assert len(queried_rfcs(sf)) == calls


def test_issuers_that_fail_do_not_block_others(sf: FakeStack) -> None:
    rfcs = add_many_issuers(sf, 60)
    for rfc in rfcs[:40]:
        sf.pacs.fault("getTimbres", "code", code="500", rfc=rfc, times=-1)

    assert sums(sf.run()) == ("finished", 60, 20, {"pac-error": 40})
    calls = Counter(queried_rfcs(sf))
    assert {calls[rfc] for rfc in rfcs[40:]} == {1}


def test_an_outage_during_a_batch_gets_few_calls(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_many_issuers(sf, 180)
    begin = sf.pacs.solucion_factible.calls.begin

    def fail_after_60(*call: Any) -> Any:
        if len(queried_rfcs(sf)) == 60:
            sf.pacs.fault("getTimbres", "code", code="500", times=-1)
        return begin(*call)

    monkeypatch.setattr(sf.pacs.solucion_factible.calls, "begin", fail_after_60)
    start(sf)

    assert sf.run_worker_once() == (0, 1)

    # Ten failures in a row, and the calls in flight by then.
    assert len(queried_rfcs(sf)) <= 61 + 10 + 2 * 32


# ---------------------------------------------------------------------- the end of a run


def published_events(stack: FakeStack) -> list[dict[str, Any]]:
    """Check that each run was published as it is stored; return the events."""
    published = stack.events("Daily Run Completed")
    for event in published:
        record = get_run(stack, event["id"])
        lines = record.pop("accounts")
        assert record.items() <= event.items()
        alerts = Counter(issuer["alert"] for issuer in event["issuers"])
        assert (alerts["low"], alerts["exhausted"]) == (event["low"], event["exhausted"])
        assert event["exhausted_total"] >= event["exhausted"]
        assert event["done"] == sum(line["done"] for line in lines)
        assert event["expected"] == event["done"] + sum(event["failed"].values())
    return published


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
    assert sf.close_overdue() == []
    # A late message adds nothing to a published run, and makes no call.
    record, calls = get_run(sf, run), sf.pacs.calls()
    assert sf.invoke("run_worker", late) == SUCCESS
    assert (get_run(sf, run), sf.pacs.calls()) == (record, calls)
    assert len(published_events(sf)) == 1

    sf.clock.forward(days=1)
    assert sums(sf.run()) == ("finished", 5, 5, {})


def test_a_run_closed_during_its_start_plans_nothing_more(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])

    def close() -> None:
        sf.clock.forward(hours=6)
        sf.invoke("run", {"close": "overdue"}, module=sf.load_function("run"))

    sf.aws_faults.watch("dynamodb", "TransactWriteItems", once(close))

    assert sums(sf.run()) == ("finished", 0, 0, {})
    assert len(published_events(sf)) == 1
    assert queried_rfcs(sf) == []


@pytest.mark.parametrize(
    ("owner", "step", "is_killed"),
    [
        (DailyCountRepository, "save", False),
        (EventPublisher, "publish", False),
        (RunRepository, "save_result", False),
        (RunRepository, "save_result", True),
    ],
)
def test_a_run_closed_while_a_worker_counts_publishes_what_is_stored(
    sf: FakeStack,
    monkeypatch: pytest.MonkeyPatch,
    pairs: None,
    owner: Any,
    step: str,
    is_killed: bool,
) -> None:
    """Six hours pass and the run is closed during a step of the worker, which may be killed."""
    add_many_issuers(sf, 5)
    sf.accounts.add_issuers([EMPTY])
    run = start(sf)

    def close() -> None:
        sf.clock.forward(hours=6)
        sf.close_overdue()
        if is_killed:
            raise Killed

    closed = before_first(monkeypatch, owner, step, close, EMPTY)
    with suppress(Killed):
        sf.run_worker_until_idle()
    sf.run_worker_until_idle()

    assert closed
    (published,) = published_events(sf)
    assert (published["id"], published["exhausted"]) == (run, 0)
    assert published["failed"].keys() == {"not-reached"}
    # The late worker's counts are stored, and the next run publishes their alerts.
    assert line(sf, EMPTY)["alert"] == "exhausted"
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
    ("step", "when"),
    [
        ("acquire_finalization", "after"),
        ("seal", "before"),
        ("seal", "after"),
        ("publish", "after"),
    ],
)
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

    # Published twice at most, and the same both times.
    first, *others = published_events(sf)
    assert others in ([], [first])
    assert (first["id"], get_run(sf, run)["status"]) == (run, "finished")
    sf.clock.forward(hours=17)
    sf.run()
    assert sum(f"{EMPTY} (cuenta" in mail for mail in sf.mails()) == 1


def test_two_ends_at_the_same_time_publish_the_same_event(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first end pauses for longer than its lease, and then continues."""
    sf.accounts.add_issuers([EMPTY])
    start(sf)

    def close_too() -> None:
        sf.clock.forward(minutes=11)
        assert sf.close_overdue()
        sf.clock.forward(minutes=1)

    before_first(monkeypatch, RunRepository, "seal", close_too)
    sf.run_worker_until_idle()

    first, second = published_events(sf)
    assert first == second
    assert first["exhausted"] == len(sf.mails()) == 1


# ----------------------------------------------------------------------- account failures


def test_rejected_credentials_are_one_sign_in_for_each_worker_in_flight(
    sf: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 30)
    add_many_issuers(sf, 600)
    sf.pacs.state.solucion_factible.set_account(password="another")
    run = start(sf)
    # The template allows two workers at a time.
    assert int(sf.aws.refs["MaxConcurrentRunWorkers"]) == 2

    with sf.environment("run_worker"):
        workers = [sf.load_function("run_worker").handler for _ in range(2)]
        first, second = batch_events(sf, 10)
        in_threads(
            *(
                partial(worker, event, LambdaContext("run_worker", 300))
                for worker, event in zip(workers, (first, second), strict=True)
            )
        )

    assert 1 <= len(sf.pacs.calls()) <= 2
    assert sums(get_run(sf, run)) == ("finished", 600, 0, {"pac-credentials-rejected": 600})
    assert event_counts(sf) == {"Credentials Rejected": 1, "Daily Run Completed": 1}
    rejected, counted = sf.mails()
    assert "rechazó las credenciales" in rejected
    assert "600 de 600 emisores: el PAC rechazó las credenciales" in counted


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

    with monkeypatch.context() as patched:
        patched.setattr(state, "authenticate", until_it_expires)
        run = sf.run()

    failed = 80 - run["done"]
    assert 0 < run["done"] <= 20
    assert sums(run)[::3] == ("finished", {"pac-credentials-rejected": failed})
    assert len(queried_rfcs(sf)) <= 20 + DEFAULT_CALLS_IN_FLIGHT
    assert len(snapshots(sf)) == run["done"]
    assert event_counts(sf) == {"Credentials Rejected": 1, "Daily Run Completed": 1}


def test_an_account_whose_secret_was_deleted_after_the_start(sf: FakeStack) -> None:
    name = add_second_account(sf, RFC, BUSY)
    sf.accounts.add_issuers([RFC])
    run = start(sf)
    sf.accounts.delete(name)
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 3, 1, {"account-unknown": 2})


@pytest.mark.parametrize("when", ["queued", "queried"])
def test_an_issuer_that_is_removed_during_a_run_does_not_come_back(
    sf: FakeStack, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.accounts.add_issuers([RFC, BUSY])
    run = start(sf)

    def remove(*_: Any) -> None:
        key = {"account": {"S": SF}, "rfc": {"S": BUSY}}
        sf.aws.client("dynamodb").delete_item(TableName=sf.aws.refs["IssuersTable"], Key=key)

    if when == "queued":
        remove()
    else:
        before_first(monkeypatch, SolucionFactibleClient, "stamps", remove, BUSY)
    sf.run_worker_until_idle()

    assert sums(get_run(sf, run)) == ("finished", 2, 2, {})
    assert [issuer["rfc"] for issuer in sf.get(f"/accounts/{SF}/stamps").body["issuers"]] == [RFC]
    assert history(sf, BUSY) == []
    assert queried_rfcs(sf).count(BUSY) == (when == "queried")


# ------------------------------------------------------------------------ the call rate


def in_threads(*calls: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("rate", "count"), [(7, 1), (1000, 250)])
def test_calls_reserved_by_many_workers_keep_their_distance(
    sf: FakeStack, rate: int, count: int
) -> None:
    dynamodb, table = clients.client("dynamodb"), sf.aws.refs["RateLimitTable"]
    reserved: list[float] = []

    def reserve() -> None:
        limiter = RateLimiter(dynamodb, table)
        for _ in range(6):
            begin = limiter.reserve(SF, rate, count, time.time() + 100)
            assert begin is not None
            reserved.append(begin)

    in_threads(*[reserve] * 4)

    gaps = [later - earlier for earlier, later in pairwise(sorted(reserved))]
    assert len(gaps) == 23
    assert min(gaps) >= count / rate - 1e-5


def test_a_call_that_would_begin_too_late_is_not_reserved(sf: FakeStack) -> None:
    limiter = RateLimiter(clients.client("dynamodb"), sf.aws.refs["RateLimitTable"])
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


def test_a_worker_waits_for_the_calls_that_it_reserved(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, calls_per_second=5))
    add_many_issuers(sf, 14)
    before = sf.time.time()

    sf.run()

    # Fourteen calls and the account's own take almost three seconds at this rate.
    assert sf.time.time() - before > 14 / 5


# ----------------------------------------------------------------------------- Reachcore


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
        item = snapshots(rc)[rfc]
        # Up to yesterday: today is not complete.
        assert item["consumed"] == sum(
            one["amount"] for one in month if one["rfc"] == rfc and one["date"] < "2026-11-19"
        )
        assert item["at"] == "2026-11-19T00:00:00-06:00"


def test_the_end_of_a_month_is_an_ordinary_day(rc: FakeStack) -> None:
    rc.accounts.add_issuers([RFC], account=RC)
    days = [date(2026, 11, 29) + timedelta(days=n) for n in range(4)]
    for day, amount in zip(days, (3, 5, 7), strict=False):
        movement = Movement(day, RFC, amount=amount)
        rc.pacs.state.reachcore.add_movements("Acme Timbrado", [movement])
    for day in days:
        rc.clock.at = rc.clock.at.replace(year=day.year, month=day.month, day=day.day, hour=5)
        # Another run of the day changes nothing.
        assert [rc.run()["status"] for _ in range(2)] == ["finished"] * 2

    months = [call["month"] for call in rc.pacs.reachcore.calls.as_json()]
    assert months == ["2026-11"] * 6 + ["2026-12"] * 2
    found = history(rc, RFC, RC, **{"from": "2026-11-29", "to": "2026-12-02"})
    assert [(snapshot["date"], snapshot["consumed"]) for snapshot in found] == [
        (day.isoformat(), consumed) for day, consumed in zip(days, (None, 3, 5, 7), strict=True)
    ]
    assert line(rc, RFC, RC)["burn_7"] == 5


def test_a_balance_that_takes_two_attempts_counts_each_issuer_once(
    rc: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than are stored at a time.
    rc.accounts.add_issuers(map(bulk_rfc, range(510)), account=RC)
    now = [0.0]
    monkeypatch.setattr("timbres.deadline.time", SimpleNamespace(monotonic=lambda: now[-1]))

    run = start(rc)
    rc.aws_faults.watch("dynamodb", "TransactWriteItems", once(lambda: now.append(1_000.0)))
    assert rc.run_worker_once() == (0, 1)
    assert 0 < len(snapshots(rc)) < 513
    rc.run_worker_until_idle()

    assert sums(get_run(rc, run)) == ("finished", 513, 513, {})
    assert len(snapshots(rc)) == 513


@pytest.mark.parametrize(
    ("code", "reason", "calls"),
    [("401", "pac-credentials-rejected", 1), ("500", "pac-error", ATTEMPTS)],
)
def test_a_balance_that_fails(rc: FakeStack, code: str, reason: str, calls: int) -> None:
    rc.pacs.fault("saldos", "code", times=-1, code=code)

    assert sums(rc.run()) == ("finished", 1, 0, {reason: 1})
    assert rc.pacs.calls() == ["saldos"] * calls


# -------------------------------------------------------------------------------- alerts


def run_days(stack: FakeStack, contracted: int, *used: int) -> list[str | None]:
    """Run once per day with these counts of BUSY; return the alert of each day."""
    published: list[str | None] = []
    for count in used:
        stack.pacs.state.solucion_factible.set_issuer(BUSY, contratados=contracted, usados=count)
        before, mails = event_counts(stack), len(stack.mails())
        stack.run()
        alerts = [*(event_counts(stack) - before - Counter(["Daily Run Completed"])).elements()]
        assert len(alerts) == len(stack.mails()) - mails <= 1
        published.append(alerts[0].removeprefix("Stamps ") if alerts else None)
        stack.clock.forward(days=1)
    return published


def test_each_alert_is_published_once_and_again_after_a_contract(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50, low_days=0))
    sf.accounts.add_issuers([BUSY])

    found = run_days(sf, 200, 100, 160, 170, 200, 200)
    assert found == [None, "Low", None, "Exhausted", None]
    # A contract that is too small changes nothing, and publishes nothing.
    assert run_days(sf, 210, 200, 210) == [None, "Exhausted"]
    assert run_days(sf, 700, 300, 660, 661) == [None, "Low", None]


@pytest.mark.parametrize(("account", "own", "published"), [(50, 10, None), (None, 50, "Low")])
def test_an_issuer_s_threshold_overrides_the_account_s(
    sf: FakeStack, account: int | None, own: int | None, published: str | None
) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=account))
    sf.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[{"rfc": BUSY, "low_stamps": own}])

    assert run_days(sf, 100, 70) == [published]


def test_a_live_count_between_runs_publishes_and_clears_nothing(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50))
    sf.accounts.add_issuers([BUSY])
    assert run_days(sf, 100, 40) == [None]
    sf.pacs.state.solucion_factible.set_issuer(BUSY, usados=60)
    assert sf.get(f"/accounts/{SF}/stamps", rfc=BUSY).body["alert"] == "low"
    assert sf.events("Stamps Low") == []

    assert run_days(sf, 100, 60, 61) == ["Low", None]

    # A contract clears the alert at once; the next alert is published.
    sf.create_contract(BUSY, 100)
    assert line(sf, BUSY)["alert"] == "ok"
    assert run_days(sf, 200, 160) == ["Low"]


def test_one_mail_lists_all_alerts_of_a_run_the_most_urgent_first(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=60))
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY, UNUSED, BUSY, STRANGERS[0]])

    run = sf.run()

    assert (run["low"], run["exhausted"]) == (2, 1)
    (mail,) = sf.mails()
    text = mail.partition("\n\n")[2]
    found = [text.index(fact) for fact in (EMPTY, RFC_N, "20 timbres", UNUSED, "50 timbres")]
    assert found == sorted(found)
    assert "quedó incompleto" in text
    assert RFC not in text
    assert BUSY not in text


# --------------------------------------------------------------------------- the records


def test_more_runs_than_a_page_holds(sf: FakeStack) -> None:
    for _ in range(5):
        start(sf)
        sf.clock.forward(days=1)

    first = sf.get("/runs", limit="3").body
    second = sf.get("/runs", limit="3", cursor=first["next"]).body

    ids = [run["id"] for run in first["runs"] + second["runs"]]
    assert (len(first["runs"]), len(ids), second["next"]) == (3, 5, None)
    assert ids == sorted(ids, reverse=True)


def test_an_unknown_run_and_invalid_parameters(sf: FakeStack) -> None:
    for name in ("nope", "2026-11-19-050000", "0" * 3_000):
        check_problem(sf.get(f"/runs/{name}"), 404, "run-not-found", "id")
    for path, field in (("/runs", "cursor"), ("/runs", "page"), ("/runs/2026-11-19", "more")):
        check_problem(sf.get(path, **{field: "2"}), 400, "parameter-invalid", field)
