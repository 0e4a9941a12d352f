"""What a warm call costs: CPU time of one more call in a process that has made some.

The PACs' clients are compared with their bare libraries, called as a user would: one shared
zeep client, one requests session and json. The routes are the true handlers with their true
tables, on a local AWS. Each measurement is a fresh process.
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
from local.environment import WSDL, LocalEnvironment, running_environment

from bench.cold import CASES as FIRST_CALLS
from bench.cold import environment_of, event_of, renew
from bench.stats import spread

CALLS = 300
AIM = 1.3
_FORM = "9,.0f"
_BARE = (("stamps of an issuer", "stamps", "zeep"), ("a month's balance", "balance", "requests"))
_PATH = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "timbres")])
_PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"


def measure(runs: int) -> dict[str, Any]:
    """Measure each client beside its bare library, and each route; CPU µs a call, for JSON."""
    clients: dict[str, dict[str, list[float]]] = {}
    routes: dict[str, list[float]] = {}
    with running_environment(ROOT / ".local" / "aws-bench.log") as world:
        for _ in range(runs):
            for name, ours, bare in _BARE:
                found = clients.setdefault(name, {"ours": [], "bare": []})
                found["ours"].append(_in_a_process(ours, _pacs(world)))
                found["bare"].append(_in_a_process(bare, _pacs(world)))
            for case in FIRST_CALLS:
                environment = environment_of(world.stack, case.function) | {
                    "BENCH_EVENT": event_of(case).decode(),
                    "BENCH_FUNCTION": case.function,
                }
                spent = _in_a_process("route", environment)
                routes.setdefault(case.function, []).append(spent)
    return {"clients": clients, "routes": routes}


def table(results: dict[str, Any]) -> str:
    """Return the results as text."""
    lines = ["One more call: CPU µs (min, median, max), and the ratio of medians"]
    for name, found in results["clients"].items():
        ratio = statistics.median(found["ours"]) / statistics.median(found["bare"])
        ours, bare = (spread(found[way], _FORM) for way in ("ours", "bare"))
        lines.append(f"{name:22}{ours}  bare{bare}{ratio:8.2f}  {AIM}")
    lines += [f"{name:22}" + spread(spent, _FORM) for name, spent in results["routes"].items()]
    return "\n".join(lines)


def _pacs(world: LocalEnvironment) -> dict[str, str]:
    from timbres.domain.clock import now
    from timbres.domain.month import month_of

    secrets = world.stack.session().client("secretsmanager")
    prefix = "timbres/accounts/"
    # Last month has movements of three RFCs.
    return {"BENCH_MONTH": str(month_of(now()).previous())} | {
        name: secrets.get_secret_value(SecretId=prefix + account)["SecretString"]
        for name, account in (("BENCH_RC", "acme-rc"), ("BENCH_SF", "acme-sf"))
    }


def _in_a_process(what: str, environment: Mapping[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "bench.warm", "--measure", what],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _PATH, **environment},
    )
    return float(done.stdout.splitlines()[-1])


# ------------------------------------------------------------- what runs in a fresh process


def _client(variable: str) -> Any:
    from timbres.domain.account import parse_account
    from timbres.pacs.registry import PACS, create_client

    return create_client(parse_account("bench", os.environ[variable], PACS))


def _stamps() -> Callable[[], Any]:
    from timbres.deadline import Deadline
    from timbres.domain.rfc import Rfc

    client = _client("BENCH_SF")
    return lambda: client.stamps(Rfc("A&D061009TY8"), Deadline(25))


def _zeep() -> Callable[[], Any]:
    import zeep

    own = json.loads(os.environ["BENCH_SF"])
    client = zeep.Client(str(WSDL))
    client.transport.session.trust_env = False
    service = client.create_service(next(iter(client.wsdl.bindings)), own["endpoint"] + _PORT)
    return lambda: service.getTimbres(
        usuario=own["username"], password=own["password"], rfcEmisor="A&D061009TY8"
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

    own = json.loads(os.environ["BENCH_RC"])
    session = requests.Session()
    session.trust_env = False

    def read() -> Any:
        reply = session.post(
            own["endpoint"] + "/api/rest/Timbre/saldos",
            headers={"RCApiKey": own["api_key"]},
            json={"MesConsulta": os.environ["BENCH_MONTH"]},
            timeout=10,
        )
        return json.loads(reply.content)

    return read


def _route() -> Callable[[], Any]:
    sys.path.insert(0, str(ROOT / "functions" / os.environ["BENCH_FUNCTION"]))
    app = importlib.import_module("app")
    event = json.loads(os.environ["BENCH_EVENT"])
    # As long as the measurement takes, whatever answered says so to nobody.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 closed with the process

    def call() -> Any:
        renew(event)
        return app.handler(event, _Context())

    return call


class _Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 1024

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


_PREPARED = {
    "stamps": _stamps,
    "zeep": _zeep,
    "balance": _balance,
    "requests": _requests,
    "route": _route,
}


def main() -> None:
    """Measure and print, or measure one thing in this very process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", choices=_PREPARED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is None:
        print(table(measure(arguments.runs)))
        return
    call = _PREPARED[arguments.measure]()
    for _ in range(10):
        call()
    start = time.process_time()
    for _ in range(CALLS):
        call()
    spent = (time.process_time() - start) / CALLS * 1e6
    print(spent, file=sys.__stdout__)


if __name__ == "__main__":
    main()
