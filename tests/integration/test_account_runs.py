"""Accounts in the daily run: their own stamps, alerts, over-allotment, and every failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support import runs
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.runs import BUSY, EMPTY, UNUSED
from tests.support.timbres_errors import expect_error

from timbres.repositories.daily_counts import RETENTION
from timbres.repositories.runs import RunRepository

OPERATION = "getTimbresImplementacion"
Prepare = Callable[[FakeStack], None]


def of_account(run: dict[str, Any], name: str = SF) -> Any:
    """Return the account's own stamps in the record of a run, or None."""
    return next(one["account_stamps"] for one in run["accounts"] if one["account"] == name)


def account_items(stack: FakeStack) -> list[dict[str, Any]]:
    """Return the stored counts of accounts, the oldest first."""
    items = [item for item in stack.aws.items("SnapshotsTable") if item["entry"][0] == "a"]
    return sorted(items, key=lambda item: str(item["entry"]))


def run_with_left(stack: FakeStack, *left: int) -> dict[str, Any]:
    """Run once per day with so many stamps left in the account; return the last run."""
    for count in left:
        stack.pacs.state.solucion_factible.set_account(contratados=10_000, usados=10_000 - count)
        run = stack.run()
        stack.clock.forward(days=1)
    return run


# ------------------------------------------------------------------------------ the count


def test_an_account_is_counted_once_a_day_and_is_not_an_issuer(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    run = stack.run()

    stamps = of_account(run)
    assert stamps == {
        "contracted": 10_000,
        "used": 1050,
        "available": 8950,
        "as_of": "2026-11-19T13:53:41-06:00",
        "days_left": None,
        "alert": "ok",
        "problem": None,
        "issuers_available": 750,
        "issuers_unknown": 0,
        "over_allotted": False,
    }
    assert of_account(run, RC) is None
    assert (run["expected"], run["done"]) == (4, 4)
    (item,) = account_items(stack)
    assert (item["account"], item["entry"]) == (SF, "account#2026-11-19")
    age = timedelta(seconds=int(item["expires_at"]) - stack.clock().timestamp())
    assert abs(age - RETENTION) < timedelta(minutes=5)
    issuers = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
    assert [issuer["rfc"] for issuer in issuers] == [RFC]

    stack.clock.forward(hours=2)
    assert of_account(stack.run()) == stamps
    assert account_items(stack) == [item]
    assert stack.pacs.calls().count(OPERATION) == 1


def test_a_large_account_is_counted_by_one_of_its_batches(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, RFC_N, EMPTY, UNUSED, BUSY])
    stamps = of_account(runs.finish(sf, runs.start(sf, batch_size=2)))
    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == (750 + 20 + 50 + 180, 0)
    assert (sf.pacs.calls().count(OPERATION), len(account_items(sf))) == (1, 1)


def test_burn_rate_and_days_left_follow_from_the_daily_counts(sf: FakeStack) -> None:
    stamps = of_account(run_with_left(sf, 2000, 1900, 1800))
    assert stamps["days_left"] == pytest.approx(18, abs=0.1)
    assert [int(item["available"]) for item in account_items(sf)] == [2000, 1900, 1800]


# ----------------------------------------------------------------------------- the alerts


def test_each_alert_of_an_account_is_one_event_and_one_mail(sf: FakeStack) -> None:
    sf.accounts.change(SF, sf.accounts.secret(SF, low_stamps=50))
    found: list[str | None] = []
    for left in (49, 49, 9000, 49, 0):
        before, mails = len(runs.alerts(sf)), len(sf.mails())
        run = run_with_left(sf, left)
        new = runs.alerts(sf)[before:]
        found.append(new[0].removeprefix("Account Stamps ") if new else None)
        assert len(sf.mails()) - mails == len(new) <= 1
        # An account is not an issuer.
        assert (run["low"], run["exhausted"]) == (0, 0)
    assert found == ["Low", None, None, "Low", "Exhausted"]


def test_the_event_and_the_mail_have_the_account_before_all_issuers(sf: FakeStack) -> None:
    sf.accounts.add_issuers([EMPTY])
    run = run_with_left(sf, 0)

    (completed,) = sf.events("Daily Run Completed")
    (change,) = completed["account_stamps"]
    assert (change["account"], change["alert"], change["available"]) == (SF, "exhausted", 0)
    assert "rfc" not in change
    assert sf.events("Account Stamps Exhausted") == [change | {"run": run["id"]}]
    assert [issuer["rfc"] for issuer in completed["issuers"]] == [EMPTY]
    (mail,) = sf.mails()
    assert mail.index("ninguno puede facturar") < mail.index(EMPTY)


# ------------------------------------------------- failures to count an account's own stamps


def refused_operation(stack: FakeStack) -> None:
    stack.pacs.fault(OPERATION, "code", code="620", times=-1)


