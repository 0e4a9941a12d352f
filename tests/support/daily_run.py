"""A night over 200 issuers: three low, two unknown to the PAC, one that times out twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from local.fake_pacs.fake_data import SolucionFactibleAccount, SolucionFactibleState, bulk_rfc
from local.fake_pacs.faults import parse_fault
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL
from local.stack import Stack

ACCOUNT = "night-sf"
HEALTHY = [bulk_rfc(n) for n in range(194)]
LOW = [bulk_rfc(n) for n in range(2000, 2003)]
UNKNOWN = [bulk_rfc(n) for n in range(3000, 3002)]
SILENT = bulk_rfc(4000)

_PASSWORD = "a-password-of-the-night"


@dataclass(frozen=True)
class NightlyRun:
    """A run under way, the PAC it asks, and the mails that have come since it began."""

    stack: Stack
    pac: FakeSolucionFactible
    run: str
    mails: Callable[[], list[str]]

    def record(self, run: str) -> dict[str, Any]:
        """Return a run's record as a reader sees it."""
        body: dict[str, Any] = self.stack.call("reader", "GET", f"/runs/{run}").json()
        return body

    def finished(self, run: str, seconds: float) -> dict[str, Any]:
        """Return a run's record once it has finished."""
        deadline = time.monotonic() + seconds
        while (record := self.record(run))["status"] != "finished":
            assert time.monotonic() < deadline, record
            time.sleep(0.3)
        return record

    def of_account(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the line of a run's record that is about the night's account."""
        (line,) = (one for one in record["accounts"] if one["account"] == ACCOUNT)
        return dict(line)


@contextmanager
def running_daily_run(stack: Stack) -> Iterator[NightlyRun]:
    """Serve a PAC with 200 issuers, import them, and let the scheduler start the daily run."""
    books = SolucionFactibleState([SolucionFactibleAccount("night@example.com", _PASSWORD)])
    for n, rfc in enumerate([*HEALTHY, SILENT]):
        books.set_issuer(rfc, contratados=1000 + n, usados=100)
    for left, rfc in enumerate(LOW):
        books.set_issuer(rfc, contratados=500, usados=500 - left)
    pac = FakeSolucionFactible(books, wsdl=WSDL)
    slow = {"operation": "getTimbres", "fault": "slow", "seconds": 12, "rfc": SILENT, "times": 2}
    pac.faults.put(parse_fault(slow, pac.rules))
    with serve(pac) as url:
        stack.create_account(
            ACCOUNT,
            {
                "pac": "solucion-factible",
                "environment": "sandbox",
                "endpoint": url,
                "username": "night@example.com",
                "password": _PASSWORD,
                "low_stamps": 50,
                "calls_per_second": 200,
                "calls_in_flight": 32,
            },
        )
        _ask_again_soon(stack)
        rfcs = [*HEALTHY, *LOW, *UNKNOWN, SILENT]
        answer = stack.call("contract_manager", "PUT", f"/accounts/{ACCOUNT}/issuers", body=rfcs)
        assert answer.json() == {"account": ACCOUNT, "kept": 200, "rejected": []}
        mails = stack.mailbox("night")
        yield NightlyRun(stack, pac, start_run(stack), mails)


def start_run(stack: Stack) -> str:
    """Let the scheduler start the daily run; return its id."""
    before = _newest(stack)
    stack.fire("RunFunctionDaily")
    deadline = time.monotonic() + 20
    while (newest := _newest(stack)) == before or newest is None:
        assert time.monotonic() < deadline, "no run was started"
        time.sleep(0.2)
    return newest


def _newest(stack: Stack) -> str | None:
    runs = stack.call("reader", "GET", "/runs").json()["runs"]
    return str(runs[0]["id"]) if runs else None


def _ask_again_soon(stack: Stack) -> None:
    """Let a run retry what timed out after 1 and 2 seconds, not after minutes."""
    functions, name = stack.session().client("lambda"), stack.resource("RunWorkerFunction")
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    environment["Variables"]["RETRY_DELAY_SECONDS"] = "1"
    functions.update_function_configuration(FunctionName=name, Environment=environment)
