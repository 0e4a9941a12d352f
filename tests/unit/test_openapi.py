"""docs/openapi.json is current, valid, and covers every route and error."""

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
        for response in operation["responses"].values()
        for part in response["content"]
        .get("application/problem+json", {"schema": {}})["schema"]
        .get("allOf", [])
        for code in part.get("properties", {}).get("code", {}).get("enum", [])
    }


def test_the_file_is_current():
    assert PATH.read_text(encoding="utf-8") == render_document(), "run make openapi"


def test_it_is_valid_openapi_3_1():
    # Late, for it takes a second that collecting the tests need not.
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    validator = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [error.message for error in validator.iter_errors(described())] == []


def test_operation_ids_are_unique():
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


def test_every_reference_has_a_target():
    text = json.dumps(described())
    references = set(re.findall(r'"\$ref": "#/components/(\w+)/([\w-]+)"', text))
    assert references
    assert len(references) == len(set(re.findall(r'"\$ref": "([^"]+)"', text)))
    for kind, name in references:
        assert name in described()["components"][kind]
    schemas = {name for kind, name in references if kind == "schemas"}
    assert schemas == described()["components"]["schemas"].keys()


def test_every_path_parameter_is_described():
    for _, path, operation in operations():
        in_path = {
            parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"
        }
        assert in_path == set(re.findall(r"\{(\w+)\}", path))


def test_every_route_of_the_functions_is_described_and_no_other():
    # From the code of the functions; the document is generated from template.yaml.
    routes = set()
    for app in ROOT.glob("functions/*/app.py"):
        for method, path in re.findall(r'@api\.(\w+)\("([^"]+)"\)', app.read_text()):
            routes.add((method, re.sub(r"<(\w+_)?(\w+)>", r"{\2}", path)))
    # The route for browsers has no resolver.
    routes.add(("get", "/d/{token}"))
    assert routes == {(method, path) for method, path, _ in operations()}


def test_every_error_of_the_layer_is_described():
    raised = set()
    for module in LAYER.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("ProblemType", "Rejection")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                raised.add(node.args[0].value)
    assert len(raised) > 40
    assert raised == STATUS_CODES.keys()
    described_codes = set().union(*(codes_in(operation) for _, _, operation in operations()))
    assert raised <= described_codes, raised - described_codes


def test_only_a_mailed_link_needs_no_signature():
    assert described()["security"] == [{"sigv4": []}]
    open_to_all = [path for _, path, operation in operations() if operation.get("security") == []]
    assert open_to_all == ["/d/{token}"]


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    operations(),
    ids=lambda value: value if type(value) is str else "",
)
def test_the_examples_match_their_schemas(method, path, operation):
    examples = described()["components"]["examples"]
    checked = 0
    for status, response in operation["responses"].items():
        for media_type, content in response["content"].items():
            values = [content["example"]] if "example" in content else []
            values += [examples[name]["value"] for name in content.get("examples", {})]
            for value in values:
                # An example of an error code is used with each of its statuses.
                headers = {"content-type": media_type, "location": "x"}
                response_validation.check(
                    method.upper(),
                    path,
                    int(status),
                    headers,
                    json.dumps(value, ensure_ascii=False),
                )
                checked += 1
    assert checked or path == "/d/{token}"
    for parameter in operation["parameters"]:
        if "example" in parameter:
            assert jsonschema_rs.is_valid(parameter["schema"], parameter["example"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"] | {"components": described()["components"]}
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
    response = {
        "status": 200,
        "headers": {"content-type": "application/json"},
        "text": '{"accounts": []}',
    }
    response_validation.check("GET", "/accounts", **response)
    with pytest.raises(response_validation.UndescribedError, match=re.escape(expected)):
        response_validation.check("GET", "/accounts", **(response | change))


def test_no_function_loads_the_schemas():
    # The API description must not slow a cold start: no pydantic, no schemas.
    program = (
        "import importlib.util, os, pathlib, re, sys\n"
        "for app in pathlib.Path('functions').glob('*/app.py'):\n"
        "    variables = re.findall('\"([A-Z_]+)\"', app.read_text(encoding='utf-8'))\n"
        "    os.environ |= dict.fromkeys([*variables, 'ALLOW_SANDBOX_ACCOUNTS'], 'set')\n"
        "    spec = importlib.util.spec_from_file_location(app.parent.name, app)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "modules = ('pydantic', 'jsonschema', 'jsonschema_rs', 'local')\n"
        "print([name for name in modules if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{LAYER}:{ROOT / 'layers' / 'reports'}", "AWS_REGION": "mx-central-1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.strip() == "[]"
