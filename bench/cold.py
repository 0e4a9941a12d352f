"""Measure the first call of a function in a new process, as Lambda runs it at 1,024 MB.

Lambda provides a whole CPU while modules are imported, and 0.58 of a CPU afterwards. The time is
therefore the CPU time of the import, plus that of the request divided by 0.58, plus the time that
the request waits. Each function is compared with the import of its required packages alone
(``handlers/floor.py``), and four operations with a typical implementation
(``handlers/typical.py``), on the same local AWS and PACs. Both must return the same figures, and
the PAC must have accepted their calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.emulator_process import ROOT
from local.environment import LocalEnvironment
from local.fakes import WSDL

from bench.goals import Goal, measured
from timbres.domain import clock
from timbres.domain.month import Month
from timbres.domain.report import ReportSpec
from timbres.repositories.download_tokens import DownloadTokenRepository

_HANDLERS = ROOT / "bench" / "handlers"
_CPU_SHARE = 0.58
_FIRST_CALL = """
import importlib, json, sys, time

class Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 1024
    def get_remaining_time_in_millis(self):
        return 29_000

event = json.load(sys.stdin)
start = time.process_time()
handler = importlib.import_module(sys.argv[1]).handler
imported, begun = time.process_time(), time.perf_counter()
response = handler(event, Context())
busy, passed = time.process_time() - imported, time.perf_counter() - begun
print(json.dumps({"import": imported - start, "busy": busy, "waiting": max(0, passed - busy),
                  "status": response["statusCode"], "body": response["body"]}))
"""


@dataclass(frozen=True)
class Case:
    """A function's first request and the packages that it requires.

    ``event`` is a file of events/, ``clients`` are AWS services, ``pac`` is requests, zeep or
    empty. ``result`` returns the figure that a typical implementation has to return as well; None
    without one. ``pac_calls`` are the operations that the PAC has to accept.
    """

    function: str
    event: str
    clients: str
    pac: str = ""
    result: Callable[[dict[str, Any]], Any] | None = None
    pac_calls: tuple[str, ...] = ()


CASES = (
    Case("accounts", "accounts-list", "secretsmanager,dynamodb"),
    Case("balance", "balance-get", "secretsmanager,dynamodb", "requests",
         lambda body: body["transactions"], ("saldos",)),
    Case("stamp_count", "stamps-get", "secretsmanager,dynamodb", "zeep",
         lambda body: body["available"], ("getTimbres",)),
    Case("issuers", "issuers-import", "secretsmanager,dynamodb"),
    Case("contract", "contract-create", "secretsmanager,dynamodb,events", "zeep",
         lambda body: body["stamps"], ("getTimbres", "agregarContrato", "getTimbres")),
    Case("report", "report-request", "secretsmanager,dynamodb,sqs", "",
         lambda body: body["status"]),
    Case("run", "run-list", "dynamodb"),
    Case("download_token", "download-token-get", "dynamodb,s3"),
)  # fmt: skip


def measure(local_env: LocalEnvironment, runs: int) -> list[Goal]:
    """Measure every case ``runs`` times, in turns; return the goals with their figures."""
    seconds: dict[tuple[str, str], list[float]] = {}
    # The first turn compiles bytecode and is not counted.
    for turn in range(runs + 1):
        for case in CASES:
            for variant, value in _measure_case(local_env, case).items():
                if turn:
                    seconds.setdefault((case.function, variant), []).append(value)
    goals = []
    for case in CASES:
        ours, name = seconds[case.function, "ours"], f"first call of {case.function}"
        floor = seconds[case.function, "floor"]
        goals.append(measured(f"{name} / packages alone", ours, floor, 1.15, "ms", 1000))
        if case.result:
            typical = seconds[case.function, "typical"]
            goals.append(measured(f"{name} / typical handler", ours, typical, 0.5, "ms", 1000))
    return goals


def _measure_case(local_env: LocalEnvironment, case: Case) -> dict[str, float]:
    environment = function_environment(local_env, case.function)
    event = json.dumps(_load_event(local_env, case)).encode()
    folder = ROOT / "functions" / case.function
    floor = {"FLOOR_CLIENTS": case.clients, "FLOOR_PAC": case.pac}
    ours = _first_call(local_env, case, folder, "app", event, environment)
    seconds = {
        "ours": ours["seconds"],
        "floor": _first_call(None, case, _HANDLERS, "floor", event, environment | floor)["seconds"],
    }
    if case.result:
        typical = _first_call(
            local_env, case, _HANDLERS, "typical", event, environment | {"TYPICAL_WSDL": str(WSDL)}
        )
        results = (*(case.result(json.loads(one["body"])) for one in (ours, typical)),)
        if results[0] != results[1]:
            raise SystemExit(f"{case.function}: ours returned {results[0]}, typical {results[1]}")
        seconds["typical"] = typical["seconds"]
    return seconds


def function_environment(local_env: LocalEnvironment, function: str) -> dict[str, str]:
    """Return the environment variables of the function of a folder."""
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"
    return local_env.stack.environment(name) | {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    }


def _load_event(local_env: LocalEnvironment, case: Case) -> dict[str, Any]:
    """Return a case's request as an event of API Gateway."""
    event: dict[str, Any] = json.loads(
        (ROOT / "events" / f"{case.event}.json").read_text(encoding="utf-8")
    )
    if case.function == "contract":
        # One stamp each, so that the daily limit does not end the measurement.
        event["body"] = json.dumps(json.loads(event["body"]) | {"stamps": 1})
        key = uuid4().hex
        for headers, value in (("headers", key), ("multiValueHeaders", [key])):
            for name in event.get(headers) or {}:
                if name.lower() == "idempotency-key":
                    event[headers][name] = value
    if case.function == "download_token":
        event["pathParameters"]["token"] = _issue_download_token(local_env)
    return event


def _issue_download_token(local_env: LocalEnvironment) -> str:
    stack = local_env.stack
    repository = DownloadTokenRepository(
        stack.session().client("dynamodb"), stack.resource("DownloadTokensTable")
    )
    spec = ReportSpec("acme-rc", Month(2026, 10), "consumption", "csv")
    return repository.issue(spec, "bench", "version", clock.now() + timedelta(days=1), "bench")


def _first_call(
    local_env: LocalEnvironment | None,
    case: Case,
    folder: Path,
    module: str,
    event: bytes,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Return the seconds and the body of the first response of a new process.

    Raises SystemExit unless the status is 2xx or 3xx, and the PACs have accepted the calls of
    ``case``.
    """
    fakes = [fake.server for fake in local_env.fakes.values()] if local_env else []
    for server in fakes:
        server.calls.clear()
    process = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL, module],
        cwd=folder,
        input=event,
        capture_output=True,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "layers" / "timbres"),
            **environment,
        },
    )
    if process.returncode:
        raise SystemExit(f"{folder} {module}: {process.stderr.decode()[-2000:]}")
    first = json.loads(process.stdout.splitlines()[-1])
    calls = [
        call["operation"]
        for server in fakes
        for call in server.calls.as_json()
        if call["outcome"] == "200"
    ]
    accepted = Counter(case.pac_calls) <= Counter(calls)
    if first["status"] >= 400 or (fakes and not accepted):
        raise SystemExit(f"{folder} {module}: {first['status']}, PAC calls {calls}")
    return {
        "seconds": first["import"] + first["busy"] / _CPU_SHARE + first["waiting"],
        "body": first["body"],
    }
