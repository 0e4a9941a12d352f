"""The modules that each function loads at its cold start and for its first requests."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from local.emulator_process import ROOT

# Prints the modules after the import, the statuses of the responses, and the modules after these.
FIRST_CALLS = """
import json, sys
import app

class Context:
    aws_request_id = function_name = invoked_function_arn = "first"
    memory_limit_in_mb = 1024
    def get_remaining_time_in_millis(self):
        return 29_000

imported = sorted(sys.modules)
statuses = [app.handler(event, Context())["statusCode"] for event in json.load(sys.stdin)]
print(json.dumps([imported, statuses, sorted(sys.modules)]))
"""

NEVER = (
    *("aws_xray_sdk", "httpx", "pydantic", "jsonschema", "jsonschema_rs", "local"),
    *("timbres_reports", "reportlab", "xlsxwriter", "PIL"),
)
RESOLVER, CONTRACTS = "aws_lambda_powertools.event_handler", "timbres.repositories.contracts"
SOAP, PAGES = ("zeep", "lxml"), ("jinja2",)
PACS = (*SOAP, "requests", "ijson", *PAGES)
# boto3, Powertools and Python need 520; requests adds 80, zeep with lxml and requests 200.
MAX_MODULES, MAX_WITH_REQUESTS, MAX_WITH_SOAP = 620, 735, 825


def loaded(modules, unwanted):
    """Return the modules of unwanted packages."""
    prefixes = tuple(f"{name}." for name in unwanted)
    return [module for module in modules if f"{module}.".startswith(prefixes)]


@pytest.mark.parametrize(
    ("function", "events", "not_imported", "never_loaded"),
    [
        ("accounts", ["accounts-list"], (), PACS),
        ("balance", ["balance-get"], (), (*SOAP, *PAGES)),
        ("stamp_count", ["stamps-get", "stamps-list", "stamps-history"], (), ("ijson", *PAGES)),
        ("issuers", ["issuers-import"], (), PACS),
        ("contract", ["contract-list"], (), ("ijson", *PAGES)),
        ("report", ["report-request", "report-list"], (), PACS),
        ("run", ["run-list"], (), PACS),
        # Most of its requests are redirects; only an error page, as here, is a template.
        ("download_token", ["download-token-get"], (RESOLVER, CONTRACTS, *PAGES),
         ("timbres.pacs", "timbres.services", "timbres.repositories.accounts", *PACS[:4])),
        ("mail", [], (RESOLVER,), ()),
    ],
)  # fmt: skip
def test_a_function_loads_only_the_modules_that_it_needs(
    stack, function, events, not_imported, never_loaded
):
    name = "".join(part.capitalize() for part in function.split("_")) + "Function"
    samples = [json.loads((ROOT / "events" / f"{event}.json").read_text()) for event in events]

    process = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS],
        cwd=ROOT / "functions" / function,
        input=json.dumps(samples),
        env={"PYTHONPATH": str(ROOT / "layers" / "timbres"), **stack.environment(name)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    imported, statuses, modules = json.loads(process.stdout.splitlines()[-1])
    assert [one for one in statuses if one >= 400 and function != "download_token"] == []
    assert loaded(imported, not_imported) == []
    assert loaded(modules, (*NEVER, *never_loaded)) == []
    limit = MAX_WITH_REQUESTS if "requests" in modules else MAX_MODULES
    assert len(modules) <= (MAX_WITH_SOAP if "zeep" in modules else limit)
