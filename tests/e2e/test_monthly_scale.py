"""The monthly start of many accounts on a stack of its own, because other tests list accounts.

It takes a minute or more, so it runs only if ``MONTHLY_ACCOUNTS`` has the number of accounts; 2000
is the largest supported size. The matrix of failures kills the start at each of its calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from local.emulator_process import ROOT
from local.stack import SECRET_PREFIX, Stack, running_stack

from tests.support.template import template

COUNT = int(os.environ.get("MONTHLY_ACCOUNTS", "0"))
ACCOUNTS = [f"cuenta-{number:04d}" for number in range(COUNT)]
SECRET = {
    "pac": "solucion-factible",
    "environment": "testing",
    "username": "usuaria@example.com",
    "password": "not-a-real-password",
}
START = {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z", "time": "06:00"}


@pytest.fixture(scope="module")
def large_stack() -> Iterator[Stack]:
    """A stack with these accounts, one report of each, and no workers, which would take longer."""
    with running_stack(ROOT / ".local" / "aws-monthly.log") as stack:
        secrets = stack.session().client("secretsmanager")
        for name in ACCOUNTS:
            secrets.create_secret(Name=SECRET_PREFIX + name, SecretString=json.dumps(SECRET))
        functions = stack.session().client("lambda")
        worker = stack.resource("ReportWorkerFunction")
        mappings = functions.list_event_source_mappings(FunctionName=worker)
        for mapping in mappings["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        yield stack


def start(stack: Stack, timeout: int) -> Any:
    """Invoke the function as its schedule does; return its result, or its error."""
    functions = stack.session().client("lambda", Config(read_timeout=900))
    name = stack.resource("ReportFunction")
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=name,
        Timeout=timeout,
        Environment={"Variables": variables | {"MONTHLY_FORMATS": "csv"}},
    )
    return json.load(functions.invoke(FunctionName=name, Payload=json.dumps(START))["Payload"])


def reports(stack: Stack) -> list[str]:
    """Return the accounts of the stored reports."""
    scan = stack.session().client("dynamodb").get_paginator("scan")
    pages = scan.paginate(TableName=stack.resource("ReportsTable"))
    names = [item["account"]["S"] for page in pages for item in page["Items"]]
    return sorted(name for name in names if name != "#run")


@pytest.mark.skipif(COUNT == 0, reason="MONTHLY_ACCOUNTS is not set")
def test_a_start_that_exceeds_its_timeout_continues(large_stack: Stack) -> None:
    timeout = int(template().timeout("report"))

    stopped = start(large_stack, 4)
    before = len(reports(large_stack))
    started, again = start(large_stack, timeout), start(large_stack, timeout)

    assert "timed out" in stopped["errorMessage"]
    assert 0 < before < len(ACCOUNTS)
    assert started == {"month": "2026-10", "requested": len(ACCOUNTS) + 1, "failed": {}}
    assert again == {"month": "2026-10", "requested": 0, "failed": {}}
    assert reports(large_stack) == ["all", *ACCOUNTS]