def lost_connection(stack: FakeStack) -> None:
    stack.pacs.fault(OPERATION, "cut-before", times=-1)


def invalid_request_to_aws(stack: FakeStack, times: int = 1_000) -> None:
    about = '"account#"'
    stack.aws_faults.reject("dynamodb", "Query", "ValidationException", times=times, about=about)


@pytest.mark.parametrize(
    ("prepare", "code", "calls"),
    [
        (refused_operation, "pac-permission-denied", 1),
        (lost_connection, "pac-timeout", 3),
        (invalid_request_to_aws, "internal-error", 0),
    ],
)
def test_a_failure_is_recorded_and_spoils_no_count_of_an_issuer(
    sf: FakeStack, prepare: Prepare, code: str, calls: int
) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    prepare(sf)
    begun = sf.clock()

    run = sf.run()

    assert (run["status"], run["done"], run["failed"]) == ("finished", 2, {})
    # The issuers' results wait for a few attempts only.
    assert sf.clock() - begun < timedelta(minutes=10)
    assert sf.pacs.calls().count(OPERATION) == calls
    stamps = of_account(run)
    assert (stamps["problem"], stamps["available"], stamps["alert"]) == (code, None, None)
    assert stamps["over_allotted"] is None
    assert sf.events("Daily Run Completed")[0]["account_stamps_problems"] == {SF: code}
    (mail,) = sf.mails()
    assert mail.index(EMPTY) < mail.index("los timbres de la cuenta misma: ")
    (entry,) = sf.logs.lines("an account's stamps were not counted")
    assert (entry["account"], entry["code"]) == (SF, code)
    assert account_items(sf) == []


@pytest.mark.parametrize(
    ("prepare", "calls"),
    [
        (lambda stack: stack.pacs.fault(OPERATION, "cut-before", times=2), 3),
        (lambda stack: invalid_request_to_aws(stack, times=1), 1),
    ],
    ids=["PAC", "AWS"],
)
def test_a_temporary_failure_is_retried(sf: FakeStack, prepare: Prepare, calls: int) -> None:
    sf.accounts.add_issuers([RFC])
    prepare(sf)

    stamps = of_account(sf.run())

    assert (stamps["available"], stamps["problem"]) == (8950, None)
    # The issuer is counted by the first attempt only.
    assert Counter(sf.pacs.calls()) == {OPERATION: calls, "getTimbres": 1}


def test_an_unknown_count_is_neither_a_failure_nor_zero(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC])
    sf.pacs.fault(OPERATION, "missing-fields", times=-1)
    run = sf.run()

    assert (run["status"], run["done"], of_account(run)) == ("finished", 1, None)
    assert account_items(sf) == []
    assert sf.events("Daily Run Completed")[0]["account_stamps_problems"] == {}


# ------------------------------------------------------- over-allotment, and no contract


def test_an_issuer_that_is_not_counted_has_unknown_stamps(sf: FakeStack) -> None:
    sf.accounts.add_issuers([RFC, RFC_N])
    sf.pacs.fault("getTimbres", "code", code="632", rfc=RFC_N, times=-1)

    stamps = of_account(run_with_left(sf, 760))

    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == (750, 1)
    # With its stamps, more than 760 may be allotted.
    assert stamps["over_allotted"] is None


def test_an_issuer_without_a_contract_is_neither_exhausted_nor_over_allotted(
    sf: FakeStack,
) -> None:
    sf.accounts.add_issuers([RFC, EMPTY])
    sf.pacs.state.solucion_factible.set_issuer(EMPTY, contratados=0, usados=30)

    run = sf.run()

    assert (run["low"], run["exhausted"], sf.mails()) == (0, 0, [])
    assert runs.line(sf, EMPTY)["alert"] == "no-contract"
    stamps = of_account(run)
    assert (stamps["issuers_available"], stamps["issuers_unknown"]) == (750, 0)


# -------------------------------------------------------- nights on which an account fails


def failing_pac(stack: FakeStack) -> None:
    stack.accounts.add_issuers([RFC])
    for operation in ("getTimbres", OPERATION):
        stack.pacs.fault(operation, "code", code="632", times=-1)


def rejected_issuers(stack: FakeStack) -> None:
    stack.pacs.state.solucion_factible.load_issuers(1)
    stack.accounts.add_issuers(map(bulk_rfc, range(4)))


def misspelled_secret(stack: FakeStack) -> None:
    stack.accounts.change(SF, stack.accounts.secret(SF, environment="prodduction"))


def unreadable_secret(stack: FakeStack) -> None:
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "DecryptionFailure", about=SF)


def failures(stack: FakeStack, run: str, **query: str) -> list[dict[str, Any]]:
    page = stack.get(f"/runs/{run}/failures", **query).body
    assert page["next"] is None
    return list(page["failures"])


