"""The deployed stack: properties that depend on the deployment and not on an operation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from local.emulator_process import ROOT
from local.stack import STACK_NAME, Stack

from tests.support.doctor import RunDoctor


@pytest.mark.parametrize(("api", "name"), [("ApiId", "dev"), ("DownloadApiId", "d")])
def test_each_api_has_only_one_stage(stack: Stack, api: str, name: str) -> None:
    gateway = stack.session().client("apigateway")
    stages = gateway.get_stages(restApiId=stack.outputs[api])["item"]
    assert [stage["stageName"] for stage in stages] == [name]


def test_a_list_of_issuers_in_windows_1252_is_not_altered_on_its_way(stack: Stack) -> None:
    response = stack.call(
        "contract_manager",
        "PUT",
        "/accounts/acme-sf/issuers",
        body="rfc\r\nÑAN840101AB1\r\n".encode("windows-1252"),
        headers={"Content-Type": "text/csv"},
    )
    # The function got the bytes: it names the encoding, or reads the RFC.
    assert "UTF-8" in response.text if response.status_code == 400 else response.ok, response.text
    assert "\N{REPLACEMENT CHARACTER}" not in response.text


def test_a_list_of_issuers_in_utf_8_is_imported(stack: Stack) -> None:
    response = stack.call(
        "contract_manager",
        "PUT",
        "/accounts/acme-sf/issuers",
        body="rfc\r\nÑAN840101AB1\r\n".encode(),
        headers={"Content-Type": "text/csv; charset=utf-8"},
    )
    assert response.status_code == 200, response.text


# What nobody can process, so that a start fails each time.
INVALID = {"scheduled_time": "2026-11-01T11:00:00Z", "time": "no time"}
REDRIVE = re.search(
    r"^redrive\(\) \{.*?python3 -c '(?P<read>.*?)'$.*?^\}$",
    (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def receive(stack: Stack, queue: str) -> dict[str, Any]:
    """Return a message of a queue in the form of `aws sqs receive-message`, once there is one."""
    sqs = stack.session().client("sqs")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        received = sqs.receive_message(
            QueueUrl=queue, MessageAttributeNames=["All"], VisibilityTimeout=300
        )
        if received.get("Messages"):
            return dict(received)
        time.sleep(0.2)
    raise TimeoutError(queue)


def test_a_failed_start_is_kept_and_can_be_started_again_as_documented(
    stack: Stack, tmp_path: Path
) -> None:
    functions = stack.session().client("lambda")
    run, queue = stack.outputs["RunFunctionName"], stack.outputs["SchedulesDeadLetterQueueUrl"]
    functions.invoke(FunctionName=run, InvocationType="Event", Payload=json.dumps(INVALID).encode())
    message = receive(stack, queue)
    (tmp_path / "message.json").write_text(json.dumps(message))
    assert REDRIVE is not None
    done = subprocess.run(
        [sys.executable, "-c", REDRIVE["read"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads((tmp_path / "event.json").read_text()) == INVALID
    # The function, in the form in which the command line takes it.
    assert done.stdout.strip().rpartition(":")[2] in (run, "$LATEST")
    again = functions.invoke(
        FunctionName=done.stdout.strip(), Payload=(tmp_path / "event.json").read_bytes()
    )
    assert again["FunctionError"]
    stack.session().client("sqs").delete_message(
        QueueUrl=queue, ReceiptHandle=message["Messages"][0]["ReceiptHandle"]
    )


def test_the_doctor_lists_the_active_alarms_until_their_state_changes(
    stack: Stack, run_doctor: RunDoctor
) -> None:
    cloudwatch, alarm = stack.session().client("cloudwatch"), stack.resource("RunMissingAlarm")
    for state, listed in (("ALARM", True), ("INSUFFICIENT_DATA", False)):
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue=state, StateReason="tested here.")
        _, results = run_doctor("--account=acme-rc")
        assert (f"{alarm} is active since " in results["alarms"][1]) == listed
        assert ("tested here." in results["alarms"][1]) == listed


def create_change_set(stack: Stack, parameters: dict[str, str]) -> None:
    """Create a change set for another stack of this template, and delete it."""
    cloudformation = stack.session().client("cloudformation")
    cloudformation.create_change_set(
        StackName="recipients",
        ChangeSetName="create",
        ChangeSetType="CREATE",
        TemplateURL=f"{stack.endpoint_url}/{STACK_NAME}-artifacts/template.json",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )
    cloudformation.delete_stack(StackName="recipients")


def test_a_domain_without_a_certificate_is_rejected(stack: Stack) -> None:
    with pytest.raises(ClientError, match="DomainName needs CertificateArn"):
        create_change_set(stack, {"DomainName": "api.empresa.mx"})
    certificate = "arn:aws:acm:mx-central-1:111122223333:certificate/1"
    create_change_set(stack, {"DomainName": "api.empresa.mx", "CertificateArn": certificate})


def test_a_stack_with_its_optional_parts_is_accepted(stack: Stack) -> None:
    # Without the firewall, whose association with an API the local AWS does not know.
    create_change_set(
        stack,
        {
            "ApiAccessLogs": "true",
            "KmsKeyArn": "arn:aws:kms:mx-central-1:111122223333:key/1",
            "DomainName": "api.empresa.mx",
            "DomainBasePath": "timbres",
            "CertificateArn": "arn:aws:acm:mx-central-1:111122223333:certificate/1",
        },
    )


@pytest.mark.parametrize("parameters", [{}, {"AlarmEmail": "a@example.com"}])
def test_a_stack_for_production_without_recipients_is_rejected(
    stack: Stack, parameters: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match="Stage prod needs NotificationEmail"):
        create_change_set(stack, {"Stage": "prod", **parameters})


@pytest.mark.parametrize(
    "parameters",
    [
        {"Stage": "prod", "NotificationEmail": "none"},
        {"Stage": "prod", "NotificationEmail": "a@example.com"},
        {"Stage": "dev"},
    ],
)
def test_a_stack_with_recipients_or_for_development_is_accepted(
    stack: Stack, parameters: dict[str, str]
) -> None:
    create_change_set(stack, parameters)
