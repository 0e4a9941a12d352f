"""Load: the API at 200 requests a second, and a night of 10,000 issuers at a PAC that fails.

Requests come when they are due, whether or not those before have been answered, and are timed
from then. They go to the local API, or past its gateway straight to warm functions, each a
process under Lambda's own client, with their true tables on the local AWS.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from local.aws import ROOT
from local.sandboxes.books import SolucionFactibleAccount, SolucionFactibleBooks, bulk_rfc
from local.sandboxes.faults import Fault, FaultKind, FaultQueue
from local.sandboxes.server import serve
from local.sandboxes.solucion_factible import SolucionFactibleSandbox
from local.stack import Stack, running_stack
from local.world import WSDL, World, running_world

from bench.cold import environment_of
from bench.peak import sizes_mb
from bench.runtime import Runtime, running_function
from bench.spread import spread

_LOG = ROOT / ".local" / "aws-load.log"
# Of each function so many processes: Lambda, too, adds one where all are busy.
_PROCESSES = 2
_THREADS = 64
# A process may grow by so much after its first ten seconds.
_FLAT_MB = 4.0
_LOCAL_AWS = "the local AWS"


@dataclass(frozen=True)
class Route:
    """A route as it is asked for: by whom at the gateway, and by which event of events/."""

    function: str
    event: str
    identity: str
    share: int


# In every twenty requests: what a company's own programs ask for, most of all stamps.
ROUTES = (
    Route("stamp_count", "stamps-read", "reader", 8),
    Route("balance", "balance-read", "reader", 4),
    Route("accounts", "accounts-list", "reader", 2),
    Route("run", "run-list", "reader", 2),
    Route("contract", "contract-list", "reader", 3),
    Route("report", "report-list", "reporter", 1),
)


Process = tuple[str, int]
"""Which function's it is, and its number."""
Memory = dict[Process, tuple[float, float]]
"""The MB that each process has, and the most that it has had."""


@dataclass
class Flow:
    """What became of requests: seconds from when each was due, and what went wrong."""

    rate: float
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Memory] = field(default_factory=dict)
    took: float = 0.0


# ------------------------------------------------------------------------------ the API


def flow(world: World, way: str, rate: float, seconds: float) -> Flow:
    """Send ``rate`` requests a second for so many seconds; ``way`` is gateway or functions."""
    ways = {"gateway": _by_gateway, "functions": _by_functions}
    with ways[way](world.stack) as (ask, processes):
        _one_after_another(ask)
        found = Flow(rate)
        found.memory["start"] = _memory(processes())
        watcher = threading.Timer(
            min(10.0, seconds / 2),
            lambda: found.memory.__setitem__("10 s", _memory(processes())),
        )
        watcher.start()
        _send(ask, found, rate, seconds)
        watcher.join()
        found.memory["end"] = _memory(processes())
    return found


def _one_after_another(ask: Callable[[Route], int]) -> None:
    for route in ROUTES * 10:
        if (status := ask(route)) != 200:
            raise SystemExit(f"{route.event}: {status} without any load")


def _send(ask: Callable[[Route], int], found: Flow, rate: float, seconds: float) -> None:
    turn = [route for route in ROUTES for _ in range(route.share)]
    random.Random(1).shuffle(turn)
    begin = time.perf_counter() + 0.5
    lock = threading.Lock()

    def one(number: int) -> None:
        due = begin + number / rate
        route = turn[number % len(turn)]
        try:
            status = ask(route)
            problem = "" if status == 200 else f"{route.function} {status}"
        except Exception as error:
            problem = f"{route.function} {type(error).__name__}"
        took = time.perf_counter() - due
        with lock:
            found.seconds.append(took)
            if problem:
                found.errors[problem] += 1

    with ThreadPoolExecutor(_THREADS) as pool:
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            pool.submit(one, number)
    found.took = time.perf_counter() - begin


_Way = tuple[Callable[[Route], int], Callable[[], list[Process]]]


@contextmanager
def _by_gateway(stack: Stack) -> Iterator[_Way]:
    def ask(route: Route) -> int:
        event = _event(route)
        query = event["queryStringParameters"] or None
        answer = stack.call(route.identity, event["httpMethod"], event["path"], query)
        return answer.status_code

    yield ask, lambda: _processes_of(stack)


@contextmanager
def _by_functions(stack: Stack) -> Iterator[_Way]:
    idle: dict[str, queue.SimpleQueue[Runtime]] = {}
    processes: list[Process] = []
    with ExitStack() as running:
        for route in ROUTES:
            idle[route.function] = queue.SimpleQueue()
            environment = environment_of(stack, route.function)
            for _ in range(_PROCESSES):
                folder = ROOT / "functions" / route.function
                runtime, process = running.enter_context(
                    running_function(folder, "app", environment)
                )
                idle[route.function].put(runtime)
                processes.append((route.function, process.pid))

        def ask(route: Route) -> int:
            event = json.dumps(_event(route)).encode()
            runtime = idle[route.function].get()
            try:
                return int(runtime.invoke(event)["statusCode"])
            finally:
                idle[route.function].put(runtime)

        yield ask, lambda: processes


