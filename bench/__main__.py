"""All that is measured, one part after another; the last results are kept as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.aws import ROOT

from bench import cold, reports, reports_pdf, warm, watch

Part = tuple[Callable[[int], dict[str, Any]], Callable[[dict[str, Any]], str]]

PARTS: dict[str, Part] = {
    "cold": (lambda runs: cold.measure(3 * runs), cold.table),
    "warm": (warm.measure, warm.table),
    "watch": (lambda runs: watch.measure(runs=runs), watch.table),
    "reports": (
        lambda runs: reports.measure([*reports.CASES, *reports_pdf.CASES], runs=runs),
        reports.table,
    ),
}


def main() -> None:
    """Measure, print each part's table, and write the results to `.local/bench.json`."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each thing is measured")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, default=ROOT / ".local" / "bench.json")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.parts:
        measure, table = PARTS[name]
        results[name] = measure(arguments.runs)
        print(table(results[name]), end="\n\n", flush=True)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
