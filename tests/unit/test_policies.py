"""Policies of template.yaml: roles, API policies and resource policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse
from tools.transform import transform_template

TEXT = (Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8")
RESOURCES: dict[str, dict[str, Any]] = yaml_parse(TEXT)["Resources"]

# AWS does not support a resource for this action.
LIST_SECRETS = "secretsmanager:ListSecrets"
WITHOUT_A_RESOURCE = {LIST_SECRETS}
# Other services need a condition on the source account; Lambda assumes a role only for a function
# whose creator was allowed to pass it.
TRUSTED_SERVICES = {"lambda.amazonaws.com"}
API = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/${Stage}/"


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {n: r["Properties"] for n, r in RESOURCES.items() if r["Type"] == kind}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ==============================================================================
# No asterisk without a reason
# ==============================================================================


@cache
def parse_yaml(text: str) -> yaml.Node:
    """Return a template as YAML nodes with line numbers."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def statements(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Yield every policy statement below a node, an anchored one at each use."""
    if isinstance(node, yaml.MappingNode):
        if "Effect" in (key.value for key, _ in node.value):
            yield node
        for _, value in node.value:
            yield from statements(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from statements(value)


def scalars(node: yaml.Node) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from scalars(child)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from scalars(value)


def violations(text: str) -> list[str]:
    """Return the statements of a template that are too broad: ``line: reason``, in order.

    An asterisk needs its reason in a comment ``# *: …`` on the line above.
    """
    lines = text.splitlines()
    reasons: dict[tuple[int, str], None] = {}
    for statement in statements(parse_yaml(text)):
        parts = {key.value: (key.start_mark.line, value) for key, value in statement.value}
        allows = parts["Effect"][1].value == "Allow"
        actions = set(scalars(parts["Action"][1])) if "Action" in parts else set()
        for name, (line, value) in parts.items():
            starred = [text for text in scalars(value) if "*" in text]
            if name.startswith("Not"):
                reasons[line + 1, f"{name} covers what nobody thought of"] = None
            elif name == "Condition" or not starred:
                continue
            elif not re.match(r"\s*# \*: \w.{10,}", lines[line - 1] if line else ""):
                reasons[line + 1, f"{name} has an asterisk without a reason"] = None
            elif allows and name in ("Action", "Principal"):
                reasons[line + 1, f"{name} allows what nobody thought of"] = None
            elif allows and name == "Resource":
                for resource in starred:
                    if not (
                        actions <= WITHOUT_A_RESOURCE
                        if resource == "*"
                        else names_a_resource(resource)
                    ):
                        reasons[line + 1, f"{resource} is any resource"] = None
    return [f"{line}: {reason}" for line, reason in reasons]


def names_a_resource(arn: str) -> bool:
    """Return whether an ARN has a name or a prefix before its first asterisk."""
    before = arn.partition("*")[0]
    return bool(re.search(r"(\$\{SecretPrefix\}|\.Arn\}/\w+/|\$\{Stage\}/[A-Z]+/\w+/)$", before))


def test_no_policy_has_an_asterisk_without_a_reason():
    assert violations(TEXT) == []


def test_every_statement_of_the_template_is_checked():
    lines = {statement.start_mark.line for statement in statements(parse_yaml(TEXT))}
    assert len(lines) == len(re.findall(r"^[^#\n]*\bEffect: (?:Allow|Deny)$", TEXT, re.MULTILINE))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Effect: Allow\nAction: s3:GetObject\nResource: !Sub '${B.Arn}/a'", []),
        (
            "Effect: Allow\nAction: s3:GetObject\nResource: !Sub '${B.Arn}/reports/*'",
            ["3: Resource has an asterisk without a reason"],
        ),
        (
            "# *: too far away to be read\nEffect: Allow\nAction: [s3:GetObject]\nResource: '*'",
            ["4: Resource has an asterisk without a reason"],
        ),
        (
            "Effect: Allow\nAction: a:B\n# *: any of these\nResource: !Sub '${B.Arn}/reports/*'",
            [],
        ),
        (
            "Effect: Allow\nAction: a:B\n# *: any of these\nResource: '*'",
            ["4: * is any resource"],
        ),
        (f"Effect: Allow\nAction: {LIST_SECRETS}\n# *: any of these\nResource: '*'", []),
        (
            "Effect: Allow\nAction: [a:B]\n# *: any of these\nResource: [!Sub 'arn:aws:s3:::*']",
            ["4: arn:aws:s3:::* is any resource"],
        ),
        (
            "Effect: Allow\nAction: a:B\n# *: any of these\nResource: !Sub '${Api}/${Stage}/*/a'",
            ["4: ${Api}/${Stage}/*/a is any resource"],
        ),
        (
            f"Effect: Allow\nAction: [{LIST_SECRETS}, a:B]\n# *: any of these\nResource: '*'",
            ["4: * is any resource"],
        ),
        (
            "Effect: Allow\n# *: any of these\nAction: [a:B, dynamodb:*]\nResource: !Ref A",
            ["3: Action allows what nobody thought of"],
        ),
        (
            "Effect: Allow\n# *: any of these\nPrincipal: {AWS: '*'}\nAction: b\nResource: !Ref A",
            ["3: Principal allows what nobody thought of"],
        ),
        (
            "Effect: Deny\nNotAction: a:B\n# *: any of these\nPrincipal: '*'\nResource: !Ref A",
            ["2: NotAction covers what nobody thought of"],
        ),
    ],
)
def test_a_statement_that_is_too_broad_is_reported(statement, expected):
    assert violations(statement) == expected


# ==============================================================================
# API policies, and the permissions that SAM adds
# ==============================================================================


