"""docs/openapi.json is current, valid, and covers every route and error; docs/api.md lists them."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from local.emulator_process import ROOT
from tools.openapi import PATH, build_document, render_document, response_validation
from tools.openapi.schemas import RFC_SENT

from timbres.handlers.problem_details import STATUS_CODES

LAYER = ROOT / "layers" / "timbres"
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = build_document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
PUBLIC = "GET /d/{token}"


def statuses_of_codes():
    """Return the HTTP statuses of each described error code."""
    statuses: dict[str, set[str]] = {}
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            problem = response["content"].get("application/problem+json", {"schema": {}})
            for part in problem["schema"].get("allOf", []):
                for code in part.get("properties", {}).get("code", {}).get("enum", []):
                    statuses.setdefault(code, set()).add(status)
    return statuses


def test_the_file_is_current():
    assert PATH.read_text(encoding="utf-8") == render_document(), "run make openapi"


def test_the_document_is_valid_openapi_3_1():
    # Imported here, because it takes a second.
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []


def test_every_reference_has_a_target_and_every_schema_is_used():
    text = json.dumps(DOCUMENT)
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([\w-]+)"', text))
    assert len(references) == len(set(re.findall(r'"\$ref": "([^"]+)"', text))) > 0
    assert [name for kind, name in references if name not in DOCUMENT["components"][kind]] == []
    schemas = {name for kind, name in references if kind == "schemas"}

    assert schemas == DOCUMENT["components"]["schemas"].keys()


def test_generators_of_other_languages_can_use_the_document():
    # Some do not know const; PHP's patterns match bytes unless they have a flag.
    assert '"const"' not in json.dumps(DOCUMENT)
    for schema in (DOCUMENT["components"]["schemas"]["Rfc"], RFC_SENT):
        for rfc, valid in (("ÑÑÑÑ840101AB1", True), ("ÑA&840101AB1", True), ("ÑA840101AB1", False)):
            match = re.search(schema["pattern"].encode(), rfc.encode())
            assert bool(match) == valid, (schema["pattern"], rfc)


def test_every_route_of_the_code_is_described_and_documented():
    routes = {
        method.upper() + " " + re.sub(r"<(?:\w+_)?(\w+)>", r"{\1}", path)
        for app in ROOT.glob("functions/*/app.py")
        for method, path in re.findall(r'@api\.(\w+)\("([^"]+)"\)', app.read_text())
    }
    # The route for browsers has no resolver, and only it needs no signature.
    assert routes | {PUBLIC} == OPERATIONS.keys()
    assert DOCUMENT["security"] == [{"sigv4": []}]
    assert [route for route, own in OPERATIONS.items() if own.get("security") == []] == [PUBLIC]
    assert len({one["operationId"] for one in OPERATIONS.values()}) == len(OPERATIONS)
    for route, operation in OPERATIONS.items():
        assert re.search(rf"^\*\*`{re.escape(route)}[`?\[]", API, re.MULTILINE), route
        names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert names == set(re.findall(r"\{(\w+)\}", route))


def test_every_error_of_the_code_is_described_and_documented_with_its_statuses():
    source = "".join(module.read_text(encoding="utf-8") for module in LAYER.rglob("*.py"))
    raised = set(re.findall(r'\b(?:ProblemType|Rejection)\(\s*"([a-z-]+)"', source))
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([\d, ]+) \| .+ \|$", API, re.MULTILINE)

    assert len(raised) > 40
    assert raised == STATUS_CODES.keys() <= statuses_of_codes().keys()
    documented = {code: set(statuses.split(", ")) for code, statuses in rows}
    assert documented == statuses_of_codes()


def examples_of(operation):
    """Yield status, media type and value of each example of a response."""
    named = DOCUMENT["components"]["examples"]
    for status, response in operation["responses"].items():
        for media_type, content in response["content"].items():
            if "example" in content:
                yield status, media_type, content["example"]
            for name in content.get("examples", {}):
                yield status, media_type, named[name]["value"]


@pytest.mark.parametrize("route", OPERATIONS)
def test_the_examples_match_their_schemas(route):
    operation = OPERATIONS[route]
    examples = list(examples_of(operation))
    assert examples or route == PUBLIC
    for status, media_type, value in examples:
        headers = {"content-type": media_type, "location": "x"}
        text = json.dumps(value, ensure_ascii=False)
        response_validation.check(*route.split(" "), int(status), headers, text)
    for parameter in operation["parameters"]:
        if "example" in parameter:
            assert jsonschema_rs.is_valid(parameter["schema"], parameter["example"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"] | {"components": DOCUMENT["components"]}
        assert jsonschema_rs.is_valid(schema, content["example"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": 299}, "undocumented status"),
        ({"headers": {"content-type": "text/html"}}, "undocumented content type"),
        ({"text": '{"accounts": [], "more": 1}'}, "Additional properties"),
        ({"text": "{}"}, "accounts"),
        ({"text": '{"accounts": [{"name": "A B"}]}'}, "at /accounts/0"),
    ],
)
def test_an_undescribed_response_is_rejected(change, expected):
    headers, text = {"content-type": "application/json"}, '{"accounts": []}'
    response = {"status": 200, "headers": headers, "text": text}
    response_validation.check("GET", "/accounts", **response)
    with pytest.raises(response_validation.UndescribedError, match=re.escape(expected)):
        response_validation.check("GET", "/accounts", **(response | change))
