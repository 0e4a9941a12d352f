"""Generated requests to every route, briefly; `make fuzz` sends many more."""

from __future__ import annotations

import json

from tools.fuzz.run import fuzz
from tools.openapi import response_validation

from tests.support.api_calls import forget_damaged_links

PATHS = response_validation.strict_document()["paths"]
# No response contains the ID of a contract under review, or a mailed link.
NEVER_ACCEPTED = {
    "POST /accounts/{account}/contracts/{id}/settlement",
    "POST /reports/revocation",
    "POST /reports/mail",
    "GET /d/{token}",
}
# The same requests each time, except for the IDs of the responses.
OPTIONS = ("--phases", "examples,fuzzing", "--max-examples", "6", "--seed", "1")


def test_every_operation_responds_as_described(stack, tmp_path):
    count, path = sum(map(len, PATHS.values())), tmp_path / "report.json"

    process = fuzz(stack, (*OPTIONS, "--report-json-path", str(path)), capture_output=True)
    forget_damaged_links(stack)

    assert process.returncode == 0, process.stdout + process.stderr
    report = json.loads(path.read_text())
    assert (report["operations"]["tested"], report["operations"]["errored"]) == (count, 0)
    rejected = {
        operation
        for operation, phases in report["valid_rates"].items()
        if not any(phase["accepted"] for phase in phases.values())
    }
    assert rejected <= NEVER_ACCEPTED
