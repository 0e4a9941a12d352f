"""Nights on which an account cannot be counted while another one works: no failure is silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.events import check_problem, sqs_event
from tests.support.fake_stack import RC, RFC, SF, FakeStack

import timbres.repositories.runs
import timbres.services.daily_run.start

Prepare = Callable[[FakeStack], None]


def failing_pac(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    for operation in ("getTimbres", "getTimbresImplementacion"):
        stack.pacs.fault(operation, "code", code="500", times=-1)


def rejected_issuers(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.load_issuers(5)
    stack.accounts.add_issuers(bulk_rfc(index) for index in range(605))


def misspelled_secret(stack: FakeStack) -> None:
    stack.accounts.change(SF, stack.accounts.secret(SF, environment="prodduction"))


def unreadable_secret(stack: FakeStack) -> None:
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "DecryptionFailure", about=SF)


def not_counted_metrics(output: str) -> list[float]:
    entries = [json.loads(line) for line in output.splitlines()]
    return [value for entry in entries for value in entry.get("AccountsNotCounted", ())]


def failures(stack: FakeStack, run: str, **query: str) -> list[dict[str, Any]]:
    """Return all pages of a run's failures."""
    found, page = [], stack.get(f"/runs/{run}/failures", **query).body
    while True:
        found += page["failures"]
        if page["next"] is None:
            return found
        page = stack.get(f"/runs/{run}/failures", **query, cursor=page["next"]).body


@pytest.mark.parametrize(
    ("prepare", "problem", "subject", "issuers"),
    [
        (failing_pac, "pac-error", "no se pudieron contar", 1),
        (rejected_issuers, "pac-rejected-request", "no se contaron 600 de 605 emisores", 600),
        (misspelled_secret, "account-misconfigured", "no se pudieron contar", 0),
        (unreadable_secret, "account-unreadable", "no se pudieron contar", 0),
    ],
)
def test_every_failing_night_has_a_mail_a_metric_and_a_list(
    stack: FakeStack,
    capsys: pytest.CaptureFixture[str],
    prepare: Prepare,
    problem: str,
    subject: str,
    issuers: int,
) -> None:
    prepare(stack)
    for night in (1, 2):
        run = stack.run()
        # Both arrive twice.
        stack.published += stack.published
        mails = stack.mails()

        accounts = {account["account"]: account for account in run["accounts"]}
        assert (accounts[SF]["problem"], accounts[RC]["problem"]) == (problem, None)
        assert accounts[RC]["done"] == 3
        assert len(mails) == night
        assert mails[-1].startswith(f"Timbres: {subject}")
        assert SF in mails[-1]
        assert f"/runs/{run['id']}/failures" in mails[-1]
        assert not_counted_metrics(capsys.readouterr().out) == [1]
        found = failures(stack, run["id"])
        assert {(entry["account"], entry["code"]) for entry in found} == {(SF, problem)}
        assert sum(entry["rfc"] is not None for entry in found) == issuers
        assert found == failures(stack, run["id"], account=SF)
        # Up to sixty are named.
        named = [entry["rfc"] for entry in found if entry["rfc"] and entry["rfc"] in mails[-1]]
        assert len(named) == min(issuers, 60)
        stack.clear_events()
        stack.clock.forward(days=1)


def test_a_night_without_failures_is_silent(
    stack: FakeStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.accounts.add_issuers([RFC])
    run = stack.run()
    assert (failures(stack, run["id"]), stack.mails()) == ([], [])
    assert not_counted_metrics(capsys.readouterr().out) == [0]


def test_the_failures_have_pages_and_reasons(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timbres.services.daily_run.start, "BATCH_SIZE", 2)
    monkeypatch.setattr(timbres.repositories.runs, "_FAILURES_PAGE", 3)
    strangers = [bulk_rfc(index) for index in range(9)]
    stack.accounts.add_issuers([RFC, *strangers])
    run = stack.run()["id"]

    first = stack.get(f"/runs/{run}/failures", account=SF).body

    assert len(first["failures"]) in (3, 4)
    found = failures(stack, run)
    assert sorted(entry["rfc"] for entry in found) == strangers
    assert all(entry["detail"] for entry in found)
    assert {entry["pac_code"] for entry in found} == {"611"}
    assert failures(stack, run, account=RC) == []
    for query, status, code, name in (
        ({"account": "acme-other"}, 404, "account-unknown", "account"),
        ({"account": RC, "cursor": first["next"]}, 400, "parameter-invalid", "cursor"),
        ({"rfc": RFC}, 400, "parameter-invalid", "rfc"),
    ):
        check_problem(stack.get(f"/runs/{run}/failures", **query), status, code, name)
    check_problem(stack.get("/runs/2026-11-01-050000/failures"), 404, "run-not-found", "id")


@pytest.mark.parametrize("at_work", [False, True])
def test_issuers_that_were_not_reached_stay_listed(stack: FakeStack, at_work: bool) -> None:
    stack.accounts.add_issuers([RFC])
    run = stack.invoke("run", {"scheduled_time": stack.clock().isoformat()})["id"]
    messages = stack.receive("RunsQueue")
    if at_work:
        # A worker that is at work while the run is closed.
        closed: list[bool] = []

        def close(**_: Any) -> None:
            if not closed:
                closed.append(True)
                stack.clock.forward(hours=6)
                stack.close_overdue()

        stack.aws_faults.watch("dynamodb", "TransactWriteItems", close)
    else:
        stack.clock.forward(hours=6)
        stack.close_overdue()
    for message in messages:
        stack.invoke("run_worker", sqs_event(stack.aws.arns["RunsQueue"], [message]))

    accounts = {one["account"]: one for one in stack.get(f"/runs/{run}").body["accounts"]}
    found = failures(stack, run)
    for name, account in accounts.items():
        listed = [entry for entry in found if entry["account"] == name]
        problem = (account["account_stamps"] or {}).get("problem")
        assert len(listed) == sum(account["failed"].values()) + (problem is not None)
        assert {entry["code"] for entry in listed} <= {"not-reached"}
    assert found


@pytest.mark.parametrize(
    ("service", "operation"), [("secretsmanager", "GetSecretValue"), ("dynamodb", "Query")]
)
@pytest.mark.parametrize("repeated", [True, False])
def test_a_plan_that_aws_prevented_is_made_by_the_repeated_start(
    stack: FakeStack, service: str, operation: str, repeated: bool
) -> None:
    stack.accounts.add_issuers([RFC])
    due = stack.clock()
    about = SF if service == "secretsmanager" else f'":account": {{"S": "{SF}"}}'
    stack.aws_faults.reject(service, operation, "InternalServiceError", 500, about=about)
    before = stack.run(due)
    calls = stack.pacs.calls()
    stack.aws_faults.restore()
    stack.clock.forward(minutes=15)

    if repeated:
        run = stack.run(due)
    else:
        stack.clock.forward(hours=6)
        stack.close_overdue()
        run = stack.get(f"/runs/{before['id']}").body

    accounts = {account["account"]: account for account in run["accounts"]}
    assert before["status"] == "running"
    assert run["status"] == "finished"
    assert accounts[SF]["problem"] == (None if repeated else "internal-error")
    assert accounts[SF]["done"] == repeated
    # The other account was counted at once, and only once.
    assert accounts[RC]["done"] == 3
    assert stack.pacs.calls().count("saldos") == calls.count("saldos") == 1
    assert len(stack.events("Daily Run Completed")) == 1
    assert len(stack.mails()) == (not repeated)
    assert stack.clock() - due < timedelta(hours=7)