def _event(route: Route) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(
        (ROOT / "events" / f"{route.event}.json").read_text(encoding="utf-8")
    )
    return event


def _processes_of(stack: Stack) -> list[Process]:
    """Return the processes of the local AWS: the functions by their folders, and itself."""
    return [
        (
            environment.get("AWS_LAMBDA_FUNCTION_NAME", _LOCAL_AWS)
            .removeprefix("timbres-")
            .partition("-")[0],
            process,
        )
        for process, environment in stack.processes()
    ]


def _memory(processes: list[Process]) -> Memory:
    found: Memory = {}
    for process in processes:
        try:
            sizes = sizes_mb(process[1])
        except OSError:
            continue
        if "VmRSS" in sizes:
            found[process] = (sizes["VmRSS"], sizes["VmHWM"])
    return found


# ------------------------------------------------------------------------------ the night

ACCOUNT = "load-sf"
# What the PAC does with its failing answers, each as often as the others.
_FAILURES = (
    Fault("getTimbres", FaultKind.CODE, code="503"),
    Fault("getTimbres", FaultKind.CODE, code="500"),
    Fault("getTimbres", FaultKind.CUT_BEFORE),
    Fault("getTimbres", FaultKind.CUT_AFTER),
    Fault("getTimbres", FaultKind.TRUNCATED),
    Fault("getTimbres", FaultKind.SLOW, seconds=12),
)


class Unreliable(FaultQueue):
    """Faults for a share of all calls, the same ones at each run; counts what it did."""

    def __init__(self, share: float) -> None:
        """Let that share of the calls fail."""
        super().__init__()
        self.calls = 0
        self.made: Counter[str] = Counter()
        self._share = share
        self._chance = random.Random(10_000)
        self._turn = threading.Lock()

    def take(self, operation: str, rfc: str | None, account: str | None) -> Fault | None:
        """Return a fault by chance, or one that was put, or None."""
        with self._turn:
            self.calls += 1
            if self._chance.random() >= self._share:
                return super().take(operation, rfc, account)
            fault = self._chance.choice(_FAILURES)
            self.made[fault.code or fault.kind.value] += 1
            return replace(fault)


def night(issuers: int, share: float, minutes: float) -> dict[str, Any]:
    """Let the schedule start a daily run over so many issuers; return its record and figures."""
    books = SolucionFactibleBooks([SolucionFactibleAccount("load@example.com", uuid4().hex)])
    (account,) = books.as_json()["accounts"]
    books.load_issuers(issuers)
    password = uuid4().hex
    books.set_account(password=password)
    pac = SolucionFactibleSandbox(books, wsdl=WSDL)
    pac.faults = faults = Unreliable(share)
    with serve(pac) as url, running_stack(_LOG) as stack:
        stack.create_account(
            ACCOUNT,
            {
                "pac": "solucion-factible",
                "environment": "sandbox",
                "endpoint": url,
                "username": account["username"],
                "password": password,
                "calls_per_second": 200,
                "calls_in_flight": 32,
            },
        )
        _ask_again_after(stack, 5)
        rfcs = [bulk_rfc(n) for n in range(issuers)]
        for begin in range(0, issuers, 1_000):
            answer = stack.call(
                "buyer", "PUT", f"/accounts/{ACCOUNT}/issuers", body=rfcs[begin : begin + 1_000]
            )
            answer.raise_for_status()
        deadline = time.perf_counter() + minutes * 60
        return {
            "runs": [_run(stack, 0, deadline)],
            "calls": faults.calls,
            "failed answers": dict(faults.made),
            "counted": _counted(stack),
            "dead letters": _dead_letters(stack),
        }


def _run(stack: Stack, before: int, deadline: float) -> dict[str, Any]:
    """Let the schedule start a run, ``before`` others behind it; return its record, finished."""
    began = time.perf_counter()
    stack.fire("RunFunctionDaily")
    record: dict[str, Any] = {}
    while time.perf_counter() < deadline:
        runs = stack.call("reader", "GET", "/runs").json()["runs"]
        if len(runs) > before:
            record = stack.call("reader", "GET", f"/runs/{runs[0]['id']}").json()
            if record["status"] == "finished":
                return record | {"seconds": time.perf_counter() - began}
        time.sleep(1)
    raise SystemExit(f"the night did not end in time: {record}")


def _ask_again_after(stack: Stack, seconds: int) -> None:
    functions, name = stack.session().client("lambda"), stack.resource("RunWorkerFunction")
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    environment["Variables"]["RETRY_SECONDS"] = str(seconds)
    functions.update_function_configuration(FunctionName=name, Environment=environment)


