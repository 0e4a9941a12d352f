"""Transient errors of PACs: reads wait and retry, runs count every issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_runs import add_many_issuers, sums
from tests.support.events import check_problem
from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.further_cases import http
from tests.support.pac_servers import raw_server

from timbres.deadline import Deadline
from timbres.pacs.http import HttpResponse, PacSession

# test_any_pac.py has every fault and code that a read retries.
TRANSIENT: dict[str, tuple[dict[str, Any], int]] = {
    "429 for the first 25 of 30": ({"fault": "canned", "case": "sf-count-429"}, 25),
    "a page for the first 25 of 30": ({"fault": "html-200"}, 25),
    "a reset": ({"fault": "cut-before"}, 3),
    "status 503": ({"fault": "code", "code": "503"}, 3),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_run_counts_every_issuer_after_a_transient_error(stack: FakeStack, name: str) -> None:
    fault, times = TRANSIENT[name]
    add_many_issuers(stack, 30)
    stack.pacs.fault("getTimbres", times=times, **fault)
    of_both_pacs = fault["fault"] in ("html-200", "cut-before")
    balance = fault if of_both_pacs else {"fault": "canned", "case": "rc-429"}
    stack.pacs.fault("saldos", times=2, **balance)

    run = stack.run()

    (account,) = (account for account in run["accounts"] if account["account"] == SF)
    assert (account["expected"], account["done"], account["failed"]) == (30, 30, {})
    status, expected, done, failed = sums(run)
    assert (status, failed) == ("finished", {})
    assert done == expected > 30


def test_a_read_waits_as_long_as_the_pac_asks(stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / "429.http").write_bytes(http("x", "text/plain", 429, Retry_After="1"))
    stack.pacs.fault("saldos", "canned", case=str(tmp_path / "429"), times=1)

    assert stack.get(f"/accounts/{RC}/balance", month="2026-10").status == 200
    assert max(stack.time.sleeps) >= 1
    assert stack.pacs.calls() == ["saldos"] * 2


def fetch(header: str) -> HttpResponse:
    def behave(server: Any, connection: Any) -> None:
        server.read_request(connection)
        connection.sendall(f"HTTP/1.1 429 X\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode())

    with raw_server(behave) as server:
        return PacSession("x").fetch("GET", server.url, deadline=Deadline(5))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30), ("120", 60), ("0", 1), ("-5", 1), ("1.2", 2), ("1e9", 60), ("", None),
     ("pronto", None), ("nan", None), ("inf", None), ("Wed, 21 Oct 2099 07:28:00 GMT", 60),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 1)],
)  # fmt: skip
def test_a_retry_after_is_at_most_a_minute(value: str, seconds: int | None) -> None:
    assert fetch(f"Retry-After: {value}").retry_after == seconds


def test_after_an_interim_response_the_connection_is_not_used_again(stack: FakeStack) -> None:
    stack.pacs.fault("saldos", "canned", case="rc-103-early-hints", times=1)
    path = f"/accounts/{RC}/balance"
    check_problem(stack.get(path, month="2026-10"), 502, "pac-protocol-error")

    assert stack.get(path, month="2026-10").body["transactions"] != 3
