"""The daily run: from its schedule over the queue to snapshots, events, one mail and a record."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import date
from typing import Any

import pytest
from local.sandboxes.books import AccountState, Movement, bulk_rfc
from tests.integration.harness import (
    RC,
    RFC,
    RFC_N,
    SF,
    STACK,
    Context,
    World,
    load,
    problem,
    sqs_event,
)

import timbres.aws.runs
import timbres.work.run
import timbres.work.watch
from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT
from timbres.pacs.solucion_factible import SolucionFactible

EMPTY, UNUSED, BUSY = "AAA010101AAA", "ACM010203XY9", "GOMP800101QX2"
STRANGERS = ("XYZ010203AB1", "XYZ010203AB2")
STAMPING = (RFC, RFC_N, EMPTY)  # at Reachcore


@pytest.fixture
def sf(world: World) -> World:
    """A world whose one account is at Solución Factible."""
    world.stack.client("secretsmanager").delete_secret(
        SecretId=f"{world.stack.refs['SecretPrefix']}{RC}", ForceDeleteWithoutRecovery=True
    )
    return world


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two issuers each."""
    monkeypatch.setattr(timbres.work.run, "ISSUERS_A_PART", 2)


def many(world: World, count: int) -> list[str]:
    """Return so many issuers, which the PAC has and the account knows."""
    world.books.solucion_factible.load_issuers(count)
    rfcs = [bulk_rfc(index) for index in range(count)]
    world.know(rfcs)
    return rfcs


def start(world: World) -> str:
    return str(world.invoke("run", {"scheduled_time": world.clock().isoformat()})["id"])


def shown(world: World, run: str) -> dict[str, Any]:
    body: dict[str, Any] = world.get(f"/runs/{run}").body
    return body


def sums(run: dict[str, Any]) -> tuple[str, int, int, dict[str, int]]:
    return run["status"], run["expected"], run["done"], run["failed"]


def asked(world: World) -> list[str]:
    """Return the RFCs that Solución Factible was asked for, in order."""
    return [call["rfc"] for call in world.factible.calls.as_json()]


def history(world: World, rfc: str, account: str = SF) -> list[dict[str, Any]]:
    body = world.get(f"/accounts/{account}/stamps/history", rfc=rfc).body
    snapshots: list[dict[str, Any]] = body["snapshots"]
    return snapshots


def line(world: World, rfc: str, account: str = SF) -> dict[str, Any]:
    issuers = world.get(f"/accounts/{account}/stamps").body["issuers"]
    return next(one for one in issuers if one["rfc"] == rfc)


def kept(world: World) -> dict[str, list[dict[str, Any]]]:
    """Return all that a run leaves in the tables, the pace of the calls aside."""
    tables = ("IssuersTable", "SnapshotsTable", "RunsTable")
    return {
        name: sorted(world.stack.items(name), key=lambda item: sorted(map(str, item.items())))
        for name in tables
    }


def kinds(world: World) -> Counter[str]:
    return Counter(entry["DetailType"] for entry in world.published)


# ----------------------------------------------------------------------------- one run


def test_it_counts_every_issuer_of_every_account(world: World) -> None:
    world.create_account("acme-two", world.secret(SF))
    world.know([RFC, RFC_N, EMPTY])
    world.know([BUSY, UNUSED], account="acme-two")

    run = world.run()

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
        "accounts": [
            {"account": name, "expected": count, "done": count, "failed": {}, "problem": None}
            for name, count in ((RC, 3), (SF, 3), ("acme-two", 2))
        ],
    }
    assert sorted(world.calls()) == ["getTimbres"] * 5 + ["saldos"]
    (snapshot,) = history(world, RFC)
    assert snapshot == {
        "date": "2026-11-19",
        "as_of": "2026-11-19T13:53:41-06:00",
        "contracted": 1000,
        "used": 250,
        "available": 750,
        "consumed": None,
    }
    assert line(world, BUSY, "acme-two")["available"] == 180
    assert kinds(world) == {"Stamps Counted": 1, "Stamps Exhausted": 1}


def test_what_it_tells_when_it_is_over(sf: World) -> None:
    sf.know([RFC, EMPTY, STRANGERS[0]])

    run = sf.run()

    (told,) = sf.events("Stamps Counted")
    empty = {
        "account": SF,
        "rfc": EMPTY,
        "alert": "exhausted",
        "available": 0,
        "days_left": 0,
        "burn": None,
    }
    assert told == {key: value for key, value in run.items() if key != "accounts"} | {
        "accounts": [SF],
        "problems": {},
        "issuers": [empty],
    }
    assert sf.events("Stamps Exhausted") == [empty | {"run": run["id"]}]


