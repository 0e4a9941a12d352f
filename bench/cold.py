"""What a first call costs: the CPU time of a fresh process that answers one request and ends.

Each function is compared with its floor (``handlers/baseline.py``), and the four operations with
the usual way of writing them (``handlers/typical.py``), against the same local AWS and PACs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.emulator_process import ROOT
from local.environment import running_environment
from local.fakes import WSDL
from local.stack import Stack

from bench.stats import format_spread

_HANDLERS = ROOT / "bench" / "handlers"
_PATH = str(ROOT / "layers" / "timbres")
_ANSWER_ONE_REQUEST = """
import importlib, json, sys

class Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 512
    def get_remaining_time_in_millis(self):
        return 29_000

handler = importlib.import_module(sys.argv[1]).handler
print("", handler(json.load(sys.stdin), Context())["statusCode"], sep="\\n")
"""
MAX_RATIO_TO_BASELINE = 1.4
MAX_RATIO_TO_TYPICAL = 0.65


@dataclass(frozen=True)
class Case:
    """A function's first request, and what it cannot do without.

    ``event`` is a file of events/; ``clients`` are AWS services; ``pac`` is requests, zeep or
    empty; ``usual`` says whether the operation is written the usual way, too.
    """

    function: str
    event: str
    clients: str
    pac: str = ""
    typical: bool = False


CASES = (
    Case("accounts", "accounts-list", "secretsmanager"),
    Case("balance", "balance-get", "secretsmanager,dynamodb", "requests", typical=True),
    Case("stamp_count", "stamps-get", "secretsmanager,dynamodb", "zeep", typical=True),
    Case("issuers", "issuers-import", "secretsmanager,dynamodb"),
    Case("contract", "contract-create", "secretsmanager,dynamodb,events", "zeep", typical=True),
    Case("report", "report-request", "secretsmanager,dynamodb,sqs", typical=True),
    Case("run", "run-list", "dynamodb"),
    Case("download_token", "download-token-get", "dynamodb"),
)


def measure(runs: int) -> dict[str, Any]:
    """Measure every case ``runs`` times, in turns; return CPU milliseconds, ready for JSON."""
    found: dict[str, dict[str, list[float]]] = {}
    with running_environment(ROOT / ".local" / "aws-bench.log") as world:
        # What is compiled for the first time is no start like the others.
        for turn in range(runs + 1):
            for case in CASES:
                ways = found.setdefault(case.function, {})
                for way, spent in _measure_case(world.stack, case).items():
                    if turn:
                        ways.setdefault(way, []).append(spent)
    return found


def format_table(results: dict[str, Any]) -> str:
    """Return the results as text, a line a function."""
    lines = [
        "A first call: CPU ms of the whole process (min, median, max), and ratios of medians",
        f"{'':12}{'ours':^24}{'floor':^24}{'usual':^24}{'of floor':>10}{'of usual':>10}",
    ]
    for function, ways in results.items():
        ours = statistics.median(ways["ours"])
        line = f"{function:12}" + format_spread(ways["ours"], "8.0f") + format_spread(ways["floor"], "8.0f")
        line += format_spread(ways["usual"], "8.0f") if "usual" in ways else f"{'':24}"
        line += f"{ours / statistics.median(ways['floor']):10.2f}"
        if "usual" in ways:
            line += f"{ours / statistics.median(ways['usual']):10.2f}"
        lines.append(line)
    lines.append(f"aims: within {MAX_RATIO_TO_BASELINE} of the floor, {MAX_RATIO_TO_TYPICAL} of the usual way")
    return "\n".join(lines)


def _measure_case(stack: Stack, case: Case) -> dict[str, float]:
    environment = function_environment(stack, case.function)
    event = load_event(case)
    spent = {
        "ours": _first_call(ROOT / "functions" / case.function, "app", event, environment),
        "floor": _first_call(
            _HANDLERS,
            "floor",
            event,
            environment | {"FLOOR_CLIENTS": case.clients, "FLOOR_PAC": case.pac},
        ),
    }
    if case.typical:
        usual = environment | {"USUAL_WSDL": str(WSDL)}
        spent["usual"] = _first_call(_HANDLERS, "usual", event, usual)
    return spent


def function_environment(stack: Stack, function: str) -> dict[str, str]:
    """Return what the function of a folder finds in its environment."""
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"
    return stack.environment(name) | {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    }


def load_event(case: Case) -> bytes:
    """Return a case's request, as the gateway hands it on."""
    event = json.loads((ROOT / "events" / f"{case.event}.json").read_text(encoding="utf-8"))
    if case.event == "contract-create":
        # A day's limit is not to end the measurement.
        event["body"] = json.dumps(json.loads(event["body"]) | {"stamps": 1})
        renew_idempotency_key(event)
    return json.dumps(event).encode()


def renew_idempotency_key(event: dict[str, Any]) -> None:
    """Make a request's purchase one of its own."""
    key = uuid4().hex
    for headers, value in (("headers", key), ("multiValueHeaders", [key])):
        for name in event.get(headers) or {}:
            if name.lower() == "idempotency-key":
                event[headers][name] = value


def _first_call(folder: Path, module: str, event: bytes, environment: Mapping[str, str]) -> float:
    """Return the CPU milliseconds of a fresh process that answers one request.

    Raises SystemExit when that is no 2xx or 3xx, or 404 of a ticket that is none.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _ANSWER_ONE_REQUEST, module],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _PATH, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(event)
        process.stdin.close()
        status = process.stdout.read().splitlines()[-1:]
    # Popen would wait for it itself, and not return what it used.
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode or (int(status[0]) >= 400 and int(status[0]) != 404):
        raise SystemExit(f"{folder} {module}: ended with {process.returncode}, answer {status}")
    return (usage.ru_utime + usage.ru_stime) * 1000
