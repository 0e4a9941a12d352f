"""Build the document from template.yaml, the layer's errors and the table of operations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from local.build import read_template
from local.emulator_process import ROOT

from timbres.errors import ROUTE_NOT_FOUND, ProblemType
from timbres.handlers.problem_details import MEDIA_TYPE, status_code
from tools.openapi.examples import PROBLEMS, RESPONSES
from tools.openapi.operations import COMMON, OPERATIONS, Operation, Success
from tools.openapi.schemas import SCHEMAS, Schema, integer, one_of, ref, text

PATH = ROOT / "docs" / "openapi.json"

# fmt: off
# Statuses of AWS' default responses: the template does not set them.
_STATUSES = {"DEFAULT_4XX": (400, 403), "DEFAULT_5XX": (500, 502, 504)}
_SIGNATURE_RESPONSES = {
    "ACCESS_DENIED", "MISSING_AUTHENTICATION_TOKEN", "INVALID_SIGNATURE", "EXPIRED_TOKEN"}

_TAGS = {
    "accounts": "Credentials for one PAC in one environment, under a name.",
    "stamps": "Consumption and stamps left.",
    "issuers": "The monitored RFCs.",
    "contracts": "Contracts that allot stamps of the account to an issuer, and their journal.",
    "reports": "Files for finance.",
    "runs": "The daily count of every issuer.",
    "download-tokens": "Mailed links.",
}
_HEADERS: dict[str, dict[str, Any]] = {
    name: {"description": description, "schema": schema}
    for name, description, schema in (
        ("Cache-Control", "`no-store`, in every response of the functions.",
         one_of(("no-store",))),
        ("Retry-After", "Seconds to wait.", integer(minimum=1)),
        ("Location", "The address of the link, or of the resource to poll.", text()),
        ("Idempotent-Replayed", "Present if the key already belonged to this contract.",
         one_of(("true",))),
    )
}
# Headers that every such response has.
_ALWAYS = {"Location"}
# fmt: on


def render_document() -> str:
    """Return the text of docs/openapi.json."""
    return json.dumps(build_document(), ensure_ascii=False, indent=1) + "\n"


def build_document() -> dict[str, Any]:
    """Return the API in OpenAPI 3.1.

    Raises `LookupError` if template.yaml and the table of operations have different routes.
    """
    template = read_template(ROOT)
    routes = list(_routes(template))
    if set(routes) != OPERATIONS.keys():
        difference = sorted(set(routes) ^ OPERATIONS.keys())
        raise LookupError(f"only in template.yaml, or only in operations.py: {difference}")
    gateway, policies = list(_gateway(template)), dict(_policies(template))
    paths: dict[str, Any] = {}
    for method, path in routes:
        operation = _describe_operation(method, path, gateway, policies)
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Timbres",
            "version": _version(),
            "summary": "The CFDI stamps that a company holds at its PACs.",
            "description": "A contract allots stamps of the account to an issuer; it does not "
            "create stamps, and it expires after 12 months. When the account is empty, no issuer "
            "can stamp. Every request except `GET /d/{token}` is signed with AWS Signature "
            "Version 4 for `execute-api`. Times have an offset; days and months are those of "
            "Mexico City. `null` is a value that a PAC did not return. New members may be added to "
            "responses; existing members are never renamed. Errors are RFC 9457 problem documents "
            "with a stable `code`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [_server(str(template["Parameters"]["Stage"]["Default"]))],
        "security": [{"sigv4": []}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "headers": _HEADERS,
            "examples": _examples(),
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4, service `execute-api`.",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                }
            },
        },
    }


def _server(stage: str) -> dict[str, Any]:
    defaults = {"api": "a1b2c3d4e5", "region": "mx-central-1", "stage": stage}
    return {
        "url": "https://{api}.execute-api.{region}.amazonaws.com/{stage}",
        "description": "The stack's output ApiUrl.",
        "variables": {name: {"default": value} for name, value in defaults.items()},
    }


def _version() -> str:
    match = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    if match is None:
        raise LookupError("CHANGELOG.md has no version")
    return match[1]


def _routes(template: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for resource in template["Resources"].values():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            properties = event.get("Properties", {})
            # Any method: the route of requests to routes that do not exist.
            is_own = event["Type"] == "Api" and properties["RestApiId"] == {"Ref": "Api"}
            if is_own and properties["Method"] != "ANY":
                yield properties["Method"], properties["Path"]


def _gateway(template: dict[str, Any]) -> Iterator[tuple[str, int, ProblemType]]:
    """Yield type, status and error of each response of the gateway itself."""
    for name, response in template["Resources"]["Api"]["Properties"]["GatewayResponses"].items():
        body = response["ResponseTemplates"]["application/json"]
        # Not valid JSON: the gateway inserts its message.
        code, title = (re.findall(rf'"{key}": "([^"]+)"', body)[0] for key in ("code", "title"))
        wait = "Retry-After" in response["ResponseParameters"]["Headers"]
        statuses = _STATUSES.get(name) or (int(response["StatusCode"]),)
        for status in statuses:
            yield name, status, ProblemType(code, title, retry_after=1 if wait else None)


def _policies(template: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each managed policy's title and its routes, as patterns of method and path."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            title, _, _ = resource["Properties"]["Description"].partition(" - ")
            statements = resource["Properties"]["PolicyDocument"]["Statement"]
            arns = [arn["Fn::Sub"] for item in statements for arn in item["Resource"]]
            patterns = [arn.rpartition("${Api}/${Stage}/")[2] for arn in arns]
            yield title.removeprefix("Timbres "), patterns


def _describe_operation(
    method: str,
    path: str,
    gateway: list[tuple[str, int, ProblemType]],
    policies: dict[str, list[str]],
) -> dict[str, Any]:
    operation = OPERATIONS[method, path]
    by_status: dict[int, list[ProblemType]] = {}
    for name, status, problem_type in gateway:
        if (operation.signed or name not in _SIGNATURE_RESPONSES) and (
            operation.body or name != "REQUEST_TOO_LARGE"
        ):
            by_status.setdefault(status, []).append(problem_type)
    policy = "Not signed."
    if operation.signed:
        for problem_type in _problem_types(operation, path):
            by_status.setdefault(status_code(problem_type.code), []).append(problem_type)
        granting = (
            name
            for name, patterns in policies.items()
            if any(fnmatchcase(method + path, pattern) for pattern in patterns)
        )
        policy = f"Granted by the policies: {', '.join(granting)}."
    responses = {
        status: _describe_success(operation, status, success)
        for status, success in operation.successes.items()
    }
    for status, types in by_status.items():
        problem, own = _describe_problems(types), responses.get(status, {})
        # The gateway and the function of the open route respond with the same status.
        content = problem["content"] | own.get("content", {})
        responses[status] = problem | own | {"content": content}
    return {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": " ".join(filter(None, (operation.description, policy))),
        **({} if operation.signed else {"security": []}),
        "parameters": list(operation.parameters),
        **({"requestBody": operation.body} if operation.body else {}),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }


def _problem_types(operation: Operation, path: str) -> Iterator[ProblemType]:
    yield from COMMON
    yield from operation.problem_types
    if "{" in path:
        yield ROUTE_NOT_FOUND


def _describe_success(operation: Operation, status: int, success: Success) -> dict[str, Any]:
    schemas = [ref(name) for name in success.schemas.split()]
    content: dict[str, Any] = {"text/html": {"schema": text()}}
    if schemas:
        schema: Schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        example = RESPONSES[operation.id, status]
        content = {"application/json": {"schema": schema, "example": example}}
    return {
        "description": success.description,
        "headers": _headers(("Cache-Control", *success.headers.split()), always=True),
        "content": content,
        **({"links": success.links} if success.links else {}),
    }


def _describe_problems(problem_types: Sequence[ProblemType]) -> dict[str, Any]:
    by_code = _group_by_code(problem_types)
    waits = any(item.retry_after is not None for item in problem_types)
    examples = {
        code: {"$ref": f"#/components/examples/{code}"} for code in by_code if code in PROBLEMS
    }
    schema = {"allOf": [ref("Problem"), {"properties": {"code": {"enum": sorted(by_code)}}}]}
    return {
        "description": "\n".join(f"- `{code}`: {item.title}." for code, item in by_code.items()),
        **({"headers": _headers(("Retry-After",))} if waits else {}),
        "content": {MEDIA_TYPE: {"schema": schema, **({"examples": examples} if examples else {})}},
    }


def _group_by_code(problem_types: Iterable[ProblemType]) -> dict[str, ProblemType]:
    """Return each code once; the layer's entry precedes a PAC's."""
    by_code: dict[str, ProblemType] = {}
    for problem_type in problem_types:
        by_code.setdefault(problem_type.code, problem_type)
    return by_code


def _examples() -> dict[str, Any]:
    own = (item for operation in OPERATIONS.values() for item in operation.problem_types)
    titles = {code: item.title for code, item in _group_by_code([*COMMON, *own]).items()}
    return {code: _example(code, titles[code], members) for code, members in PROBLEMS.items()}


def _example(code: str, title: str, members: dict[str, Any]) -> dict[str, Any]:
    value = {
        "type": f"urn:timbres:problem:{code}",
        "title": title,
        "status": status_code(code),
        "instance": "urn:uuid:d2460b11-8d70-4c1b-9639-99ff39727cd4",
        "code": code,
    }
    return {"summary": title, "value": value | members}


def _headers(names: Iterable[str], *, always: bool = False) -> dict[str, Any]:
    return {
        # A reference permits no other member, so a required header is written out.
        name: _HEADERS[name] | {"required": True}
        if always and name in _ALWAYS
        else {"$ref": f"#/components/headers/{name}"}
        for name in names
    }
