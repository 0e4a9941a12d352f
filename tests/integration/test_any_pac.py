"""What any PAC's module promises (timbres/pacs/base.py): every PAC in the table of pac_world."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest
from local.fake_pacs.base import FakePac
from local.fake_pacs.faults import CHANGING_WORK, REPLACING, FaultKind
from tests.integration.pac_cases import (
    ATTEMPTS,
    CONTRACTS,
    CREDENTIALS,
    MONTH,
    OPERATIONS,
    PAC_CASES,
    READS,
    RFC,
    SENT,
    Operation,
    PacServer,
    calls,
    error_attributes,
    every_operation,
    every_pac,
    every_read,
    expect_pac_error,
    inject_fault,
    respond_with,
    shorten_timeouts,
)
from tests.support import libre

from timbres.deadline import Deadline
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code
from timbres.pacs.base import PacClient
from timbres.pacs.registry import PACS, client_class, create_client

# What each method of a client is called in ``Pac.capabilities``, and a call of it.
OFFERS: dict[str, tuple[str, Callable[[PacClient, Deadline], Any]]] = {
    "balance": ("balance", lambda client, deadline: client.balance(MONTH, None, deadline)),
    "statement": ("statement", lambda client, deadline: client.statement(MONTH, "csv", deadline)),
    "stamps": ("stamps", lambda client, deadline: client.stamps(RFC, deadline)),
    "create_contract": (
        "contracts",
        lambda client, deadline: client.create_contract(RFC, 500, deadline),
    ),
    "trace": ("contracts", lambda client, deadline: client.trace(SENT, deadline)),
}
# What a caller gets for what a PAC does wrong, and whether a read is then repeated.
FAULTS = {
    "cut-before": ("pac-timeout", True),
    "cut-after": ("pac-timeout", True),
    "truncated": ("pac-timeout", True),
    "soap-fault": ("pac-error", True),
    "html-200": ("pac-protocol-error", False),
    "wrong-shape": ("pac-protocol-error", False),
    "empty-body": ("pac-protocol-error", False),
    "redirect": ("pac-protocol-error", False),
    "dtd": ("pac-protocol-error", False),
    "missing-fields": ("pac-protocol-error", False),
    "empty-fields": ("pac-protocol-error", False),
    "nil-fields": ("pac-protocol-error", False),
}
# Tested further down; a missing comma is in Reachcore's own pages, and accepted. Those that
# change the PAC's work leave its answers alone: tests/unit/test_fake_pacs.py.
OTHER_FAULTS = {"code", "slow", "slow-after", "missing-comma", *CHANGING_WORK}


def faults_of(acts: tuple[Operation, ...]) -> list[Any]:
    """Return each operation with each fault that its operation can suffer at the sandbox."""
    return [
        pytest.param(operation, kind.value, id=f"{operation}-{kind.value}")
        for operation in acts
        for kind in sorted(PAC_CASES[operation.pac].fake_pac().rules.kinds[operation.operation])
        if kind.value in FAULTS
    ]


def codes_of(acts: tuple[Operation, ...]) -> list[Any]:
    """Return each operation with each code that the PAC documents for it."""
    return [
        pytest.param(operation, code, id=f"{operation}-{code}")
        for operation in acts
        for code in operation.meanings
    ]


@pytest.fixture
def sandbox(operation: Operation, pac_server: PacServer) -> FakePac:
    """The PAC of the test's operation, its memory as new."""
    sandbox = operation.fake_pac()
    pac_server.serve_app(sandbox)
    return sandbox


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_timeouts(monkeypatch)


def attempts(operation: Operation, retry: bool) -> int:
    return ATTEMPTS if retry and operation not in CONTRACTS else 1


# ------------------------------------------------------------------------------- the table


def test_every_pac_is_in_the_table() -> None:
    assert set(PAC_CASES) == {*PACS, libre.PAC.name}
    methods = inspect.getmembers(PacClient, inspect.isfunction)
    assert {name for name, _ in methods if not name.startswith("_")} == set(OFFERS)
    assert {kind.value for kind in FaultKind} == set(FAULTS) | OTHER_FAULTS


