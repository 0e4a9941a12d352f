"""Timbres deployed to a local AWS, and the ways the demo and the tests take hold of it."""

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
from botocore.exceptions import ClientError

from local.build import package, read_template
from local.emulator_process import REGION, ROOT, LocalAws, Session, running_aws

logger = logging.getLogger("local")

STACK_NAME = "timbres"
SECRET_PREFIX = "timbres/accounts/"
# Who may do what in tests and demo; nobody has an identity and no policy.
IDENTITIES = {
    "reader": "ReaderPolicyArn",
    "reporter": "ReporterPolicyArn",
    "contract_manager": "ContractManagerPolicyArn",
    "nobody": None,
}

Query = Mapping[str, str | Sequence[str]]


class DeployError(Exception):
    """CloudFormation refused or could not create something; the message says what and why."""


class Stack:
    """A deployed Timbres: its outputs, its API, and one session per identity.

    `identity` is `admin`, `reader`, `reporter`, `contract_manager` or `nobody` throughout.
    """

    def __init__(self, aws: LocalAws, outputs: dict[str, str]) -> None:
        self.endpoint_url = aws.endpoint_url
        self.region = REGION
        self.outputs = outputs
        self.api_url = _api_url(aws.endpoint_url, outputs)
        self.keys = {"admin": aws.admin}
        for name, policy in IDENTITIES.items():
            arns = (outputs[policy],) if policy else ()
            self.keys[name] = aws.create_user(name, arns)
        self._aws = aws
        self._mailbox: Callable[[], list[str]] | None = None
        self._http = requests.Session()
        self._http.trust_env = False

    def wait(self) -> NoReturn:
        """Returns never: it raises `AwsError` when the local AWS ends by itself."""
        self._aws.wait()

    def session(self, identity: str = "admin") -> Session:
        """boto3 clients as `identity`: `session().client("s3")`."""
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
        """One request to the API, signed for `identity` (`None`: unsigned), redirects unfollowed.

        `body` is sent as it is when it is bytes or a string, and as JSON otherwise.
        """
        url = self.api_url + path
        if query:
            url += "?" + urlencode(query, doseq=True, quote_via=quote, safe="~")
        sent = dict(headers or {})
        data: bytes | None = None
        if body is not None:
            text = body if isinstance(body, str | bytes) else json.dumps(body, ensure_ascii=False)
            data = text.encode() if isinstance(text, str) else text
            sent.setdefault("Content-Type", "application/json")
        request = AWSRequest(method=method, url=url, data=data, headers=sent)
        if identity is not None:
            keys = self.keys[identity]
            credentials = Credentials(keys.access_key_id, keys.secret_access_key)
            SigV4Auth(credentials, "execute-api", self.region).add_auth(request)
        return self._http.request(
            method,
            url,
            data=data,
            headers=dict(request.headers.items()),
            allow_redirects=False,
            timeout=timeout,
        )

    def create_account(self, name: str, value: Mapping[str, Any]) -> None:
        """Adds an account as a user does: one secret under the prefix."""
        self.session().client("secretsmanager").create_secret(
            Name=SECRET_PREFIX + name, SecretString=json.dumps(value)
        )

    def resource(self, logical_id: str) -> str:
        """The physical name of a resource of the stack, `RunFunctionDaily` for instance."""
        cloudformation = self.session().client("cloudformation")
        answer = cloudformation.describe_stack_resource(
            StackName=STACK_NAME, LogicalResourceId=logical_id
        )
        physical: str = answer["StackResourceDetail"]["PhysicalResourceId"]
        return physical

    def fire(self, schedule: str, timeout: float = 15) -> None:
        """Makes the scheduler start now, once, what the schedule of this logical id starts.

        `RunFunctionDaily` or `ReportFunctionMonthly`. Returns
        when the scheduler has started it, which is before it has ended; raises `TimeoutError`.
        """
        scheduler = self.session().client("scheduler")
        group = self.resource("Schedules")
        name = self.resource(schedule)
        target = scheduler.get_schedule(Name=name, GroupName=group)["Target"]
        once = f"once-{secrets.token_hex(8)}"
        scheduler.create_schedule(
            Name=once,
            GroupName=group,
            ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target=target,
        )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                scheduler.get_schedule(Name=once, GroupName=group)
            except scheduler.exceptions.ResourceNotFoundException:
                return
            time.sleep(0.2)
        raise TimeoutError(f"{schedule} was not started within {timeout:g} s")

    def environment(self, function: str) -> dict[str, str]:
        """What a function, by its logical id, finds in its environment, with the admin's keys.

        With it, the function's code runs in any process of this machine.
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

    def function_logs(self, function: str) -> list[str]:
        """The log lines so far of a function, by its logical id: `ReportFunction` for instance."""
        session = self.session()
        configuration = session.client("lambda").get_function_configuration(
            FunctionName=self.resource(function)
        )
        pages = session.client("logs").get_paginator("filter_log_events")
        group = configuration["LoggingConfig"]["LogGroup"]
        return [
            event["message"].rstrip("\n")
            for page in pages.paginate(logGroupName=group)
            for event in page["events"]
        ]

    def queue_mails(self) -> None:
        """Subscribes a queue to the mail topic; `mails` then reads what arrived. Once is enough."""
        if not self._mailbox:
            self._mailbox = self.mailbox("mails")

    def mails(self) -> list[str]:
        """The mails that have arrived since the last call, as their text."""
        if not self._mailbox:
            raise RuntimeError("call queue_mails before what is to be mailed")
        return self._mailbox()

    def processes(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yields the local AWS's processes, the functions' among them: id, environment (Linux)."""
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
        """Subscribes a queue of its own to the mail topic; returns what gives the mails since."""
        session = self.session()
        sqs = session.client("sqs")
        topic = self.outputs["MailTopicArn"]
        queue: str = sqs.create_queue(QueueName=f"{STACK_NAME}-{name}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        queue_arn = arn["Attributes"]["QueueArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
        session.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=queue_arn,
            Attributes={"RawMessageDelivery": "true"},
        )

        def arrived() -> list[str]:
            texts: list[str] = []
            while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
                "Messages"
            ):
                for message in messages:
                    texts.append(message["Body"])
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            return texts

        return arrived