def test_the_api_policies_cover_exactly_the_routes():
    routes = {
        event["Properties"]["Method"] + re.sub(r"{\w+}", "*", event["Properties"]["Path"])
        for function in of_type("AWS::Serverless::Function").values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "Api"
    }
    granted = set()
    for policy in of_type("AWS::IAM::ManagedPolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Action"] == "execute-api:Invoke"
            granted |= {resource["Fn::Sub"] for resource in as_list(statement["Resource"])}
    # Download links need no policy.
    assert granted == {API + route for route in routes - {"GET/d/*"}}


def test_callers_of_a_pac_can_record_a_rejection_and_not_clear_it():
    """An existing item is a rejection: no role may put, delete or expire one."""
    callers = {
        properties["Role"]["Fn::GetAtt"][0]
        for properties in of_type("AWS::Serverless::Function").values()
        if "CREDENTIAL_REJECTIONS_TABLE" in properties.get("Environment", {}).get("Variables", {})
    }
    rights = {
        name: {
            action
            for policy in properties["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "CredentialRejectionsTable" in str(statement["Resource"])
            for action in as_list(statement["Action"])
        }
        for name, properties in of_type("AWS::IAM::Role").items()
    }
    expected = {"dynamodb:Query", "dynamodb:UpdateItem"}
    assert {name: actions for name, actions in rights.items() if actions} == dict.fromkeys(
        callers, expected
    )
    assert (
        "TimeToLiveSpecification"
        not in of_type("AWS::DynamoDB::Table")["CredentialRejectionsTable"]
    )


def test_only_the_api_and_a_rule_of_this_stack_invoke_a_function():
    permissions = [
        resource["Properties"]
        for resource in transform_template()["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Permission"
    ]
    assert permissions
    for permission in permissions:
        source = permission["SourceArn"]
        if permission["Principal"] == "apigateway.amazonaws.com":
            assert source["Fn::Sub"][1]["__ApiId__"] == {"Ref": "Api"}
        else:
            assert permission["Principal"] == "events.amazonaws.com"
            assert source == {"Fn::GetAtt": ["MailFunctionBus", "Arn"]}


# ==============================================================================
# Trust of resource policies
# ==============================================================================

TRUSTS = [
    (name, statement)
    for kind, key in (
        ("AWS::IAM::Role", "AssumeRolePolicyDocument"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument"),
        ("AWS::SQS::QueuePolicy", "PolicyDocument"),
    )
    for name, properties in of_type(kind).items()
    for statement in properties[key]["Statement"]
]


@pytest.mark.parametrize(("name", "statement"), TRUSTS, ids=[name for name, _ in TRUSTS])
def test_only_roles_of_this_stack_and_services_for_this_account_are_trusted(name, statement):
    ((kind, principal),) = statement["Principal"].items()
    if kind == "AWS":
        assert principal["Fn::GetAtt"][0] in of_type("AWS::IAM::Role")
        return
    assert kind == "Service"
    if principal in TRUSTED_SERVICES:
        assert "Condition" not in statement
    else:
        account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        assert statement["Condition"] == account


def test_every_topic_has_a_policy():
    """The default policy of SNS allows the whole account."""
    policies = of_type("AWS::SNS::TopicPolicy").values()
    covered = [topic["Ref"] for policy in policies for topic in policy["Topics"]]
    assert sorted(covered) == sorted(of_type("AWS::SNS::Topic"))


def test_every_resource_policy_is_checked():
    kinds = {r["Type"] for r in RESOURCES.values() if r["Type"].endswith("Policy")}
    assert kinds == {
        "AWS::IAM::ManagedPolicy",
        # That of the optional key: tests/unit/test_template_deployment.py.
        "AWS::IAM::Policy",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }


def test_reports_are_not_public_and_need_tls():
    (bucket,) = of_type("AWS::S3::Bucket").values()
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    (policy,) = of_type("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == (
        "Deny",
        "*",
        "s3:*",
    )
    assert statement["Resource"] == [
        {"Fn::GetAtt": ["ReportsBucket", "Arn"]},
        {"Fn::Sub": "${ReportsBucket.Arn}/*"},
    ]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("queue", of_type("AWS::SQS::Queue"))
def test_a_queue_is_encrypted(queue):
    assert of_type("AWS::SQS::Queue")[queue]["SqsManagedSseEnabled"] is True


# ==============================================================================
# The journal of contracts
# ==============================================================================


def journal_statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for role, properties in of_type("AWS::IAM::Role").items():
        for policy in properties.get("Policies", ()):
            for statement in policy["PolicyDocument"]["Statement"]:
                if "ContractsTable" in str(statement.get("Resource")):
                    yield role, statement


WRITES = {"PutItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLDelete"}


@pytest.mark.parametrize("role", sorted({role for role, _ in journal_statements()}))
def test_no_role_can_overwrite_or_delete_a_contract(role: str) -> None:
    for name, statement in journal_statements():
        actions = {action.partition(":")[2] for action in as_list(statement["Action"])} & WRITES
        if name != role or not actions:
            continue
        assert actions <= {"PutItem", "DeleteItem"}, (
            "no batch writes: each item needs its conditions"
        )
        conditions = statement["Condition"]
        assert conditions["ForAnyValue:StringEquals"] == {
            "dynamodb:EnclosingOperation": "TransactWriteItems"
        }
        if "DeleteItem" in actions:
            assert actions == {"DeleteItem"}
            # The keys of contracts and Idempotency-Keys are names of accounts, without a #.
            assert conditions["ForAllValues:StringLike"] == {"dynamodb:LeadingKeys": "login#*"}
