"""What a function's memory buys: with it comes a share of a processor, a whole one at 1,769 MB.

A fresh process is imported with a whole processor, as Lambda lends it one for that, gets the
share of each size by the means that Lambda has (a quota of the kernel's scheduler), and
answers one request, then more.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.aws import ROOT
from local.world import running_world

from bench.cold import CASES, Case, environment_of, event_of
from bench.peak import sizes_mb
from bench.runtime import running_function
from bench.spread import spread

SIZES = (128, 256, 512, 1024, 1769)
WHOLE = 1769
# US$ a GB-second on arm64, and a request, at list prices.
_GB_SECOND = 0.0000133334
_CALLS = 20
# Microseconds.
_PERIOD = 20_000
_CPU = Path("/sys/fs/cgroup/cpu")
_UNIFIED = Path("/sys/fs/cgroup")


def measure(runs: int) -> dict[str, Any]:
    """Measure the four operations at every size; seconds and MB, ready for JSON.

    Empty where this user may not make a control group.
    """
    found: dict[str, Any] = {}
    cases = [case for case in CASES if case.usual]
    with running_world(ROOT / ".local" / "aws-bench.log") as world:
        for _ in range(runs):
            for case in cases:
                environment = environment_of(world.stack, case.function)
                for size in SIZES:
                    try:
                        measured = _calls(case, environment, size)
                    except OSError as error:
                        print(f"no control group of one's own: {error}", file=sys.stderr)
                        return {}
                    sizes = found.setdefault(case.function, {})
                    for name, value in measured.items():
                        sizes.setdefault(str(size), {}).setdefault(name, []).append(value)
    return found


def table(results: dict[str, Any]) -> str:
    """Return the results as text, a line a size."""
    lines = [
        "Memory, and the share of a processor that comes with it (min, median, max)",
        (
            f"{'':12}{'MB':>6}{'import, s':^24}{'first request, s':^24}{'one more, ms':^24}"
            f"{'peak MB':>9}{'US$ a million: first':>22}{'one more':>10}"
        ),
    ]
    for function, sizes in results.items():
        for size, found in sizes.items():
            loading, first, more = (
                statistics.median(found[name]) for name in ("import", "first", "more")
            )
            price = int(size) / 1024 * _GB_SECOND * 1e6
            lines.append(
                f"{function:12}{size:>6}"
                + spread(found["import"])
                + spread(found["first"])
                + spread([one * 1000 for one in found["more"]], "8.1f")
                + f"{max(found['mb']):9.0f}{(loading + first) * price:22.2f}{more * price:10.2f}"
            )
    return "\n".join(lines)


def _calls(case: Case, environment: dict[str, str], size: int) -> dict[str, float]:
    """Return the seconds of import, first request and one more, and the peak of memory in MB."""
    folder = ROOT / "functions" / case.function
    with _group() as (joining, limit):
        limit(1)
        begun = time.perf_counter()
        with running_function(folder, "app", environment, joining) as (runtime, process):
            runtime.waiting.wait(60)
            took = [time.perf_counter() - begun]
            limit(size / WHOLE)
            for _ in range(1 + _CALLS):
                begun = time.perf_counter()
                answer = runtime.invoke(event_of(case))
                if answer["statusCode"] >= 400:
                    raise SystemExit(f"{case.function}: {answer['body']}")
                took.append(time.perf_counter() - begun)
            peak = sizes_mb(process.pid)["VmHWM"]
    loading, first, *more = took
    return {
        "import": loading,
        "first": first,
        "more": statistics.median(more),
        "mb": peak,
    }


@contextmanager
def _group() -> Iterator[tuple[tuple[str, ...], Callable[[float], None]]]:
    """Make a group of processes.

    Yields what to put before a command so that it runs there, and what limits the group to a
    share of one processor. Raises OSError where that is not allowed.
    """
    first_version = (_CPU / "cpu.shares").exists()
    group = (_CPU if first_version else _UNIFIED) / f"timbres-{uuid4().hex}"
    group.mkdir()

    def limit(share: float) -> None:
        quota = max(1_000, round(share * _PERIOD))
        if first_version:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD}")

    try:
        joins = 'echo $$ > "$0" && exec "$@"'
        yield ("/bin/sh", "-c", joins, str(group / "cgroup.procs")), limit
    finally:
        group.rmdir()