@contextlib.contextmanager
def running_stack(
    log: Path = ROOT / ".local" / "aws.log", pacs: Sequence[Path] = ()
) -> Iterator[Stack]:
    """Timbres, built from this folder and deployed to a local AWS of its own.

    `pacs` are packages of PACs that are not in the product. The local AWS writes to `log`.
    Raises `BuildError`, `AwsError` or `DeployError`.
    """
    with running_aws(log) as aws:
        yield Stack(aws, deploy(aws.session(aws.admin), pacs=pacs))


def deploy(session: Session, root: Path = ROOT, pacs: Sequence[Path] = ()) -> dict[str, str]:
    """Builds the project at `root`, with further `pacs`, and creates its stack: the outputs.

    Raises `BuildError`, or `DeployError` with the reason of every resource that failed.
    """
    logger.info("building the layers and the functions")
    s3 = session.client("s3")
    bucket = f"{STACK_NAME}-artifacts"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def upload(key: str, content: bytes) -> str:
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        return f"s3://{bucket}/{key}"

    template = upload("template.json", package(root, upload, pacs).encode())
    logger.info("creating the stack of template.yaml")
    cloudformation = session.client("cloudformation")
    try:
        change_set: str = cloudformation.create_change_set(
            StackName=STACK_NAME,
            ChangeSetName="create",
            ChangeSetType="CREATE",
            # As TemplateBody it may have 51,200 bytes.
            TemplateURL=template.replace("s3://", f"{session.endpoint_url}/"),
            Capabilities=["CAPABILITY_IAM"],
        )["Id"]
    except ClientError as error:
        raise DeployError(f"the template is refused: {error}") from error
    _until_created(cloudformation, change_set)
    cloudformation.execute_change_set(ChangeSetName=change_set)
    outputs = _until_complete(cloudformation)
    _put_gateway_responses(session.client("apigateway"), outputs, read_template(root))
    download_url = _api_url(session.endpoint_url, outputs) + "/d/"
    _put_download_url(session.client("lambda"), outputs["MailFunctionName"], download_url)
    return outputs


def _put_download_url(functions: Any, name: str, url: str) -> None:
    """Lets the mails lead to this machine; the template's address is one of AWS."""
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    variables = environment["Variables"] | {"DOWNLOAD_URL": url}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def _put_gateway_responses(gateway: Any, outputs: dict[str, str], template: dict[str, Any]) -> None:
    """Gives the API its gateway responses, which MiniStack does not take from the template."""
    api, stage = outputs["ApiId"], _stage(outputs)
    for kind, response in template["Resources"]["Api"]["Properties"]["GatewayResponses"].items():
        headers = response["ResponseParameters"]["Headers"]
        status = str(response.get("StatusCode", ""))
        gateway.put_gateway_response(
            restApiId=api,
            responseType=kind,
            responseParameters={f"gatewayresponse.header.{k}": v for k, v in headers.items()},
            responseTemplates=response["ResponseTemplates"],
            # A function that failed is 502, which MiniStack would make 500.
            **({"statusCode": status or "502"} if status or kind == "DEFAULT_5XX" else {}),
        )
    gateway.create_deployment(restApiId=api, stageName=stage)


def _api_url(endpoint_url: str, outputs: dict[str, str]) -> str:
    # By path: *.execute-api.localhost resolves in curl but not in every resolver.
    return f"{endpoint_url}/_aws/execute-api/{outputs['ApiId']}/{_stage(outputs)}"


def _stage(outputs: dict[str, str]) -> str:
    return outputs["ApiUrl"].rsplit("/", 1)[1]


def _until_created(cloudformation: Any, change_set: str) -> None:
    """Waits for the change set. Raises `DeployError` with its reason."""
    while True:
        answer = cloudformation.describe_change_set(ChangeSetName=change_set)
        if answer["Status"] == "CREATE_COMPLETE":
            return
        if answer["Status"] == "FAILED":
            raise DeployError(f"the template is refused: {answer.get('StatusReason')}")
        time.sleep(0.1)


def _until_complete(cloudformation: Any) -> dict[str, str]:
    """Waits for the stack: its outputs. Raises `DeployError` with the reason of each failure."""
    while True:
        stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.1)
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=STACK_NAME)
    failures = [
        f"  {event['LogicalResourceId']} ({event['ResourceType']}):"
        f" {event.get('ResourceStatusReason', 'no reason given')}"
        for page in pages
        for event in page["StackEvents"]
        if event["ResourceStatus"].endswith("FAILED")
    ]
    raise DeployError("\n".join([f"the stack is {stack['StackStatus']}:", *reversed(failures)]))
