"""Credentials rotated while every function is warm, for each operation and PAC."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.fake_stack import RC, RFC, SF, FakeStack

from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT

Work = Callable[[FakeStack], str]
WELL = "well"
REJECTED = "pac-credentials-rejected"


# ------------------------------------------------------------------------- the operations


def outcome_of(response: Any) -> str:
    return WELL if response.status < 400 else str(response.body["code"])


def balance(stack: FakeStack) -> str:
    return outcome_of(stack.get(f"/accounts/{RC}/balance", month="2026-10"))


def stamps(stack: FakeStack) -> str:
    return outcome_of(stack.get(f"/accounts/{SF}/stamps", rfc=RFC))


def invoke_stamps(stack: FakeStack) -> str:
    try:
        stack.invoke("stamp_count", {"account": SF, "rfc": RFC})
    except Exception as error:
        return REJECTED if REJECTED in str(error) else str(error)
    return WELL


def contract_status(stack: FakeStack) -> str:
    before = len(stack.pacs.contracts())
    response = stack.create_contract(RFC, 7)
    assert len(stack.pacs.contracts()) - before == (response.status == 201)
    return outcome_of(response)


def report(kind: str) -> Work:
    def generate(stack: FakeStack) -> str:
        id_ = stack.request_report(RC, kind=kind).body["id"]
        stack.deliver()
        body = stack.get(f"/accounts/{RC}/reports/{id_}", redirect="false").body
        assert body["status"] in ("ready", "failed")
        return str(body["error"]["code"]) if body["error"] else WELL

    return generate


def daily_run(account: str) -> Work:
    def start_run(stack: FakeStack) -> str:
        stack.clock.forward(days=1)
        lines = stack.run()["accounts"]
        (line,) = (entry for entry in lines if entry["account"] == account)
        if line["problem"]:
            return str(line["problem"])
        return next(iter(line["failed"]), WELL)

    return start_run


def reconciliation(stack: FakeStack) -> str:
    (contract,) = stack.get(f"/accounts/{SF}/contracts", status="unknown").body["contracts"]
    stack.clock.forward(minutes=30)
    stack.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    path = f"/accounts/{SF}/contracts/{contract['id']}"
    return WELL if stack.get(path).body["status"] == "confirmed" else REJECTED


def lose_contract_response(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    assert stack.create_contract(RFC, 7).status == 202


@dataclass(frozen=True)
class Operation:
    """An operation that calls an account's PAC, and its preparation."""

    account: str
    work: Work
    before: Callable[[FakeStack], Any] = lambda _: None


OPERATIONS = {
    "balance": Operation(RC, balance),
    "statement": Operation(RC, report("statement")),
    "consumption": Operation(RC, report("consumption")),
    "run-rc": Operation(RC, daily_run(RC)),
    "stamps": Operation(SF, stamps),
    "stamps-invoked": Operation(SF, invoke_stamps),
    "contract": Operation(SF, contract_status),
    "run-sf": Operation(SF, daily_run(SF)),
    "reconciler": Operation(SF, reconciliation, lose_contract_response),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)

_numbers = itertools.count()


class Rotation:
    """New credentials for one account, put in place at the PAC and in the secret by hand."""

    def __init__(self, stack: FakeStack, account: str) -> None:
        self._world, self._account = stack, account
        self.new = f"nueva & <{next(_numbers)}> ñ" if account == SF else f"nueva-{next(_numbers)}"

    def at_the_pac(self) -> None:
        if self._account == SF:
            self._world.pacs.state.solucion_factible.set_account(password=self.new)
        else:
            self._world.pacs.state.reachcore.set_key("Acme Timbrado", self.new)

    def in_the_secret(self) -> None:
        changed = {"password" if self._account == SF else "api_key": self.new}
        self._world.accounts.change(
            self._account, self._world.accounts.secret(self._account, **changed)
        )


def rejections(stack: FakeStack) -> int:
    """Return how many sign-ins the PACs refused so far."""
    return sum(
        call["outcome"] in ("601", "401")
        for fake_pac in (stack.pacs.reachcore, stack.pacs.solucion_factible)
        for call in fake_pac.calls.as_json()
    )


@dataclass
class Time:
    """The monotonic clock of the process, in seconds."""

    seconds: float = 0.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Time:
    # The functions stay warm between tests, so time continues.
    passed = Time(next(_numbers) * 1000.0)
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: passed.seconds)
    return passed


@pytest.fixture
def warm(shared_stack: FakeStack, now: Time, name: str) -> tuple[FakeStack, Operation, Rotation]:
    """Warm functions with valid credentials, and the next rotation."""
    operation = OPERATIONS[name]
    current = Rotation(shared_stack, operation.account)
    current.at_the_pac()
    current.in_the_secret()
    operation.before(shared_stack)
    assert operation.work(shared_stack) == WELL
    operation.before(shared_stack)
    shared_stack.published.clear()
    shared_stack.pacs.reachcore.calls.clear()
    shared_stack.pacs.solucion_factible.calls.clear()
    return shared_stack, operation, Rotation(shared_stack, operation.account)


# ------------------------------------------------------------------------ order of changes


@every_operation
def test_the_secret_is_changed_first(
    warm: tuple[FakeStack, Operation, Rotation], now: Time
) -> None:
    stack, operation, rotation = warm
    rotation.in_the_secret()
    # For a minute the old credentials are in use, and still valid.
    now.seconds += 59
    assert operation.work(stack) == WELL
    assert rejections(stack) == 0
    operation.before(stack)
    rotation.at_the_pac()

    assert operation.work(stack) == WELL
    # One sign-in with the old credentials failed; nobody needs a notification.
    assert rejections(stack) == 1
    assert stack.events("Credentials Rejected") == []


