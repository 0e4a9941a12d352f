"""Credentials rotated while every function is warm, for each operation and PAC."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from local.fake_pacs.fake_data import bulk_rfc
from tests.support.fake_stack import RC, RFC, SF, FakeStack

from timbres.domain.account import DEFAULT_CALLS_IN_FLIGHT

SUCCESS = "success"
REJECTED = "pac-credentials-rejected"


def outcome_of(response: Any) -> str:
    return SUCCESS if response.status < 400 else str(response.body["code"])


def balance(stack: FakeStack) -> str:
    return outcome_of(stack.get(f"/accounts/{RC}/balance", month="2026-10"))


def stamps(stack: FakeStack) -> str:
    return outcome_of(stack.get(f"/accounts/{SF}/stamps", rfc=RFC))


def scheduled_stamps(stack: FakeStack) -> str:
    try:
        stack.invoke("stamp_count", {"account": SF, "rfc": RFC})
    except Exception as error:
        return REJECTED if REJECTED in str(error) else str(error)
    return SUCCESS


def contract(stack: FakeStack) -> str:
    before = len(stack.pacs.contracts())
    response = stack.create_contract(RFC, 7)
    assert len(stack.pacs.contracts()) - before == (response.status == 201)
    return outcome_of(response)


def report(stack: FakeStack, kind: str) -> str:
    id_ = stack.request_report(RC, kind=kind).body["id"]
    stack.deliver()
    body = stack.get(f"/accounts/{RC}/reports/{id_}", redirect="false").body
    return str(body["error"]["code"]) if body["error"] else SUCCESS


def daily_run(stack: FakeStack, account: str) -> str:
    stack.clock.forward(days=1)
    (line,) = (line for line in stack.run()["accounts"] if line["account"] == account)
    return str(line["problem"] or next(iter(line["failed"]), SUCCESS))


def reconciliation(stack: FakeStack) -> str:
    (open_contract,) = stack.get(f"/accounts/{SF}/contracts", status="unknown").body["contracts"]
    stack.clock.forward(minutes=30)
    stack.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"})
    path = f"/accounts/{SF}/contracts/{open_contract['id']}"
    return SUCCESS if stack.get(path).body["status"] == "confirmed" else REJECTED


def leave_unknown(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    assert stack.create_contract(RFC, 7).status == 202


OPERATIONS: dict[str, tuple[str, Callable[[FakeStack], str]]] = {
    "balance": (RC, balance),
    "statement": (RC, lambda stack: report(stack, "statement")),
    "consumption": (RC, lambda stack: report(stack, "consumption")),
    "run-rc": (RC, lambda stack: daily_run(stack, RC)),
    "stamps": (SF, stamps),
    "scheduled stamps": (SF, scheduled_stamps),
    "contract": (SF, contract),
    "run-sf": (SF, lambda stack: daily_run(stack, SF)),
    "reconciler": (SF, reconciliation),
}
_numbers = itertools.count()


class Rotation:
    """New credentials for one account, for its PAC and its secret."""

    def __init__(self, stack: FakeStack, account: str) -> None:
        self._stack, self._account = stack, account
        self.new = f"nueva & <{next(_numbers)}> ñ" if account == SF else f"nueva-{next(_numbers)}"

    def change_pac(self) -> None:
        if self._account == SF:
            self._stack.pacs.state.solucion_factible.set_account(password=self.new)
        else:
            self._stack.pacs.state.reachcore.set_key("Acme Timbrado", self.new)

    def change_secret(self) -> None:
        changes = {"password" if self._account == SF else "api_key": self.new}
        self._stack.accounts.change(
            self._account, self._stack.accounts.secret(self._account, **changes)
        )


def failed_sign_ins(stack: FakeStack) -> int:
    calls = [call for fake_pac in stack.pacs.fakes for call in fake_pac.calls.as_json()]
    return sum(call["outcome"] in ("601", "401") for call in calls)


def make_warm(stack: FakeStack, *accounts: str, functions: Any) -> None:
    """Let every function use valid credentials; forget events and calls."""
    stack.reset_warm_functions()
    for account in accounts:
        rotation = Rotation(stack, account)
        rotation.change_pac()
        rotation.change_secret()
    assert {function(stack) for function in functions} == {SUCCESS}
    stack.published.clear()
    for fake_pac in stack.pacs.fakes:
        fake_pac.calls.clear()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_rotation_in_either_order_costs_one_failed_sign_in(
    shared_stack: FakeStack, name: str
) -> None:
    stack, (account, operation) = shared_stack, OPERATIONS[name]

    def prepare(_stack: FakeStack) -> str:
        if name == "reconciler":
            leave_unknown(stack)
        return SUCCESS

    make_warm(stack, account, functions=[prepare, operation, prepare])

    rotation = Rotation(stack, account)
    rotation.change_secret()
    rotation.change_pac()
    assert operation(stack) == SUCCESS
    assert (failed_sign_ins(stack), stack.events("Credentials Rejected")) == (1, [])

    prepare(stack)
    rotation = Rotation(stack, account)
    rotation.change_pac()
    assert operation(stack) == REJECTED
    if name != "reconciler":
        assert operation(stack) == REJECTED
    assert failed_sign_ins(stack) == 2
    rotation.change_secret()
    assert operation(stack) == SUCCESS
    assert failed_sign_ins(stack) == 2
    (event,) = stack.events("Credentials Rejected")
    assert event["account"] == account


@pytest.mark.parametrize("is_valid", [True, False])
def test_one_failed_sign_in_serves_all_functions(shared_stack: FakeStack, is_valid: bool) -> None:
    """Every function has the old password cached; only the first signs in with it."""
    functions = [stamps, contract, scheduled_stamps, OPERATIONS["run-sf"][1]]
    make_warm(shared_stack, SF, functions=functions)
    rotation = Rotation(shared_stack, SF)
    rotation.change_pac()
    (rotation if is_valid else Rotation(shared_stack, SF)).change_secret()

    outcomes = {function(shared_stack) for function in functions}

    assert outcomes == {SUCCESS if is_valid else REJECTED}
    # With a typing error in the new password, it fails, too.
    assert failed_sign_ins(shared_stack) == (1 if is_valid else 2)
    assert len(shared_stack.events("Credentials Rejected")) == (not is_valid)
    rotation.change_secret()
    assert stamps(shared_stack) == SUCCESS


def test_a_password_changed_during_a_run_loses_no_issuer(
    shared_stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = shared_stack.pacs.state.solucion_factible
    state.load_issuers(80)
    make_warm(shared_stack, SF, functions=[stamps])
    rfcs = [bulk_rfc(n) for n in range(80)]
    assert shared_stack.call("issuers", "PUT", f"/accounts/{SF}/issuers", body=rfcs).status == 200
    rotation, numbers, count = Rotation(shared_stack, SF), itertools.count(), state.stamps

    def count_with_rotation(*arguments: Any) -> Any:
        if next(numbers) == 40:
            rotation.change_secret()
            rotation.change_pac()
        return count(*arguments)

    monkeypatch.setattr(state, "stamps", count_with_rotation)
    assert daily_run(shared_stack, SF) == SUCCESS

    # Only the calls in flight at that moment are rejected.
    assert 1 <= failed_sign_ins(shared_stack) <= DEFAULT_CALLS_IN_FLIGHT
    assert shared_stack.events("Credentials Rejected") == []


def test_a_pending_version_is_not_used_before_it_is_current(shared_stack: FakeStack) -> None:
    make_warm(shared_stack, SF, functions=[stamps])
    secrets = shared_stack.aws.client("secretsmanager")
    pending = secrets.put_secret_value(
        SecretId=f"timbres/accounts/{SF}", SecretString="not yet", VersionStages=["AWSPENDING"]
    )
    assert pending["VersionStages"] == ["AWSPENDING"]
    shared_stack.reset_warm_functions()

    assert stamps(shared_stack) == SUCCESS