def _counted(stack: Stack) -> int:
    """Return how many issuers have a count, by what the API lists."""
    counted, after = 0, None
    while True:
        query = {"cursor": after} if after else None
        body = stack.call("reader", "GET", f"/accounts/{ACCOUNT}/stamps", query).json()
        counted += sum(one["available"] is not None for one in body["issuers"])
        after = body["next"]
        if after is None:
            return counted


def _dead_letters(stack: Stack) -> int:
    sqs = stack.session().client("sqs")
    wanted = "ApproximateNumberOfMessages"
    return sum(
        int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[wanted])["Attributes"][wanted])
        for url in sqs.list_queues()["QueueUrls"]
        if "dead" in url.lower() or "dlq" in url.lower()
    )


# ------------------------------------------------------------------------------ the report


def shown(name: str, found: Flow) -> str:
    """Return what became of requests as text."""
    asked, answered = found.rate, len(found.seconds) / found.took
    cuts = statistics.quantiles(found.seconds, n=1000, method="inclusive")
    lines = [
        f"{name}: {len(found.seconds):,} requests, {asked:.0f} a second, {answered:.1f} answered",
        f"  errors: {dict(found.errors) or 'none'}",
        "  ms from when each was due: "
        + ", ".join(
            f"{label} {value * 1000:,.0f}"
            for label, value in (
                *((f"p{p / 10:g}", cuts[p - 1]) for p in (500, 900, 990, 999)),
                ("most", max(found.seconds)),
            )
        ),
        "  the largest process of each, MB (how many there are)",
        f"  {'':16}" + "".join(f"{at:>14}" for at in ("start", "10 s", "end")) + f"{'most':>9}",
    ]
    functions = sorted({name for name, _ in found.memory["end"]})
    for function in functions:
        line = f"  {function:16}"
        for at in ("start", "10 s", "end"):
            sizes = [mb for (name, _), (mb, _) in found.memory[at].items() if name == function]
            line += f"{max(sizes, default=0):9.1f} ({len(sizes):2})"
        most = max(most for (name, _), (_, most) in found.memory["end"].items() if name == function)
        lines.append(f"{line}{most:9.1f}")
    return "\n".join(lines)


def wrong(found: Flow) -> list[str]:
    """Return what was not as it should be: errors, arrears, memory that grew."""
    problems = [f"{n} of {what}" for what, n in found.errors.items()]
    behind = found.took - len(found.seconds) / found.rate
    if behind > 2:
        problems.append(f"{behind:.0f} s behind at the end")
    for process, (now, _) in found.memory["end"].items():
        before = found.memory["10 s"].get(process)
        # The local AWS keeps all that it was told, in its memory.
        if before and process[0] != _LOCAL_AWS and now > before[0] + _FLAT_MB:
            problems.append(f"{process[0]} grew from {before[0]:.1f} to {now:.1f} MB")
    return problems


def shown_night(found: dict[str, Any]) -> str:
    """Return a night as text."""
    failing = sum(found["failed answers"].values())
    lines = [
        (
            f"A run: {run['seconds']:.0f} s; expected {run['expected']:,}, done {run['done']:,}, "
            f"failed {run['failed'] or 'none'}"
        )
        for run in found["runs"]
    ]
    lines += [
        (
            f"  {found['calls']:,} calls, of which {failing:,} failed "
            f"({failing / found['calls']:.1%}): {found['failed answers']}"
        ),
        f"  issuers with a count: {found['counted']:,}; dead letters: {found['dead letters']}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and end with 1 where anything failed, lagged, grew or is missing."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--ways", nargs="*", choices=("gateway", "functions"), default=["functions"]
    )
    parser.add_argument("--issuers", type=int, default=10_000, help="0 leaves the night out")
    parser.add_argument("--failing", type=float, default=0.05, help="share of the PAC's answers")
    parser.add_argument("--minutes", type=float, default=20, help="for the night to end")
    wanted = parser.parse_args()
    problems: list[str] = []
    for way in wanted.ways:
        p99: list[float] = []
        for _ in range(wanted.runs):
            with running_world(_LOG) as world:
                found = flow(world, way, wanted.rate, wanted.seconds)
            print(shown(way, found), end="\n\n", flush=True)
            problems += wrong(found)
            p99.append(statistics.quantiles(found.seconds, n=100)[98] * 1000)
        print(f"{way}: p99 in ms, least, median, most:" + spread(p99, "9,.0f"), end="\n\n")
    if wanted.issuers:
        result = night(wanted.issuers, wanted.failing, wanted.minutes)
        print(shown_night(result), flush=True)
        left = result["runs"][-1]["failed"]
        if left or (result["counted"], result["dead letters"]) != (wanted.issuers, 0):
            problems.append(f"the night: {left}, {result['counted']}, {result['dead letters']}")
    if problems:
        sys.exit("\n".join(["Not as it should be:", *problems]))


if __name__ == "__main__":
    main()
