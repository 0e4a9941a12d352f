"""Permissions of the deployed stack: of each function's role, and of each caller of the API.

`tests/unit/test_policies.py` compares the policies with the same tables; IAM enforces them here.
"""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError
from local.emulator_process import Keys, Session
from local.stack import SECRET_PREFIX

from tests.support.permissions import ERROR_CODES, READ, ROLES, ROUTES, permissions

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}
REJECTED = {
    "account": "permissions-rc",
    "at": "2026-01-31T06:00:00-06:00",
    "pac": {"name": "Sovos Reachcore", "code": "401", "message": None},
}


@pytest.fixture(scope="module")
def harmless_calls(stack):
    """An operation and arguments for some permissions, ``service:Action resource``."""
    name = stack.resource
    none = {"Key": {"account": {"S": "none"}, "entry": {"S": "none"}}}
    contract = none | {"TableName": name("ContractsTable")}
    rejection = none | {"TableName": name("CredentialRejectionsTable")}
    report = {"Bucket": name("ReportsBucket"), "Key": "reports/none"}
    # No rule matches this event.
    event = {"Source": "nobody", "DetailType": "Nothing", "Detail": "{}"}
    return {
        "secretsmanager:ListSecrets all secrets": ("list_secrets", {"MaxResults": 1}),
        "secretsmanager:GetSecretValue secrets": (
            "get_secret_value", {"SecretId": f"{SECRET_PREFIX}acme-rc"}),
        "dynamodb:GetItem ContractsTable": ("get_item", contract),
        "dynamodb:DeleteItem ContractsTable": ("delete_item", contract),
        "dynamodb:DeleteItem CredentialRejectionsTable": ("delete_item", rejection),
        "s3:GetObjectVersion ReportsBucket/reports/*": (
            "get_object", report | {"VersionId": "0" * 32}),
        "s3:DeleteObject ReportsBucket/reports/*": ("delete_object", report),
        "sqs:SendMessage ReportsQueue": (
            "send_message", {"QueueUrl": name("ReportsQueue"), "MessageBody": ""}),
        "sns:Publish MailTopic": (
            "publish", {"TopicArn": name("MailTopic"), "Message": "x" * 262_145}),
        "events:PutEvents Bus": (
            "put_events", {"Entries": [event | {"EventBusName": name("Bus")}]}),
        "lambda:InvokeFunction ContractFunction": (
            "invoke", {"FunctionName": name("ContractFunction"), "InvocationType": "DryRun"}),
    }  # fmt: skip


@pytest.fixture(scope="module")
def role_keys(stack):
    """The keys of each role, which trusts this AWS account meanwhile; None is an administrator."""
    sts, iam = (stack.session().client(service) for service in ("sts", "iam"))
    keys = {None: stack.keys["admin"]}
    us = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    for role in ROLES:
        name = {"RoleName": stack.resource(role)}
        found = iam.get_role(**name)["Role"]
        trust = found["AssumeRolePolicyDocument"]
        both = trust | {"Statement": [*trust["Statement"], us]}
        iam.update_assume_role_policy(**name, PolicyDocument=json.dumps(both))
        own = sts.assume_role(RoleArn=found["Arn"], RoleSessionName="test")["Credentials"]
        iam.update_assume_role_policy(**name, PolicyDocument=json.dumps(trust))
        keys[role] = Keys(own["AccessKeyId"], own["SecretAccessKey"], own["SessionToken"])
    return keys


def is_denied(client, operation, arguments):
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"] in DENIED
    return False


def test_iam_denies_a_role_what_its_table_does_not_list(
    stack,
    role_keys,
    harmless_calls,
):
    session = Session(stack.endpoint_url, stack.keys["admin"])
    clients = {name: session.client(name) for name in {p.split(":")[0] for p in harmless_calls}}
    for role, keys in role_keys.items():
        session.use(keys)
        allowed = {
            permission
            for permission, call in harmless_calls.items()
            if not is_denied(clients[permission.split(":")[0]], *call)
        }
        listed = permissions(ROLES[role]) & harmless_calls.keys() if role else {*harmless_calls}
        assert allowed == listed, role


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
def test_a_function_has_the_permissions_for_an_event_that_arrives_twice(stack, function, event):
    functions, name = stack.session().client("lambda"), stack.resource(function)
    for _ in range(2):
        response = functions.invoke(FunctionName=name, Payload=json.dumps(event))
        assert "FunctionError" not in response, response["Payload"].read()


@pytest.fixture(scope="module")
def callers(stack):
    """The stack with two more callers: an unknown key, and a known key with a wrong secret."""
    stack.keys["stranger"] = Keys("AKIA" + "0" * 16, "none")
    stack.keys["forger"] = Keys(stack.keys["contract_manager"].access_key_id, "none")
    yield stack
    del stack.keys["stranger"], stack.keys["forger"]


@pytest.mark.parametrize("identity", ["reader", None])
def test_a_route_that_does_not_exist(stack, identity):
    for route in ("GET /contracts", "DELETE /accounts", "POST /d"):
        response = stack.call(identity, *route.split())

        assert (response.status_code, response.json()["code"]) == (404, "route-not-found")


@pytest.mark.parametrize("caller", [*sorted(READ), *ERROR_CODES])
def test_a_caller_reaches_the_routes_of_its_policy_and_no_other(callers, caller):
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
def test_an_encoded_slash_matches_no_asterisk_of_a_policy(stack, path):
    # The reader's policy has GET/accounts/*/contracts/*.
    assert stack.call("reader", "GET", path).status_code in (400, 403, 404)
