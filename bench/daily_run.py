"""Measure a daily run: one worker and many issuers, compared with a loop and with the ideal.

The worker is the deployed function with its tables on a local AWS. The PAC answers over TLS
after 50 ms. The loop makes sequential calls with one zeep client. The ideal is the latency
alone, divided by 32 threads. Each measurement is a fresh process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import bulk_rfc
from local.fakes import WSDL
from local.stack import Stack, running_stack

from bench.memory_usage import peak_mb
from bench.pac import Pac, running_pac
from bench.stats import format_spread

LATENCY = 0.05
THREADS = 32
COMPARED_SIZE = 2_000
SIZES = (100, 1_000, COMPARED_SIZE, 10_000)
# Enough for a stable mean of one call.
_LOOP_CALLS = 200


@dataclass(frozen=True)
class Measurement:
    """One process: wall seconds, CPU seconds (user and system), peak memory in MB."""

    seconds: float
    cpu: float
    mb: float


def measure(sizes: Sequence[int] = SIZES, runs: int = 3) -> dict[str, Any]:
    """Measure the loop once per run and the worker at every size; return the results."""
    results: dict[str, Any] = {"latency": LATENCY, "threads": THREADS, "loop": [], "worker": {}}
    with running_pac(LATENCY) as pac, running_stack(ROOT / ".local" / "aws-bench.log") as stack:
        accounts = iter(range(10_000))
        for _ in range(runs):
            results["loop"].append(asdict(_run_in_process("loop", pac, _LOOP_CALLS, {})))
            for size in sizes:
                name = f"bench-{next(accounts)}"
                environment = _prepare(stack, pac, name, size)
                worker = _run_in_process("worker", pac, size, environment)
                results["worker"].setdefault(str(size), []).append(asdict(worker))
    return results


def format_table(results: dict[str, Any]) -> str:
    """Return the results as text: times, ratios, memory."""
    call_seconds = [run["seconds"] / _LOOP_CALLS for run in results["loop"]]
    lines = [
        (
            f"One warm worker, {results['threads']} threads, a PAC with "
            f"{results['latency'] * 1000:.0f} ms over TLS (min, median, max)"
        ),
        (
            f"{'issuers':>9}{'seconds':^24}{'/ ideal':^24}{'CPU s':^24}{'peak MB':^24}"
            f"{'loop / worker':^24}"
        ),
    ]
    for size, measured in results["worker"].items():
        ideal = int(size) * results["latency"] / results["threads"]
        pairs = zip(measured, call_seconds, strict=True)
        lines.append(
            f"{int(size):>9,}"
            + format_spread([run["seconds"] for run in measured])
            + format_spread([run["seconds"] / ideal for run in measured])
            + format_spread([run["cpu"] for run in measured])
            + format_spread([run["mb"] for run in measured])
            + format_spread([call * int(size) / run["seconds"] for run, call in pairs])
        )
    calls = ", ".join(f"{call * 1000:.1f}" for call in sorted(call_seconds))
    lines.append(f"loop: {calls} ms per call, mean of {_LOOP_CALLS} calls")
    lines.append(
        f"limits at {COMPARED_SIZE:,} issuers: 200 per second (10 x the default rate), 128 MB"
    )
    return "\n".join(lines)


def _prepare(stack: Stack, pac: Pac, account: str, size: int) -> dict[str, str]:
    """Create an account, its issuers and a run; return the worker's environment variables."""
    from timbres.aws.queues import batch_to_json
    from timbres.domain.clock import now
    from timbres.domain.issuer_import import UNSET, IssuerRow
    from timbres.domain.rfc import Rfc
    from timbres.domain.run import BATCH_SIZE
    from timbres.repositories.issuers import IssuerRepository
    from timbres.repositories.runs import RunRepository

    stack.create_account(
        account,
        {
            "pac": "solucion-factible",
            "environment": "sandbox",
            "endpoint": pac.url,
            "username": "bench",
            "password": "bench",
            "calls_per_second": 100_000,
            "calls_in_flight": 32,
        },
    )
    dynamodb = stack.session().client("dynamodb")
    rows = [IssuerRow(Rfc(bulk_rfc(n)), UNSET) for n in range(size)]
    IssuerRepository(dynamodb, stack.outputs["IssuersTableName"]).upsert(account, rows, now())
    environment = stack.environment("RunWorkerFunction")
    runs = RunRepository(dynamodb, environment["RUNS_TABLE"])
    # Each account has its own run; the first batch, one issuer, warms the worker up.
    run = f"2026-11-21-{int(account.rpartition('-')[2]):06d}"
    rfcs = [bulk_rfc(n) for n in range(size)]
    batches = [tuple(rfcs[begin : begin + BATCH_SIZE]) for begin in range(0, size, BATCH_SIZE)]
    runs.begin(run, now())
    runs.save_plan(run, account, [(rfcs[0],), *batches], None, now())
    (planned,) = runs.begin(run, now()).accounts
    messages = [batch_to_json(batch) for batch in runs.incomplete_batches(run, planned)]
    return environment | {"BENCH_MESSAGES": json.dumps(messages)}


