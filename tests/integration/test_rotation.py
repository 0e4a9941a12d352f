"""Credentials rotated while every function is warm: each operation, each PAC, each order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.integration.harness import RC, RFC, SF, FakeStack

from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT

Work = Callable[[FakeStack], str]
WELL = "well"
REJECTED = "pac-credentials-rejected"


# ------------------------------------------------------------------------- the operations


def of_answer(answer: Any) -> str:
    return WELL if answer.status < 400 else str(answer.body["code"])


def balance(world: FakeStack) -> str:
    return of_answer(world.get(f"/accounts/{RC}/balance", month="2026-10"))


def stamps(world: FakeStack) -> str:
    return of_answer(world.get(f"/accounts/{SF}/stamps", rfc=RFC))


def invoked(world: FakeStack) -> str:
    try:
        world.invoke("stamp_count", {"account": SF, "rfc": RFC})
    except Exception as error:
        return REJECTED if REJECTED in str(error) else str(error)
    return WELL


def contract_status(world: FakeStack) -> str:
    before = len(world.pac_contracts())
    answer = world.create_contract(RFC, 7)
    assert len(world.pac_contracts()) - before == (answer.status == 201)
    return of_answer(answer)


def report(kind: str) -> Work:
    def made(world: FakeStack) -> str:
        id_ = world.request_report(RC, kind=kind).body["id"]
        world.deliver()
        one = world.get(f"/accounts/{RC}/reports/{id_}", redirect="false").body
        assert one["status"] in ("ready", "failed")
        return str(one["error"]["code"]) if one["error"] else WELL

    return made


def of_run(account: str) -> Work:
    def night(world: FakeStack) -> str:
        world.clock.forward(days=1)
        lines = world.run()["accounts"]
        (line,) = (one for one in lines if one["account"] == account)
        if line["problem"]:
            return str(line["problem"])
        return next(iter(line["failed"]), WELL)

    return night


def reconciliation(world: FakeStack) -> str:
    (contract,) = world.get(f"/accounts/{SF}/contracts", status="unknown").body["contracts"]
    world.clock.forward(minutes=30)
    world.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    path = f"/accounts/{SF}/contracts/{contract['id']}"
    return WELL if world.get(path).body["status"] == "confirmed" else REJECTED


def lost_reply(world: FakeStack) -> None:
    world.fault("agregarContrato", "cut-after")
    assert world.create_contract(RFC, 7).status == 202


@dataclass(frozen=True)
class Operation:
    """What is asked of an account's PAC, and what has to stand before."""

    account: str
    work: Work
    before: Callable[[FakeStack], Any] = lambda _: None


OPERATIONS = {
    "balance": Operation(RC, balance),
    "statement": Operation(RC, report("statement")),
    "consumption": Operation(RC, report("consumption")),
    "run-rc": Operation(RC, of_run(RC)),
    "stamps": Operation(SF, stamps),
    "stamps-invoked": Operation(SF, invoked),
    "contract": Operation(SF, contract_status),
    "run-sf": Operation(SF, of_run(SF)),
    "reconciler": Operation(SF, reconciliation, lost_reply),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)

_numbers = itertools.count()


class Rotation:
    """New credentials for one account, put in place at the PAC and in the secret by hand."""

    def __init__(self, world: FakeStack, account: str) -> None:
        self._world, self._account = world, account
        self.new = f"nueva & <{next(_numbers)}> ñ" if account == SF else f"nueva-{next(_numbers)}"

    def at_the_pac(self) -> None:
        if self._account == SF:
            self._world.books.solucion_factible.set_account(password=self.new)
        else:
            self._world.books.reachcore.set_key("Acme Timbrado", self.new)

    def in_the_secret(self) -> None:
        changed = {"password" if self._account == SF else "api_key": self.new}
        self._world.change_account(self._account, self._world.secret(self._account, **changed))


def rejections(world: FakeStack) -> int:
    """Return how many sign-ins the PACs refused so far."""
    return sum(
        call["outcome"] in ("601", "401")
        for sandbox in (world.reachcore, world.factible)
        for call in sandbox.calls.as_json()
    )


@dataclass
class Time:
    """What the process takes for the time since it began."""

    seconds: float = 0.0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Time:
    # The functions stay as warm as the test before left them: time goes on from there.
    passed = Time(next(_numbers) * 1000.0)
    monkeypatch.setattr("timbres.repositories.accounts.time.monotonic", lambda: passed.seconds)
    return passed


@pytest.fixture
def warm(shared_stack: FakeStack, now: Time, name: str) -> tuple[FakeStack, Operation, Rotation]:
    """Functions that have all just worked, and credentials to come."""
    operation = OPERATIONS[name]
    here = Rotation(shared_stack, operation.account)
    here.at_the_pac()
    here.in_the_secret()
    operation.before(shared_stack)
    assert operation.work(shared_stack) == WELL
    operation.before(shared_stack)
    shared_stack.published.clear()
    shared_stack.reachcore.calls.clear()
    shared_stack.factible.calls.clear()
    return shared_stack, operation, Rotation(shared_stack, operation.account)


# ------------------------------------------------------------------------------ the orders


@every_operation
def test_the_secret_is_changed_first(
    warm: tuple[FakeStack, Operation, Rotation], now: Time
) -> None:
    world, operation, rotation = warm
    rotation.in_the_secret()
    # Within the minute the credentials before are in use, and good.
    now.seconds += 59
    assert operation.work(world) == WELL
    assert rejections(world) == 0
    operation.before(world)
    rotation.at_the_pac()

    assert operation.work(world) == WELL
    # One sign-in with the old credentials failed; nobody needs a notification.
    assert rejections(world) == 1
    assert world.events("Credentials Rejected") == []