@every_pac
def test_the_table_holds_all_that_the_pac_can_do(pac: str, pac_server: PacServer, url: str) -> None:
    row, rules = PAC_CASES[pac], PAC_CASES[pac].fake_pac().rules
    account = row.account(url)
    client = create_client(account)
    assert account.pac is PACS.get(pac, libre.PAC)
    assert tuple(account.credentials) == account.pac.credentials
    cls = client_class(account.pac)
    assert f"{cls.__module__}:{cls.__name__}" == account.pac.client
    assert {operation.operation for operation in row.operations} == set(rules.kinds)
    assert {operation.pac for operation in row.operations} == {pac}
    for operation in row.operations:
        # The sandbox can say whatever the PAC's pages name.
        assert set(operation.meanings) <= set(rules.codes.get(operation.operation, ()))
    # Each operation once, with what comes of it: nothing that the PAC offers is left out.
    offered = {method for method, (can, _) in OFFERS.items() if can in account.pac.capabilities}
    assert offered == {name for name in OFFERS if name in vars(cls)}
    done = set()
    for name in offered:
        inner = getattr(client, name)

        def noted(*args: Any, name: str = name, inner: Any = inner) -> Any:
            done.add(name)
            return inner(*args)

        setattr(client, name, noted)
    pac_server.serve_app(row.fake_pac())
    for operation in row.operations:
        assert operation.call(client, Deadline(5))
    assert done == offered


@every_pac
def test_what_a_pac_does_not_offer_is_unsupported_and_asks_nothing(
    pac: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(PAC_CASES[pac].fake_pac())
    account = PAC_CASES[pac].account(url)
    client = create_client(account)
    for can, call in OFFERS.values():
        if can in account.pac.capabilities:
            continue
        with pytest.raises(TimbresError) as caught:
            call(client, Deadline(5))
        assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
            "operation-unsupported",
            422,
        )
    assert pac_server.requests == []


# ---------------------------------------------------------------------- what the PAC says


@pytest.mark.parametrize(("operation", "code"), codes_of(OPERATIONS))
def test_every_documented_code_in_the_pacs_own_words(
    operation: Operation, code: str, sandbox: FakePac, url: str
) -> None:
    meaning = operation.meanings[code]
    inject_fault(sandbox, operation.operation, "code", code=code)
    with expect_pac_error(meaning.code) as errors:
        operation(url, 10)
    error = errors[0]
    assert status_code(error.problem_type.code) == meaning.status
    assert error_attributes(error.problem_type) == (meaning.may_have_taken_effect, meaning.retry)
    assert (error.pac, error.pac_code) == (operation.pac, code if operation.has_codes else None)
    assert error.pac_message == operation.messages[code]
    assert error.pac_message.rstrip(".") in error.detail
    assert len(calls(sandbox)) == attempts(operation, meaning.retry)


@pytest.mark.parametrize(("operation", "code"), codes_of(CONTRACTS))
def test_a_code_behind_which_the_pac_has_sold_is_told_alike(
    operation: Operation, code: str, sandbox: FakePac, url: str
) -> None:
    inject_fault(sandbox, operation.operation, "code", code=code, processed=True)
    with expect_pac_error(operation.meanings[code].code):
        operation(url)
    assert sandbox.contracts() == [(RFC, 500)]
    assert len(calls(sandbox)) == 1


@every_operation
def test_wrong_credentials_are_sent_once(operation: Operation, sandbox: FakePac, url: str) -> None:
    if not operation.meanings:
        pytest.skip("asks without credentials")
    with expect_pac_error("pac-credentials-rejected") as errors:
        operation.call(create_client(PAC_CASES[operation.pac].rejected_account(url)), Deadline(10))
    assert errors[0].pac_code in (operation.meanings if operation.has_codes else {None})
    assert len(calls(sandbox)) == 1


@every_operation
@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (404, "pac-endpoint-not-found", False),
        (502, "pac-error", True),
        (503, "pac-error", True),
        (504, "pac-error", True),
        (204, "pac-protocol-error", False),
        (206, "pac-protocol-error", False),
        (403, "pac-protocol-error", False),
        (405, "pac-protocol-error", False),
        (429, "pac-protocol-error", False),
    ],
)
def test_what_stands_before_the_pac_may_answer_too(
    operation: Operation, status: int, code: str, retry: bool, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with("" if status == 204 else "<p>?</p>", "text/html", status))
    with expect_pac_error(code) as errors:
        operation(url, 10)
    assert str(status) in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect == (status != 404)
    assert len(pac_server.requests) == attempts(operation, retry)


