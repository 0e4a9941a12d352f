"""Deploy Timbres to a local AWS; the demo and the tests use it through `Stack`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, WaiterError

from local.build import package, read_template
from local.emulator_process import REGION, ROOT, LocalAws, Session, running_aws

logger = logging.getLogger("local")

STACK_NAME = "timbres"
SECRET_PREFIX = "timbres/accounts/"
# The policy of each identity of tests and demo; `nobody` has none.
IDENTITIES = {
    "reader": "ReaderPolicyArn",
    "reporter": "ReporterPolicyArn",
    "contract_manager": "ContractManagerPolicyArn",
    "nobody": None,
}

Query = Mapping[str, str | Sequence[str]]


class DeployError(Exception):
    """CloudFormation rejected the template or a resource failed; the message gives the reasons."""


class Stack:
    """A deployed Timbres: its outputs, its API, and one session per identity.

    `identity` is always `admin`, `reader`, `reporter`, `contract_manager` or `nobody`. `http` sends
    the calls of the API.
    """

    def __init__(self, aws: LocalAws, outputs: dict[str, str]) -> None:
        self.endpoint_url = aws.endpoint_url
        self.region = REGION
        self.outputs = outputs
        self.api_url = _api_url(aws.endpoint_url, outputs["ApiId"], _stage(outputs))
        self.download_url = _download_url(aws.endpoint_url, outputs)
        self.keys = {"admin": aws.admin}
        for name, policy in IDENTITIES.items():
            self.keys[name] = aws.create_user(name, (outputs[policy],) if policy else ())
        self._aws = aws
        self.http = requests.Session()
        self.http.trust_env = False

    def wait(self) -> NoReturn:
        """Wait. Raises `AwsError` if the local AWS exits; never returns."""
        self._aws.wait()

    def session(self, identity: str = "admin") -> Session:
        """Return a boto3 session of `identity`."""
        return self._aws.session(self.keys[identity])

    def call(
        self,
        identity: str | None,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> requests.Response:
        """Send a request to the API, signed as `identity` (`None`: unsigned); no redirects.

        `body` is sent unchanged if it is bytes or a string, otherwise as JSON.
        """
        url = self.api_url + path
        if query:
            url += "?" + urlencode(query, doseq=True, quote_via=quote, safe="~")
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            if not isinstance(body, str | bytes):
                body = json.dumps(body, ensure_ascii=False)
        data = body.encode() if isinstance(body, str) else body
        request = AWSRequest(method=method, url=url, data=data, headers=headers)
        if identity is not None:
            keys = self.keys[identity]
            credentials = Credentials(keys.access_key_id, keys.secret_access_key)
            SigV4Auth(credentials, "execute-api", self.region).add_auth(request)
        signed = dict(request.headers.items())
        return self.http.request(
            method, url, data=data, headers=signed, allow_redirects=False, timeout=timeout
        )

    def create_account(self, name: str, value: Mapping[str, Any]) -> None:
        """Create an account: a secret under the prefix."""
        self.session().client("secretsmanager").create_secret(
            Name=SECRET_PREFIX + name, SecretString=json.dumps(value)
        )

    def resource(self, logical_id: str) -> str:
        """Return the physical name of a resource, for example of `RunFunctionDaily`."""
        names = {"StackName": STACK_NAME, "LogicalResourceId": logical_id}
        response = self.session().client("cloudformation").describe_stack_resource(**names)
        return str(response["StackResourceDetail"]["PhysicalResourceId"])

    def fire(self, schedule: str, timeout: float = 15) -> None:
        """Let the scheduler start the target of the schedule with this logical ID once, now.

        `schedule` is for example `RunFunctionDaily`. Returns when the target has been started, not
        when it has finished. Raises `TimeoutError`.
        """
        scheduler, group = self.session().client("scheduler"), self.resource("Schedules")
        target = scheduler.get_schedule(Name=self.resource(schedule), GroupName=group)["Target"]
        once = {"Name": f"once-{secrets.token_hex(8)}", "GroupName": group}
        scheduler.create_schedule(
            **once,
            ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target=target,
        )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                scheduler.get_schedule(**once)
            except scheduler.exceptions.ResourceNotFoundException:
                return
            time.sleep(0.2)
        raise TimeoutError(f"{schedule} was not started within {timeout:g} s")

    def environment(self, function: str) -> dict[str, str]:
        """Return the environment variables of a function, by logical ID, with the admin's keys.

        With them, the function's code runs in any process of this machine.
        """
        functions = self.session().client("lambda")
        configuration = functions.get_function_configuration(FunctionName=self.resource(function))
        keys = self.keys["admin"]
        return {
            **configuration["Environment"]["Variables"],
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        }

    def processes(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield ID and environment of the local AWS's processes, functions included (Linux)."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(process.name)) != self._aws.process.pid:
                    continue
                environment = (process / "environ").read_text(errors="replace")
            except OSError:
                continue
            lines = environment.split("\0")
            yield int(process.name), dict(line.partition("=")[::2] for line in lines)

    def mailbox(self, name: str) -> Callable[[], list[str]]:
        """Subscribe a new queue to the mail topic; return a function that reads the new mails."""
        client = self.session().client
        sqs, topic = client("sqs"), self.outputs["MailTopicArn"]
        queue: str = sqs.create_queue(QueueName=f"{STACK_NAME}-{name}")["QueueUrl"]
        response = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        arn = response["Attributes"]["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        raw = {"RawMessageDelivery": "true"}
        client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)

        def read_mails() -> list[str]:
            texts: list[str] = []
            request = {"QueueUrl": queue, "MaxNumberOfMessages": 10}
            while messages := sqs.receive_message(**request).get("Messages"):
                for message in messages:
                    texts.append(message["Body"])
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            return texts

        return read_mails


@contextlib.contextmanager
def running_stack(
    log: Path = ROOT / ".local" / "aws.log", pacs: Sequence[Path] = ()
) -> Iterator[Stack]:
    """Build Timbres from this folder and deploy it to a new local AWS.

    `pacs` are packages of PACs that are not in the product. The local AWS writes to `log`.
    Raises `BuildError`, `AwsError` or `DeployError`.
    """
    with running_aws(log) as aws:
        yield Stack(aws, deploy(aws.session(aws.admin), pacs=pacs))


def deploy(session: Session, root: Path = ROOT, pacs: Sequence[Path] = ()) -> dict[str, str]:
    """Build the project at `root`, with additional `pacs`, and create its stack; return outputs.

    Raises `BuildError`, or `DeployError` with the reason of every failed resource.
    """
    logger.info("building the layers and the functions")
    s3 = session.client("s3")
    bucket = f"{STACK_NAME}-artifacts"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def upload(key: str, content: bytes) -> str:
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    # A URL, because TemplateBody is limited to 51,200 bytes.
    template = upload("template.json", package(root, upload, pacs).encode())
    url = template.replace("s3://", f"{session.endpoint_url}/")
    logger.info("creating the stack of template.yaml")
    outputs = _create_stack(session.client("cloudformation"), url)
    gateway, functions = session.client("apigateway"), session.client("lambda")
    _put_unknown_route(gateway, functions, outputs)
    resources = read_template(root)["Resources"]
    for name, stage in (("Api", _stage(outputs)), ("DownloadApi", "d")):
        responses = resources[name]["Properties"]["GatewayResponses"]
        _put_gateway_responses(gateway, outputs[f"{name}Id"], stage, responses)
    # The mailed links point to this machine instead of AWS.
    name = outputs["MailFunctionName"]
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    environment["Variables"]["DOWNLOAD_URL"] = _download_url(session.endpoint_url, outputs)
    functions.update_function_configuration(FunctionName=name, Environment=environment)
    return outputs


def _create_stack(cloudformation: Any, template_url: str) -> dict[str, str]:
    """Create the stack; return its outputs. Raises `DeployError` with all failures."""
    name, often = {"StackName": STACK_NAME}, {"Delay": 0.1, "MaxAttempts": 6000}
    change_set = name | {"ChangeSetName": "create"}
    kind = {"ChangeSetType": "CREATE", "Capabilities": ["CAPABILITY_IAM"]}
    try:
        cloudformation.create_change_set(**change_set, **kind, TemplateURL=template_url)
        waiter = cloudformation.get_waiter("change_set_create_complete")
        waiter.wait(**change_set, WaiterConfig=often)
    except ClientError as error:
        raise DeployError(f"the template was rejected: {error}") from error
    except WaiterError as error:
        reason = error.last_response.get("StatusReason")
        raise DeployError(f"the template was rejected: {reason}") from error
    cloudformation.execute_change_set(**change_set)
    try:
        cloudformation.get_waiter("stack_create_complete").wait(**name, WaiterConfig=often)
    except WaiterError as error:
        pages = cloudformation.get_paginator("describe_stack_events").paginate(**name)
        failures = [
            f"  {event['LogicalResourceId']} ({event['ResourceType']}):"
            f" {event.get('ResourceStatusReason', 'no reason given')}"
            for page in pages
            for event in page["StackEvents"]
            if event["ResourceStatus"].endswith("FAILED")
        ]
        stacks: Any = error.last_response.get("Stacks") or [{"StackStatus": "not created"}]
        title = f"the stack is {stacks[0]['StackStatus']}:"
        raise DeployError("\n".join([title, *reversed(failures)])) from error
    (stack,) = cloudformation.describe_stacks(**name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _put_unknown_route(gateway: Any, functions: Any, outputs: dict[str, str]) -> None:
    """Create the method ANY of unknown routes, which MiniStack does not read from the template."""
    name = outputs["DownloadTokenFunctionName"]
    function = functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    pages = gateway.get_paginator("get_resources").paginate(restApiId=outputs["ApiId"])
    items = [item for page in pages for item in page["items"]]
    (resource,) = (item["id"] for item in items if item["path"] == "/{proxy+}")
    method = {"restApiId": outputs["ApiId"], "resourceId": resource, "httpMethod": "ANY"}
    gateway.put_method(**method, authorizationType="NONE")
    gateway.put_integration(
        **method,
        type="AWS_PROXY",
        integrationHttpMethod="POST",
        uri=f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations",
    )


def _put_gateway_responses(
    gateway: Any, api: str, stage: str, responses: dict[str, dict[str, Any]]
) -> None:
    """Create an API's gateway responses, which MiniStack does not read from the template."""
    for response_type, response in responses.items():
        headers = response["ResponseParameters"]["Headers"]
        status = str(response.get("StatusCode", ""))
        gateway.put_gateway_response(
            restApiId=api,
            responseType=response_type,
            responseParameters={f"gatewayresponse.header.{k}": v for k, v in headers.items()},
            responseTemplates=response["ResponseTemplates"],
            # AWS returns 502 for a failed function, MiniStack 500.
            **({"statusCode": status or "502"} if status or response_type == "DEFAULT_5XX" else {}),
        )
    gateway.create_deployment(restApiId=api, stageName=stage)


def _api_url(endpoint_url: str, api: str, stage: str) -> str:
    # Path style, because not every resolver resolves *.execute-api.localhost.
    return f"{endpoint_url}/_aws/execute-api/{api}/{stage}"


def _download_url(endpoint_url: str, outputs: dict[str, str]) -> str:
    return _api_url(endpoint_url, outputs["DownloadApiId"], "d") + "/"


def _stage(outputs: dict[str, str]) -> str:
    return outputs["ApiUrl"].rsplit("/", 1)[1]
