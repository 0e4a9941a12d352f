"""Permissions of the deployed stack: of each function's role, and of each caller of the API.

`tests/unit/test_policies.py` compares the policies with the same tables.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from local.emulator_process import Keys, Session
from local.stack import SECRET_PREFIX, STACK_NAME, Stack

from tests.support.permissions import (
    ERROR_CODES,
    IN_TRANSACTION,
    READ,
    ROLES,
    ROUTES,
    permissions,
)

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
# Errors of allowed probes.
HARMLESS = {
    "ConditionalCheckFailedException",
    "InvalidDigest",
    "InvalidParameter",
    "InvalidParameterValue",
    "MalformedPolicyDocument",
    "MissingParameter",
    "NoSuchVersion",
    "TransactionCanceledException",
}
OTHER_SECRET = "timbres/other"
REJECTED = {
    "account": "permissions-rc",
    "at": "2026-01-31T06:00:00-06:00",
    "pac": {"name": "Sovos Reachcore", "code": "401", "message": None},
}

# A probe is a harmless call: its operation and arguments, by ``service:Action resource``.
Probe = tuple[str, dict[str, Any]]


def table_probes(table: str, description: dict[str, Any]) -> dict[str, Probe]:
    """Return probes of a table's items; no item has this key."""
    name = {"TableName": description["TableName"]}
    key = {key["AttributeName"]: {"S": "nobody"} for key in description["KeySchema"]}
    condition = {
        "ConditionExpression": "attribute_exists(#k)",
        "ExpressionAttributeNames": {"#k": next(iter(key))},
    }
    put, write = {**name, "Item": key, **condition}, {**name, "Key": key, **condition}
    transact = "transact_write_items"
    probes = {
        "GetItem": ("get_item", {**name, "Key": key}),
        "Scan": ("scan", {**name, "Limit": 1}),
        "PutItem": ("put_item", put),
        "UpdateItem": ("update_item", write),
        "DeleteItem": ("delete_item", write),
        f"PutItem{IN_TRANSACTION}": (transact, {"TransactItems": [{"Put": put}]}),
        f"DeleteItem{IN_TRANSACTION}": (transact, {"TransactItems": [{"Delete": write}]}),
    }
    return {f"dynamodb:{action} {table}": probe for action, probe in probes.items()}


def queue_probes(queue: str, url: str) -> dict[str, Probe]:
    """Return probes of a queue; none sends or receives a message."""
    invalid = {"QueueUrl": url, "MaxNumberOfMessages": 99}
    return {
        f"sqs:SendMessage {queue}": ("send_message", {"QueueUrl": url}),
        f"sqs:ReceiveMessage {queue}": ("receive_message", invalid),
    }


def other_probes(resource: Callable[[str], str]) -> dict[str, Probe]:
    """Return probes of the other resources by their physical names, and of others' resources."""
    bucket, invalid = {"Bucket": resource("ReportsBucket")}, {"ContentMD5": "none"}
    report, secret = bucket | {"Key": "reports/none"}, f"{SECRET_PREFIX}acme-rc"
    # No rule matches this event.
    event = {"Source": "nobody", "DetailType": "Nothing", "Detail": "{}"}
    function = {"FunctionName": resource("ContractFunction"), "InvocationType": "DryRun"}
    policy = {"RoleName": resource("ContractRole"), "PolicyName": "x", "PolicyDocument": "x"}
    reports = "ReportsBucket/reports/*"
    return {
        "secretsmanager:ListSecrets all secrets": ("list_secrets", {"MaxResults": 1}),
        "secretsmanager:GetSecretValue secrets": ("get_secret_value", {"SecretId": secret}),
        "secretsmanager:GetSecretValue other": ("get_secret_value", {"SecretId": OTHER_SECRET}),
        f"s3:GetObjectVersion {reports}": ("get_object", report | {"VersionId": "0" * 32}),
        f"s3:PutObject {reports}": ("put_object", report | invalid),
        f"s3:DeleteObject {reports}": ("delete_object", report),
        "s3:PutObject other": ("put_object", bucket | {"Key": "none"} | invalid),
        "events:PutEvents Bus": (
            "put_events",
            {"Entries": [event | {"EventBusName": resource("Bus")}]},
        ),
        "events:PutEvents default bus": ("put_events", {"Entries": [event]}),
        "sns:Publish MailTopic": (
            "publish",
            {"TopicArn": resource("MailTopic"), "Message": "x" * 262_145},
        ),
        "lambda:InvokeFunction ContractFunction": ("invoke", function),
        "iam:PutRolePolicy ContractRole": ("put_role_policy", policy),
    }


@pytest.fixture(scope="module")
def probes(stack: Stack) -> Iterator[dict[str, Probe]]:
    """Probes of each resource of the stack, and of some others."""
    client = stack.session().client
    response = client("cloudformation").describe_stack_resources(StackName=STACK_NAME)
    probes = other_probes(stack.resource)
    for resource in response["StackResources"]:
        name, physical = resource["LogicalResourceId"], resource["PhysicalResourceId"]
        if resource["ResourceType"] == "AWS::DynamoDB::Table":
            description = client("dynamodb").describe_table(TableName=physical)["Table"]
            probes |= table_probes(name, description)
        elif resource["ResourceType"] == "AWS::SQS::Queue":
            probes |= queue_probes(name, physical)
    client("secretsmanager").create_secret(Name=OTHER_SECRET, SecretString="{}")
    yield probes
    client("secretsmanager").delete_secret(SecretId=OTHER_SECRET, ForceDeleteWithoutRecovery=True)


@pytest.fixture(scope="module")
def session(stack: Stack) -> Session:
    """A session whose keys a test changes, because new clients take longer."""
    return Session(stack.endpoint_url, stack.keys["admin"])


