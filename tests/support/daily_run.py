"""A daily run over 200 issuers: three low, two unknown to the PAC, one that times out once."""

from __future__ import annotations

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

from tests.support.api_calls import eventually

ACCOUNT = "daily-sf"
HEALTHY = [bulk_rfc(n) for n in range(194)]
LOW = [bulk_rfc(n) for n in range(2000, 2003)]
UNKNOWN = [bulk_rfc(n) for n in range(3000, 3002)]
SILENT = bulk_rfc(4000)

_LOGIN = {"username": "daily@example.com", "password": "a-password-of-the-daily-run"}


@dataclass(frozen=True)
class DailyRun:
    """A started run, its PAC, and a function that reads the mails since its start."""

    stack: Stack
    pac: FakeSolucionFactible
    id: str
    read_mails: Callable[[], list[str]]

    def wait(self, seconds: float) -> dict[str, Any]:
        """Return the record of the run once it has finished."""

        def finished() -> dict[str, Any] | None:
            record: dict[str, Any] = self.stack.call("reader", "GET", f"/runs/{self.id}").json()
            return record if record["status"] == "finished" else None

        return dict(eventually(finished, seconds))


@contextmanager
def running_daily_run(stack: Stack) -> Iterator[DailyRun]:
    """Serve a PAC with 200 issuers, import them, and let the scheduler start the daily run."""
    state = SolucionFactibleState([SolucionFactibleAccount(*_LOGIN.values())])
    for n, rfc in enumerate([*HEALTHY, SILENT]):
        state.set_issuer(rfc, contratados=1000 + n, usados=100)
    for available, rfc in enumerate(LOW):
        state.set_issuer(rfc, contratados=500, usados=500 - available)
    pac = FakeSolucionFactible(state, wsdl=WSDL)
    slow = {"operation": "getTimbres", "fault": "slow", "seconds": 12, "rfc": SILENT, "times": 1}
    pac.faults.put(parse_fault(slow, pac.rules))
    with serve(pac) as url:
        secret = {"pac": "solucion-factible", "environment": "sandbox", "endpoint": url, **_LOGIN}
        limits = {"low_stamps": 50, "calls_per_second": 200, "calls_in_flight": 32}
        stack.create_account(ACCOUNT, secret | limits)
        _retry_after_a_second(stack)
        rfcs = [*HEALTHY, *LOW, *UNKNOWN, SILENT]
        response = stack.call("contract_manager", "PUT", f"/accounts/{ACCOUNT}/issuers", body=rfcs)
        assert response.json()["kept"] == 200
        read_mails = stack.mailbox("daily-run")
        stack.fire("RunFunctionDaily")
        run = eventually(lambda: stack.call("reader", "GET", "/runs").json()["runs"])[0]
        yield DailyRun(stack, pac, run["id"], read_mails)


def _retry_after_a_second(stack: Stack) -> None:
    """Let a run retry timeouts after a second instead of a minute."""
    functions, name = stack.session().client("lambda"), stack.resource("RunWorkerFunction")
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    environment["Variables"]["RETRY_DELAY_SECONDS"] = "1"
    functions.update_function_configuration(FunctionName=name, Environment=environment)
