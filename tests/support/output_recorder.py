"""Everything that leaves Timbres in a session of end-to-end tests, as outsiders see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from local.emulator_process import ROOT
from local.stack import SECRET_PREFIX, Stack

Left = tuple[str, bytes | str]
"""Where something was found, and what it is."""

_CREDENTIALS = ("api_key", "username", "password")


@dataclass
class OutputRecorder:
    """Sees answers, events, mails and the tests' own output since the session began."""

    stack: Stack
    events: Callable[[], list[str]]
    mails: Callable[[], list[str]]
    output: list[str] = field(repr=False)
    answers: list[bytes] = field(default_factory=list, repr=False)
    credentials: dict[str, str] = field(default_factory=dict, repr=False)

    def learn(self, account: str, value: Any) -> None:
        """Remember the credentials of an account's secret, of every version by its value."""
        for name in _CREDENTIALS:
            if isinstance(value, dict) and isinstance(text := value.get(name), str):
                self.credentials[f"{account} {name} {len(self.credentials)}"] = text

    def search(self) -> dict[str, str]:
        """Return every credential there is or was: of accounts, of people, of the functions."""
        secrets = self.stack.session().client("secretsmanager")
        for page in secrets.get_paginator("list_secrets").paginate():
            for secret in page["SecretList"]:
                name = secret["Name"]
                versions = secrets.list_secret_version_ids(SecretId=name, IncludeDeprecated=True)
                for version in versions["Versions"]:
                    value = secrets.get_secret_value(SecretId=name, VersionId=version["VersionId"])[
                        "SecretString"
                    ]
                    self.learn(name.removeprefix(SECRET_PREFIX), json.loads(value))
        found = {value: name for name, value in self.credentials.items()}
        for name, keys in self.stack.keys.items():
            found[keys.secret_access_key] = f"secret key of {name}"
        for _, environment in self.stack.processes():
            # A session's token is part of every presigned link, and worth nothing without the key.
            if key := environment.get("AWS_SECRET_ACCESS_KEY"):
                found[key] = "secret key of a function"
        return {name: value for value, name in found.items()}

    def left(self) -> Iterator[Left]:
        """Yield everything that the session has left behind; the messages are taken away."""
        session = self.stack.session()
        for n, answer in enumerate(self.answers):
            yield f"answer {n}", answer
        yield "events", "\n".join(self.events())
        yield "mails", "\n".join(self.mails())
        yield "output of the tests", "\n".join(self.output)
        yield "log of the local AWS", (ROOT / ".local" / "aws-e2e.log").read_bytes()
        yield from _logs(session.client("logs"))
        yield from _items(session.client("dynamodb"))
        yield from _objects(session.client("s3"))
        yield from _messages(session.client("sqs"))
        yield from _descriptions(session)


@contextmanager
def watching(stack: Stack, output: list[str]) -> Iterator[OutputRecorder]:
    """Watch a stack from now on; ``output`` grows with what the tests write."""
    recorder = OutputRecorder(stack, _bus_in_a_queue(stack), stack.mailbox("witness"), output)
    create = stack.create_account

    def create_account(name: str, value: Any) -> None:
        recorder.learn(name, value)
        create(name, value)

    def answered(answer: requests.Response, **_: Any) -> None:
        recorder.answers.append(f"{answer.headers}\n".encode() + answer.content)

    stack.create_account = create_account  # type: ignore[method-assign]  # listens in
    stack._http.hooks["response"].append(answered)
    try:
        yield recorder
    finally:
        stack._http.hooks["response"].remove(answered)


def _bus_in_a_queue(stack: Stack) -> Callable[[], list[str]]:
    session = stack.session()
    sqs, events = session.client("sqs"), session.client("events")
    queue = sqs.create_queue(QueueName="witness-of-the-bus")["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    arn = answer["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    bus = stack.resource("Bus")
    pattern = json.dumps({"source": ["timbres"]})
    events.put_rule(Name="witness", EventBusName=bus, EventPattern=pattern)
    events.put_targets(Rule="witness", EventBusName=bus, Targets=[{"Id": "1", "Arn": arn}])
    return lambda: [body for _, body in _taken(sqs, queue)]


def _taken(sqs: Any, queue: str) -> Iterator[tuple[str, str]]:
    """Take every message of a queue that can be received now: its attributes and its body."""
    while messages := sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in messages:
            yield json.dumps(message.get("MessageAttributes", {}), default=str), message["Body"]
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def _logs(logs: Any) -> Iterator[Left]:
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            events = logs.get_paginator("filter_log_events").paginate(logGroupName=name)
            lines = [event["message"] for part in events for event in part["events"]]
            yield f"log group {name}", "\n".join(lines)


def _items(dynamodb: Any) -> Iterator[Left]:
    for name in dynamodb.list_tables()["TableNames"]:
        for page in dynamodb.get_paginator("scan").paginate(TableName=name):
            yield f"table {name}", json.dumps(page["Items"], ensure_ascii=False, default=repr)
            for item in page["Items"]:
                for attribute, value in item.items():
                    if isinstance(value.get("B"), bytes):
                        yield f"table {name}, {attribute}", value["B"]


def _objects(s3: Any) -> Iterator[Left]:
    for bucket in s3.list_buckets()["Buckets"]:
        # The deployment's own files are not output of a run.
        if bucket["Name"].endswith("-artifacts"):
            continue
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"])
        for version in (one for page in pages for one in page.get("Versions", [])):
            found = s3.get_object(
                Bucket=bucket["Name"], Key=version["Key"], VersionId=version["VersionId"]
            )
            where = f"object {version['Key']}"
            yield where, json.dumps([version["Key"], found["Metadata"]])
            yield where, found["Body"].read()


def _messages(sqs: Any) -> Iterator[Left]:
    for queue in sqs.list_queues().get("QueueUrls", []):
        for attributes, body in _taken(sqs, queue):
            yield f"queue {queue.rpartition('/')[2]}", attributes + body


def _descriptions(session: Any) -> Iterator[Left]:
    """Yield the descriptions of the resources, as AWS returns them to a reader."""
    scheduler = session.client("scheduler")
    for one in scheduler.list_schedules()["Schedules"]:
        group = {"GroupName": one["GroupName"]} if "GroupName" in one else {}
        schedule = scheduler.get_schedule(Name=one["Name"], **group)
        yield f"schedule {one['Name']}", json.dumps(schedule, default=str)
    for service, operation in (
        ("lambda", "list_functions"),
        ("cloudwatch", "list_metrics"),
        ("cloudwatch", "describe_alarms"),
        ("cloudformation", "describe_stacks"),
        ("secretsmanager", "list_secrets"),
    ):
        for page in session.client(service).get_paginator(operation).paginate():
            yield f"{service} {operation}", json.dumps(page, default=str)
