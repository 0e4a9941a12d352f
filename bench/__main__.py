"""Run the benchmarks, print their tables and store the newest results of each part as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from local.emulator_process import ROOT

from bench import cold, daily_run, reports, reports_pdf, warm

Part = tuple[Callable[[int], dict[str, Any]], Callable[[dict[str, Any]], str]]

PARTS: dict[str, Part] = {
    "cold": (lambda runs: cold.measure(3 * runs), cold.format_table),
    "warm": (warm.measure, warm.format_table),
    "daily-run": (lambda runs: daily_run.measure(runs=runs), daily_run.format_table),
    "reports": (
        lambda runs: reports.measure([*reports.CASES, *reports_pdf.CASES], runs=runs),
        reports.format_table,
    ),
}
PAGE = ROOT / "docs" / "performance.md"


def update_page(page: str, part: str, results: dict[str, Any]) -> str:
    """Return ``page`` with the results of a part in the part's block.

    The block is a fenced text after ``<!-- part -->``.
    """
    text = f"{results['when']}, {results['where']}\n\n{PARTS[part][1](results['measurements'])}"
    block = re.compile(rf"(<!-- {part} -->\n```text\n).*?(^```$)", re.DOTALL | re.MULTILINE)
    return block.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


def main() -> None:
    """Measure, print each part's table and store the results."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="number of measurements of each case")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=ROOT / ".local" / "bench.json")
    parser.add_argument(
        "--show", action="store_true", help=f"write the tables into docs/{PAGE.name}"
    )
    arguments = parser.parse_args()
    for name in arguments.parts:
        measure, table = PARTS[name]
        measurements = measure(arguments.runs)
        results = {
            "when": date.today().isoformat(),
            "where": (
                f"{os.cpu_count()} cores ({platform.machine()}), "
                f"{platform.system()}, {platform.python_implementation()} "
                f"{platform.python_version()}"
            ),
            "measurements": measurements,
        }
        print(table(measurements), end="\n\n", flush=True)
        stored = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        stored[name] = results
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(stored, indent=1) + "\n")
        if arguments.show:
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(update_page(page, name, results), encoding="utf-8")


if __name__ == "__main__":
    main()
