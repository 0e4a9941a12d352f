"""PAC faults, as a caller of the API sees them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest
from local.fake_pacs.reachcore import ERRORS
from tests.support.documented_codes import GET_TIMBRES, SALDOS, documented
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, RFC_NEW, SF, FakeStack


@dataclass(frozen=True, eq=False)
class Read:
    """A read of the API: its function and path, and the PAC operation behind it."""

    function: str
    account: str
    path: str
    query: dict[str, str]
    pac: str
    operation: str

    def __repr__(self) -> str:
        return self.pac


BALANCE = Read(
    "balance", RC, f"/accounts/{RC}/balance", {"month": "2026-10"}, "reachcore", "saldos"
)
STAMPS = Read(
    "stamp_count", SF, f"/accounts/{SF}/stamps", {"rfc": RFC}, "solucion-factible", "getTimbres"
)
every_read = pytest.mark.parametrize("read", [BALANCE, STAMPS], ids=repr)

# The PAC's code; the status and the code of the problem; the number of calls; Retry-After.
EXPECTED_PROBLEMS = {
    BALANCE: [
        ("400-001", 400, "month-invalid", 1, None),
        ("400-002", 404, "issuer-not-registered", 1, None),
        ("401", 502, "pac-credentials-rejected", 1, None),
        ("404", 502, "pac-endpoint-not-found", 1, None),
        ("500", 502, "pac-error", 3, None),
    ],
    STAMPS: [
        ("500", 502, "pac-error", 3, None),
        ("501", 503, "pac-unavailable", 3, "60"),
        ("502", 502, "pac-error", 3, None),
        ("503", 503, "pac-unavailable", 3, "60"),
        ("601", 502, "pac-credentials-rejected", 1, None),
        ("602", 502, "pac-credentials-rejected", 1, None),
        ("603", 502, "pac-credentials-rejected", 1, None),
        ("604", 502, "pac-credentials-rejected", 1, None),
        ("605", 502, "pac-credentials-rejected", 1, None),
        ("611", 502, "pac-rejected-request", 1, None),
        ("612", 502, "pac-rejected-request", 1, None),
        ("624", 409, "contract-duplicate", 1, None),
        ("630", 409, "account-stamps-exhausted", 1, None),
        ("631", 409, "issuer-stamps-exhausted", 1, None),
        ("632", 422, "transaction-limit-exceeded", 1, None),
        ("633", 409, "environment-mismatch", 1, None),
    ],
}


def test_the_tables_of_codes_are_complete() -> None:
    assert {row[0] for row in EXPECTED_PROBLEMS[BALANCE]} == documented(SALDOS)
    assert {row[0] for row in EXPECTED_PROBLEMS[STAMPS]} == documented(GET_TIMBRES)


@pytest.mark.parametrize(
    ("read", "fault", "status", "code", "calls", "retry_after"),
    [(read, *row) for read, rows in EXPECTED_PROBLEMS.items() for row in rows],
)
def test_the_pac_message_is_returned_unchanged(
    shared_stack: FakeStack,
    read: Read,
    fault: str,
    status: int,
    code: str,
    calls: int,
    retry_after: str | None,
) -> None:
    # The fake SOAP PAC returns any text; the fake REST PAC those of its documentation.
    words = {"mensaje": "Algo\n pasó"} if read is STAMPS else {}
    message = "Algo pasó" if read is STAMPS else ERRORS[fault][1]
    shared_stack.pacs.fault(read.operation, "code", code=fault, times=-1, **words)

    response = shared_stack.get(read.path, **read.query)

    body = check_problem(response, status, code)
    assert body["pac"] == {"name": read.pac, "code": fault, "message": message}
    assert message in body["detail"]
    assert response.headers.get("retry-after") == retry_after
    assert shared_stack.pacs.calls() == [read.operation] * calls
    assert shared_stack.aws.items("IssuersTable") == []


@pytest.mark.parametrize("body", ["empty", "html"])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("400-001", 502, "pac-protocol-error"),
        ("401", 502, "pac-credentials-rejected"),
        ("404", 502, "pac-endpoint-not-found"),
        ("500", 502, "pac-error"),
    ],
)
def test_a_balances_error_without_its_documented_body(
    shared_stack: FakeStack, fault: str, status: int, code: str, body: str
) -> None:
    shared_stack.pacs.fault("saldos", "code", code=fault, body=body, times=-1)

    document = check_problem(shared_stack.get(BALANCE.path, **BALANCE.query), status, code)

    assert document["pac"]["name"] == "reachcore"
    assert document["pac"]["message"] == ("Mantenimiento" if body == "html" else None)


def test_an_issuer_that_the_pac_does_not_know(shared_stack: FakeStack) -> None:
    body = check_problem(shared_stack.get(STAMPS.path, rfc=RFC_NEW), 502, "pac-rejected-request")

    assert body["pac"]["code"] == "611"
    assert RFC_NEW in body["pac"]["message"]
    assert shared_stack.aws.items("IssuersTable") == []


INVALID_RESPONSES = [
    ("html-200", 503, "pac-unavailable", 3),
    ("wrong-shape", 502, "pac-protocol-error", 1),
    ("empty-body", 502, "pac-protocol-error", 1),
    ("redirect", 502, "pac-protocol-error", 1),
    ("truncated", 504, "pac-timeout", 3),
    ("cut-before", 504, "pac-timeout", 3),
    ("cut-after", 504, "pac-timeout", 3),
]
INVALID_SOAP_RESPONSES = [
    ("dtd", 502, "pac-protocol-error", 1),
    ("missing-fields", 502, "pac-protocol-error", 1),
    ("empty-fields", 502, "pac-protocol-error", 1),
    ("nil-fields", 502, "pac-protocol-error", 1),
    ("soap-fault", 502, "pac-error", 3),
]


@pytest.mark.parametrize(
    ("read", "fault", "status", "code", "calls"),
    [(BALANCE, *row) for row in INVALID_RESPONSES]
    + [(STAMPS, *row) for row in INVALID_RESPONSES + INVALID_SOAP_RESPONSES],
)
def test_invalid_responses(
    shared_stack: FakeStack, read: Read, fault: str, status: int, code: str, calls: int
) -> None:
    shared_stack.pacs.fault(read.operation, fault, times=-1)

    body = check_problem(shared_stack.get(read.path, **read.query), status, code)

    assert body["pac"]["name"] == read.pac
    assert (body["pac"]["code"] is None) == (fault != "soap-fault")
    assert shared_stack.pacs.calls() == [read.operation] * calls
    assert shared_stack.aws.items("IssuersTable") == []


@every_read
def test_a_pac_that_does_not_respond_in_time(shared_stack: FakeStack, read: Read) -> None:
    shared_stack.pacs.fault(read.operation, "slow", seconds=2.5, times=-1)

    response = shared_stack.call(read.function, "GET", read.path, read.query, seconds=4)

    check_problem(response, 504, "pac-timeout")


@every_read
def test_a_deadline_too_short_to_start(shared_stack: FakeStack, read: Read) -> None:
    response = shared_stack.call(read.function, "GET", read.path, read.query, seconds=3.2)

    check_problem(response, 503, "out-of-time")
    assert response.headers["retry-after"] == "5"
    assert shared_stack.pacs.calls() == []


@every_read
def test_a_pac_that_cannot_be_reached(shared_stack: FakeStack, read: Read) -> None:
    name = f"nowhere-{read.account[-2:]}"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        shared_stack.accounts.create(
            name, shared_stack.accounts.secret(read.account, endpoint=endpoint)
        )

        response = shared_stack.get(read.path.replace(read.account, name), **read.query)

    body = check_problem(response, 503, "pac-unreachable")
    assert response.headers["retry-after"] == "60"
    assert body["pac"] == {"name": read.pac, "code": None, "message": None}


# The last test: it leaves a known issuer.
@every_read
def test_a_temporary_failure_is_retried(shared_stack: FakeStack, read: Read) -> None:
    shared_stack.pacs.fault(read.operation, "code", code="500")
    shared_stack.pacs.fault(read.operation, "cut-after")

    assert shared_stack.get(read.path, **read.query).status == 200
    assert shared_stack.pacs.calls() == [read.operation] * 3
