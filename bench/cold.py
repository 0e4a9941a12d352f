"""What a first call costs: a fresh process, Lambda's own runtime client, one request answered.

The CPU time of the whole process counts, from its start to its asking for the second request.
Each function is compared with its floor (``handlers/floor.py``), and the four operations with
the usual way of writing them (``handlers/usual.py``), against the same local AWS and PACs.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from local.aws import ROOT
from local.stack import Stack
from local.world import running_world

from bench.spread import spread

_WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "utilerias.wsdl"
_HANDLERS = ROOT / "bench" / "handlers"
_PATH = os.pathsep.join(str(ROOT / "layers" / name) for name in ("timbres", "reports"))
AIM_OF_FLOOR = 1.15
AIM_OF_USUAL = 0.5


@dataclass(frozen=True)
class Case:
    """A function's first request, and what it cannot do without.

    ``event`` is a file of events/; ``clients`` are AWS services; ``pac`` is urllib3, zeep or
    empty; ``usual`` says whether the operation is written the usual way, too.
    """

    function: str
    event: str
    clients: str
    pac: str = ""
    usual: bool = False


CASES = (
    Case("accounts", "accounts-list", "secretsmanager"),
    Case("balance", "balance-read", "secretsmanager,dynamodb", "urllib3", usual=True),
    Case("stamp_count", "stamps-read", "secretsmanager,dynamodb", "zeep", usual=True),
    Case("issuers", "issuers-import", "secretsmanager,dynamodb"),
    Case("contract", "contract-buy", "secretsmanager,dynamodb,events", "zeep", usual=True),
    Case("report", "report-ask", "secretsmanager,dynamodb,sqs", usual=True),
    Case("run", "run-list", "dynamodb"),
    Case("ticket", "ticket-read", "dynamodb"),
)


def measure(runs: int) -> dict[str, Any]:
    """Measure every case ``runs`` times, in turns; return CPU milliseconds, ready for JSON."""
    found: dict[str, dict[str, list[float]]] = {}
    with running_world(ROOT / ".local" / "aws-bench.log") as world:
        # What is compiled for the first time is no start like the others.
        for turn in range(runs + 1):
            for case in CASES:
                ways = found.setdefault(case.function, {})
                for way, spent in _turn(world.stack, case).items():
                    if turn:
                        ways.setdefault(way, []).append(spent)
    return found


def table(results: dict[str, Any]) -> str:
    """Return the results as text, a line a function."""
    lines = [
        "A first call: CPU ms of the whole process (min, median, max), and ratios of medians",
        f"{'':12}{'ours':^24}{'floor':^24}{'usual':^24}{'of floor':>10}{'of usual':>10}",
    ]
    for function, ways in results.items():
        ours = statistics.median(ways["ours"])
        line = f"{function:12}" + spread(ways["ours"], "8.0f") + spread(ways["floor"], "8.0f")
        line += spread(ways["usual"], "8.0f") if "usual" in ways else f"{'':24}"
        line += f"{ours / statistics.median(ways['floor']):10.2f}"
        if "usual" in ways:
            line += f"{ours / statistics.median(ways['usual']):10.2f}"
        lines.append(line)
    lines.append(f"aims: within {AIM_OF_FLOOR} of the floor, {AIM_OF_USUAL} of the usual way")
    return "\n".join(lines)


def _turn(stack: Stack, case: Case) -> dict[str, float]:
    environment = environment_of(stack, case.function)
    event = event_of(case)
    spent = {
        "ours": _first_call(ROOT / "functions" / case.function, "app", event, environment),
        "floor": _first_call(
            _HANDLERS,
            "floor",
            event,
            environment | {"FLOOR_CLIENTS": case.clients, "FLOOR_PAC": case.pac},
        ),
    }
    if case.usual:
        usual = environment | {"USUAL_WSDL": str(_WSDL)}
        spent["usual"] = _first_call(_HANDLERS, "usual", event, usual)
    return spent


def environment_of(stack: Stack, function: str) -> dict[str, str]:
    """Return what the function of a folder finds in its environment."""
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"
    return stack.environment(name) | {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    }


def event_of(case: Case) -> bytes:
    """Return a case's request, as the gateway hands it on."""
    event = json.loads((ROOT / "events" / f"{case.event}.json").read_text(encoding="utf-8"))
    key = uuid4().hex
    for headers, value in (("headers", key), ("multiValueHeaders", [key])):
        # Each purchase is one of its own.
        for name in event.get(headers) or {}:
            if name.lower() == "idempotency-key":
                event[headers][name] = value
    return json.dumps(event).encode()


# ------------------------------------------------------------------------- the Runtime API


class _Runtime(ThreadingHTTPServer):
    """Lambda's Runtime API for one process: hands out one event, and is done at the next."""

    def __init__(self, event: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Invocations)
        self.event = event
        self.handed_out = False
        self.answer = b""
        self.failed = b""
        self.done = threading.Event()


class _Invocations(BaseHTTPRequestHandler):
    server: _Runtime

    def do_GET(self) -> None:
        if self.server.handed_out:
            self.server.done.set()
            # The process is ended while it waits.
            time.sleep(60)
            return
        self.server.handed_out = True
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid4()))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 29_000))
        arn = "arn:aws:lambda:mx-central-1:000000000000:function:bench"
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-691e0000-0123456789abcdef01234567")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.server.event)))
        self.end_headers()
        self.wfile.write(self.server.event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/response"):
            self.server.answer = body
        else:
            self.server.failed = body
            self.server.done.set()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def _runtime(event: bytes) -> Iterator[_Runtime]:
    server = _Runtime(event)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _first_call(folder: Any, module: str, event: bytes, environment: Mapping[str, str]) -> float:
    """Return the CPU milliseconds of a fresh process up to its first answer.

    Raises SystemExit when that is no 2xx or 3xx, or 404 of a ticket that is none.
    """
    with _runtime(event) as runtime:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", f"{module}.handler"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": _PATH,
                "LAMBDA_TASK_ROOT": str(folder),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_address[1]}",
                **environment,
            },
        )
        answered = runtime.done.wait(30)
        # Popen would wait for it itself, and not tell what it used.
        os.kill(process.pid, signal.SIGKILL)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    status = json.loads(runtime.answer or b"{}").get("statusCode", 500)
    if not answered or (status >= 400 and status != 404):
        raise SystemExit(f"{folder}: {runtime.failed or runtime.answer!r}")
    return (usage.ru_utime + usage.ru_stime) * 1000
