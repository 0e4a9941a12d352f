"""docs/api.md is complete and agrees with its sources."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from local.build import read_template
from local.emulator_process import ROOT
from tools.openapi import build_document

from timbres.aws import object_store
from timbres.domain import account, stamps
from timbres.handlers import http as gateway
from timbres.handlers import issuer_import_parser
from timbres.repositories import contracts as journal
from timbres.repositories import issuers, reports, runs
from timbres.services import balances as balance

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@cache
def described() -> dict[str, Any]:
    return build_document()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    ]


def statuses_of_codes() -> dict[str, set[str]]:
    """Return the HTTP statuses of each error code in the API description."""
    statuses: dict[str, set[str]] = {}
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            problem = response["content"].get("application/problem+json", {"schema": {}})
            for part in problem["schema"].get("allOf", []):
                for code in part.get("properties", {}).get("code", {}).get("enum", []):
                    statuses.setdefault(code, set()).add(status)
    return statuses


@pytest.mark.parametrize(("method", "path"), [route[:2] for route in operations()])
def test_every_route_is_documented(method, path):
    assert re.search(rf"^\*\*`{method} {re.escape(path)}[`?\[]", API, re.MULTILINE)


def test_every_error_is_documented_with_its_statuses_and_an_action():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d, ]+) \| (.+) \|$", API, re.MULTILINE)
    documented = {code: set(statuses.split(", ")) for code, statuses, _ in rows}
    assert len(documented) == len(rows)
    assert documented == statuses_of_codes()
    assert all(action.strip() for _, _, action in rows)


@pytest.mark.parametrize(("name", "language"), [("call.py", "python"), ("Call.java", "java")])
def test_the_programs_in_the_text_match_the_files(name, language):
    program = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    assert f"```{language}\n{program}```\n" in API
    assert f"](examples/{name})" in API


def limits() -> list[str]:
    """Return the limits of the code and the template, as the table must give them."""
    api = read_template(ROOT)["Resources"]["Api"]["Properties"]
    seconds = read_template(ROOT)["Globals"]["Function"]["Timeout"]
    rates = [
        f"{setting['ThrottlingRateLimit']} per second, bursts of {setting['ThrottlingBurstLimit']}"
        for setting in api["MethodSettings"]
    ]
    pages = {"contracts": journal, "reports": reports, "issuers": issuers, "runs": runs}
    return [
        *rates,
        f"within {seconds} seconds",
        f"{gateway.MAX_BODY_BYTES:,} bytes",
        f"{issuer_import_parser.MAX_ROWS:,} rows",
        f"first {balance.MAX_MOVEMENTS:,} movements",
        ", ".join(f"{module._PAGE} {name}" for name, module in pages.items()),
        f"{stamps.MAX_STAMPS:,} stamps",
        f"{account.DEFAULT_MAX_STAMPS_PER_CONTRACT:,} per contract",
        f"{account.DEFAULT_MAX_STAMPS_PER_DAY:,} per day",
        f"{object_store.LINK_SECONDS // 60} minutes",
    ]


@pytest.mark.parametrize("limit", limits())
def test_the_documented_limits_match_the_code(limit):
    table = API.partition("## Limits")[2].partition("## Routes")[0]
    assert limit in table
