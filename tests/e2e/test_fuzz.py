"""Generated requests to every route, briefly; `make fuzz` sends many more."""

from __future__ import annotations

import json

from tools.fuzz.run import fuzz
from tools.openapi import response_validation

from tests.support.api_calls import forget_damaged_links

PATHS = response_validation.strict_document()["paths"]
# The same requests each time, except for the IDs of the responses.
OPTIONS = ("--phases", "examples,fuzzing", "--max-examples", "6", "--seed", "1")


def test_every_operation_responds_as_described(stack, tmp_path):
    count, path = sum(map(len, PATHS.values())), tmp_path / "report.json"

    process = fuzz(stack, (*OPTIONS, "--report-json-path", str(path)), capture_output=True)
    forget_damaged_links(stack)

    assert process.returncode == 0, process.stdout + process.stderr
    report = json.loads(path.read_text())
    assert (report["operations"]["tested"], report["operations"]["errored"]) == (count, 0)
    accepted = {
        operation
        for operation, phases in report["valid_rates"].items()
        if any(phase["accepted"] for phase in phases.values())
    }
    # Some need an ID that no response contains, for example of a contract under review.
    assert len(accepted) > 0.7 * count, report["valid_rates"]
