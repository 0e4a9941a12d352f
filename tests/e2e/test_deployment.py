"""The deployed stack: properties that depend on the deployment and not on an operation."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError
from local.emulator_process import ROOT
from local.stack import STACK_NAME

from tests.support.api_calls import eventually


def test_a_list_of_issuers_in_windows_1252_is_not_altered_on_its_way(stack):
    body, headers = "rfc\r\nÑAN840101AB1\r\n".encode("windows-1252"), {"Content-Type": "text/csv"}
    path = "/accounts/acme-sf/issuers"
    response = stack.call("contract_manager", "PUT", path, body=body, headers=headers)

    # The function got the bytes: it names the encoding, or reads the RFC.
    assert "UTF-8" in response.text if response.status_code == 400 else response.ok, response.text
    assert "\N{REPLACEMENT CHARACTER}" not in response.text


def test_a_failed_start_is_kept_and_can_be_started_again_as_documented(stack, tmp_path):
    functions, sqs = (stack.session().client(name) for name in ("lambda", "sqs"))
    run, queue = stack.outputs["RunFunctionName"], stack.outputs["SchedulesDeadLetterQueueUrl"]
    request = {"QueueUrl": queue, "MessageAttributeNames": ["All"], "VisibilityTimeout": 300}
    # Nobody can process this, so that a start fails each time.
    invalid = {"scheduled_time": "2026-11-01T11:00:00Z", "time": "no time"}
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^redrive\(\) \{.*?python3 -c '(.*?)'$.*?^\}$", runbook, re.S | re.M)

    functions.invoke(FunctionName=run, InvocationType="Event", Payload=json.dumps(invalid))
    (message,) = eventually(lambda: sqs.receive_message(**request).get("Messages"), 30)
    (tmp_path / "message.json").write_text(json.dumps({"Messages": [message]}))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # The function, in the form in which the command line takes it.
    name, event = done.stdout.strip(), (tmp_path / "event.json").read_bytes()
    again = functions.invoke(FunctionName=name, Payload=event)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    assert json.loads(event) == invalid
    assert name.rpartition(":")[2] in (run, "$LATEST")
    assert again["FunctionError"]


MAIL = {"NotificationEmail": "a@example.com"}
DOMAIN = {"DomainName": "api.empresa.mx"}
CERTIFICATE = {"CertificateArn": "arn:aws:acm:mx-central-1:111122223333:certificate/1"}
# Without the firewall, whose association with an API the local AWS does not know.
ALL = {"ApiAccessLogs": "true", "KmsKeyArn": "arn:aws:kms:mx-central-1:111122223333:key/1"}


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        (DOMAIN, "DomainName needs CertificateArn"),
        (DOMAIN | CERTIFICATE, None),
        (DOMAIN | CERTIFICATE | ALL | {"DomainBasePath": "timbres"}, None),
        ({"Stage": "prod"}, "Stage prod needs NotificationEmail"),
        ({"Stage": "prod", "AlarmEmail": "a@example.com"}, "Stage prod needs NotificationEmail"),
        ({"Stage": "prod", "NotificationEmail": "none"}, None),
        ({"Stage": "prod"} | MAIL, None),
    ],
)
def test_a_combination_of_parameters_is_accepted_or_rejected(stack, parameters, error):
    cloudformation, name = stack.session().client("cloudformation"), {"StackName": "another"}
    request = name | {
        "ChangeSetName": "create",
        "ChangeSetType": "CREATE",
        "TemplateURL": f"{stack.endpoint_url}/{STACK_NAME}-artifacts/template.json",
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    }
    if error:
        with pytest.raises(ClientError, match=error):
            cloudformation.create_change_set(**request)
    else:
        cloudformation.create_change_set(**request)
        cloudformation.delete_stack(**name)
