"""docs/api.md and docs/api.html: complete, and as their sources are."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from local.aws import ROOT
from local.build import read_template
from local.openapi import document, page

from timbres.api import gateway
from timbres.aws import issuers, journal, reports, runs
from timbres.domain import account, roster, stamps
from timbres.work import balance

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@cache
def described() -> dict[str, Any]:
    return document()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    ]


def statuses_of_codes() -> dict[str, set[str]]:
    """Return the statuses that each code of the document comes with."""
    found: dict[str, set[str]] = {}
    for _, _, operation in operations():
        for status, answer in operation["responses"].items():
            problem = answer["content"].get("application/problem+json", {"schema": {}})
            for part in problem["schema"].get("allOf", []):
                for code in part.get("properties", {}).get("code", {}).get("enum", []):
                    found.setdefault(code, set()).add(status)
    return found


class Elements(HTMLParser):
    """Every element of a page with its attributes, and those that were left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@cache
def elements() -> Elements:
    return Elements(page.PATH.read_text(encoding="utf-8"))


def test_the_page_is_what_is_made_of_the_sources():
    assert page.PATH.read_text(encoding="utf-8") == page.written(described()), "run make openapi"


def test_the_page_asks_for_nothing_and_runs_nothing():
    tags = {tag for tag, _ in elements().found}
    assert not tags & {"script", "link", "img", "iframe", "object", "form"}
    assert elements().open == []
    assert "url(" not in page.PATH.read_text(encoding="utf-8")


def test_every_link_of_the_page_leads_somewhere():
    ids = [attributes["id"] for _, attributes in elements().found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for tag, attributes in elements().found if tag == "a"}
    for link in links:
        assert link is not None
        assert link[1:] in ids if link[0] == "#" else (ROOT / "docs" / link).is_file()
    wanted = {operation["operationId"] for _, _, operation in operations()} | set(
        statuses_of_codes()
    )
    assert wanted <= {(link or "")[1:] for link in links}


def test_every_answer_of_the_page_has_its_example():
    text = page.PATH.read_text(encoding="utf-8")
    for _, _, operation in operations():
        section = text.partition(f'<section id="{operation["operationId"]}">')[2]
        section = section.partition("</section>")[0]
        for status, answer in operation["responses"].items():
            assert f">{status}<" in section or f"<h5>{status} " in section
            if "example" in answer["content"].get("application/json", {}):
                assert f"<h5>{status} <code>application/json" in section


def test_a_schema_that_refers_to_itself_is_refused():
    loop = json.loads(json.dumps(described()))
    loop["components"]["schemas"]["Report"]["properties"]["error"] = {
        "$ref": "#/components/schemas/Report"
    }
    with pytest.raises(ValueError, match="itself"):
        page.written(loop)


@pytest.mark.parametrize(("method", "path"), [one[:2] for one in operations()])
def test_every_route_stands_in_the_text(method, path):
    assert re.search(rf"^\*\*`{method} {re.escape(path)}[`?\[]", API, re.MULTILINE)


def test_every_error_stands_in_the_text_with_its_statuses_and_what_to_do():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d, ]+) \| (.+) \|$", API, re.MULTILINE)
    told = {code: set(statuses.split(", ")) for code, statuses, _ in rows}
    assert len(told) == len(rows)
    assert told == statuses_of_codes()
    assert all(words.strip() for _, _, words in rows)


@pytest.mark.parametrize(("name", "language"), [("call.py", "python"), ("Call.java", "java")])
def test_the_programs_of_the_text_are_those_to_download(name, language):
    program = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    assert f"```{language}\n{program}```\n" in API
    assert f"](examples/{name})" in API


def limits() -> list[str]:
    """Return what the table of limits must say, as code and template have it."""
    api = read_template(ROOT)["Resources"]["Api"]["Properties"]
    seconds = read_template(ROOT)["Globals"]["Function"]["Timeout"]
    rates = [
        f"{one['ThrottlingRateLimit']} a second, {one['ThrottlingBurstLimit']} at once"
        for one in api["MethodSettings"]
    ]
    pages = {"contracts": journal, "reports": reports, "issuers": issuers, "runs": runs}
    return [
        *rates,
        f"within {seconds} seconds",
        f"{gateway.MOST_BODY_BYTES:,} bytes",
        f"{roster.MOST_ROWS:,} rows",
        f"first {balance.MOST_MOVEMENTS:,} movements",
        ", ".join(f"{module._PAGE} {name}" for name, module in pages.items()),
        f"{stamps.MOST_STAMPS:,} stamps",
        f"{account.DEFAULT_MAX_STAMPS_PER_CONTRACT:,} an order",
        f"{account.DEFAULT_MAX_STAMPS_PER_DAY:,} a day",
        f"{reports.LINK_SECONDS // 60} minutes",
    ]


@pytest.mark.parametrize("words", limits())
def test_the_limits_are_those_of_the_code(words):
    table = API.partition("## Limits")[2].partition("## Routes")[0]
    assert words in table
