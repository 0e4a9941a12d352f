"""All output of Timbres in a session of end-to-end tests, as others can read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from local.emulator_process import ROOT
from local.stack import SECRET_PREFIX, Stack

Output = tuple[str, bytes | str]
"""A place and its content. The first word of the place is its kind."""

_CREDENTIALS = ("api_key", "username", "password", "token")


@dataclass
class OutputRecorder:
    """Records responses, mails and the tests' own output since the session started."""

    stack: Stack
    read_mails: Callable[[], list[str]]
    output: list[str] = field(repr=False)
    responses: list[bytes] = field(default_factory=list, repr=False)
    _names: dict[str, str] = field(default_factory=dict, repr=False)

    def learn(self, account: str, secret: Any) -> None:
        """Remember the credentials of an account's secret."""
        for name in _CREDENTIALS:
            if isinstance(secret, dict) and isinstance(value := secret.get(name), str):
                self._names[value] = f"{account} {name} {len(self._names)}"

    def credentials(self) -> dict[str, str]:
        """Return every credential that exists or existed, by a name."""
        secrets = self.stack.session().client("secretsmanager")
        for secret in _pages(secrets, "list_secrets", "SecretList"):
            id_ = {"SecretId": secret["Name"]}
            versions = secrets.list_secret_version_ids(**id_, IncludeDeprecated=True)["Versions"]
            for version in versions:
                value = secrets.get_secret_value(**id_, VersionId=version["VersionId"])
                name = secret["Name"].removeprefix(SECRET_PREFIX)
                self.learn(name, json.loads(value["SecretString"]))
        names = dict(self._names)
        names |= {keys.secret_access_key: f"key of {n}" for n, keys in self.stack.keys.items()}
        for _, environment in self.stack.processes():
            # A presigned link contains the session's token, which is useless without the key.
            if key := environment.get("AWS_SECRET_ACCESS_KEY"):
                names[key] = "key of a function"
        return {name: value for value, name in names.items()}

    def all_output(self) -> Iterator[Output]:
        """Yield everything that the session has written; removes the messages of the queues."""
        client = self.stack.session().client
        for response in self.responses:
            yield "response", response
        yield "mails", "\n".join(self.read_mails())
        yield "output of the tests", "\n".join(self.output)
        yield "log of the local AWS", (ROOT / ".local" / "aws-e2e.log").read_bytes()
        yield from _logs(client("logs"))
        yield from _items(client("dynamodb"))
        yield from _objects(client("s3"))
        sqs = client("sqs")
        for queue in sqs.list_queues().get("QueueUrls", []):
            for message in _receive(sqs, queue):
                yield f"queue {queue.rpartition('/')[2]}", message
        yield from _descriptions(client)


@contextmanager
def recording(stack: Stack, output: list[str]) -> Iterator[OutputRecorder]:
    """Record the output of a stack from now on; ``output`` is the tests' own."""
    recorder = OutputRecorder(stack, stack.mailbox("recorder"), output)
    create_account = stack.create_account

    def learn_and_create(name: str, value: Any) -> None:
        recorder.learn(name, value)
        create_account(name, value)

    def record(response: requests.Response, **_: Any) -> None:
        recorder.responses.append(f"{response.headers}\n".encode() + response.content)

    stack.create_account = learn_and_create  # type: ignore[method-assign]
    stack.http.hooks["response"].append(record)
    yield recorder
    stack.http.hooks["response"].remove(record)


def _receive(sqs: Any, queue: str) -> Iterator[str]:
    """Receive and delete the messages of a queue."""
    options = {"MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    while messages := sqs.receive_message(QueueUrl=queue, **options).get("Messages"):
        for message in messages:
            yield json.dumps(message.get("MessageAttributes", {}), default=str) + message["Body"]
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def _pages(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(key, ())


def _logs(logs: Any) -> Iterator[Output]:
    for group in _pages(logs, "describe_log_groups", "logGroups"):
        name = group["logGroupName"]
        events = _pages(logs, "filter_log_events", "events", logGroupName=name)
        yield f"log group {name}", "\n".join(event["message"] for event in events)


def _items(dynamodb: Any) -> Iterator[Output]:
    for table in dynamodb.list_tables()["TableNames"]:
        for item in _pages(dynamodb, "scan", "Items", TableName=table):
            yield f"table {table}", json.dumps(item, ensure_ascii=False, default=repr)
            for value in item.values():
                if isinstance(value.get("B"), bytes):
                    yield f"table {table}", value["B"]


def _objects(s3: Any) -> Iterator[Output]:
    # The artifacts are the deployment's own files.
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    for bucket in (name for name in names if not name.endswith("-artifacts")):
        for version in _pages(s3, "list_object_versions", "Versions", Bucket=bucket):
            key, id_ = version["Key"], version["VersionId"]
            response = s3.get_object(Bucket=bucket, Key=key, VersionId=id_)
            yield f"object {key}", json.dumps([key, response["Metadata"]])
            yield f"object {key}", response["Body"].read()


def _descriptions(client: Callable[[str], Any]) -> Iterator[Output]:
    """Yield the descriptions of the resources."""
    scheduler = client("scheduler")
    for schedule in scheduler.list_schedules()["Schedules"]:
        group = {"GroupName": schedule["GroupName"]} if "GroupName" in schedule else {}
        description = scheduler.get_schedule(Name=schedule["Name"], **group)
        yield f"schedule {schedule['Name']}", json.dumps(description, default=str)
    for service, operation in (
        ("lambda", "list_functions"),
        ("cloudwatch", "list_metrics"),
        ("cloudwatch", "describe_alarms"),
        ("cloudformation", "describe_stacks"),
        ("secretsmanager", "list_secrets"),
    ):
        for page in client(service).get_paginator(operation).paginate():
            yield f"{service} {operation}", json.dumps(page, default=str)
