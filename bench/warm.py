"""Measure warm calls: CPU time per call in a process that has made some calls.

The PAC clients are compared with their libraries alone: one shared zeep client, one requests
session and json. The routes are the deployed handlers with their tables on a local AWS. Each
measurement is a fresh process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment
from local.fakes import WSDL

from bench.cold import CASES as FIRST_CALLS
from bench.cold import function_environment, load_event, renew_idempotency_key
from bench.stats import format_spread

CALLS = 300
MAX_RATIO = 1.3
_FORM = "9,.0f"
_CLIENTS = (("issuer's stamps", "stamps", "zeep"), ("month's balance", "balance", "requests"))
_PATH = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "timbres")])
_PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"


def measure(runs: int) -> dict[str, Any]:
    """Measure each client, its library alone, and each route; return CPU µs per call, for JSON."""
    clients: dict[str, dict[str, list[float]]] = {}
    routes: dict[str, list[float]] = {}
    with running_environment(ROOT / ".local" / "aws-bench.log") as local_env:
        for _ in range(runs):
            for name, client, library in _CLIENTS:
                times = clients.setdefault(name, {"ours": [], "library": []})
                times["ours"].append(_run_in_process(client, _pac_environment(local_env)))
                times["library"].append(_run_in_process(library, _pac_environment(local_env)))
            for case in FIRST_CALLS:
                environment = function_environment(local_env.stack, case.function) | {
                    "BENCH_EVENT": load_event(case).decode(),
                    "BENCH_FUNCTION": case.function,
                }
                microseconds = _run_in_process("route", environment)
                routes.setdefault(case.function, []).append(microseconds)
    return {"clients": clients, "routes": routes}


def format_table(results: dict[str, Any]) -> str:
    """Return the results as text."""
    lines = ["Warm call: CPU µs (min, median, max), the ratio of medians, and its limit"]
    for name, times in results["clients"].items():
        ratio = statistics.median(times["ours"]) / statistics.median(times["library"])
        ours, library = (format_spread(times[variant], _FORM) for variant in ("ours", "library"))
        lines.append(f"{name:22}{ours}  library{library}{ratio:8.2f}  {MAX_RATIO}")
    lines += [
        f"{name:22}" + format_spread(times, _FORM) for name, times in results["routes"].items()
    ]
    return "\n".join(lines)


def _pac_environment(local_env: LocalEnvironment) -> dict[str, str]:
    from timbres.domain.clock import now
    from timbres.domain.month import month_of

    secrets = local_env.stack.session().client("secretsmanager")
    prefix = "timbres/accounts/"
    # Last month has movements of three RFCs.
    return {"BENCH_MONTH": str(month_of(now()).previous())} | {
        name: secrets.get_secret_value(SecretId=prefix + account)["SecretString"]
        for name, account in (("BENCH_RC", "acme-rc"), ("BENCH_SF", "acme-sf"))
    }


def _run_in_process(case: str, environment: Mapping[str, str]) -> float:
    process = subprocess.run(
        [sys.executable, "-m", "bench.warm", "--measure", case],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _PATH, **environment},
    )
    return float(process.stdout.splitlines()[-1])


# ------------------------------------------------------------- what runs in a fresh process


def _client(variable: str) -> Any:
    from timbres.domain.account import parse_account
    from timbres.pacs.registry import PACS, create_client

    return create_client(parse_account("bench", os.environ[variable], PACS, allow_sandbox=True))


def _stamps() -> Callable[[], Any]:
    from timbres.deadline import Deadline
    from timbres.domain.rfc import Rfc

    client = _client("BENCH_SF")
    return lambda: client.stamps(Rfc("A&D061009TY8"), Deadline(25))


def _zeep() -> Callable[[], Any]:
    import zeep

    account = json.loads(os.environ["BENCH_SF"])
    client = zeep.Client(str(WSDL))
    client.transport.session.trust_env = False
    service = client.create_service(next(iter(client.wsdl.bindings)), account["endpoint"] + _PORT)
    return lambda: service.getTimbres(
        usuario=account["username"], password=account["password"], rfcEmisor="A&D061009TY8"
    )


def _balance() -> Callable[[], Any]:
    from timbres.deadline import Deadline
    from timbres.domain.balance import sum_movements
    from timbres.domain.month import Month

    client = _client("BENCH_RC")

    def read() -> Any:
        with client.balance(
            Month.from_text(os.environ["BENCH_MONTH"]), None, Deadline(25)
        ) as reading:
            return sum_movements(reading.movements())

    return read


def _requests() -> Callable[[], Any]:
    import requests

    account = json.loads(os.environ["BENCH_RC"])
    session = requests.Session()
    session.trust_env = False

    def read() -> Any:
        response = session.post(
            account["endpoint"] + "/api/rest/Timbre/saldos",
            headers={"RCApiKey": account["api_key"]},
            json={"MesConsulta": os.environ["BENCH_MONTH"]},
            timeout=10,
        )
        return json.loads(response.content)

    return read


def _route() -> Callable[[], Any]:
    sys.path.insert(0, str(ROOT / "functions" / os.environ["BENCH_FUNCTION"]))
    app = importlib.import_module("app")
    event = json.loads(os.environ["BENCH_EVENT"])
    # The handler's log would distort the measurement.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 closed with the process

    def call() -> Any:
        renew_idempotency_key(event)
        return app.handler(event, _Context())

    return call


class _Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 1024

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


_PREPARE = {
    "stamps": _stamps,
    "zeep": _zeep,
    "balance": _balance,
    "requests": _requests,
    "route": _route,
}


def main() -> None:
    """Measure and print the table; with ``--measure``, measure one case in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", choices=_PREPARE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is None:
        print(format_table(measure(arguments.runs)))
        return
    call = _PREPARE[arguments.measure]()
    for _ in range(10):
        call()
    start = time.process_time()
    for _ in range(CALLS):
        call()
    microseconds = (time.process_time() - start) / CALLS * 1e6
    print(microseconds, file=sys.__stdout__)


if __name__ == "__main__":
    main()
