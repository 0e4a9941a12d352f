"""A deployment stops while a stack has tables under logical IDs of an older version."""

from __future__ import annotations

import re
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from local.emulator_process import ROOT
from tests.unit.test_template import TEMPLATE
from tools.check_upgrade import RENAMED, main

STAGE, STACK = "prod", "timbres-prod"


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    client = boto3.client(
        "cloudformation", "mx-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )

    class Session:
        region_name = "mx-central-1"

        def __init__(self, **_settings: Any) -> None: ...

        def client(self, _service: str, config: Any) -> Any:
            assert config.connect_timeout
            assert config.read_timeout
            return client

    monkeypatch.setattr(boto3, "Session", Session)
    return Stubber(client)


def respond(cloudformation: Stubber, *tables: str) -> None:
    stack = {"StackName": STACK, "CreationTime": 0, "StackStatus": "UPDATE_COMPLETE"}
    cloudformation.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": STACK})
    resource = {
        "ResourceType": "AWS::DynamoDB::Table",
        "LastUpdatedTimestamp": 0,
        "ResourceStatus": "CREATE_COMPLETE",
    }
    resources = [resource | {"LogicalResourceId": name} for name in tables]
    cloudformation.add_response(
        "list_stack_resources", {"StackResourceSummaries": resources}, {"StackName": STACK}
    )


def test_a_new_stack_is_deployed(cloudformation: Stubber) -> None:
    cloudformation.add_client_error(
        "describe_stacks", "ValidationError", f"Stack with id {STACK} does not exist"
    )

    with cloudformation:
        assert main([STAGE]) == 0


def test_a_stack_with_renamed_tables_is_deployed(cloudformation: Stubber) -> None:
    respond(cloudformation, *RENAMED.values())

    with cloudformation:
        assert main([STAGE]) == 0


@pytest.mark.parametrize("table", RENAMED)
def test_an_old_table_stops_the_deployment(
    cloudformation: Stubber, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    respond(cloudformation, table, "IssuersTable")

    with cloudformation:
        assert main([STAGE]) == 1
    assert f"Stack {STACK} has {table}, " in capsys.readouterr().err


def test_a_denied_request_is_not_a_new_stack(cloudformation: Stubber) -> None:
    cloudformation.add_client_error("describe_stacks", "AccessDenied", "not authorized")

    with cloudformation, pytest.raises(ClientError, match="AccessDenied"):
        main([STAGE])


def test_the_template_has_the_new_names() -> None:
    assert set(RENAMED.values()) <= TEMPLATE["Resources"].keys()
    assert not RENAMED.keys() & TEMPLATE["Resources"].keys()


def test_the_documented_commands_rename_every_table() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("\n## Upgrading to 0.5.0\n")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^ *(\w+Table)=(\w+Table)", section, re.M)) == RENAMED