def test_issuers_that_the_pac_does_not_know_stop_no_other(sf: World) -> None:
    sf.know([RFC, *STRANGERS, BUSY])

    run = sf.run()

    assert sums(run) == ("finished", 4, 2, {"pac-rejected-request": 2})
    assert history(sf, STRANGERS[0]) == []
    assert line(sf, STRANGERS[0])["as_of"] is None
    assert line(sf, BUSY)["available"] == 180
    logged = sf.logged("an issuer was not counted")
    assert {(one["rfc"], one["code"]) for one in logged} == {
        (rfc, "pac-rejected-request") for rfc in STRANGERS
    }


def test_an_account_without_issuers_and_no_account_at_all(sf: World) -> None:
    assert sums(sf.run()) == ("finished", 0, 0, {})
    sf.stack.client("secretsmanager").delete_secret(
        SecretId=f"{sf.stack.refs['SecretPrefix']}{SF}", ForceDeleteWithoutRecovery=True
    )
    sf.cold()
    assert sf.run()["accounts"] == []
    assert sf.calls() == []
    assert sf.mails() == []


def test_parts_go_by_turns_so_that_a_large_account_does_not_stand_before_others(
    sf: World, pairs: None
) -> None:
    sf.create_account("acme-two", sf.secret(SF))
    sf.know([bulk_rfc(index) for index in range(12)])
    sf.know([bulk_rfc(index) for index in range(4)], account="acme-two")

    start(sf)

    parts = [json.loads(message["Body"]) for message in sf.receive("RunsQueue")]
    assert [part["account"] for part in parts][:4] == [SF, "acme-two", SF, "acme-two"]
    assert len(parts) == 8


