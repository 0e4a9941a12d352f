"""What each function of the API loads for its first request: a fresh process, the true tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from local.emulator_process import ROOT
from local.stack import Stack

FIRST_CALL = """
import json, sys
import app

class Context:
    aws_request_id = function_name = invoked_function_arn = "first"
    memory_limit_in_mb = 1024
    def get_remaining_time_in_millis(self):
        return 29_000

answer = app.handler(json.load(sys.stdin), Context())
print(json.dumps({"status": answer["statusCode"], "modules": sorted(sys.modules)}))
"""

# Anywhere: what costs most of a start, and what zeep or boto3 would take along if it were there.
NOWHERE = {
    *("aws_xray_sdk", "httpx", "pydantic"),
    *("timbres_reports", "reportlab", "xlsxwriter", "PIL"),
}
SOAP = {"zeep", "lxml"}
PACS = SOAP | {"requests", "ijson"}
# boto3, Powertools and what Python itself needs are 520 of them; requests is 80, zeep with lxml
# and requests 200.
MOST = 615
MOST_WITH_REQUESTS = 735
MOST_WITH_SOAP = 825

FIRST_REQUESTS = [
    ("accounts", "accounts-list", PACS),
    ("balance", "balance-get", SOAP),
    ("stamp_count", "stamps-get", {"ijson"}),
    ("stamp_count", "stamps-list", PACS),
    ("stamp_count", "stamps-history", PACS),
    ("issuers", "issuers-import", PACS),
    ("contract", "contract-list", PACS),
    ("report", "report-request", PACS),
    ("report", "report-list", PACS),
    ("run", "run-list", PACS),
    ("download_token", "download-token-get", PACS),
]


@pytest.mark.parametrize(("function", "event", "unwanted"), FIRST_REQUESTS)
def test_a_first_request_loads_what_its_route_needs(
    stack: Stack, function: str, event: str, unwanted: set[str]
) -> None:
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"

    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        cwd=ROOT / "functions" / function,
        input=(ROOT / "events" / f"{event}.json").read_text(encoding="utf-8"),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "layers" / "timbres"),
            **stack.environment(name),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[-1])
    assert first["status"] < 400 or function == "download_token", done.stdout
    loaded = {module.partition(".")[0] for module in first["modules"]}
    assert loaded & (NOWHERE | unwanted) == set()
    most = MOST_WITH_REQUESTS if "requests" in loaded else MOST
    assert len(first["modules"]) <= (MOST_WITH_SOAP if "zeep" in loaded else most)
