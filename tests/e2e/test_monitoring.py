"""The daily run on the true template: scheduler, queue, workers, snapshots, one mail."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.nightly_run import ACCOUNT, HEALTHY, LOW, SILENT, UNKNOWN, NightlyRun
from tests.e2e.test_main_job import eventually


@pytest.fixture(scope="module")
def first(night: NightlyRun) -> dict[str, Any]:
    return night.finished(night.run, 60)


@pytest.fixture(scope="module")
def mails(night: NightlyRun, first: dict[str, Any]) -> list[str]:
    """All mails that tell of the night's issuers."""
    found: list[str] = []
    eventually(lambda: [*found, *_keep(found, night)])
    return found


def _keep(found: list[str], night: NightlyRun) -> list[str]:
    found += [mail for mail in night.mails() if f"(cuenta {ACCOUNT})" in mail]
    return found


def count_queries(night: NightlyRun) -> Counter[str]:
    return Counter(call["rfc"] for call in night.pac.calls.as_json())


def issuers(night: NightlyRun) -> list[dict[str, Any]]:
    body = night.stack.call("reader", "GET", f"/accounts/{ACCOUNT}/stamps").json()
    assert body["next"] is None
    found: list[dict[str, Any]] = body["issuers"]
    return found


def test_the_run_completes_and_its_record_adds_up(night: NightlyRun, first: dict[str, Any]) -> None:
    assert night.of_account(first) == {
        "account": ACCOUNT,
        "expected": 200,
        "done": 198,
        "failed": {"pac-rejected-request": 2},
        "problem": None,
    }
    assert first["done"] + sum(first["failed"].values()) == first["expected"]
    assert datetime.fromisoformat(first["finished_at"]) > datetime.fromisoformat(
        first["started_at"]
    )
    # Another test starts a run of a day before, which may be on its way yet: it asks for those
    # that were not counted by then.
    runs = night.stack.call("reader", "GET", "/runs").json()["runs"]
    finished = sum(run["status"] == "finished" for run in runs)
    calls = count_queries(night)
    assert {calls.pop(rfc) for rfc in [*HEALTHY, *LOW]} <= set(range(1, len(runs) + 1))
    assert all(finished <= calls.pop(rfc) <= len(runs) for rfc in UNKNOWN)
    assert 3 <= calls.pop(SILENT) <= 2 + len(runs)
    assert calls == {}


def test_one_mail_names_the_three_and_what_to_do(mails: list[str]) -> None:
    (mail,) = mails
    assert "SIN TIMBRES (1)" in mail
    assert f"{LOW[0]} (cuenta {ACCOUNT}): 0 timbres" in mail
    assert "POCOS TIMBRES (2)" in mail
    assert f"{LOW[1]} (cuenta {ACCOUNT}): 1 timbre" in mail
    assert f"{LOW[2]} (cuenta {ACCOUNT}): 2 timbres" in mail
    assert "Qué hacer" in mail
    assert "2 emisores: el PAC no los reconoce" in mail


def test_the_issuers_come_by_urgency(night: NightlyRun, first: dict[str, Any]) -> None:
    found = issuers(night)
    assert len(found) == 200
    assert [(one["rfc"], one["available"]) for one in found[:3]] == [
        (LOW[0], 0),
        (LOW[1], 1),
        (LOW[2], 2),
    ]
    assert [one["alert"] for one in found[:4]] == ["exhausted", "low", "low", "ok"]
    assert {one["rfc"] for one in found if one["as_of"] is None} == {*UNKNOWN}
    assert {one["available"] for one in found if one["rfc"] in UNKNOWN} == {None}


def run_ids(night: NightlyRun) -> set[str]:
    return {run["id"] for run in night.stack.call("reader", "GET", "/runs").json()["runs"]}


def test_a_second_run_of_the_day_doubles_nothing(
    night: NightlyRun, first: dict[str, Any], mails: list[str]
) -> None:
    night.pac.faults.clear()
    before, counted = count_queries(night), issuers(night)

    known = run_ids(night)
    # The schedule repeats its start; another run of the day is started by a person.
    night.stack.fire("RunFunctionDaily")
    result = (
        night.stack.session()
        .client("lambda")
        .invoke(FunctionName=night.stack.outputs["RunFunctionName"], Payload=b"{}")
    )
    second_id = json.loads(result["Payload"].read())["id"]
    assert run_ids(night) == known | {second_id}
    second = night.finished(second_id, 30)

    assert night.of_account(second) == {
        "account": ACCOUNT,
        "expected": 200,
        "done": 198,
        "failed": {"pac-rejected-request": 2},
        "problem": None,
    }
    # Only those that have no count yet were asked for.
    assert set(count_queries(night) - before) == {*UNKNOWN}
    assert issuers(night) == counted
    history = night.stack.call(
        "reader", "GET", f"/accounts/{ACCOUNT}/stamps/history", {"rfc": LOW[1]}
    ).json()
    assert [(one["available"], one["used"]) for one in history["snapshots"]] == [(1, 499)]
    assert _keep(mails[:], night) == mails


def test_the_metrics_of_the_run_are_in_the_workers_log(
    night: NightlyRun, first: dict[str, Any]
) -> None:
    lines = night.stack.function_logs("RunWorkerFunction")
    names = {name for line in lines if '"_aws"' in line for name in line.split('"')}
    assert {
        "IssuersCounted",
        "IssuersFailed",
        "StampsLow",
        "StampsExhausted",
        "RunsFinished",
        "RunDuration",
    } <= names