def _run_in_process(mode: str, pac: Pac, size: int, environment: dict[str, str]) -> Measurement:
    process = subprocess.run(
        [sys.executable, "-m", "bench.daily_run", "--measure", mode, "--size", str(size)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "timbres")]),
            "BENCH_PAC": pac.url,
            "BENCH_CA": str(pac.ca),
            **environment,
        },
    )
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


# ------------------------------------------------------------- what runs in a fresh process


def _loop(calls: int) -> Measurement:
    """Measure a typical implementation: a zeep client and sequential calls."""
    import zeep

    client = zeep.Client(str(WSDL))
    client.transport.session.verify = os.environ["BENCH_CA"]
    binding = next(iter(client.wsdl.bindings))
    service = client.create_service(binding, os.environ["BENCH_PAC"] + "/")

    def query_stamps() -> None:
        for n in range(calls):
            reply = service.getTimbres(usuario="bench", password="bench", rfcEmisor=bulk_rfc(n))
            if reply.disponibles != 750:
                raise SystemExit(f"unexpected reply: {reply}")

    return _measure(query_stamps)


def _worker() -> Measurement:
    """Measure the function as Lambda invokes it, with one message per invocation."""
    import certifi

    # The benchmark's PAC has its own CA.
    certifi.where = lambda: os.environ["BENCH_CA"]
    spec = importlib.util.spec_from_file_location(
        "app", ROOT / "functions" / "run_worker" / "app.py"
    )
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    # The cold start is measured by bench.cold.
    warm, *messages = json.loads(os.environ["BENCH_MESSAGES"])
    _invoke(app, warm)

    def count() -> None:
        for message in messages:
            _invoke(app, message)

    return _measure(count)


def _invoke(app: Any, message: str) -> None:
    record = {
        "messageId": "bench",
        "receiptHandle": "bench",
        "body": message,
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    result = app.handler({"Records": [record]}, _Context())
    if result != {"batchItemFailures": []}:
        raise SystemExit(f"failed messages: {result}")


class _Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 1024

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


def _measure(function: Any) -> Measurement:
    start, cpu_start = time.perf_counter(), time.process_time()
    function()
    return Measurement(
        seconds=time.perf_counter() - start,
        cpu=time.process_time() - cpu_start,
        mb=peak_mb(),
    )


def main() -> None:
    """Measure and print the table; with ``--measure``, measure one case in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measured = _loop(arguments.size) if arguments.measure == "loop" else _worker()
        print(json.dumps(asdict(measured)))
        return
    print(format_table(measure(arguments.sizes, arguments.runs)))


if __name__ == "__main__":
    main()