@pytest.mark.parametrize("name", ["balance", "stamps", "contract"])
def test_a_minute_later_the_old_credentials_are_not_tried(
    warm: tuple[FakeStack, Operation, Rotation], now: Time
) -> None:
    stack, operation, rotation = warm
    rotation.in_the_secret()
    rotation.at_the_pac()
    now.seconds += 61

    assert operation.work(stack) == WELL
    assert rejections(stack) == 0


@every_operation
def test_the_pac_is_changed_first(warm: tuple[FakeStack, Operation, Rotation]) -> None:
    stack, operation, rotation = warm
    rotation.at_the_pac()

    assert operation.work(stack) == REJECTED
    if operation.before is not lose_contract_response:
        assert operation.work(stack) == REJECTED
    assert rejections(stack) == 1
    (event,) = stack.events("Credentials Rejected")
    assert event["account"] == operation.account

    rotation.in_the_secret()
    assert operation.work(stack) == WELL
    assert rejections(stack) == 1
    assert len(stack.events("Credentials Rejected")) == 1


# -------------------------------------------------------------------------- many processes


@pytest.mark.parametrize("first", ["stamps", "contract"])
def test_one_rejected_sign_in_serves_all_functions(
    shared_stack: FakeStack, now: Time, first: str
) -> None:
    """Every function has the old password; only the first signs in with it."""
    works = {
        name: operation.work for name, operation in OPERATIONS.items() if operation.account == SF
    }
    del works["reconciler"]
    rotation = Rotation(shared_stack, SF)
    rotation.in_the_secret()
    rotation.at_the_pac()
    assert {work(shared_stack) for work in works.values()} == {WELL}
    shared_stack.pacs.solucion_factible.calls.clear()
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()

    assert works.pop(first)(shared_stack) == WELL
    assert {work(shared_stack) for work in works.values()} == {WELL}

    assert rejections(shared_stack) == 1


def test_all_functions_try_a_wrong_new_password_once(shared_stack: FakeStack, now: Time) -> None:
    works = [stamps, contract_status, invoke_stamps, daily_run(SF)]
    good = Rotation(shared_stack, SF)
    good.at_the_pac()
    good.in_the_secret()
    assert {work(shared_stack) for work in works} == {WELL}
    shared_stack.published.clear()
    shared_stack.pacs.solucion_factible.calls.clear()
    Rotation(shared_stack, SF).in_the_secret()
    now.seconds += 61

    assert {work(shared_stack) for work in works} == {REJECTED}
    assert rejections(shared_stack) == 1
    assert len(shared_stack.events("Credentials Rejected")) == 1

    good.in_the_secret()
    assert {work(shared_stack) for work in works} == {WELL}
    assert rejections(shared_stack) == 1


def test_a_process_does_not_try_a_secret_that_was_rejected_elsewhere(
    shared_stack: FakeStack, now: Time
) -> None:
    """The secret has a typing error: neither its old nor its new version is valid."""
    good = Rotation(shared_stack, SF)
    good.at_the_pac()
    good.in_the_secret()
    assert stamps(shared_stack) == contract_status(shared_stack) == WELL
    shared_stack.pacs.solucion_factible.calls.clear()
    shared_stack.published.clear()
    Rotation(shared_stack, SF).at_the_pac()
    Rotation(shared_stack, SF).in_the_secret()

    # The first function tries the old version, then the new one; the second tries none.
    assert stamps(shared_stack) == REJECTED
    assert rejections(shared_stack) == 2
    assert contract_status(shared_stack) == REJECTED
    assert rejections(shared_stack) == 2
    assert len(shared_stack.events("Credentials Rejected")) == 1


def test_a_password_changed_during_a_run_loses_no_issuer(
    shared_stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Earlier tests used another clock, so a cached secret would not expire.
    shared_stack.reset_warm_functions()
    state = shared_stack.pacs.state.solucion_factible
    state.load_issuers(80)
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()
    rfcs = [bulk_rfc(n) for n in range(80)]
    assert (
        outcome_of(shared_stack.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=rfcs))
        == WELL
    )
    shared_stack.published.clear()
    shared_stack.pacs.solucion_factible.calls.clear()
    next_rotation, counted, ask = Rotation(shared_stack, SF), itertools.count(), state.stamps

    def stamps_with_rotation(*args: Any) -> Any:
        if next(counted) == 40:
            next_rotation.in_the_secret()
            next_rotation.at_the_pac()
        return ask(*args)

    monkeypatch.setattr(state, "stamps", stamps_with_rotation)
    shared_stack.clock.forward(days=1)
    lines = shared_stack.run()["accounts"]

    (line,) = (entry for entry in lines if entry["account"] == SF)
    assert (line["problem"], line["failed"]) == (None, {})
    assert line["done"] == line["expected"] >= 80
    # Only the calls in flight at that moment are rejected.
    assert 1 <= rejections(shared_stack) <= DEFAULT_CALLS_IN_FLIGHT
    assert shared_stack.events("Credentials Rejected") == []


# ------------------------------------------------------------------------ stages of a secret


def test_a_pending_version_is_not_used_before_it_is_current(
    shared_stack: FakeStack, now: Time
) -> None:
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()
    secrets = shared_stack.aws.client("secretsmanager")
    pending = secrets.put_secret_value(
        SecretId=f"timbres/accounts/{SF}", SecretString="not yet", VersionStages=["AWSPENDING"]
    )
    assert stamps(shared_stack) == WELL
    now.seconds += 61
    assert stamps(shared_stack) == WELL
    assert rejections(shared_stack) == 0
    assert pending["VersionStages"] == ["AWSPENDING"]
