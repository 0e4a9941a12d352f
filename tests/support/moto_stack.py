"""The resources of template.yaml in moto: tables, bucket, queues, topic and bus."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import boto3

from tests.support import moto_patches
from tests.support.template import AWS_ACCOUNT, REGION, STACK_NAME, Template, names_in, of_type


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
            refs, arns, resources = _INITIAL[0]
            self.refs, self.arns = dict(refs), dict(arns)
            resources.restore()
            return
        for name, properties in of_type("AWS::DynamoDB::Table").items():
            self._table(name, properties)
        for name, properties in of_type("AWS::S3::Bucket").items():
            self._bucket(name, properties)
        queues = of_type("AWS::SQS::Queue")
        # A queue comes after its dead-letter queue.
        for name in sorted(queues, key=lambda name: "RedrivePolicy" in queues[name]):
            self._queue(name, queues[name])
        for name in of_type("AWS::SNS::Topic"):
            topic = self.client("sns").create_topic(Name=f"{STACK_NAME}-{name}")
            self.refs[name] = topic["TopicArn"]
        for name, properties in of_type("AWS::Events::EventBus").items():
            self.refs[name] = self.resolve(properties["Name"])
            bus = self.client("events").create_event_bus(Name=self.refs[name])
            self.arns[name] = bus["EventBusArn"]
        attributes = {f"{STACK_NAME}-{name}": self._attributes(queues[name]) for name in queues}
        resources = moto_patches.Resources.copy(attributes)
        _INITIAL.append((dict(self.refs), dict(self.arns), resources))

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
            (name,) = names_in(value)
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
        copied = ("KeySchema", "AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes")
        table = self.client("dynamodb").create_table(
            TableName=self.refs[name],
            **{key: self.resolve(properties[key]) for key in copied if key in properties},
        )
        self.arns[name] = table["TableDescription"]["TableArn"]

    def _bucket(self, name: str, properties: dict[str, Any]) -> None:
        self.refs[name] = f"{STACK_NAME}-{name}".lower()
        self.arns[name] = f"arn:aws:s3:::{self.refs[name]}"
        s3, bucket = self.client("s3"), {"Bucket": self.refs[name]}
        s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        versioning = self.resolve(properties["VersioningConfiguration"])
        s3.put_bucket_versioning(**bucket, VersioningConfiguration=versioning)

    def _queue(self, name: str, properties: dict[str, Any]) -> None:
        queue = self.client("sqs").create_queue(
            QueueName=f"{STACK_NAME}-{name}", Attributes=self._attributes(properties)
        )
        self.refs[name] = queue["QueueUrl"]
        self.arns[name] = f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{STACK_NAME}-{name}"

    def _attributes(self, properties: dict[str, Any]) -> dict[str, str]:
        """Return the properties of a queue in the template as attributes of SQS."""
        return {
            key: json.dumps(value) if isinstance(value, dict | bool) else str(value)
            for key, value in self.resolve(properties).items()
        }


# Names, ARNs and resources of the first stack of this process, which the next ones copy.
_INITIAL: list[tuple[dict[str, str], dict[str, str], moto_patches.Resources]] = []


@cache
def _client(service: Any) -> Any:
    session = boto3.Session(
        region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    return session.client(service)