def test_its_metrics(sf: World, capsys: pytest.CaptureFixture[str]) -> None:
    sf.change_account(SF, sf.secret(SF, low_stamps=50))
    sf.know([RFC, RFC_N, EMPTY, *STRANGERS])

    sf.run()

    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    found: dict[str, list[float]] = {}
    for one in lines:
        (directive,) = one["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Timbres"
        for metric in directive["Metrics"]:
            values = one[metric["Name"]]
            assert one["service"] == STACK
            further = sorted({"reason", "pac", "code"} & one.keys())
            name = " ".join([metric["Name"], *(one[dimension] for dimension in further)])
            found.setdefault(name, []).extend(values if isinstance(values, list) else [values])
    assert found == {
        "RunsStarted": [1],
        "IssuersExpected": [5],
        "IssuersCounted": [3],
        "StampsLow": [1],
        "StampsExhausted": [1],
        "PartsBroken": [0],
        "IssuersFailed pac-rejected-request": [2],
        "PacCalls solucion-factible": [5],
        "PacErrors pac-rejected-request solucion-factible": [2],
        "PacSeconds solucion-factible": found["PacSeconds solucion-factible"],
        "RunsFinished": [1],
        "IssuersNotReached": [0],
        "RunSeconds": [0],
    }


# --------------------------------------------------------------------- what comes twice


def test_a_second_run_of_a_day_asks_for_nothing_again_and_tells_nothing_again(
    world: World,
) -> None:
    world.know([RFC, RFC_N, EMPTY, STRANGERS[0]])
    world.run()
    before, calls = kept(world), asked(world)
    mails = world.mails()
    assert len(mails) == 1
    world.clock.forward(hours=3)

    run = world.run()

    assert sums(run) == ("finished", 7, 6, {"pac-rejected-request": 1})
    assert (run["low"], run["exhausted"]) == (0, 0)
    assert asked(world) == [*calls, STRANGERS[0]]
    after = kept(world)
    assert after["IssuersTable"] == before["IssuersTable"]
    assert after["SnapshotsTable"] == before["SnapshotsTable"]
    assert world.events("Stamps Counted")[1]["issuers"] == []
    assert kinds(world)["Stamps Exhausted"] == 1
    assert world.mails() == mails


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_that_comes_twice(world: World, when: str) -> None:
    world.know([RFC, EMPTY])
    due = world.clock()
    if when == "before":
        start(world)
    else:
        world.run(due)
    run = world.run(due)
    calls, events, mails = world.calls(), kinds(world), world.mails()

    assert world.run(due) == run
    assert sums(run) == ("finished", 5, 5, {})
    assert world.calls() == calls
    assert sorted(asked(world)) == [RFC, EMPTY]
    assert world.calls().count("saldos") == 1
    assert kinds(world) == events
    assert events["Stamps Counted"] == 1
    assert world.mails() == mails
    assert len(world.get("/runs").body["runs"]) == 1


def test_a_start_that_breaks_off_is_gone_on_with(sf: World, pairs: None) -> None:
    rfcs = many(sf, 30)
    due = sf.clock()
    sf.break_aws("sqs", "SendMessageBatch", "InternalServerError", 500, after=1)
    with pytest.raises(Exception, match="InternalServerError"):
        sf.run(due)
    sf.mend_aws()

    run = sf.run(due)

    assert sums(run) == ("finished", 30, 30, {})
    assert sorted(asked(sf)) == rfcs
    assert kinds(sf) == {"Stamps Counted": 1}


def test_an_end_that_broke_off_is_made_up_for(sf: World) -> None:
    # Nothing is left to be counted, only to be told.
    sf.break_aws("events", "PutEvents", "InternalException", 500)
    with pytest.raises(Exception, match="InternalException"):
        start(sf)
    sf.mend_aws()
    sf.clock.forward(minutes=5)
    assert sf.close_overdue() == []
    sf.clock.forward(minutes=55)

    (run,) = sf.close_overdue()

    assert sums(run) == ("finished", 0, 0, {})
    assert kinds(sf) == {"Stamps Counted": 1}


@pytest.mark.parametrize("how", ["after", "together"])
def test_a_message_that_comes_twice_changes_nothing(world: World, how: str) -> None:
    world.know([RFC, EMPTY, STRANGERS[0]])
    world.fault("getTimbres", "cut-before", rfc=RFC)
    run = start(world)
    messages = world.receive("RunsQueue")
    event = sqs_event(world.stack.arns["RunsQueue"], messages)
    if how == "together":
        event["Records"] *= 2
    taken = {"batchItemFailures": []}
    assert world.invoke("run_worker", event) == taken
    before, published, calls = kept(world), list(world.published), world.calls()

    assert world.invoke("run_worker", event) == taken

    assert kept(world) == before
    assert world.published == published
    assert world.calls() == calls
    world.work()
    assert sums(shown(world, run)) == ("finished", 6, 5, {"pac-rejected-request": 1})
    assert asked(world).count(RFC) == 2
    assert len(world.mails()) == 1


# ------------------------------------------------------------------- workers that break


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_worker_that_breaks_off_loses_nothing_and_doubles_nothing(
    sf: World, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(timbres.work.watch, "_STORED_AT_ONCE", 5)
    rfcs = many(sf, 12)
    sf.know([EMPTY])
    run = start(sf)
    sf.break_aws("dynamodb", "TransactWriteItems", "InternalServerError", 500, after=after)
    taken, returned = sf.count()
    assert (taken, returned) == (0, 1)
    sf.mend_aws()
    # Whoever was finishing the run and died is waited for.
    sf.clock.forward(minutes=11)

    sf.work()

    assert sums(shown(sf, run)) == ("finished", 13, 13, {})
    assert set(asked(sf)) == {*rfcs, EMPTY}
    entries = [item["entry"] for item in sf.stack.items("SnapshotsTable")]
    assert len(entries) == len(set(entries)) == 13
    assert kinds(sf)["Stamps Counted"] == 1
    (mail,) = sf.mails()
    assert mail.count(EMPTY) >= 1
    assert shown(sf, run)["exhausted"] == 1


def test_what_is_left_of_a_part_is_sent_on_though_the_worker_broke_off_then(sf: World) -> None:
    sf.know([RFC, BUSY])
    sf.fault("getTimbres", "cut-before", rfc=RFC)
    run = start(sf)
    sf.break_aws("sqs", "SendMessageBatch", "InternalError", 500)
    assert sf.count() == (0, 1)
    sf.mend_aws()

    assert sf.count() == (1, 0)
    assert sums(shown(sf, run)) == ("running", 2, 1, {})
    sf.work()

    assert sums(shown(sf, run)) == ("finished", 2, 2, {})
    assert Counter(asked(sf)) == {RFC: 2, BUSY: 1}


def test_an_error_of_our_own_is_given_back_and_in_the_end_put_aside(
    sf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = SolucionFactible.stamps

    def broken(self: SolucionFactible, rfc: Any, deadline: Any) -> Any:
        if rfc == RFC_N:
            raise ZeroDivisionError("of the test")
        return stamps(self, rfc, deadline)

    monkeypatch.setattr(SolucionFactible, "stamps", broken)
    monkeypatch.setattr(timbres.work.run, "ISSUERS_A_PART", 1)
    sf.know([RFC, RFC_N, BUSY])
    run = start(sf)

    rounds = [sf.count(together=1) for _ in range(4)]

    assert rounds == [(2, 1), (0, 1), (0, 1), (0, 0)]
    assert sums(shown(sf, run)) == ("finished", 3, 2, {"internal-error": 1})
    assert sf.waiting("RunsDeadLetterQueue") == 1
    assert kinds(sf)["Stamps Counted"] == 1
    assert "ZeroDivisionError" in str(sf.logged("a part was not counted"))


@pytest.mark.parametrize(
    "body",
    [
        "hello",
        "[]",
        "null",
        "{}",
        '{"run": "2026-11-19-050000", "account": "acme-sf", "number": "1", "rfcs": 7}',
        '{"run": "2020-01-01-050000", "account": "acme-sf", "number": "1", "rfcs": ["A"]}',
    ],
)
def test_a_message_that_is_no_part_stops_no_other(sf: World, body: str) -> None:
    sf.know([RFC])
    sf.stack.client("sqs").send_message(QueueUrl=sf.stack.refs["RunsQueue"], MessageBody=body)
    run = start(sf)

    assert [sf.count() for _ in range(4)] == [(1, 1), (0, 1), (0, 1), (0, 0)]

    assert sums(shown(sf, run)) == ("finished", 1, 1, {})
    assert sf.waiting("RunsDeadLetterQueue") == 1


# ------------------------------------------------------------------ what passes, or not


def test_an_issuer_that_times_out_is_asked_three_times(sf: World) -> None:
    sf.know([RFC, RFC_N, BUSY])
    sf.fault("getTimbres", "cut-before", rfc=RFC, times=-1)
    before = sf.clock()

    run = sf.run()

    assert sums(run) == ("finished", 3, 2, {"pac-timeout": 1})
    assert Counter(asked(sf)) == {RFC: 3, RFC_N: 1, BUSY: 1}
    # A minute, then two.
    assert (sf.clock() - before).total_seconds() >= 178


@pytest.mark.parametrize(("fault", "code"), [("cut-before", None), ("code", "500")])
@pytest.mark.parametrize("times", [1, 2])
def test_what_passes_is_no_failure(sf: World, fault: str, code: str | None, times: int) -> None:
    sf.know([RFC, BUSY])
    sf.fault("getTimbres", fault, rfc=RFC, times=times, **({"code": code} if code else {}))

    assert sums(sf.run()) == ("finished", 2, 2, {})
    assert asked(sf).count(RFC) == times + 1


def test_time_that_runs_out_is_no_failure(sf: World) -> None:
    many(sf, 20)
    run = start(sf)

    # Too short to ask at all, five times: the rest goes on each time.
    assert [sf.count(seconds=17) for _ in range(5)] == [(1, 0)] * 5
    assert asked(sf) == []
    assert sums(shown(sf, run)) == ("running", 20, 0, {})
    assert not sf.held_back()
    sf.work()

    assert sums(shown(sf, run)) == ("finished", 20, 20, {})


@pytest.mark.parametrize("code", ["501", "503"])
@pytest.mark.parametrize("times", [1, 9])
def test_a_pac_that_cannot_take_more_is_asked_more_slowly(sf: World, code: str, times: int) -> None:
    rfcs = many(sf, 20)
    sf.fault("getTimbres", "code", code=code, times=times)

    run = sf.run(rounds=60)

    assert sums(run) == ("finished", 20, 20, {})
    assert set(asked(sf)) == set(rfcs)
    assert len(asked(sf)) == 20 + times
    (pace,) = sf.stack.items("PaceTable")
    assert pace["slowness"] >= 1
    assert max(sf.ticks.rests) > 1


def test_a_pac_that_stumbles_in_the_middle_keeps_what_it_told(sf: World) -> None:
    rfcs = many(sf, 24)
    for rfc in rfcs[8:16]:
        sf.fault("getTimbres", "code", code="503", rfc=rfc)

    assert sums(sf.run()) == ("finished", 24, 24, {})
    assert Counter(asked(sf)) == {rfc: 2 if rfc in rfcs[8:16] else 1 for rfc in rfcs}


def test_a_pac_that_refuses_a_few_by_chance_is_asked_at_the_same_pace(sf: World) -> None:
    rfcs = many(sf, 80)
    for rfc in (rfcs[70], rfcs[79]):
        sf.fault("getTimbres", "code", code="503", rfc=rfc)

    assert sums(sf.run()) == ("finished", 80, 80, {})
    assert len(asked(sf)) == 82
    (pace,) = sf.stack.items("PaceTable")
    assert "slowness" not in pace


def test_an_outage_is_pressed_by_few_calls_and_ends_with_the_run(sf: World) -> None:
    many(sf, 60)
    sf.fault("getTimbres", "code", code="503", times=-1)

    run = sf.run(rounds=100)

    assert sums(run) == ("finished", 60, 0, {"pac-unavailable": 60})
    # Six hours of it are not sixty calls each time.
    assert len(asked(sf)) < 150
    (mail,) = sf.mails()
    assert "60 emisores: el PAC no estaba disponible" in mail


def test_a_run_that_is_overdue_is_closed_with_what_it_has(sf: World, pairs: None) -> None:
    many(sf, 4)
    sf.know([EMPTY])
    start(sf)
    # The last of three parts is late.
    first, second, late = sf.receive("RunsQueue")
    for message in (first, second):
        sf.invoke("run_worker", sqs_event(sf.stack.arns["RunsQueue"], [message]))
    sf.clock.forward(hours=5, minutes=59)
    assert sf.close_overdue() == []
    sf.clock.forward(minutes=1)

    (closed,) = sf.close_overdue()

    missing = len(json.loads(late["Body"])["rfcs"])
    assert sums(closed) == ("finished", 5, 5 - missing, {"not-reached": missing})
    (told,) = sf.events("Stamps Counted")
    assert told["failed"] == {"not-reached": missing}
    assert sf.close_overdue() == []
    # What comes after the end adds nothing to a run that was told of.
    before, calls = kept(sf), sf.calls()
    sf.invoke("run_worker", sqs_event(sf.stack.arns["RunsQueue"], [late]))
    assert kept(sf) == before
    assert sf.calls() == calls
    assert kinds(sf)["Stamps Counted"] == 1

    sf.clock.forward(days=1)
    assert sums(sf.run()) == ("finished", 5, 5, {})


def test_an_account_that_cannot_be_reached_waits_while_others_are_counted(sf: World) -> None:
    sf.create_account("acme-away", sf.secret(SF, endpoint="http://127.0.0.1:9"))
    sf.know([RFC, BUSY])
    sf.know([RFC, BUSY, EMPTY], account="acme-away")
    run = start(sf)
    sf.count()
    accounts = {one["account"]: one for one in shown(sf, run)["accounts"]}
    assert (accounts[SF]["done"], accounts["acme-away"]["done"]) == (2, 0)

    sf.change_account("acme-away", sf.secret(SF))
    sf.cold()
    sf.work()

    assert sums(shown(sf, run)) == ("finished", 5, 5, {})


def test_an_account_that_stays_away_fails_by_reason(sf: World) -> None:
    sf.change_account(SF, sf.secret(SF, endpoint="http://127.0.0.1:9"))
    sf.know([RFC, BUSY])

    assert sums(sf.run(rounds=100)) == ("finished", 2, 0, {"pac-unreachable": 2})


# -------------------------------------------------------------------- accounts that break


def test_rejected_credentials_are_one_sign_in_for_each_worker_in_flight(
    sf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many messages as ten thousand issuers have.
    monkeypatch.setattr(timbres.work.run, "ISSUERS_A_PART", 30)
    many(sf, 1_500)
    sf.books.solucion_factible.set_account(password="another")
    run = start(sf)
    messages = sf.receive("RunsQueue")
    assert len(messages) == 50
    events = [
        sqs_event(sf.stack.arns["RunsQueue"], messages[begin : begin + 10])
        for begin in range(0, 50, 10)
    ]

    # Two workers at a time, as many as the template lets run.
    workers = int(sf.stack.refs["RunWorkers"])
    assert workers == 2
    with sf.environment("run_worker"):
        modules = [load("run_worker") for _ in range(workers)]
        for begin in range(0, 5, workers):
            threads = [
                threading.Thread(target=module.handler, args=(event, Context("run_worker", 300)))
                for module, event in zip(modules, events[begin : begin + workers], strict=False)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert 1 <= len(asked(sf)) <= workers
    assert sums(shown(sf, run)) == ("finished", 1_500, 0, {"pac-credentials-rejected": 1_500})
    assert kinds(sf) == {"Credentials Rejected": 1, "Stamps Counted": 1}
    (mail,) = sf.mails()
    assert "rechazó las credenciales" in mail


def test_a_password_that_expires_in_the_middle(sf: World, monkeypatch: pytest.MonkeyPatch) -> None:
    many(sf, 80)
    books = sf.books.solucion_factible
    authenticate, signed_in = books.authenticate, iter(range(20))

    def until_it_expires(username: str, password: str) -> int:
        if next(signed_in, None) is None:
            books.set_account(state=AccountState.EXPIRED)
        return authenticate(username, password)

    monkeypatch.setattr(books, "authenticate", until_it_expires)
    run = sf.run()

    failed = 80 - run["done"]
    assert 0 < run["done"] <= 20
    assert sums(run)[::3] == ("finished", {"pac-credentials-rejected": failed})
    assert len(asked(sf)) <= 20 + DEFAULT_CALLS_IN_FLIGHT
    assert len(sf.stack.items("SnapshotsTable")) == run["done"]
    assert kinds(sf) == {"Credentials Rejected": 1, "Stamps Counted": 1}

    # A new password, and the next run counts all that are left.
    monkeypatch.setattr(books, "authenticate", authenticate)
    books.set_account(state=AccountState.ACTIVE)
    sf.change_account(SF, sf.secret(SF))
    sf.cold()
    sf.clock.forward(hours=1)
    assert sums(sf.run()) == ("finished", 80, 80, {})


def test_an_account_whose_secret_is_broken_is_left_out_and_stops_no_other(sf: World) -> None:
    sf.create_account("acme-broken", "no JSON")
    sf.know([RFC])
    sf.know([RFC], account="acme-broken")

    run = sf.run()

    assert sums(run) == ("finished", 1, 1, {})
    problems = {one["account"]: one["problem"] for one in run["accounts"]}
    assert problems == {"acme-broken": "account-misconfigured", SF: None}
    assert sf.events("Stamps Counted")[0]["problems"] == {"acme-broken": "account-misconfigured"}


def test_an_account_whose_secret_is_gone_since_the_start(sf: World) -> None:
    sf.create_account("acme-gone", sf.secret(SF))
    sf.know([RFC, BUSY], account="acme-gone")
    sf.know([RFC])
    run = start(sf)
    sf.stack.client("secretsmanager").delete_secret(
        SecretId=f"{sf.stack.refs['SecretPrefix']}acme-gone", ForceDeleteWithoutRecovery=True
    )
    sf.work()

    assert sums(shown(sf, run)) == ("finished", 3, 1, {"account-unknown": 2})


@pytest.mark.parametrize("when", ["queued", "asked"])
def test_an_issuer_that_is_removed_during_a_run_does_not_come_back(
    sf: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.know([RFC, BUSY])
    run = start(sf)

    def remove() -> None:
        key = {"account": {"S": SF}, "rfc": {"S": BUSY}}
        sf.stack.client("dynamodb").delete_item(TableName=sf.stack.refs["IssuersTable"], Key=key)

    if when == "queued":
        remove()
    else:
        stamps = sf.books.solucion_factible.stamps

        def removed_meanwhile(username: str, rfc: str) -> Any:
            if rfc == BUSY:
                remove()
            return stamps(username, rfc)

        monkeypatch.setattr(sf.books.solucion_factible, "stamps", removed_meanwhile)
    sf.work()

    assert sums(shown(sf, run)) == ("finished", 2, 2, {})
    assert [one["rfc"] for one in sf.get(f"/accounts/{SF}/stamps").body["issuers"]] == [RFC]
    assert history(sf, BUSY) == []
    assert asked(sf).count(BUSY) == (0 if when == "queued" else 1)


# ------------------------------------------------------------------------------ the pace


def test_the_calls_a_second_hold_across_two_workers(
    sf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sf.change_account(SF, sf.secret(SF, calls_per_second=5))
    monkeypatch.setattr(timbres.work.run, "ISSUERS_A_PART", 7)
    rfcs = many(sf, 14)
    start(sf)
    sf.ticks.real = True
    at: list[float] = []
    begin = sf.factible.calls.begin

    def noted(*call: Any) -> Any:
        at.append(time.time())
        return begin(*call)

    monkeypatch.setattr(sf.factible.calls, "begin", noted)
    with sf.environment("run_worker"):
        threads = [
            threading.Thread(
                target=load("run_worker").handler,
                args=(
                    sqs_event(sf.stack.arns["RunsQueue"], [message]),
                    Context("run_worker", 300),
                ),
            )
            for message in sf.receive("RunsQueue")
        ]
        assert len(threads) == 2
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(asked(sf)) == rfcs
    # Fourteen calls are three seconds' worth: not all of them begin within one.
    assert max(at) - min(at) > 1
    # A call may arrive in the second after the one that it was let go in.
    assert max(Counter(int(moment) for moment in at).values()) <= 2 * 5


# ----------------------------------------------------------------------------- Reachcore


@pytest.fixture
def rc(world: World) -> World:
    """A world whose one account is at Reachcore."""
    world.stack.client("secretsmanager").delete_secret(
        SecretId=f"{world.stack.refs['SecretPrefix']}{SF}", ForceDeleteWithoutRecovery=True
    )
    return world


def stamped(world: World, day: date, amount: int, rfc: str = RFC) -> None:
    world.books.reachcore.add_movements("Acme Timbrado", [Movement(day, rfc, amount=amount)])


def at_five(world: World, day: date) -> None:
    """Move the clock to 05:00 of a day in Mexico City."""
    world.clock.at = world.clock.at.replace(
        year=day.year, month=day.month, day=day.day, hour=5, minute=0, second=0
    )


def test_one_balance_tells_of_all_issuers(rc: World) -> None:
    rc.know([BUSY], account=RC)

    run = rc.run()

    assert sums(run) == ("finished", 4, 4, {})
    assert [(c["operation"], c["month"]) for c in rc.reachcore.calls.as_json()] == [
        ("saldos", "2026-11")
    ]
    issuers = rc.get(f"/accounts/{RC}/stamps").body["issuers"]
    assert {one["rfc"] for one in issuers} == {*STAMPING, BUSY}
    month = rc.books.reachcore.as_json()["accounts"][0]["months"]["2026-11"]["movements"]
    for rfc in STAMPING:
        (item,) = (
            one for one in rc.stack.items("SnapshotsTable") if one["entry"] == f"2026-11-19#{rfc}"
        )
        # Up to yesterday: of today there is more to come.
        assert item["consumed"] == sum(
            one["amount"] for one in month if one["rfc"] == rfc and one["date"] < "2026-11-19"
        )
        assert item["at"] == "2026-11-19T00:00:00-06:00"


def test_a_month_s_end_is_a_day_like_others(rc: World) -> None:
    rc.know([RFC], account=RC)
    days = [date(2026, 11, 29), date(2026, 11, 30), date(2026, 12, 1), date(2026, 12, 2)]
    stamped(rc, date(2026, 11, 29), 3)
    stamped(rc, date(2026, 11, 30), 5)
    stamped(rc, date(2026, 12, 1), 7)
    for day in days:
        at_five(rc, day)
        assert rc.run()["status"] == "finished"
        # Another run of the day changes nothing.
        rc.run()

    months = [call["month"] for call in rc.reachcore.calls.as_json()]
    assert months == ["2026-11"] * 6 + ["2026-12"] * 2
    told = rc.get(
        f"/accounts/{RC}/stamps/history", rfc=RFC, **{"from": "2026-11-29", "to": "2026-12-02"}
    ).body["snapshots"]
    assert [one["date"] for one in told] == [day.isoformat() for day in days]
    assert [one["consumed"] for one in told] == [None, 3, 5, 7]
    assert line(rc, RFC, RC)["burn_7"] == 5


def test_a_balance_that_takes_two_messages_counts_each_issuer_once(
    rc: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rc.know([bulk_rfc(index) for index in range(10)], account=RC)
    monkeypatch.setattr(timbres.work.watch, "_BALANCE_SLICE", 4)
    slow = iter([True])

    def at_the_first(**_: Any) -> None:
        if next(slow, False):
            time.sleep(1.0)

    rc.watch_aws("dynamodb", "TransactWriteItems", at_the_first)
    run = start(rc)
    assert rc.count(seconds=18.9) == (1, 0)
    assert 0 < len(rc.stack.items("SnapshotsTable")) < 13
    rc.work()

    assert sums(shown(rc, run)) == ("finished", 13, 13, {})
    assert len(rc.stack.items("SnapshotsTable")) == 13


@pytest.mark.parametrize(
    ("fault", "more", "reason", "calls"),
    [
        ("code", {"code": "401"}, "pac-credentials-rejected", 1),
        ("code", {"code": "404"}, "pac-endpoint-not-found", 1),
        ("code", {"code": "500"}, "pac-error", 3),
        ("cut-before", {}, "pac-timeout", 3),
    ],
)
def test_a_balance_that_fails(
    rc: World, fault: str, more: dict[str, str], reason: str, calls: int
) -> None:
    rc.fault("saldos", fault, times=-1, **more)

    assert sums(rc.run()) == ("finished", 1, 0, {reason: 1})
    assert rc.calls() == ["saldos"] * calls


# -------------------------------------------------------------------------------- alerts


def story(world: World, days: list[tuple[int, int]], rfc: str = BUSY) -> list[str | None]:
    """Let an issuer have so many contracted and used on days in turn; return what was told."""
    told: list[str | None] = []
    for contracted, used in days:
        world.books.solucion_factible.set_issuer(rfc, contratados=contracted, usados=used)
        before = len(world.events())
        mails = len(world.mails())
        world.run()
        events = world.published[before:]
        alerts = [e["DetailType"] for e in events if e["DetailType"] != "Stamps Counted"]
        assert len(alerts) <= 1
        told.append(alerts[0].removeprefix("Stamps ") if alerts else None)
        assert len(world.mails()) - mails == len(alerts)
        world.clock.forward(days=1)
    return told


@pytest.mark.parametrize(
    ("days", "told"),
    [
        # Once for each crossing, and again after a refill.
        (
            [
                *((200, used) for used in (100, 160, 170, 200, 200)),
                *((700, used) for used in (200, 300, 660, 661)),
            ],
            [None, "Low", None, "Exhausted", None, None, None, "Low", None],
        ),
        # A refill that is not enough changes nothing, and tells nothing.
        ([(100, 70), (100, 100), (110, 100), (110, 110)], ["Low", "Exhausted", None, "Exhausted"]),
        # Exhausted at once.
        ([(100, 0), (100, 100), (300, 100), (300, 300)], [None, "Exhausted", None, "Exhausted"]),
    ],
)
def test_each_crossing_is_told_once(
    sf: World, days: list[tuple[int, int]], told: list[str | None]
) -> None:
    sf.change_account(SF, sf.secret(SF, low_stamps=50, low_days=0))
    sf.know([BUSY])

    assert story(sf, days) == told


@pytest.mark.parametrize(
    ("account", "own", "told"),
    [(50, None, "Low"), (50, 10, None), (None, 50, "Low"), (10, 0, None), (None, None, None)],
)
def test_an_issuer_s_own_threshold_stands_before_the_account_s(
    sf: World, account: int | None, own: int | None, told: str | None
) -> None:
    sf.change_account(SF, sf.secret(SF, low_stamps=account))
    sf.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=[{"rfc": BUSY, "low_stamps": own}])

    assert story(sf, [(100, 70)]) == [told]


def test_few_days_left_are_low_without_any_threshold(sf: World) -> None:
    sf.know([BUSY])

    # 20 a day: 160 last for eight days, 120 for six.
    assert story(sf, [(1000, 820), (1000, 840), (1000, 860), (1000, 880), (1000, 900)]) == [
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


def test_a_live_count_between_two_runs_tells_nothing_and_takes_nothing_away(sf: World) -> None:
    sf.change_account(SF, sf.secret(SF, low_stamps=50))
    sf.know([BUSY])
    assert story(sf, [(100, 40)]) == [None]
    sf.books.solucion_factible.set_issuer(BUSY, usados=60)
    assert sf.get(f"/accounts/{SF}/stamps", rfc=BUSY).body["alert"] == "low"
    assert sf.events("Stamps Low") == []

    assert story(sf, [(100, 60), (100, 61)]) == ["Low", None]

    # A purchase lifts it at once; the next fall is told.
    sf.buy(BUSY, 100)
    assert line(sf, BUSY)["alert"] == "ok"
    assert story(sf, [(200, 160)]) == ["Low"]


def test_one_mail_for_all_that_a_run_found(sf: World) -> None:
    sf.change_account(SF, sf.secret(SF, low_stamps=60))
    sf.know([RFC, RFC_N, EMPTY, UNUSED, BUSY, STRANGERS[0]])

    run = sf.run()

    assert (run["low"], run["exhausted"]) == (2, 1)
    (mail,) = sf.mails()
    subject, text = mail.split("\n\n", 1)
    assert subject.startswith("Timbres: ")
    assert subject.isascii()
    for fact in (EMPTY, RFC_N, "20 timbres", UNUSED, "50 timbres", SF, "19/11/2026"):
        assert fact in text
    # The most urgent first, and those that are well not at all.
    assert text.index(EMPTY) < text.index(RFC_N) < text.index(UNUSED)
    assert RFC not in text
    assert BUSY not in text
    assert "no se pudieron contar" in text
    assert "Qué hacer" in text


def test_many_crossings_are_one_event_and_one_mail_that_fit(
    sf: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.work.run, "_MOST_NAMED", 20)
    sf.change_account(SF, sf.secret(SF, low_stamps=2_000))
    many(sf, 45)

    run = sf.run()

    assert (run["low"], len(sf.events("Stamps Low"))) == (45, 45)
    (told,) = sf.events("Stamps Counted")
    assert told["low"] == 45
    assert len(told["issuers"]) == 20
    (mail,) = sf.mails()
    assert "45 emisores" in mail
    assert "25 más" in mail


def test_nothing_new_is_no_mail(sf: World) -> None:
    sf.know([RFC, BUSY, STRANGERS[0]])
    sf.run()
    assert kinds(sf) == {"Stamps Counted": 1}
    assert sf.mails() == []


# --------------------------------------------------------------------------- the records


def test_the_runs_newest_first(sf: World) -> None:
    sf.know([RFC])
    for _ in range(3):
        sf.run()
        sf.clock.forward(days=1)

    body = sf.get("/runs").body

    assert [one["day"] for one in body["runs"]] == ["2026-11-21", "2026-11-20", "2026-11-19"]
    assert {one["status"] for one in body["runs"]} == {"finished"}
    assert body["next"] is None


def test_more_runs_than_a_page_holds(sf: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timbres.aws.runs, "_PAGE", 3)
    for _ in range(5):
        start(sf)
        sf.clock.forward(days=1)

    first = sf.get("/runs").body
    second = sf.get("/runs", cursor=first["next"]).body

    ids = [one["id"] for one in first["runs"] + second["runs"]]
    assert len(first["runs"]) == 3
    assert (len(ids), second["next"]) == (5, None)
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    "name", ["nope", "2026-11-19-050000", "2026-11-19", "..", "0" * 3_000, "run", "%00"]
)
def test_a_run_that_there_is_not(sf: World, name: str) -> None:
    problem(sf.get(f"/runs/{name}"), 404, "run-not-found", "id")


def test_what_the_records_do_not_take(sf: World) -> None:
    problem(sf.get("/runs", cursor="x"), 400, "parameter-invalid", "cursor")
    problem(sf.get("/runs", page="2"), 400, "parameter-invalid", "page")
    problem(sf.get("/runs/2026-11-19-050000", more="2"), 400, "parameter-invalid", "more")


def test_a_start_without_a_time_is_due_now(sf: World) -> None:
    assert sf.invoke("run", {})["id"] == "2026-11-19-135341"


def test_its_day_is_that_of_mexico_city(sf: World) -> None:
    sf.know([RFC])
    sf.clock.at = sf.clock.at.fromisoformat("2026-11-20T04:30:00+00:00").astimezone(
        sf.clock.at.tzinfo
    )

    run = sf.run()

    assert (run["id"], run["day"]) == ("2026-11-19-223000", "2026-11-19")
    assert [one["date"] for one in history(sf, RFC)] == ["2026-11-19"]