# -------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(("operation", "fault"), faults_of(READS))
def test_a_read_that_failed_is_an_error_and_repeated_where_that_may_help(
    operation: Operation, fault: str, sandbox: FakePac, url: str
) -> None:
    code, retry = FAULTS[fault]
    inject_fault(sandbox, operation.operation, fault, times=ATTEMPTS)
    with expect_pac_error(code):
        operation(url, 10)
    # All calls: a redirect leads to another operation.
    assert len(calls(sandbox)) == attempts(operation, retry)
    if retry:
        inject_fault(sandbox, operation.operation, fault, times=ATTEMPTS - 1)
        assert operation(url, 10)
        assert len(calls(sandbox, operation.operation)) == 2 * ATTEMPTS


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(("operation", "fault"), faults_of(CONTRACTS))
def test_a_purchase_that_failed_is_in_doubt_and_never_sent_again(
    operation: Operation, fault: str, hidden: bool, sandbox: FakePac, url: str
) -> None:
    replaced = FaultKind(fault) in REPLACING
    inject_fault(sandbox, operation.operation, fault, **({"processed": hidden} if replaced else {}))
    with expect_pac_error(FAULTS[fault][0]) as errors:
        operation(url, 10)
    assert errors[0].problem_type.may_have_taken_effect
    sold = hidden if replaced else fault != "cut-before"
    assert sandbox.contracts() == ([(RFC, 500)] if sold else [])
    assert len(calls(sandbox)) == 1


# ----------------------------------------------------------------------------- deadlines


@every_operation
def test_a_slow_answer_is_not_waited_for_beyond_the_deadline(
    operation: Operation, sandbox: FakePac, url: str
) -> None:
    inject_fault(sandbox, operation.operation, "slow-after", seconds=1.5)
    with expect_pac_error("pac-timeout"):
        operation(url, 0.6)
    assert len(calls(sandbox)) == 1


@every_read
def test_no_attempt_is_begun_that_the_deadline_would_cut_short(
    operation: Operation, sandbox: FakePac, url: str
) -> None:
    inject_fault(sandbox, operation.operation, "cut-before")
    with expect_pac_error("pac-timeout"):
        operation(url, 0.9)
    assert len(calls(sandbox)) == 1


@every_operation
@pytest.mark.parametrize("seconds", [-1, 0, 0.3])
def test_no_call_begins_when_no_time_is_left(
    operation: Operation, seconds: float, sandbox: FakePac, pac_server: PacServer, url: str
) -> None:
    with pytest.raises(TimbresError) as caught:
        operation(url, seconds)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "out-of-time",
        503,
    )
    assert caught.value.problem_type.retry_after
    assert not caught.value.problem_type.may_have_taken_effect
    assert pac_server.requests == []


# --------------------------------------------------------------------------- credentials


@every_pac
def test_no_credential_is_in_a_log_or_a_repr(
    pac: str, pac_server: PacServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sandbox = PAC_CASES[pac].fake_pac()
    pac_server.serve_app(sandbox)
    for operation in PAC_CASES[pac].operations:
        kinds = {kind.value for kind in sandbox.rules.kinds[operation.operation]} & set(FAULTS)
        for fault in sorted(kinds):
            inject_fault(sandbox, operation.operation, fault, times=1)
        client = create_client(operation.account(url), 1)
        for _ in kinds:
            with pytest.raises(TimbresError):
                operation.call(client, Deadline(5))
        assert operation.call(client, Deadline(5))
    account = PAC_CASES[pac].account(url)
    shown = f"{caplog.text} {account!r} {account} {client!r}"
    assert not any(credential in shown for credential in CREDENTIALS)
    # What a repr or an envelope would have made of the signs in it.
    assert not any(credential[:8] in shown for credential in CREDENTIALS)
    assert set(account.credentials.values()) <= set(CREDENTIALS)
