"""All that is measured, one part after another; the last results are kept as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from local.aws import ROOT

from bench import watch


def main() -> None:
    """Measure, print each part's table, and write the results to `.local/bench.json`."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="how often each thing is measured")
    parser.add_argument("--json", type=Path, default=ROOT / ".local" / "bench.json")
    arguments = parser.parse_args()
    results = {"watch": watch.measure(runs=arguments.runs)}
    print(watch.table(results["watch"]))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
