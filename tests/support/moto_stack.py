"""The resources of template.yaml in moto: tables, bucket, queues, topic and bus."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3

from tests.support import moto_patches
from tests.support.template import AWS_ACCOUNT, REGION, STACK_NAME, Template


class MotoStack:
    """The resources of the template in moto; ``refs`` are the values of ``!Ref``."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.refs: dict[str, str] = {
            "AWS::StackName": STACK_NAME,
            "AWS::Region": REGION,
            "AWS::AccountId": AWS_ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "Api": "a1b2c3d4e5",
            "DownloadApi": "f6g7h8i9j0",
            **{name: str(value) for name, value in template.parameters.items()},
            # As in the local environment, because the accounts are at fake PACs.
            "AllowSandboxAccounts": "true",
        }
        self.arns: dict[str, str] = {}
        if _INITIAL:
            self.refs, self.arns = dict(_INITIAL[0].refs), dict(_INITIAL[0].arns)
            _INITIAL[0].resources.restore()
            return
        for name, properties in template.of_type("AWS::DynamoDB::Table"):
            self._table(name, properties)
        for name, properties in template.of_type("AWS::S3::Bucket"):
            self._bucket(name, properties)
        queues = list(template.of_type("AWS::SQS::Queue"))
        # A queue comes after its dead-letter queue.
        for name, properties in sorted(queues, key=lambda queue: "RedrivePolicy" in queue[1]):
            self._queue(name, properties)
        for name, _ in template.of_type("AWS::SNS::Topic"):
            self.refs[name] = self.client("sns").create_topic(Name=f"{STACK_NAME}-{name}")[
                "TopicArn"
            ]
        for name, properties in template.of_type("AWS::Events::EventBus"):
            self.refs[name] = self.resolve(properties["Name"])
            bus = self.client("events").create_event_bus(Name=self.refs[name])
            self.arns[name] = bus["EventBusArn"]
        _INITIAL.append(_InitialState(dict(self.refs), dict(self.arns), self._resources()))

    def client(self, service: str) -> Any:
        """Return a client for the test itself, without the timeouts of the functions' clients."""
        return _client(service)

    def resolve(self, value: Any) -> Any:
        """Return a value of the template with If, Ref, GetAtt and Sub resolved."""
        while isinstance(value, dict) and value.keys() == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            value = then if self._holds({"Condition": condition}) else otherwise
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return self.refs[value["Ref"]]
        if value.keys() == {"Fn::GetAtt"}:
            name, attribute = (
                value["Fn::GetAtt"]
                if isinstance(value["Fn::GetAtt"], list)
                else value["Fn::GetAtt"].split(".")
            )
            assert attribute == "Arn"
            return self.arns[name]
        if value.keys() == {"Fn::Sub"}:
            return re.sub(r"\$\{([\w:]+)\}", lambda m: self.refs[m[1]], value["Fn::Sub"])
        return {name: self.resolve(item) for name, item in value.items()}

    def _holds(self, condition: dict[str, Any]) -> bool:
        """Return the value of a condition of the template."""
        ((function, argument),) = condition.items()
        if function == "Condition":
            return self._holds(self.template.text["Conditions"][argument])
        if function == "Fn::Equals":
            left, right = (self.resolve(item) for item in argument)
            return bool(left == right)
        values = [self._holds(item) for item in argument]
        if function == "Fn::Not":
            return not values[0]
        return all(values) if function == "Fn::And" else any(values)

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return every item of a table, given by its logical ID, without a request to AWS."""
        return moto_patches.items(self.refs[table])

    def _table(self, name: str, properties: dict[str, Any]) -> None:
        self.refs[name] = f"{STACK_NAME}-{name}"
        copied = (
            "KeySchema",
            "AttributeDefinitions",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
        )
        table = self.client("dynamodb").create_table(
            TableName=self.refs[name],
            **{key: self.resolve(properties[key]) for key in copied if key in properties},
        )
        self.arns[name] = table["TableDescription"]["TableArn"]

    def _bucket(self, name: str, properties: dict[str, Any]) -> None:
        self.refs[name] = f"{STACK_NAME}-{name}".lower()
        self.arns[name] = f"arn:aws:s3:::{self.refs[name]}"
        s3 = self.client("s3")
        s3.create_bucket(
            Bucket=self.refs[name], CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        s3.put_bucket_versioning(
            Bucket=self.refs[name],
            VersioningConfiguration=self.resolve(properties["VersioningConfiguration"]),
        )

    def _queue(self, name: str, properties: dict[str, Any]) -> None:
        queue = self.client("sqs").create_queue(
            QueueName=f"{STACK_NAME}-{name}", Attributes=self.queue_attributes(properties)
        )
        self.refs[name] = queue["QueueUrl"]
        self.arns[name] = f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{STACK_NAME}-{name}"

    def queue_attributes(self, properties: dict[str, Any]) -> dict[str, str]:
        """Return the properties of a queue in the template as attributes of SQS."""
        return {
            key: json.dumps(value) if isinstance(value, dict | bool) else str(value)
            for key, value in self.resolve(properties).items()
        }

    def _resources(self) -> moto_patches.Resources:
        return moto_patches.Resources.copy(
            {
                f"{STACK_NAME}-{name}": self.queue_attributes(properties)
                for name, properties in self.template.of_type("AWS::SQS::Queue")
            }
        )


@dataclass(frozen=True)
class _InitialState:
    refs: dict[str, str]
    arns: dict[str, str]
    resources: moto_patches.Resources


# The resources of the first stack of this process are copied for the next ones.
_INITIAL: list[_InitialState] = []


@cache
def _client(service: Any) -> Any:
    session = boto3.Session(
        region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    return session.client(service)