@pytest.mark.parametrize("name", ["balance", "stamps", "contract"])
def test_a_minute_later_the_old_credentials_are_not_tried(
    warm: tuple[FakeStack, Operation, Rotation], now: Time
) -> None:
    world, operation, rotation = warm
    rotation.in_the_secret()
    rotation.at_the_pac()
    now.seconds += 61

    assert operation.work(world) == WELL
    assert rejections(world) == 0


@every_operation
def test_the_pac_is_changed_first(warm: tuple[FakeStack, Operation, Rotation]) -> None:
    world, operation, rotation = warm
    rotation.at_the_pac()

    assert operation.work(world) == REJECTED
    if operation.before is not lost_reply:
        assert operation.work(world) == REJECTED
    assert rejections(world) == 1
    (event,) = world.events("Credentials Rejected")
    assert event["account"] == operation.account

    rotation.in_the_secret()
    assert operation.work(world) == WELL
    assert rejections(world) == 1
    assert len(world.events("Credentials Rejected")) == 1


# -------------------------------------------------------------------------- many processes


@pytest.mark.parametrize("first", ["stamps", "contract"])
def test_one_function_finds_out_for_all(shared_stack: FakeStack, now: Time, first: str) -> None:
    """Every function has the old password; only the first signs in with it."""
    works = {name: one.work for name, one in OPERATIONS.items() if one.account == SF}
    del works["reconciler"]
    rotation = Rotation(shared_stack, SF)
    rotation.in_the_secret()
    rotation.at_the_pac()
    assert {work(shared_stack) for work in works.values()} == {WELL}
    shared_stack.factible.calls.clear()
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()

    assert works.pop(first)(shared_stack) == WELL
    assert {work(shared_stack) for work in works.values()} == {WELL}

    assert rejections(shared_stack) == 1


def test_a_wrong_new_password_is_signed_in_with_once_by_all(
    shared_stack: FakeStack, now: Time
) -> None:
    works = [stamps, contract_status, invoked, of_run(SF)]
    good = Rotation(shared_stack, SF)
    good.at_the_pac()
    good.in_the_secret()
    assert {work(shared_stack) for work in works} == {WELL}
    shared_stack.published.clear()
    shared_stack.factible.calls.clear()
    Rotation(shared_stack, SF).in_the_secret()
    now.seconds += 61

    assert {work(shared_stack) for work in works} == {REJECTED}
    assert rejections(shared_stack) == 1
    assert len(shared_stack.events("Credentials Rejected")) == 1

    good.in_the_secret()
    assert {work(shared_stack) for work in works} == {WELL}
    assert rejections(shared_stack) == 1


def test_a_process_with_the_secret_before_does_not_try_one_that_others_were_refused(
    shared_stack: FakeStack, now: Time
) -> None:
    """A typing error in the secret: the PAC's password is new, and neither secret opens it."""
    good = Rotation(shared_stack, SF)
    good.at_the_pac()
    good.in_the_secret()
    assert stamps(shared_stack) == contract_status(shared_stack) == WELL
    shared_stack.factible.calls.clear()
    shared_stack.published.clear()
    Rotation(shared_stack, SF).at_the_pac()
    Rotation(shared_stack, SF).in_the_secret()

    # The first signs in with the old one, then with the new one; the second with none.
    assert stamps(shared_stack) == REJECTED
    assert rejections(shared_stack) == 2
    assert contract_status(shared_stack) == REJECTED
    assert rejections(shared_stack) == 2
    assert len(shared_stack.events("Credentials Rejected")) == 1


def test_a_password_changed_in_the_middle_of_a_run_costs_no_issuer(
    shared_stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No function keeps a secret of the tests before: their clock was another.
    shared_stack.reset_warm_functions()
    books = shared_stack.books.solucion_factible
    books.load_issuers(80)
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()
    rfcs = [bulk_rfc(n) for n in range(80)]
    assert (
        of_answer(shared_stack.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=rfcs)) == WELL
    )
    shared_stack.published.clear()
    shared_stack.factible.calls.clear()
    next_one, counted, ask = Rotation(shared_stack, SF), itertools.count(), books.stamps

    def then_the_password_changes(*args: Any) -> Any:
        if next(counted) == 40:
            next_one.in_the_secret()
            next_one.at_the_pac()
        return ask(*args)

    monkeypatch.setattr(books, "stamps", then_the_password_changes)
    shared_stack.clock.forward(days=1)
    lines = shared_stack.run()["accounts"]

    (line,) = (one for one in lines if one["account"] == SF)
    assert (line["problem"], line["failed"]) == (None, {})
    assert line["done"] == line["expected"] >= 80
    # As many as are under way at that moment are refused, and no more.
    assert 1 <= rejections(shared_stack) <= DEFAULT_CALLS_IN_FLIGHT
    assert shared_stack.events("Credentials Rejected") == []


# ------------------------------------------------------------------------ stages of a secret


def test_a_pending_version_is_not_used_before_it_is_current(
    shared_stack: FakeStack, now: Time
) -> None:
    rotation = Rotation(shared_stack, SF)
    rotation.at_the_pac()
    rotation.in_the_secret()
    secrets = shared_stack.stack.client("secretsmanager")
    pending = secrets.put_secret_value(
        SecretId=f"timbres/accounts/{SF}", SecretString="not yet", VersionStages=["AWSPENDING"]
    )
    assert stamps(shared_stack) == WELL
    now.seconds += 61
    assert stamps(shared_stack) == WELL
    assert rejections(shared_stack) == 0
    assert pending["VersionStages"] == ["AWSPENDING"]
