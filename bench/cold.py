"""Measure cold starts: the CPU time of a fresh process that answers one request and exits.

Each function is compared with a baseline (``handlers/baseline.py``), and four operations with a
typical implementation (``handlers/typical.py``), on the same local AWS and PACs.
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
    """A function's first request and the libraries that it requires.

    ``event`` is a file of events/; ``clients`` are AWS services; ``pac`` is requests, zeep or
    empty; ``typical`` is True if the operation has a typical implementation.
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
    results: dict[str, dict[str, list[float]]] = {}
    with running_environment(ROOT / ".local" / "aws-bench.log") as local_env:
        # The first turn compiles bytecode and is not counted.
        for turn in range(runs + 1):
            for case in CASES:
                variants = results.setdefault(case.function, {})
                for variant, milliseconds in _measure_case(local_env.stack, case).items():
                    if turn:
                        variants.setdefault(variant, []).append(milliseconds)
    return results


def format_table(results: dict[str, Any]) -> str:
    """Return the results as text, one line per function."""
    lines = [
        "Cold start: CPU ms of the whole process (min, median, max), and ratios of medians",
        f"{'':16}{'ours':^24}{'baseline':^24}{'typical':^24}{'/ baseline':>10}{'/ typical':>10}",
    ]
    for function, variants in results.items():
        ours = statistics.median(variants["ours"])
        line = (
            f"{function:16}"
            + format_spread(variants["ours"], "8.0f")
            + format_spread(variants["baseline"], "8.0f")
        )
        line += format_spread(variants["typical"], "8.0f") if "typical" in variants else f"{'':24}"
        line += f"{ours / statistics.median(variants['baseline']):10.2f}"
        if "typical" in variants:
            line += f"{ours / statistics.median(variants['typical']):10.2f}"
        lines.append(line)
    lines.append(
        f"limits: {MAX_RATIO_TO_BASELINE} of the baseline, "
        f"{MAX_RATIO_TO_TYPICAL} of the typical implementation"
    )
    return "\n".join(lines)


def _measure_case(stack: Stack, case: Case) -> dict[str, float]:
    environment = function_environment(stack, case.function)
    event = load_event(case)
    milliseconds = {
        "ours": _first_call(ROOT / "functions" / case.function, "app", event, environment),
        "baseline": _first_call(
            _HANDLERS,
            "baseline",
            event,
            environment | {"BASELINE_CLIENTS": case.clients, "BASELINE_PAC": case.pac},
        ),
    }
    if case.typical:
        typical = environment | {"TYPICAL_WSDL": str(WSDL)}
        milliseconds["typical"] = _first_call(_HANDLERS, "typical", event, typical)
    return milliseconds


def function_environment(stack: Stack, function: str) -> dict[str, str]:
    """Return the environment variables of the function of a folder."""
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"
    return stack.environment(name) | {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    }


def load_event(case: Case) -> bytes:
    """Return a case's request as an event of API Gateway, in JSON."""
    event = json.loads((ROOT / "events" / f"{case.event}.json").read_text(encoding="utf-8"))
    if case.event == "contract-create":
        # One stamp each, so that the daily limit does not end the measurement.
        event["body"] = json.dumps(json.loads(event["body"]) | {"stamps": 1})
        renew_idempotency_key(event)
    return json.dumps(event).encode()


def renew_idempotency_key(event: dict[str, Any]) -> None:
    """Set a new Idempotency-Key, so that the request creates a new contract."""
    key = uuid4().hex
    for headers, value in (("headers", key), ("multiValueHeaders", [key])):
        for name in event.get(headers) or {}:
            if name.lower() == "idempotency-key":
                event[headers][name] = value


def _first_call(folder: Path, module: str, event: bytes, environment: Mapping[str, str]) -> float:
    """Return the CPU milliseconds of a fresh process that answers one request.

    Raises SystemExit unless the status is 2xx, 3xx, or 404 (an unknown download token).
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
    # Popen's own wait returns no resource usage.
    _, process.returncode, usage = os.wait4(process.pid, 0)
    if process.returncode or (int(status[0]) >= 400 and int(status[0]) != 404):
        raise SystemExit(f"{folder} {module}: exit status {process.returncode}, response {status}")
    return (usage.ru_utime + usage.ru_stime) * 1000
