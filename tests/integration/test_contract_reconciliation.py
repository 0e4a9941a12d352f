"""The reconciler: the PAC's counts decide what a lost response left open, a person the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.fakes_contracts import (
    RFC,
    RFC_N,
    SF,
    Services,
    aws_error,
    pac_error,
    running_services,
    timeout,
    unreachable,
)

from timbres.domain.contract import COUNT_MISMATCH, RECONCILER
from timbres.domain.stamps import Stamps
from timbres.repositories.dynamodb import serialize


@pytest.fixture
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


def leave_unknown(services: Services, fault: str = "cut-after", **values: Any) -> None:
    services.pac.fault = fault
    assert services.outcome(**values) == "unknown"
    services.pac.calls.clear()


@pytest.mark.parametrize(
    ("fault", "change", "states"),
    [
        # Meanwhile, nothing, 100 used stamps, 7 from the portal, or a renewal.
        ("cut-after", (0, 0), ["confirmed", None, None, None]),
        ("echo", (0, 100), ["confirmed", None, None, None]),
        ("cut-before", (0, 100), ["unknown", "unknown", "rejected", None]),
        ("cut-before", (7, 0), ["needs-review", None, None, None]),
        ("cut-before", (0, -250), ["unknown", "unknown", "needs-review", None]),
        ("late", (0, 0), ["unknown", "unknown", "confirmed", None]),
    ],
)
def test_counts_decide(
    services: Services, fault: str, change: tuple[int, int], states: list[str | None]
) -> None:
    leave_unknown(services, fault)
    services.pac.change(RFC, *change)
    assert services.reconcile(seconds=50) == {}, "the reads may lag"
    assert services.pac.calls == []

    results = [services.reconcile(minutes=minutes) for minutes in (2, 10, 20, 24 * 60)]

    assert results == [{state: 1} if state else {} for state in states]
    final = [state for state in states if state][-1]
    contract = services.contract()
    assert (contract.status, contract.by) == (final, RECONCILER)
    assert contract.note is not None
    assert "1,000" in contract.note
    assert "create_contract" not in services.pac.calls
    event = f"Contract {final.replace('-', ' ').title()}"
    assert services.bus.event_types == ["Contract Outcome Unknown", event]
    assert (services.outcome("order-2") == "contract-in-flight") == (final == "needs-review")


def test_a_contract_created_twice_is_reported(services: Services) -> None:
    services.pac.fault = "doubled"
    assert services.outcome() == "confirmed"

    assert services.reconcile(minutes=2) == {"confirmed": 1}

    contract = services.contract()
    assert contract.after == Stamps(2000, 250, 1750)
    assert contract.warning is not None
    assert "not 1,500" in contract.warning
    assert services.bus.event_types == ["Contract Confirmed", COUNT_MISMATCH]
    assert services.reconcile(hours=1) == {}
    assert services.outcome("order-2") == "confirmed"


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
    attempts: list[str] = []

    def fail(name: str) -> None:
        attempts.append(name)
        raise error

    services.interruptions.plan(fail, "stamps", times=2)

    assert services.reconcile(minutes=2) == {"unknown": 2}
    assert len(attempts) == calls
    services.interruptions.clear()
    assert services.reconcile(minutes=40) == {"rejected": 2}


def deny_secrets(services: Services) -> None:
    services.interruptions.plan(aws_error("AccessDenied"), "get_secret_value", times=1000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda services: services.secrets.put_text(SF, "no JSON"),
        lambda services: services.secrets.delete(SF),
        deny_secrets,
    ],
    ids=["no JSON", "deleted", "denied"],
)
@pytest.mark.parametrize("repaired", [True, False])
def test_an_unreadable_secret_leaves_the_contract_open_for_a_day(
    services: Services, damage: Callable[[Services], None], repaired: bool
) -> None:
    leave_unknown(services)
    damage(services)

    assert services.reconcile(minutes=2) == {"unknown": 1}

    if repaired:
        services.interruptions.clear()
        services.secrets.put(SF)
        assert services.reconcile(minutes=10) == {"confirmed": 1}
    else:
        states = {state for _ in range(30) for state in services.reconcile(hours=1)}
        assert states == {"unknown", "needs-review"}


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
    services.dynamodb.put_item(TableName="ContractsTable", Item=serialize(item))

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


def test_two_runs_at_once_abandon_a_contract_once(services: Services) -> None:
    services.interruptions.plan(aws_error(), "TransactWriteItems", skip=1)
    with pytest.raises(Exception, match="InternalServerError"):
        services.create()
    services.interruptions.plan(lambda _: services.reconcile(), "TransactWriteItems")

    assert services.reconcile(minutes=3) == {"changed meanwhile": 1}
    assert services.steps() == ["create", "abandon"]
