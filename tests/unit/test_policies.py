"""Policies of template.yaml: roles, API policies and resource policies."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.support.permissions import IN_TRANSACTION, ROLES, ROUTES, SERVICE_ROLES, permissions
from tests.support.template import of_type, statements_of, template, transformed

API = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/${Stage}/"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


ROLE_RESOURCES = of_type("AWS::IAM::Role")
STATEMENTS = {role: statements_of(role) for role in ROLE_RESOURCES}


def resource_name(resource: Any) -> str:
    """Return the name of a policy's resource in the tables of permissions."""
    if resource == "*":
        return "all secrets"
    (value,) = resource.values()
    text = value[0] if isinstance(value, list) else value
    if text.endswith(":secret:${SecretPrefix}*"):
        return "secrets"
    return str(re.sub(r"\$\{(\w+)\.Arn\}", r"\1", text))


@pytest.mark.parametrize("role", sorted({*ROLE_RESOURCES, *ROLES, *SERVICE_ROLES}))
def test_a_role_has_the_permissions_of_its_table_and_no_other(role):
    log_group = role.removesuffix("Role") + "LogGroup"
    table = ROLES.get(role, {}) | {log_group: "CreateLogStream PutLogEvents"}
    expected = permissions(SERVICE_ROLES.get(role, table))
    in_transaction = {"dynamodb:EnclosingOperation": "TransactWriteItems"}

    granted = set()
    for statement in STATEMENTS[role]:
        assert statement["Effect"] == "Allow"
        assert statement.keys() <= {"Effect", "Action", "Resource", "Condition"}
        condition = statement.get("Condition")
        assert not condition or condition["ForAnyValue:StringEquals"] == in_transaction
        suffix = IN_TRANSACTION if condition else ""
        granted |= {
            f"{action}{suffix} {resource_name(resource)}"
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }

    assert "ManagedPolicyArns" not in ROLE_RESOURCES[role]
    assert granted == expected


def test_a_deleted_item_of_contracts_is_an_issuers_lock():
    # The keys of contracts and Idempotency-Keys are names of accounts, without a #.
    conditions = [
        statement["Condition"]["ForAllValues:StringLike"]
        for statements in STATEMENTS.values()
        for statement in statements
        if "ContractsTable" in str(statement["Resource"])
        and "dynamodb:DeleteItem" in as_list(statement["Action"])
    ]
    assert conditions
    assert all(condition == {"dynamodb:LeadingKeys": "login#*"} for condition in conditions)


def test_no_role_can_clear_a_rejection_of_credentials():
    # An existing item is a rejection; a put, a deletion and an expiry would clear it.
    granted = {table.get("CredentialRejectionsTable") for table in ROLES.values()}
    assert granted == {None, "Query UpdateItem", "BatchGetItem"}
    table = of_type("AWS::DynamoDB::Table")["CredentialRejectionsTable"]
    assert "TimeToLiveSpecification" not in table


def test_the_table_and_the_api_policies_cover_exactly_the_routes():
    granted = set()
    for policy in of_type("AWS::IAM::ManagedPolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            assert (statement["Effect"], statement["Action"]) == ("Allow", "execute-api:Invoke")
            granted |= {resource["Fn::Sub"] for resource in as_list(statement["Resource"])}
    routes = {
        f"{own['Method']} {own['Path']}"
        for own in (trigger.properties for trigger in template().triggers())
        if own.get("RestApiId") == {"Ref": "Api"}
    }
    # All other routes are answered with 404, and download links need no policy.
    assert routes - {"ANY /{proxy+}"} == ROUTES.keys()
    signed = {re.sub(r"{\w+}", "*", route.replace(" ", "")) for route in ROUTES}

    assert granted == {API + route for route in signed - {"GET/d/*"}}


def test_only_the_api_and_a_rule_of_this_stack_invoke_a_function():
    for permission in of_type("AWS::Lambda::Permission", transformed()).values():
        if permission["Principal"] == "apigateway.amazonaws.com":
            api = permission["SourceArn"]["Fn::Sub"][1]["__ApiId__"]["Ref"]
            assert api in ("Api", "DownloadApi")
        else:
            assert permission["Principal"] == "events.amazonaws.com"
            assert permission["SourceArn"] == {"Fn::GetAtt": ["MailFunctionBus", "Arn"]}


def test_only_roles_of_this_stack_and_services_for_this_account_are_trusted():
    account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    for kind, key in (
        ("AWS::IAM::Role", "AssumeRolePolicyDocument"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument"),
        ("AWS::SQS::QueuePolicy", "PolicyDocument"),
    ):
        for name, properties in of_type(kind).items():
            for statement in properties[key]["Statement"]:
                ((principal, value),) = statement["Principal"].items()
                if principal == "AWS":
                    assert value["Fn::GetAtt"][0] in ROLE_RESOURCES, name
                else:
                    # Lambda assumes a role only for a function whose creator may pass the role.
                    condition = None if value == "lambda.amazonaws.com" else account
                    assert (principal, statement.get("Condition")) == ("Service", condition), name


def test_every_topic_has_a_policy_and_every_kind_of_policy_is_checked():
    # The default policy of SNS allows the whole account.
    policies = of_type("AWS::SNS::TopicPolicy").values()
    topics = [topic["Ref"] for policy in policies for topic in policy["Topics"]]
    kinds = {resource["Type"].rpartition("::")[2] for resource in template().resources.values()}

    assert sorted(topics) == sorted(of_type("AWS::SNS::Topic"))
    assert {kind for kind in kinds if kind.endswith("Policy")} == {
        # Policy is that of the optional key: tests/unit/test_template.py.
        *("ManagedPolicy", "Policy", "BucketPolicy", "TopicPolicy", "QueuePolicy")
    }


def test_queues_are_encrypted_and_reports_and_the_domain_need_tls():
    # Checkov compares the settings for public access.
    queues, domains = of_type("AWS::SQS::Queue"), of_type("AWS::ApiGateway::DomainName")
    assert {queue["SqsManagedSseEnabled"] for queue in queues.values()} == {True}
    assert {domain["SecurityPolicy"] for domain in domains.values()} == {"TLS_1_2"}
    (policy,) = of_type("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    objects = [{"Fn::GetAtt": ["ReportsBucket", "Arn"]}, {"Fn::Sub": "${ReportsBucket.Arn}/*"}]
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": objects}
    condition = {"Bool": {"aws:SecureTransport": "false"}}

    assert statement == {"Sid": statement["Sid"], **denied, "Condition": condition}
