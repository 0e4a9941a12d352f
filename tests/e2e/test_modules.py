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
print(json.dumps([response["statusCode"], sorted(sys.modules)]))
"""

NEVER = (
    *("aws_xray_sdk", "httpx", "pydantic", "jsonschema", "jsonschema_rs", "local"),
    *("timbres_reports", "reportlab", "xlsxwriter", "PIL"),
)
SOAP, PAGES = ("zeep", "lxml"), ("jinja2",)
PACS = (*SOAP, "requests", "ijson", *PAGES)
# boto3, Powertools and Python need 520; requests adds 80, zeep with lxml and requests 200.
MAX_MODULES, MAX_WITH_REQUESTS, MAX_WITH_SOAP = 620, 735, 825


@pytest.mark.parametrize(
    ("function", "event", "unwanted"),
    [
        ("accounts", "accounts-list", PACS),
        ("balance", "balance-get", (*SOAP, *PAGES)),
        ("stamp_count", "stamps-get", ("ijson", *PAGES)),
        ("stamp_count", "stamps-list", ("ijson", *PAGES)),
        ("stamp_count", "stamps-history", ("ijson", *PAGES)),
        ("issuers", "issuers-import", PACS),
        ("contract", "contract-list", ("ijson", *PAGES)),
        ("report", "report-request", PACS),
        ("report", "report-list", PACS),
        ("run", "run-list", PACS),
        # Most of its requests are redirects; only an error page, as here, is a template.
        ("download_token", "download-token-get", ("timbres.pacs", "timbres.services", *PACS[:4])),
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

    status, modules = json.loads(process.stdout.splitlines()[-1])
    assert status < 400 or function == "download_token", process.stdout
    prefixes = tuple(f"{name}." for name in (*NEVER, *unwanted))
    assert [module for module in modules if f"{module}.".startswith(prefixes)] == []
    limit = MAX_WITH_REQUESTS if "requests" in modules else MAX_MODULES
    assert len(modules) <= (MAX_WITH_SOAP if "zeep" in modules else limit)
