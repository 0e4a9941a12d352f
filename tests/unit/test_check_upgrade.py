"""A deployment stops while a stack has tables under logical IDs of an older version."""

from __future__ import annotations

import re
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from tests.support.template import ROOT, template
from tools.check_upgrade import RENAMED, main

STACK = {"StackName": "timbres-prod"}
DESCRIBED = STACK | {"CreationTime": 0, "StackStatus": "UPDATE_COMPLETE"}
TABLE = {"ResourceType": "AWS::DynamoDB::Table", "ResourceStatus": "CREATE_COMPLETE"}


@pytest.fixture
def cloudformation():
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "x")
    with Stubber(boto3.client("cloudformation", "mx-central-1", **keys)) as stubber:
        yield stubber


def check(cloudformation):
    session = SimpleNamespace(client=lambda _service, config: cloudformation.client)
    return main(["prod"], lambda _: session)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([*RENAMED.values()], ""),
        *(([table, "IssuersTable"], f"Stack timbres-prod has {table}, ") for table in RENAMED),
    ],
)
def test_a_stack_with_an_old_table_is_not_deployed(cloudformation, tables, message, capsys):
    rows = [TABLE | {"LogicalResourceId": name, "LastUpdatedTimestamp": 0} for name in tables]
    cloudformation.add_response("describe_stacks", {"Stacks": [DESCRIBED]}, STACK)
    cloudformation.add_response("list_stack_resources", {"StackResourceSummaries": rows}, STACK)

    assert check(cloudformation) == int(bool(message))
    assert message in capsys.readouterr().err


def test_only_a_missing_stack_is_a_new_stack(cloudformation):
    cloudformation.add_client_error("describe_stacks", "ValidationError", "does not exist")
    cloudformation.add_client_error("describe_stacks", "AccessDenied", "denied")

    assert check(cloudformation) == 0
    with pytest.raises(ClientError, match="AccessDenied"):
        check(cloudformation)


def test_template_and_documented_commands_have_the_new_names():
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("\n## Upgrading to 0.5.0\n")[2].partition("\n## ")[0]

    assert dict(re.findall(r"^ *(\w+Table)=(\w+Table)", section, re.M)) == RENAMED
    assert set(RENAMED.values()) <= template().resources.keys()
    assert not RENAMED.keys() & template().resources.keys()
