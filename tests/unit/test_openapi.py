"""docs/openapi.json: as it is made, of every route and every error, and valid."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from local.emulator_process import ROOT
from tools.openapi import PATH, build_document, render_document, response_validation

from timbres.handlers.problem_details import STATUS_CODES

LAYER = ROOT / "layers" / "timbres"


@cache
def described() -> dict[str, Any]:
    return build_document()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    ]


def codes_in(operation: dict[str, Any]) -> set[str]:
    """Return the codes of every error of an operation."""
    return {
        code
        for answer in operation["responses"].values()
        for part in answer["content"]
        .get("application/problem+json", {"schema": {}})["schema"]
        .get("allOf", [])
        for code in part.get("properties", {}).get("code", {}).get("enum", [])
    }


def test_the_file_is_what_is_made_of_the_sources():
    assert PATH.read_text(encoding="utf-8") == render_document(), "run make openapi"


def test_it_is_openapi_3_1():
    # Late, for it takes a second that collecting the tests need not.
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [error.message for error in validator.iter_errors(described())] == []


def test_no_two_operations_have_one_id():
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


def test_what_is_referred_to_is_there():
    text = json.dumps(described())
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([\w-]+)"', text))
    assert references
    assert len(references) == len(set(re.findall(r'"\$ref": "([^"]+)"', text)))
    for kind, name in references:
        assert name in described()["components"][kind]
    schemas = {name for kind, name in references if kind == "schemas"}
    assert schemas == described()["components"]["schemas"].keys()


def test_what_is_in_a_path_is_described_as_a_parameter():
    for _, path, operation in operations():
        in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))


def test_every_route_of_the_functions_is_described_and_no_other():
    # As the functions' own text has them, beside template.yaml, which the document is made of.
    found = set()
    for app in ROOT.glob("functions/*/app.py"):
        for method, path in re.findall(r'@api\.(\w+)\("([^"]+)"\)', app.read_text()):
            found.add((method, re.sub(r"<(\w+_)?(\w+)>", r"{\2}", path)))
    # The one that answers people has no resolver.
    found.add(("get", "/d/{token}"))
    assert found == {(method, path) for method, path, _ in operations()}


def test_every_error_of_the_layer_is_described_somewhere():
    found = set()
    for module in LAYER.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("ProblemType", "Rejection")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(node.args[0].value)
    assert len(found) > 40
    assert found == STATUS_CODES.keys()
    told = set().union(*(codes_in(operation) for _, _, operation in operations()))
    assert found <= told, found - told


def test_only_a_mailed_link_needs_no_signature():
    assert described()["security"] == [{"sigv4": []}]
    open_to_all = [path for _, path, operation in operations() if operation.get("security") == []]
    assert open_to_all == ["/d/{token}"]


@pytest.mark.parametrize(
    ("method", "path", "operation"), operations(), ids=lambda one: one if type(one) is str else ""
)
def test_the_examples_are_what_they_are_examples_of(method, path, operation):
    examples = described()["components"]["examples"]
    seen = 0
    for status, answer in operation["responses"].items():
        for media_type, content in answer["content"].items():
            values = [content["example"]] if "example" in content else []
            values += [examples[name]["value"] for name in content.get("examples", {})]
            for value in values:
                # An example of a code stands for it with whatever status it has.
                headers = {"content-type": media_type, "location": "x"}
                response_validation.check(
                    method.upper(),
                    path,
                    int(status),
                    headers,
                    json.dumps(value, ensure_ascii=False),
                )
                seen += 1
    assert seen or path == "/d/{token}"
    for parameter in operation["parameters"]:
        if "example" in parameter:
            assert jsonschema_rs.is_valid(parameter["schema"], parameter["example"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"] | {"components": described()["components"]}
        assert jsonschema_rs.is_valid(schema, content["example"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": 299}, "undocumented status"),
        ({"headers": {"content-type": "text/html"}}, "undocumented content type"),
        ({"text": '{"accounts": [], "more": 1}'}, "Additional properties"),
        ({"text": "{}"}, "accounts"),
        ({"text": '{"accounts": [{"name": "A B"}]}'}, "at /accounts/0"),
    ],
)
def test_an_answer_that_is_not_described_is_found(change, said):
    answer = {
        "status": 200,
        "headers": {"content-type": "application/json"},
        "text": '{"accounts": []}',
    }
    response_validation.check("GET", "/accounts", **answer)
    with pytest.raises(response_validation.UndescribedError, match=re.escape(said)):
        response_validation.check("GET", "/accounts", **(answer | change))


def test_no_function_loads_it():
    # What describes the API costs no cold start: neither pydantic nor a schema comes with it.
    program = (
        "import importlib.util, os, pathlib, re, sys\n"
        "for app in pathlib.Path('functions').glob('*/app.py'):\n"
        "    variables = re.findall('\"([A-Z_]+)\"', app.read_text(encoding='utf-8'))\n"
        "    os.environ |= dict.fromkeys(variables, 'set')\n"
        "    spec = importlib.util.spec_from_file_location(app.parent.name, app)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "wanted = ('pydantic', 'jsonschema', 'jsonschema_rs', 'local')\n"
        "print([name for name in wanted if name in sys.modules])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{LAYER}:{ROOT / 'layers' / 'reports'}", "AWS_REGION": "mx-central-1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
