"""The modules that each function loads for its first request, in a new process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from local.emulator_process import ROOT

FIRST_CALL = """
import json, sys
import app

class Context:
    aws_request_id = function_name = invoked_function_arn = "first"
    memory_limit_in_mb = 1024
    def get_remaining_time_in_millis(self):
        return 29_000

response = app.handler(json.load(sys.stdin), Context())
print(json.dumps({"status": response["statusCode"], "modules": sorted(sys.modules)}))
"""

NEVER = {
    *("aws_xray_sdk", "httpx", "pydantic", "jsonschema", "jsonschema_rs", "local"),
    *("timbres_reports", "reportlab", "xlsxwriter", "PIL"),
}
SOAP = {"zeep", "lxml"}
PACS = SOAP | {"requests", "ijson"}
# boto3, Powertools and Python need 520; requests adds 80, zeep with lxml and requests 200.
MAX_MODULES, MAX_WITH_REQUESTS, MAX_WITH_SOAP = 620, 735, 825


@pytest.mark.parametrize(
    ("function", "event", "unwanted"),
    [
        ("accounts", "accounts-list", PACS),
        ("balance", "balance-get", SOAP),
        ("stamp_count", "stamps-get", {"ijson"}),
        ("stamp_count", "stamps-list", {"ijson"}),
        ("stamp_count", "stamps-history", {"ijson"}),
        ("issuers", "issuers-import", PACS),
        ("contract", "contract-list", {"ijson"}),
        ("report", "report-request", PACS),
        ("report", "report-list", PACS),
        ("run", "run-list", PACS),
        ("download_token", "download-token-get", PACS),
    ],
)
def test_a_first_request_loads_only_the_modules_of_its_function(stack, function, event, unwanted):
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"

    process = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        cwd=ROOT / "functions" / function,
        input=(ROOT / "events" / f"{event}.json").read_text(encoding="utf-8"),
        env={"PYTHONPATH": str(ROOT / "layers" / "timbres"), **stack.environment(name)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    first = json.loads(process.stdout.splitlines()[-1])
    assert first["status"] < 400 or function == "download_token", process.stdout
    loaded = {module.partition(".")[0] for module in first["modules"]}
    assert loaded & (NEVER | unwanted) == set()
    limit = MAX_WITH_REQUESTS if "requests" in loaded else MAX_MODULES
    assert len(first["modules"]) <= (MAX_WITH_SOAP if "zeep" in loaded else limit)
