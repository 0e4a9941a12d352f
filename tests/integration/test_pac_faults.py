"""PAC codes and faults, as a caller of the API sees them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest
from local.fake_pacs.reachcore import ERRORS
from tests.support.documented_codes import GET_TIMBRES, SALDOS, Meaning, documented
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack


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

CODES = [
    (read, code, meaning)
    for read, page in ((BALANCE, SALDOS), (STAMPS, GET_TIMBRES))
    for code, meaning in documented(page).items()
]


@pytest.mark.parametrize(("read", "fault", "meaning"), CODES)
def test_the_pac_message_is_returned_unchanged(
    shared_stack: FakeStack, read: Read, fault: str, meaning: Meaning
) -> None:
    # The fake SOAP PAC returns any text; the fake REST PAC those of its documentation.
    words = {"mensaje": "Algo\n pasó"} if read is STAMPS else {}
    message = "Algo pasó" if read is STAMPS else ERRORS[fault][1]
    shared_stack.pacs.fault(read.operation, "code", code=fault, times=-1, **words)

    response = shared_stack.get(read.path, **read.query)

    body = check_problem(response, meaning.status, meaning.code)
    assert body["pac"] == {"name": read.pac, "code": fault, "message": message}
    assert message in body["detail"]
    assert response.headers.get("retry-after") == ("60" if meaning.wait else None)
    assert shared_stack.pacs.calls() == [read.operation] * (3 if meaning.retry else 1)
    assert shared_stack.aws.items("IssuersTable") == []


@every_read
def test_a_pac_that_does_not_respond_in_time(shared_stack: FakeStack, read: Read) -> None:
    shared_stack.pacs.fault(read.operation, "slow", seconds=1.5, times=-1)

    response = shared_stack.call(read.function, "GET", read.path, read.query, seconds=3.7)

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
        secret = shared_stack.accounts.secret(read.account, endpoint=endpoint)
        shared_stack.accounts.create(name, secret)

        response = shared_stack.get(read.path.replace(read.account, name), **read.query)

    body = check_problem(response, 503, "pac-unreachable")
    assert response.headers["retry-after"] == "60"
    assert body["pac"] == {"name": read.pac, "code": None, "message": None}