@pytest.fixture(scope="module")
def clients(session: Session, probes: dict[str, Probe]) -> dict[str, Any]:
    # Some probes are invalid on purpose, because permissions are checked first.
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    services = {permission.partition(":")[0] for permission in probes}
    return {service: session.client(service, config) for service in services}


def error_codes(clients: dict[str, Any], probes: dict[str, Probe]) -> dict[str, str]:
    """Return the error code of each probe, empty for a success."""
    codes = dict.fromkeys(probes, "")
    for permission, (operation, arguments) in probes.items():
        try:
            getattr(clients[permission.partition(":")[0]], operation)(**arguments)
        except ClientError as error:
            codes[permission] = error.response["Error"]["Code"]
    return codes


def role_keys(stack: Stack, role: str) -> Keys:
    """Return the keys that Lambda gives a function of a role, returned by such a function."""
    code, name = io.BytesIO(), {"FunctionName": f"as-{role}"}
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("keys.py", "import os\ndef handler(*_):\n    return dict(os.environ)\n")
    functions, iam = (stack.session().client(service) for service in ("lambda", "iam"))
    functions.create_function(
        **name,
        Runtime="python3.13",
        Handler="keys.handler",
        Role=iam.get_role(RoleName=stack.resource(role))["Role"]["Arn"],
        Code={"ZipFile": code.getvalue()},
    )
    environment = json.load(functions.invoke(**name)["Payload"])
    functions.delete_function(**name)
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return Keys(*(environment[variable] for variable in variables))


def test_an_administrator_has_every_permission(
    stack: Stack, session: Session, clients: dict[str, Any], probes: dict[str, Probe]
) -> None:
    session.use(stack.keys["admin"])
    assert set(error_codes(clients, probes).values()) <= {"", *HARMLESS}


@pytest.mark.parametrize("role", ROLES)
def test_iam_allows_a_role_the_permissions_of_its_table_only(
    stack: Stack, session: Session, clients: dict[str, Any], probes: dict[str, Probe], role: str
) -> None:
    session.use(role_keys(stack, role))

    codes = error_codes(clients, probes)

    arn = session.client("sts").get_caller_identity()["Arn"]
    assert f":assumed-role/{stack.resource(role)}/" in arn
    allowed = {permission for permission, code in codes.items() if code not in DENIED}
    table = permissions(ROLES[role])
    # A write includes one in a transaction.
    implied = {permission.replace("Item ", f"Item{IN_TRANSACTION} ") for permission in table}
    assert allowed == (table | implied) & probes.keys()
    assert {codes[permission] for permission in allowed} <= {"", *HARMLESS}


@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("BalanceFunction", {"account": "acme-rc", "month": "previous"}),
        ("StampCountFunction", {"account": "acme-sf", "rfc": "AAA010101AAA"}),
        ("ReconcilerFunction", {}),
        ("ReportFunction", {"close": "overdue"}),
        ("RunFunction", {"close": "overdue"}),
        ("MailFunction", {"detail-type": "Credentials Rejected", "detail": REJECTED}),
    ],
)
def test_a_function_has_the_permissions_for_an_event_that_arrives_twice(
    stack: Stack, function: str, event: dict[str, Any]
) -> None:
    functions, name = stack.session().client("lambda"), stack.resource(function)
    for _ in range(2):
        response = functions.invoke(FunctionName=name, Payload=json.dumps(event))
        assert "FunctionError" not in response, response["Payload"].read()


@pytest.fixture(scope="module")
def callers(stack: Stack) -> Iterator[Stack]:
    """The stack with two more callers: an unknown key, and a known key with a wrong secret."""
    stack.keys["stranger"] = Keys("AKIA" + "0" * 16, "none")
    stack.keys["forger"] = Keys(stack.keys["contract_manager"].access_key_id, "none")
    yield stack
    del stack.keys["stranger"], stack.keys["forger"]


def test_the_table_lists_every_route(stack: Stack) -> None:
    pages = stack.session().client("apigateway").get_paginator("get_resources")
    routes = {
        f"{method} {resource['path']}"
        for page in pages.paginate(restApiId=stack.outputs["ApiId"])
        for resource in page["items"]
        for method in resource.get("resourceMethods", ())
    }
    assert routes == ROUTES.keys()


@pytest.mark.parametrize("caller", [*sorted(READ), *ERROR_CODES])
def test_a_caller_reaches_the_routes_of_its_policy_and_no_other(
    callers: Stack, caller: str
) -> None:
    allowed = set()
    for route in ROUTES:
        method, path = route.split()
        # Nothing has these names, so that an allowed request changes nothing.
        path = path.format(account="none", id="none", token="none")
        identity = None if caller == "unsigned" else caller
        response = callers.call(identity, method, path, body=None if method == "GET" else {})
        assert response.status_code < 500, route
        if response.status_code != 403:
            allowed.add(route)
            continue
        problem = response.json()
        assert response.headers["Content-Type"] == "application/problem+json"
        assert {"type", "title", "detail", "instance"} <= problem.keys()
        assert problem["code"] == ERROR_CODES.get(caller, "access-denied")
    assert allowed == {route for route, names in ROUTES.items() if caller in names}


@pytest.mark.parametrize(
    "path",
    ["/accounts/acme-rc%2Fcontracts%2Fx/reports", "/accounts/acme-rc/reports/x%2Fcontracts%2Fy"],
)
def test_an_encoded_slash_matches_no_asterisk_of_a_policy(stack: Stack, path: str) -> None:
    # The reader's policy has GET/accounts/*/contracts/*.
    assert stack.call("reader", "GET", path).status_code in (400, 403, 404)
