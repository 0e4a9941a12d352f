"""Measure a daily run: one worker, many issuers, a PAC that answers over TLS after 50 ms.

The worker is the deployed function with its tables on a local AWS. The ideal is the number of
issuers divided by the account's calls per second. Each measurement is a new process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import bulk_rfc
from local.stack import Stack

from bench.goals import Goal
from bench.memory_usage import peak_mb
from bench.pac import Pac, running_pac

_LATENCY = 0.05
_DEFAULT_RATE, _HIGH_RATE, _NO_LIMIT = 20, 500, 100_000
_ISSUERS, _SIZES = 2_000, (2_000, 10_000, 50_000)
_accounts = count()


def measure(stack: Stack) -> list[Goal]:
    """Measure runs at two rates, their growth and their AWS calls; return the goals."""
    with running_pac(_LATENCY) as pac:
        rates = {rate: _run(stack, pac, _ISSUERS, rate) for rate in (_DEFAULT_RATE, _HIGH_RATE)}
    with running_pac(0) as pac:
        sizes = {size: _run(stack, pac, size, _NO_LIMIT) for size in _SIZES}
    goals = []
    for (rate, run), limit in zip(rates.items(), (1.05, 1.3), strict=True):
        ideal = _ISSUERS / rate
        name = f"{_ISSUERS:,} issuers at {rate} calls a second / ideal"
        goals.append(
            Goal(name, f"{run['seconds']:.1f} s", f"{ideal:.1f} s", run["seconds"] / ideal, limit)
        )
    base, *larger = ((size, run["cpu"] / size * 1e6) for size, run in sizes.items())
    for size, cpu in larger:
        name = f"CPU per issuer of {size:,} / {base[0]:,} issuers"
        goals.append(Goal(name, f"{cpu:.0f} µs", f"{base[1]:.0f} µs", cpu / base[1], 1.1))
    calls = sizes[_ISSUERS]["calls"]
    for service, limit in (("dynamodb", 0.12), ("sqs", 0.01)):
        number = calls.get(service, 0)
        name = f"{service} calls per issuer"
        goals.append(Goal(name, f"{number} calls", f"{_ISSUERS:,}", number / _ISSUERS, limit))
    return goals


def _run(stack: Stack, pac: Pac, size: int, rate: int) -> dict[str, Any]:
    """Run one worker in a new process; return its seconds, CPU seconds, MB and AWS calls."""
    account = f"bench-{next(_accounts)}"
    environment = _prepare(stack, pac, account, size, rate)
    process = subprocess.run(
        [sys.executable, "-m", "bench.daily_run", "--size", str(size)],
        input=json.dumps(environment.pop("messages")),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "timbres")]),
            "BENCH_CA": str(pac.ca),
            **environment,
        },
    )
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def _prepare(stack: Stack, pac: Pac, account: str, size: int, rate: int) -> dict[str, Any]:
    """Create an account, its issuers and a run; return the worker's environment and messages."""
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
            "calls_per_second": rate,
            "calls_in_flight": 32,
        },
    )
    dynamodb = stack.session().client("dynamodb")
    rfcs = [bulk_rfc(n) for n in range(size)]
    rows = [IssuerRow(Rfc(rfc), UNSET) for rfc in rfcs]
    IssuerRepository(dynamodb, stack.outputs["IssuersTableName"]).upsert(account, rows, now())
    environment: dict[str, Any] = stack.environment("RunWorkerFunction")
    runs = RunRepository(dynamodb, environment["RUNS_TABLE"])
    # Each account has its own run; the first batch, one issuer, warms the worker up.
    run = f"2026-11-21-{int(account.rpartition('-')[2]):06d}"
    batches = [tuple(rfcs[begin : begin + BATCH_SIZE]) for begin in range(0, size, BATCH_SIZE)]
    runs.begin(run, now())
    runs.save_plan(run, account, [(rfcs[0],), *batches], None, now())
    (planned,) = runs.begin(run, now()).accounts
    messages = [batch_to_json(batch) for batch in runs.incomplete_batches(run, planned)]
    return environment | {"messages": messages}


# ------------------------------------------------------------- what runs in a new process


class _Context:
    aws_request_id = function_name = invoked_function_arn = "bench"
    memory_limit_in_mb = 1024

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


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


def _count_calls(calls: Counter[str]) -> None:
    from timbres.aws.clients import client

    def add(model: Any, **_: Any) -> None:
        calls[model.service_model.service_name] += 1

    for service in ("dynamodb", "sqs", "secretsmanager", "events"):
        client(service).meta.events.register("before-call", add)


def main() -> None:
    """Invoke the worker once per message, as Lambda does; print what was measured."""
    import certifi

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, required=True)
    size = parser.parse_args().size
    # The benchmark's PAC has its own CA.
    certifi.where = lambda: os.environ["BENCH_CA"]
    path = ROOT / "functions" / "run_worker" / "app.py"
    spec = importlib.util.spec_from_file_location("app", path)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    warm, *messages = json.load(sys.stdin)
    _invoke(app, warm)
    calls: Counter[str] = Counter()
    _count_calls(calls)
    start, cpu_start = time.perf_counter(), time.process_time()
    for message in messages:
        _invoke(app, message)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    _verify(json.loads(messages[-1]), size)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "mb": peak_mb(), "calls": calls}))


def _verify(batch: dict[str, Any], size: int) -> None:
    """Raise SystemExit unless the run has counted every issuer."""
    from timbres.aws.clients import client
    from timbres.domain.clock import now
    from timbres.repositories.runs import RunRepository

    run = RunRepository(client("dynamodb"), os.environ["RUNS_TABLE"]).begin(batch["run"], now())
    done = sum(account.done for account in run.accounts)
    if done != size + 1:
        raise SystemExit(f"{done} of {size + 1} issuers were counted")


if __name__ == "__main__":
    main()
