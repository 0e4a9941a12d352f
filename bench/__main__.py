"""Run the benchmarks, print one table, and write it into docs/performance.md.

Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Callable
from datetime import date

from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment

from bench import cold, compression, daily_run, reports
from bench.goals import Goal, format_table

_PAGE = ROOT / "docs" / "performance.md"
_PARTS: dict[str, Callable[[LocalEnvironment], list[Goal]]] = {
    "cold": lambda local_env: cold.measure(local_env, runs=5),
    "daily-run": lambda local_env: daily_run.measure(local_env.stack),
    "compression": lambda _: compression.measure(),
    "reports": lambda _: reports.measure(runs=3),
}


def update_page(page: str, table: str) -> str:
    """Return ``page`` with ``table`` in its fenced block after ``<!-- goals -->``."""
    block = re.compile(r"(<!-- goals -->\n```text\n).*?(^```$)", re.DOTALL | re.MULTILINE)
    return block.sub(lambda match: f"{match[1]}{table}\n{match[2]}", page)


def main() -> int:
    """Measure the chosen parts; all of them are written into the page."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parts = parser.parse_args().parts
    goals: list[Goal] = []
    with running_environment(ROOT / ".local" / "aws-bench.log") as local_env:
        for name in parts:
            print(f"· {name}", flush=True)
            goals += _PARTS[name](local_env)
    table = (
        f"{date.today().isoformat()}, {os.cpu_count()} cores ({platform.machine()}), "
        f"{platform.system()}, {platform.python_implementation()} {platform.python_version()}\n\n"
        f"{format_table(goals)}"
    )
    print(table)
    if parts == list(_PARTS):
        page = _PAGE.read_text(encoding="utf-8")
        _PAGE.write_text(update_page(page, table), encoding="utf-8")
    return 0 if all(goal.is_met for goal in goals) else 1


if __name__ == "__main__":
    raise SystemExit(main())
