"""`make mutants`: break the contract, credential and run code on purpose, and run the tests.

Each mutation is applied in a copy of the checkout. The tests that must detect it run there with
the examples of `make test`. Exits with 1 if a mutation survives, or no longer applies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
SURVIVED, KILLED, BROKEN = "SURVIVED", "killed", "DOES NOT APPLY"
_TIMEOUT_SECONDS = 300


def main() -> int:
    """Try the mutations whose names contain one of the arguments, or all of them."""
    parts = sys.argv[1:] or [""]
    chosen = [one for one in MUTATIONS if any(part in one.name for part in parts)]
    killed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutation, outcome in zip(chosen, pool.map(_run, chosen), strict=True):
            print(f"{outcome:15} {mutation.name}", flush=True)
            killed += outcome == KILLED
    print(f"\n{killed} of {len(chosen)} mutations killed.")
    return 1 if killed < len(chosen) or not chosen else 0


def _run(mutation: Mutation) -> str:
    with tempfile.TemporaryDirectory(prefix="timbres-mutant-") as folder:
        copy = Path(folder)
        # Without the virtual environment and what was built.
        ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules")
        shutil.copytree(ROOT, copy, ignore=ignored, dirs_exist_ok=True)
        for edit in mutation.edits:
            path = copy / edit.path
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            if text.count(edit.old) != 1:
                return BROKEN
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        # The same examples each time, so that a mutation does not survive by chance.
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"]
        command += ["--hypothesis-seed=1", *mutation.tests]
        try:
            result = subprocess.run(
                command,
                cwd=copy,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # A mutation that never ends is detected as well.
            return KILLED
    if result.returncode in (0, 1):
        return SURVIVED if result.returncode == 0 else KILLED
    # Neither passed nor failed: pytest did not find or collect the tests.
    print(result.stdout[-2000:], result.stderr[-2000:], file=sys.stderr)
    return BROKEN


if __name__ == "__main__":
    sys.exit(main())
