"""Made-up requests of every route, briefly: `make fuzz` sends many more."""

from __future__ import annotations

import json
from pathlib import Path

from local.stack import Stack
from tools.fuzz.run import fuzz
from tools.openapi import response_validation

_PATHS = response_validation.strict_document()["paths"]
OPERATIONS = sum(len(methods) for methods in _PATHS.values())
# The same requests each time, but for the ids that the answers bring.
OPTIONS = ("--phases", "examples,fuzzing", "--max-examples", "6", "--seed", "1")


def test_every_operation_answers_as_described(stack: Stack, tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    ran = fuzz(stack, (*OPTIONS, "--report-json-path", str(report)), capture_output=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcome = json.loads(report.read_text())
    assert (outcome["operations"]["tested"], outcome["operations"]["errored"]) == (OPERATIONS, 0)
    # Not all of them were turned away: a contract under review and a mailed link, no answer names.
    accepted = {
        operation
        for operation, phases in outcome["valid_rates"].items()
        if any(phase["accepted"] for phase in phases.values())
    }
    assert len(accepted) >= OPERATIONS - 4, outcome["valid_rates"]
