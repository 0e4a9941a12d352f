"""The daily run: what it counts, publishes, mails and records, each once.

test_run_failures.py has the calls that fail and the workers that stop.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from local.fake_pacs.fake_data import Movement, bulk_rfc
from tests.support import runs
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.runs import BUSY, EMPTY, STRANGERS, UNUSED

from timbres.aws import clients
from timbres.aws.rate_limiter import RateLimiter
from timbres.deadline import Deadline


@pytest.fixture
def rc(stack: FakeStack) -> FakeStack:
    """A stack with only the Reachcore account."""
    stack.accounts.delete(SF)
    return stack


def stored_items(stack: FakeStack, *tables: str) -> list[list[str]]:
    return [sorted(map(str, stack.aws.items(name))) for name in tables]


# ----------------------------------------------------------------------------- one run


def test_a_run_counts_every_issuer_of_every_account(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY])
    runs.add_second_account(stack, BUSY, UNUSED)

    run = stack.run()

    assert (run["id"], run["day"]) == ("2026-11-19-135341", "2026-11-19")
    assert run["started_at"] == run["finished_at"] == "2026-11-19T13:53:41-06:00"
    assert runs.sums(run) == ("finished", 8, 8, {})
    assert (run["low"], run["exhausted"]) == (0, 1)
    accounts = run["accounts"]
    counts = [(account["account"], account["expected"], account["done"]) for account in accounts]
    assert counts == [(RC, 3, 3), (SF, 3, 3), ("acme-two", 2, 2)]
    of_accounts = [account["account_stamps"] for account in accounts]
    assert [of and of["available"] for of in of_accounts] == [None, 8950, 8950]
    calls = {"getTimbres": 5, "getTimbresImplementacion": 2, "saldos": 1}
    assert Counter(stack.pacs.calls()) == calls
    assert [snapshot["available"] for snapshot in runs.history(stack, RFC)] == [750]
    assert runs.line(stack, BUSY, "acme-two")["available"] == 180
    assert runs.event_counts(stack) == {"Daily Run Completed": 1, "Stamps Exhausted": 1}


def test_unknown_issuers_stop_no_others_and_are_published(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, EMPTY, *STRANGERS])

    run = sf.run()

    code = "pac-rejected-request"
    assert runs.sums(run) == ("finished", 4, 2, {code: 2})
    assert (runs.history(sf, STRANGERS[0]), runs.line(sf, STRANGERS[0])["as_of"]) == ([], None)
    logged = sf.logs.lines("an issuer was not counted")
    assert {entry["rfc"] for entry in logged} == {*STRANGERS}
    change = {"account": SF, "rfc": EMPTY, "alert": "exhausted", "available": 0}
    empty = change | {"days_left": 0, "burn": None}
    assert sf.events("Stamps Exhausted") == [empty | {"run": run["id"]}]
    (event,) = sf.events("Daily Run Completed")
    assert (event["issuers"], event["exhausted_total"]) == ([empty], 1)
    named = [{"account": SF, "rfc": rfc, "code": code} for rfc in STRANGERS]
    assert (event["failed_issuers"], event["accounts_not_counted"]) == (named, 1)


def test_an_account_without_issuers_and_no_account_at_all(sf: FakeStack) -> None:
    assert runs.sums(sf.run()) == ("finished", 0, 0, {})
    sf.accounts.delete(SF)
    sf.reset_warm_functions()

    assert sf.run()["accounts"] == []
    assert sf.pacs.calls() == ["getTimbresImplementacion"]
    assert sf.mails() == []


def test_batches_are_queued_by_turns_so_that_a_large_account_does_not_delay_others(
    sf: FakeStack,
) -> None:
    sf.accounts.add_issuers(map(bulk_rfc, range(8)))
    other = runs.add_second_account(sf, *map(bulk_rfc, range(4)))

    runs.start(sf, batch_size=2)

    batches = [json.loads(message["Body"]) for message in sf.receive("RunsQueue")]
    assert [batch["account"] for batch in batches] == [SF, other, SF, other, SF, SF]
    assert {frozenset(batch) for batch in batches} == {frozenset({"run", "account", "number"})}


# -------------------------------------------------------------------- repeated messages


def test_a_second_run_of_a_day_repeats_no_call_and_no_event(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC, RFC_N, EMPTY, STRANGERS[0]])
    stack.run()
    before, calls = stored_items(stack, "IssuersTable", "SnapshotsTable"), runs.queried_rfcs(stack)
    assert len(stack.mails()) == 1
    stack.clock.forward(hours=3)

    run = stack.run()

    assert runs.sums(run) == ("finished", 7, 6, {"pac-rejected-request": 1})
    assert (run["low"], run["exhausted"]) == (0, 0)
    assert runs.queried_rfcs(stack) == [*calls, STRANGERS[0]]
    assert stored_items(stack, "IssuersTable", "SnapshotsTable") == before
    assert stack.events("Daily Run Completed")[1]["issuers"] == []
    assert runs.event_counts(stack)["Stamps Exhausted"] == 1
    _, repeated = stack.mails()
    assert repeated.startswith(f"Timbres: no se contaron 1 de 4 emisores de {SF}")


def test_two_starts_at_the_same_time_and_an_import_between(sf: FakeStack) -> None:
    """The first start has stored its batches; the second plans more issuers and enqueues them."""
    sf.pacs.state.solucion_factible.load_issuers(6)
    new, *planned = map(bulk_rfc, range(6))
    sf.accounts.add_issuers(planned)

    def start_again() -> None:
        sf.accounts.add_issuers([new])
        runs.start(sf, batch_size=2)

    sf.aws_faults.before("dynamodb", "TransactWriteItems", start_again)

    run = runs.finish(sf, runs.start(sf, batch_size=2))

    assert runs.sums(run) == ("finished", 6, 6, {})
    assert sorted(runs.queried_rfcs(sf)) == [new, *planned]
    assert runs.event_counts(sf) == {"Daily Run Completed": 1}


def test_two_workers_with_the_same_message_at_the_same_time(sf: FakeStack) -> None:
    """The second worker counts the batch while the first has not stored its result."""
    sf.accounts.add_issuers([RFC, EMPTY, STRANGERS[0]])
    # The run does not end with this batch.
    runs.add_second_account(sf, BUSY)
    run = runs.start(sf)
    (event,) = (one for one in runs.batch_events(sf) if SF in str(one))
    results: list[Any] = []

    def work() -> None:
        results.append(sf.invoke("run_worker", event))

    sf.aws_faults.before("dynamodb", "TransactWriteItems", work, sf.aws.refs["RunsTable"])
    work()

    assert results == [{"batchItemFailures": []}] * 2
    assert runs.sums(runs.get(sf, run)) == ("running", 4, 2, {"pac-rejected-request": 1})
    sf.advance_to_delayed()
    assert runs.sums(runs.finish(sf, run)) == ("finished", 4, 3, {"pac-rejected-request": 1})
    assert (runs.event_counts(sf)["Daily Run Completed"], len(sf.mails())) == (1, 1)


def test_two_runs_at_the_same_time_publish_an_alert_once(sf: FakeStack) -> None:
    """A run by hand counts an issuer while the daily run has its stamps, not yet stored."""
    sf.accounts.add_issuers([EMPTY])
    runs.start(sf)
    sf.clock.forward(minutes=1)
    sf.aws_faults.before("dynamodb", "TransactWriteItems", sf.run)

    sf.run_worker_until_idle()

    listed = sf.get("/runs").body["runs"]
    assert [run["status"] for run in listed] == ["finished"] * 2
    assert sorted(run["exhausted"] for run in listed) == [0, 1]
    assert runs.event_counts(sf) == {"Stamps Exhausted": 1, "Daily Run Completed": 2}
    assert len(sf.mails()) == 1


@pytest.mark.parametrize("is_counted", [False, True])
def test_an_issuer_that_is_removed_during_a_run_does_not_come_back(
    sf: FakeStack, is_counted: bool
) -> None:
    """It is removed before its batch is read, or while its count is not yet stored."""
    sf.accounts.add_issuers([RFC, BUSY])
    run = runs.start(sf)

    def remove() -> None:
        key = {"account": {"S": SF}, "rfc": {"S": BUSY}}
        sf.aws.client("dynamodb").delete_item(TableName=sf.aws.refs["IssuersTable"], Key=key)

    if is_counted:
        sf.aws_faults.before("dynamodb", "TransactWriteItems", remove)
    else:
        remove()

    assert runs.sums(runs.finish(sf, run)) == ("finished", 2, 2, {})
    assert [issuer["rfc"] for issuer in sf.get(f"/accounts/{SF}/stamps").body["issuers"]] == [RFC]
    assert runs.history(sf, BUSY) == []
    assert runs.queried_rfcs(sf).count(BUSY) == is_counted


# ------------------------------------------------------------------------ the call rate


@pytest.mark.parametrize(("rate", "count"), [(7, 1), (1000, 250)])
def test_calls_reserved_by_many_workers_keep_their_distance(
    sf: FakeStack, rate: int, count: int
) -> None:
    dynamodb, table = clients.client("dynamodb"), sf.aws.refs["RateLimitTable"]

    def reserve(limiter: RateLimiter) -> float:
        return limiter.reserve(SF, rate, count, time.time() + 100) or 0

    with ThreadPoolExecutor(4) as workers:
        reserved = workers.map(reserve, [RateLimiter(dynamodb, table) for _ in range(24)])

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
    sf.accounts.change(SF, sf.accounts.secret(SF, calls_per_second=20))
    runs.add_many_issuers(sf, 39)
    before = sf.time.time()

    sf.run()

    # With the account's own, 40 calls take two seconds; the waits of threads add up on this clock.
    assert 40 / 20 - 0.25 < sf.time.time() - before < 20


# ----------------------------------------------------------------------------- Reachcore


def test_one_balance_contains_all_issuers(rc: FakeStack) -> None:
    rc.accounts.add_issuers([BUSY], account=RC)

    run = rc.run()

    assert runs.sums(run) == ("finished", 4, 4, {})
    assert [(c["operation"], c["month"]) for c in rc.pacs.reachcore.calls.as_json()] == [
        ("saldos", "2026-11")
    ]
    issuers = rc.get(f"/accounts/{RC}/stamps").body["issuers"]
    assert {one["rfc"] for one in issuers} == {RFC, RFC_N, EMPTY, BUSY}
    assert {one["at"] for one in runs.snapshots(rc).values()} == {"2026-11-19T00:00:00-06:00"}


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
    # Each is counted up to the day before: today is not complete.
    found = runs.history(rc, RFC, RC, **{"from": "2026-11-29", "to": "2026-12-02"})
    assert [(snapshot["date"], snapshot["consumed"]) for snapshot in found] == [
        (day.isoformat(), consumed) for day, consumed in zip(days, (None, 3, 5, 7), strict=True)
    ]
    assert runs.line(rc, RFC, RC)["burn_7"] == 5


class ManualDeadline(Deadline):
    """A deadline in 100 seconds, or once ``has_passed`` is set."""

    def __init__(self) -> None:
        super().__init__(100)
        self.has_passed = False

    def remaining(self) -> float:
        return 0.0 if self.has_passed else super().remaining()


def test_a_balance_that_takes_two_attempts_counts_each_issuer_once(rc: FakeStack) -> None:
    run, deadline = runs.start(rc), ManualDeadline()
    (message,) = rc.receive("RunsQueue")
    rc.aws_faults.before(
        "dynamodb", "TransactWriteItems", lambda: setattr(deadline, "has_passed", True)
    )

    with rc.environment("run_worker"):
        worker = replace(rc.function("run_worker").daily_run_worker, balance_batch_size=2)
        is_done = worker.process(message["Body"], message["ReceiptHandle"], 1, deadline)
    first = len(runs.snapshots(rc))
    rc.advance_to_delayed()

    assert (is_done, first) == (False, 2)
    assert runs.sums(runs.finish(rc, run)) == ("finished", 3, 3, {})
    assert len(runs.snapshots(rc)) == 3


# -------------------------------------------------------------------------------- alerts


def run_days(stack: FakeStack, contracted: int, *used: int) -> list[str | None]:
    """Run once per day with these counts of BUSY; return the alert of each day."""
    published: list[str | None] = []
    for count in used:
        stack.pacs.state.solucion_factible.set_issuer(BUSY, contratados=contracted, usados=count)
        before, mails = len(runs.alerts(stack)), len(stack.mails())
        stack.run()
        new = runs.alerts(stack)[before:]
        assert len(new) == len(stack.mails()) - mails <= 1
        published.append(new[0].removeprefix("Stamps ") if new else None)
        stack.clock.forward(days=1)
    return published


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
    assert runs.line(sf, BUSY)["alert"] == "ok"
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
        runs.start(sf)
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