@pytest.mark.parametrize(
    ("prepare", "problem", "subject", "issuers"),
    [
        (failing_pac, "transaction-limit-exceeded", "no se pudieron contar", 1),
        (rejected_issuers, "pac-rejected-request", "no se contaron 3 de 4 emisores", 3),
        (misspelled_secret, "account-misconfigured", "no se pudieron contar", 0),
        (unreadable_secret, "account-unreadable", "no se pudieron contar", 0),
    ],
)
def test_every_failing_night_has_a_mail_and_a_list(
    stack: FakeStack,
    prepare: Prepare,
    problem: str,
    subject: str,
    issuers: int,
) -> None:
    prepare(stack)
    for night in (1, 2):
        run = stack.run()
        mails = stack.mails()

        accounts = {account["account"]: account for account in run["accounts"]}
        assert (accounts[SF]["problem"], accounts[RC]["problem"]) == (problem, None)
        assert accounts[RC]["done"] == 3
        assert len(mails) == night
        assert mails[-1].startswith(f"Timbres: {subject}")
        assert SF in mails[-1]
        assert f"/runs/{run['id']}/failures" in mails[-1]
        found = failures(stack, run["id"])
        assert {(entry["account"], entry["code"]) for entry in found} == {(SF, problem)}
        named = [entry["rfc"] for entry in found if entry["rfc"]]
        assert len(named) == issuers
        assert all(rfc in mails[-1] for rfc in named)
        stack.clock.forward(days=1)


def test_a_night_without_failures_is_silent(stack: FakeStack) -> None:
    """One of 20 issuers may fail."""
    stack.pacs.state.solucion_factible.load_issuers(19)
    stack.accounts.add_issuers(map(bulk_rfc, range(20)))
    run = stack.run()

    assert len(failures(stack, run["id"])) == 1
    assert (runs.event_counts(stack), stack.mails()) == ({"Daily Run Completed": 1}, [])


def test_the_failures_have_reasons_and_an_account(stack: FakeStack) -> None:
    strangers = [bulk_rfc(index) for index in range(3)]
    stack.accounts.add_issuers([RFC, *strangers])
    run = stack.run()["id"]

    found = failures(stack, run)

    assert sorted(entry["rfc"] for entry in found) == strangers
    assert all(entry["detail"] for entry in found)
    assert {entry["pac_code"] for entry in found} == {"611"}
    assert failures(stack, run, account=SF) == found
    assert failures(stack, run, account=RC) == []
    for query, status, code, name in (
        ({"account": "acme-other"}, 404, "account-unknown", "account"),
        ({"cursor": "2"}, 400, "parameter-invalid", "cursor"),
        ({"rfc": RFC}, 400, "parameter-invalid", "rfc"),
    ):
        check_problem(stack.get(f"/runs/{run}/failures", **query), status, code, name)
    check_problem(stack.get("/runs/2026-11-01-050000/failures"), 404, "run-not-found", "id")


def test_the_failures_have_pages(stack: FakeStack) -> None:
    strangers = [bulk_rfc(index) for index in range(9)]
    stack.accounts.add_issuers([RFC, *strangers])
    name = runs.finish(stack, runs.start(stack, batch_size=2))["id"]
    repository = RunRepository(stack.aws.client("dynamodb"), stack.aws.refs["RunsTable"])
    run = repository.get(name)
    assert run is not None

    first, cursor = repository.list_failures(run, SF, None, page_size=3)
    second, end = repository.list_failures(run, SF, cursor)

    # A page ends with a batch.
    assert (len(first), len(second), end) == (3, 6, None)
    assert sorted(failure.rfc or "" for failure in [*first, *second]) == strangers
    # A cursor is valid for its account only.
    expect_error("parameter-invalid", "cursor", repository.list_failures, run, RC, cursor)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_plan_that_aws_prevented_is_made_by_the_repeated_start(
    stack: FakeStack, repeated: bool
) -> None:
    stack.accounts.add_issuers([RFC])
    due = stack.clock()
    about = f'":account": {{"S": "{SF}"}}'
    stack.aws_faults.reject("dynamodb", "Query", "InternalServiceError", 500, about=about)
    before = stack.run(due)
    stack.aws_faults.restore()
    stack.clock.forward(minutes=15)

    if repeated:
        run = stack.run(due)
    else:
        stack.clock.forward(hours=6)
        (run,) = stack.close_overdue()
        run = runs.get(stack, run["id"])

    assert (before["status"], run["status"]) == ("running", "finished")
    rc, sf = run["accounts"]
    assert (sf["problem"], sf["done"]) == ((None, 1) if repeated else ("internal-error", 0))
    # The other account was counted at once, and only once.
    assert (rc["done"], stack.pacs.calls().count("saldos")) == (3, 1)
    assert len(stack.events("Daily Run Completed")) == 1
    assert len(stack.mails()) == (not repeated)
