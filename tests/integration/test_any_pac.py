"""The contract of every PAC client (timbres/pacs/base.py), for each PAC of pac_cases."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from local.fake_pacs.base import FakePac
from local.fake_pacs.faults import PROCESSING_FAULTS, FaultKind
from tests.support import libre
from tests.support.pac_cases import (
    ATTEMPTS,
    CONTRACTS,
    CREDENTIALS,
    MONTH,
    OPERATIONS,
    PAC_CASES,
    READS,
    RFC,
    SENT,
    WRONG,
    Operation,
    calls,
    every_operation,
    every_pac,
    every_read,
    expect_pac_error,
    inject_fault,
    new_client,
)
from tests.support.pac_servers import PacServer, respond_with

from timbres.deadline import Deadline
from timbres.domain.account import Pac
from timbres.errors import TimbresError
from timbres.handlers.problem_details import status_code
from timbres.pacs.base import PacClient
from timbres.pacs.registry import PACS, client_class

# Capability and call of each method of a client.
METHODS: dict[str, tuple[str, Callable[[PacClient, Deadline], Any]]] = {
    "balance": ("balance", lambda client, deadline: client.balance(MONTH, None, deadline)),
    "statement": ("statement", lambda client, deadline: client.statement(MONTH, "csv", deadline)),
    "stamps": ("stamps", lambda client, deadline: client.stamps(RFC, deadline)),
    "account_stamps": ("stamps", lambda client, deadline: client.account_stamps(deadline)),
    "create_contract": ("contracts", lambda pac, deadline: pac.create_contract(RFC, 500, deadline)),
    "trace": ("contracts", lambda client, deadline: client.trace(SENT, deadline)),
}
# Expected error code per fault, and whether a read is retried.
FAULTS = {
    **dict.fromkeys(("cut-before", "cut-after", "truncated"), ("pac-timeout", True)),
    "soap-fault": ("pac-error", True),
    "html-200": ("pac-unavailable", True),
    **dict.fromkeys(
        ("wrong-shape", "empty-body", "redirect", "missing-fields", "empty-fields", "nil-fields"),
        ("pac-protocol-error", False),
    ),
}
# Other tests cover these. Reachcore's documentation has the missing comma, so it is accepted.
# Faults that change the work of the PAC do not change its responses (tests/unit/test_fake_pacs.py).
OTHER_FAULTS = {"canned", "code", "slow", "slow-after", "missing-comma", *PROCESSING_FAULTS}


def with_faults(*operations: Operation) -> list[Any]:
    """Return each operation with each fault that the fake PAC supports."""
    return [
        pytest.param(operation, kind.value, id=f"{operation}-{kind.value}")
        for operation in operations
        for kind in sorted(operation.fake_pac().rules.kinds[operation.operation])
        if kind.value in FAULTS and kind.value not in operation.unknown_after
    ]


@pytest.fixture
def fake_pac(operation: Operation, pac_server: PacServer) -> FakePac:
    """The new fake PAC of the operation."""
    fake_pac = operation.fake_pac()
    pac_server.serve_app(fake_pac)
    return fake_pac


def expected_attempts(operation: Operation, retryable: bool) -> int:
    return ATTEMPTS if retryable and operation not in CONTRACTS else 1


# ------------------------------------------------------------------------------- the table


def supported_methods(pac: Pac) -> set[str]:
    return {
        method
        for method, (capability, _) in METHODS.items()
        if capability in pac.capabilities and (method != "account_stamps" or pac.has_account_stamps)
    }


def test_every_pac_is_in_the_table() -> None:
    assert set(PAC_CASES) == {*PACS, libre.PAC.name}
    methods = inspect.getmembers(PacClient, inspect.isfunction)
    assert {name for name, _ in methods if not name.startswith("_")} == set(METHODS)
    assert {kind.value for kind in FaultKind} == set(FAULTS) | OTHER_FAULTS


@every_pac
def test_the_table_covers_all_methods_of_a_pac(pac: str, url: str) -> None:
    case, rules = PAC_CASES[pac], PAC_CASES[pac].fake_pac().rules
    account = case.account(url)
    assert tuple(account.credentials) == account.pac.credentials
    assert {operation.operation for operation in case.operations} == set(rules.kinds)
    assert {operation.pac for operation in case.operations} == {pac}
    for operation in case.operations:
        # The fake PAC supports all documented codes.
        assert set(operation.meanings) <= set(rules.codes.get(operation.operation, ()))
    cls = client_class(account.pac)

    assert supported_methods(account.pac) == {name for name in METHODS if name in vars(cls)}


@every_pac
def test_an_unsupported_method_raises_without_a_call(
    pac: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(PAC_CASES[pac].fake_pac())
    account = PAC_CASES[pac].account(url)
    for method in set(METHODS) - supported_methods(account.pac):
        with pytest.raises(TimbresError) as caught:
            METHODS[method][1](new_client(account), Deadline(5))
        assert caught.value.problem_type.code == "operation-unsupported"
    assert pac_server.requests == []


# --------------------------------------------------------------------------------- codes


@pytest.mark.parametrize(
    ("operation", "code"),
    [(operation, code) for operation in OPERATIONS for code in operation.meanings],
)
def test_documented_code_raises_with_the_message_of_the_pac(
    operation: Operation, code: str, fake_pac: FakePac, url: str
) -> None:
    meaning = operation.meanings[code]
    inject_fault(fake_pac, operation.operation, "code", code=code)
    with expect_pac_error(meaning.code) as errors:
        operation(url, 10)
    error = errors[0]

    assert status_code(error.problem_type.code) == meaning.status
    assert error.problem_type.may_have_taken_effect == meaning.may_have_taken_effect
    assert error.problem_type.retryable == meaning.retry
    assert (error.pac, error.pac_code) == (operation.pac, code if operation.has_codes else None)
    assert error.pac_message == operation.messages[code]
    assert error.pac_message.rstrip(".") in error.detail
    assert len(calls(fake_pac)) == expected_attempts(operation, meaning.retry)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.meanings], ids=repr)
def test_wrong_credentials_are_sent_once(operation: Operation, fake_pac: FakePac, url: str) -> None:
    account = operation.account(url)
    *_, password = account.credentials
    wrong = replace(account, credentials={**account.credentials, password: WRONG})
    with expect_pac_error("pac-credentials-rejected") as errors:
        operation.call(new_client(wrong), Deadline(10))

    assert errors[0].pac_code in (operation.meanings if operation.has_codes else {None})
    assert len(calls(fake_pac)) == 1


# tests/unit/test_codes.py has the other statuses.
@every_operation
@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (404, "pac-endpoint-not-found", False),
        (502, "pac-error", True),
        (503, "pac-unavailable", True),
        (204, "pac-protocol-error", False),
        (206, "pac-protocol-error", False),
    ],
)
def test_http_status_without_a_pac_response_raises_an_error(
    operation: Operation, status: int, code: str, retry: bool, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with("" if status == 204 else "<p>?</p>", "text/html", status))
    with expect_pac_error(code) as errors:
        operation(url, 10)

    assert str(status) in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect == (status != 404)
    assert len(pac_server.requests) == expected_attempts(operation, retry)


# -------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(("operation", "fault"), with_faults(*READS))
def test_failed_read_raises_and_is_retried_if_retryable(
    operation: Operation, fault: str, fake_pac: FakePac, url: str
) -> None:
    code, retry = FAULTS[fault]
    inject_fault(fake_pac, operation.operation, fault, times=ATTEMPTS)
    with expect_pac_error(code):
        operation(url, 10)
    # Count all calls: a redirect leads to another operation.
    assert len(calls(fake_pac)) == expected_attempts(operation, retry)
    if retry:
        inject_fault(fake_pac, operation.operation, fault, times=ATTEMPTS - 1)
        assert operation(url, 10)
        assert len(calls(fake_pac, operation.operation)) == 2 * ATTEMPTS


@pytest.mark.parametrize(("operation", "fault"), with_faults(*CONTRACTS))
def test_failed_contract_may_have_taken_effect_and_is_sent_once(
    operation: Operation, fault: str, fake_pac: FakePac, url: str
) -> None:
    inject_fault(fake_pac, operation.operation, fault)
    with expect_pac_error(FAULTS[fault][0]) as errors:
        operation(url, 10)
    assert errors[0].problem_type.may_have_taken_effect
    assert len(calls(fake_pac)) == 1


# ----------------------------------------------------------------------------- deadlines


@every_operation
def test_silence_times_out(operation: Operation, fake_pac: FakePac, url: str) -> None:
    inject_fault(fake_pac, operation.operation, "slow-after", seconds=1)
    with expect_pac_error("pac-timeout"):
        operation(url, 10, attempts=1, read_seconds=0.1, contract_read_seconds=0.1)


@every_read
def test_no_retry_starts_shortly_before_the_deadline(
    operation: Operation, fake_pac: FakePac, url: str
) -> None:
    inject_fault(fake_pac, operation.operation, "cut-before")
    with expect_pac_error("pac-timeout"):
        operation(url, 0.9)
    assert len(calls(fake_pac)) == 1


@every_operation
@pytest.mark.parametrize("seconds", [-1, 0.3])
def test_no_call_starts_without_remaining_time(
    operation: Operation, seconds: float, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(operation.fake_pac())
    with pytest.raises(TimbresError) as caught:
        operation(url, seconds)

    assert caught.value.problem_type.code == "out-of-time"
    assert caught.value.problem_type.retry_after
    assert not caught.value.problem_type.may_have_taken_effect
    assert pac_server.requests == []


# --------------------------------------------------------------------------- credentials


@every_operation
def test_logs_and_reprs_contain_no_credential(
    operation: Operation, fake_pac: FakePac, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account = operation.account(url)
    client = new_client(account)

    assert operation.call(client, Deadline(5))

    text = f"{caplog.text} {account!r} {account} {client!r}"
    # A repr or an envelope may escape the special characters, so search for prefixes.
    assert not any(credential[:8] in text for credential in CREDENTIALS)
