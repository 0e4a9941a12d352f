"""Contracts in the journal: limits, waiting, settlement, the reconciler, damaged and old items.

``test_reliability.py`` and ``tests/torture`` show that each request is sent at most once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from tests.support.clock import START
from tests.support.fakes_contracts import (
    CALLER,
    RFC,
    RFC_N,
    SECOND,
    SF,
    Services,
    aws_error,
    pac_error,
    running_services,
    timeout,
    unreachable,
)
from tests.support.timbres_errors import expect_error

from timbres.deadline import Deadline
from timbres.domain.contract import ABANDONED_AFTER, Contract, ContractFilter
from timbres.domain.stamps import Stamps
from timbres.observability.metrics import metrics
from timbres.repositories.dynamodb import serialize

CONFIRMED_CALLS = ["stamps", "create_contract", "stamps"]


@pytest.fixture
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


def leave_unknown(services: Services, fault: str = "cut-after", **values: Any) -> None:
    services.pac.fault = fault
    assert services.outcome(**values) == "unknown"
    services.pac.calls.clear()


# Requests


def test_a_repeated_request_returns_the_same_contract_despite_lower_limits(
    services: Services,
) -> None:
    first, _ = services.create()
    services.secrets.put(SF, max_stamps_per_contract=100, max_stamps_per_day=0)
    services.clock.forward(days=400)

    contract, is_replay = services.create()

    assert (contract.id, contract.status, is_replay) == (first.id, "confirmed", True)
    assert services.pac.calls == CONFIRMED_CALLS


@pytest.mark.parametrize("changes", [{"stamps": 501}, {"rfc": RFC_N}])
def test_a_key_is_not_used_for_another_body(services: Services, changes: dict[str, Any]) -> None:
    first, _ = services.create()

    error = expect_error("idempotency-key-reused", "Idempotency-Key", services.create, **changes)

    assert error.extensions["contract"]["id"] == first.id
    assert services.pac.contracts == [(RFC, 500)]


def test_an_unexpected_error_leaves_the_contract_unknown(services: Services) -> None:
    services.interruptions.plan(RuntimeError("a bug"), "create_contract")

    outcomes = [services.outcome(key) for key in ("order-1", "order-1", "order-2")]

    assert outcomes == ["unknown", "unknown", "contract-in-flight"]
    assert services.pac.calls == ["stamps"]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"key": "order-1"}, "contract-pending"),
        ({"key": "order-2"}, "contract-in-flight"),
        ({"key": "order-2", "account": SECOND}, "contract-in-flight"),
        ({"key": "order-2", "rfc": RFC_N}, "confirmed"),
    ],
)
@pytest.mark.parametrize("call", ["stamps", "create_contract"])
def test_a_request_during_another_one(
    services: Services, call: str, second: dict[str, Any], expected: str
) -> None:
    outcomes = []
    services.interruptions.plan(lambda _: outcomes.append(services.outcome(**second)), call)

    assert services.outcome() == "confirmed"

    assert outcomes == [expected]
    assert services.pac.contracts.count((RFC, 500)) == 1


@pytest.mark.parametrize(
    ("limits", "earlier", "stamps", "expected"),
    [
        ({"max_stamps_per_contract": 499}, (), 500, "max_stamps_per_contract"),
        ({"max_stamps_per_contract": 500}, (), 500, None),
        ({"max_stamps_per_day": 0}, (), 500, "0 of 0"),
        ({"max_stamps_per_day": 499}, (), 500, "0 of 499"),
        ({"max_stamps_per_day": 1000}, (600,), 400, None),
        ({"max_stamps_per_day": 1000}, (600,), 401, "600 of 1,000"),
    ],
)
def test_contracts_are_limited_per_login(
    services: Services,
    limits: dict[str, int],
    earlier: tuple[int, ...],
    stamps: int,
    expected: str | None,
) -> None:
    for account in (SF, SECOND):
        services.secrets.put(account, **limits)
    # A key belongs to an account: both use the same one.
    assert [services.outcome(stamps=number) for number in earlier] == ["confirmed"] * len(earlier)
    request: dict[str, Any] = {"account": SECOND, "rfc": RFC_N, "stamps": stamps}

    if expected is None:
        assert services.outcome(**request) == "confirmed"
        return
    code = "day-over-limit" if "max_stamps_per_day" in limits else "stamps-over-limit"
    error = expect_error(code, "stamps", services.create, **request)

    assert expected in error.detail
    assert len(services.pac.contracts) == len(earlier)
    services.clock.forward(hours=11)
    tomorrow = "confirmed" if earlier else code
    assert services.outcome(**request) == tomorrow


@pytest.mark.parametrize(
    ("lag", "failures", "seconds", "retry_after"),
    [(50, 0, 20, 40), (0, 2, 0, 60), (0, 2, 90, 60)],
    ids=["the count lags", "the count fails", "the count fails for long"],
)
def test_a_contract_waits_until_a_count_includes_the_previous_one(
    services: Services, lag: int, failures: int, seconds: int, retry_after: int
) -> None:
    services.pac.lag = timedelta(seconds=lag)
    if failures:
        services.interruptions.plan(unreachable(), "stamps", skip=1, times=failures)
    first, _ = services.create()
    assert (first.status, first.after, first.awaits_count) == ("confirmed", None, True)
    services.clock.forward(seconds=seconds)

    error = expect_error("contract-in-flight", None, services.create, "order-2")

    assert error.retry_after == retry_after
    assert error.extensions["contract"]["id"] == first.id
    services.clock.forward(seconds=lag - seconds if lag else 0)
    assert services.outcome("order-2") == "confirmed"
    assert services.pac.contracts == [(RFC, 500)] * 2


def test_a_login_changed_during_a_request_sends_nothing(services: Services) -> None:
    def change_login(_: str) -> None:
        services.secrets.put(SF, username="otra@example.com")
        services.clock.forward(seconds=61)

    services.interruptions.plan(change_login, "stamps")

    assert services.outcome() == "account-login-changed"

    assert services.pac.calls == ["stamps"]
    assert services.items("in-flight#") == []


# Settlement


@pytest.mark.parametrize(
    ("outcome", "replay"), [("confirmed", "confirmed"), ("rejected", "contract-not-bought")]
)
def test_a_person_settles_a_contract_under_review(
    services: Services, outcome: str, replay: str
) -> None:
    leave_unknown(services)
    services.pac.change(RFC, 7, 0)
    assert services.reconcile(minutes=2) == {"needs-review": 1}
    id_, settle = services.contract().id, services.contracts.settle
    # The contract outlives its account's secret.
    services.secrets.delete(SF)
    services.clock.forward(seconds=61)

    settled = settle(SF, id_, outcome, "folio 8841", "arn:person")

    assert settled.status == outcome
    _, history = services.contracts.get_with_history(SF, id_)
    assert (history[-1]["by"], history[-1]["note"]) == ("arn:person", "folio 8841")
    assert services.bus.event_types[-1] == f"Contract {outcome.title()}"
    request = (outcome, "folio 8841", CALLER)
    expect_error("account-unknown", "account", settle, SF, "0" * 32, *request)
    error = expect_error("contract-not-under-review", None, settle, SF, id_, *request)
    assert error.extensions["contract"]["status"] == outcome
    services.secrets.put(SF)
    expect_error("contract-not-found", "id", services.contracts.get, SF, "0" * 32)
    assert [services.outcome(key) for key in ("order-1", "order-2")] == [replay, "confirmed"]


# The reconciler


@pytest.mark.parametrize(
    ("error", "calls"),
    [(unreachable(), 1), (pac_error("503"), 1), (pac_error("501"), 1), (timeout(), 2)],
    ids=str,
)
def test_an_account_that_fails_is_not_read_again_in_a_run(
    services: Services, error: Exception, calls: int
) -> None:
    for rfc in (RFC, RFC_N):
        leave_unknown(services, "cut-before", key=rfc, rfc=rfc)
    services.interruptions.plan(error, "stamps", times=2)
    before = len(services.pac.sign_ins)

    assert services.reconcile(minutes=2) == {"unknown": 2}

    assert len(services.pac.sign_ins) - before == calls
    services.interruptions.clear()
    assert services.reconcile(minutes=40) == {"rejected": 2}


@pytest.mark.parametrize(
    "damage",
    [
        lambda services: services.secrets.put_text(SF, "no JSON"),
        lambda services: services.secrets.delete(SF),
        lambda services: services.interruptions.plan(
            aws_error("AccessDenied"), "get_secret_value", times=1000
        ),
    ],
    ids=["no JSON", "deleted", "denied"],
)
def test_an_unreadable_secret_leaves_the_contract_open_for_a_day(
    services: Services, damage: Callable[[Services], None]
) -> None:
    for rfc in (RFC, RFC_N):
        leave_unknown(services, key=rfc, rfc=rfc)
    damage(services)

    assert services.reconcile(minutes=2) == {"unknown": 2}

    states = [services.reconcile(hours=hours) for hours in (12, 11, 1)]
    assert states == [{"unknown": 2}, {"unknown": 2}, {"needs-review": 2}]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"username": "otra@example.com"}, "needs-review"),
        ({"environment": "production"}, "needs-review"),
        ({"pac": "reachcore", "environment": "uat", "api_key": "k"}, "needs-review"),
        ({"password": "nueva"}, "confirmed"),
    ],
)
def test_only_counts_of_the_same_login_decide(
    services: Services, changes: dict[str, str], state: str
) -> None:
    leave_unknown(services)
    services.pac.password = changes.get("password", services.pac.password)
    services.secrets.put(SF, **changes)

    assert services.reconcile(minutes=2) == {state: 1}
    assert services.pac.calls == ["stamps"] * (state == "confirmed")


def test_a_contract_without_a_stored_login_needs_a_review(services: Services) -> None:
    leave_unknown(services)
    (item,) = services.items("contract#")
    del item["login"]
    put(services, item)

    assert services.reconcile(minutes=2) == {"needs-review": 1}


def test_a_failing_contract_does_not_stop_the_others(services: Services) -> None:
    for rfc in (RFC, RFC_N):
        leave_unknown(services, key=rfc, rfc=rfc)
    services.interruptions.plan(aws_error(), "GetItem")

    assert services.reconcile(minutes=2) == {"failed": 1, "confirmed": 1}
    assert services.reconcile(minutes=2) == {"confirmed": 1}


def test_a_run_ends_before_its_deadline(services: Services) -> None:
    leave_unknown(services)

    assert services.reconcile(time_left=14, minutes=2) == {}
    assert services.pac.calls == []


def test_a_state_is_counted_once(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    # The outcome is not stored.
    services.interruptions.plan(aws_error("AccessDenied"), "TransactWriteItems", skip=2)
    services.pac.fault = "cut-before"
    assert services.outcome() == "pending"
    metrics.flush()
    capsys.readouterr()

    states = [services.reconcile(minutes=minutes) for minutes in (3, 5, 8, 40)]

    assert states == [*[{"unknown": 1}] * 3, {"rejected": 1}]
    metrics.flush()
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    counted = {line["status"]: line["Contracts"] for line in lines if "Contracts" in line}
    assert counted == {"unknown": [1], "rejected": [1]}


@pytest.mark.parametrize(
    ("call", "expected"), [("GetItem", {"not due": 1}), ("stamps", {"changed meanwhile": 1})]
)
def test_two_runs_at_once_store_one_step(
    services: Services, call: str, expected: dict[str, int]
) -> None:
    leave_unknown(services)
    results = []
    services.interruptions.plan(lambda _: results.append(services.reconcile()), call)

    assert services.reconcile(minutes=2) == expected

    assert results == [{"confirmed": 1}]
    assert services.steps() == ["create", "send", "mark-unknown", "confirm-by-count"]
    assert services.bus.event_types == ["Contract Outcome Unknown", "Contract Confirmed"]


# The journal


def put(services: Services, item: dict[str, Any]) -> None:
    services.dynamodb.put_item(TableName="ContractsTable", Item=serialize(item))


def delete(services: Services, item: dict[str, Any]) -> None:
    key = serialize({name: item[name] for name in ("account", "entry")})
    services.dynamodb.delete_item(TableName="ContractsTable", Key=key)


@pytest.mark.parametrize(
    "reasons",
    [
        ("None", "TransactionConflict", "None", "ConditionalCheckFailed"),
        ("None", "None", "ConditionalCheckFailed", "ConditionalCheckFailed"),
        ("None", "None", "None", "ConditionalCheckFailed"),
    ],
    ids=" ".join,
)
def test_a_known_key_is_found_for_every_cancellation_reason(
    services: Services, reasons: tuple[str, ...]
) -> None:
    first, _ = services.create()
    error = aws_error("TransactionCanceledException")
    error.response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    services.interruptions.plan(error, "TransactWriteItems")

    contract, is_replay = services.create()

    assert (contract.id, is_replay) == (first.id, True)


@pytest.mark.parametrize("prefix", ["contract#", "key#"])
def test_a_partly_restored_table_sends_no_contract(services: Services, prefix: str) -> None:
    services.pac.fault = "cut-after"
    services.create()
    for item in services.items(prefix):
        delete(services, item)
    services.pac.calls.clear()

    expected = {"key#": "contract-in-flight", "contract#": "storage-unavailable"}
    assert services.outcome() == expected[prefix]
    assert services.pac.calls == []


def test_a_contract_stored_before_0_5_0_is_read_and_not_published_again(
    services: Services,
) -> None:
    services.pac.fault = "cut-before"
    services.create()
    (item,) = services.items("contract#")
    old_steps = ("open", "send", "doubt")
    history = [line | {"step": step} for line, step in zip(item["history"], old_steps, strict=True)]
    refusal = item["refusal"] | {"status": 418}
    changes = {"step": "doubt", "announced": ["Contract Unknown"], "history": history}
    put(services, item | changes | {"refusal": refusal})

    assert services.reconcile(minutes=2) == {"unknown": 1}

    assert services.steps() == ["create", "send", "mark-unknown", "check"]
    assert services.bus.event_types == ["Contract Outcome Unknown"]
    assert services.reconcile(minutes=40) == {"rejected": 1}


def test_a_count_stored_before_0_4_0_has_only_contracted_stamps(services: Services) -> None:
    contract, _ = services.create()
    (item,) = services.items("contract#")
    del item["before"], item["after"]
    item |= {"contracted_before": 1000}
    put(services, item)

    stored = services.journal.get(SF, contract.id)

    assert stored is not None
    assert (stored.before, stored.after) == (Stamps(1000, None, None), None)


@pytest.fixture
def ids(services: Services) -> list[str]:
    """The ids of 231 open contracts; every third has another issuer, every 50th is rejected."""
    new = Contract.create(SF, "login", RFC, 500, CALLER, "order-1", START)
    services.journal.create(new, "body", 10_000)
    (model,) = services.items("contract#")
    delete(services, model)
    ids = [f"{number:012x}{'0' * 20}" for number in range(231)]
    for n, id_ in enumerate(ids):
        item = model | {"id": id_, "entry": f"contract#{id_}", "rfc": RFC if n % 3 else RFC_N}
        item["status"] = "rejected" if n % 50 == 1 else "pending"
        put(services, item)
    return ids


def test_lists_have_every_contract(services: Services, ids: list[str]) -> None:
    journal = services.journal

    def pages(rfc: Any = None, status: str | None = None, account: str = SF) -> list[list[str]]:
        result, cursor = [], None
        while cursor is not None or not result:
            page, cursor = journal.list_page(
                account, ContractFilter(rfc, status), cursor, Deadline(60)
            )
            result.append([contract.id for contract in page])
        return result

    assert [len(page) for page in pages()] == [100, 100, 31]
    assert list(chain(*pages())) == ids[::-1]
    assert list(chain(*pages(rfc=RFC_N))) == ids[::3][::-1]
    assert list(chain(*pages(RFC_N, "rejected"))) == [ids[201], ids[51]]
    assert pages(status="unknown") == [[]] == pages(account=SECOND)
    # A filtered list stops at the deadline with a cursor.
    contracts, cursor = journal.list_page(SF, ContractFilter(status="unknown"), None, Deadline(4))
    assert (contracts, cursor is None) == ([], False)
    assert [id_ for _, id_ in journal.list_due(START + ABANDONED_AFTER)] == ids
    oldest = journal.oldest_open()
    assert oldest is not None
    assert oldest.id == ids[0]
    first, last = (datetime.fromtimestamp(n / 1000, START.tzinfo) for n in (7, 9))
    assert [contract.id for contract in journal.list_between(SF, first, last)] == ids[7:9]
