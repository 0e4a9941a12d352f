"""What the tests of the handlers stand on: the template's resources in moto, and a way in.

Nothing of the stack is repeated here: tables, bucket, queues, bus, rules, environment
variables and routes are read from template.yaml.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib.util
import io
import itertools
import json
import logging
import os
import re
import secrets
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import boto3
import botocore
import botocore.endpoint
import requests
from boto3.dynamodb.types import TypeSerializer
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.faults import parse_fault
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from moto import backend_index, mock_aws
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.dynamodb.models import dynamodb_backends
from moto.events.models import EventsBackend, events_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import SQSBackend, sqs_backends
from samtranslator.yaml_helper import yaml_parse
from tests.integration.dynamodb_front import json_answer, whole_requests
from tools.openapi import response_validation

import timbres.aws.rate_limiter
import timbres.pacs.http
import timbres.repositories.dynamodb
import timbres.services.daily_run.bulk_query
from timbres.aws import clients as session
from timbres.domain import clock as timbres_clock
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.issuer import Issuer
from timbres.handlers.http import logger

ROOT = Path(__file__).parents[2]
WSDL = ROOT / "layers" / "timbres" / "timbres" / "pacs" / "solucion_factible" / "utilerias.wsdl"
REGION = "mx-central-1"
AWS_ACCOUNT = "111122223333"
STACK = "timbres-test"
MANAGER = f"arn:aws:iam::{AWS_ACCOUNT}:user/compras"
START = datetime(2026, 11, 19, 13, 53, 41, tzinfo=MEXICO_CITY)
PROBLEM = "application/problem+json"

RFC = "A&D061009TY8"
RFC_N = "ÑAN840101AB1"
RFC_NEW = "NUE200229AB3"
RC, SF = "acme-rc", "acme-sf"


# --------------------------------------------------------------------------- the template


@dataclass(frozen=True)
class Trigger:
    """What starts a function: ``label`` is its folder and the name of the event."""

    function: str
    name: str
    kind: str
    properties: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.function}/{self.name}"


class Template:
    """template.yaml as its own text says it, before any transform."""

    def __init__(self) -> None:
        self.text = yaml_parse((ROOT / "template.yaml").read_text())
        self.resources: dict[str, dict[str, Any]] = self.text["Resources"]
        self.parameters = {
            name: value.get("Default") for name, value in self.text["Parameters"].items()
        }

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each resource of a type by its logical id, with its properties."""
        for name, resource in self.resources.items():
            if resource["Type"] == kind:
                yield name, resource.get("Properties", {})

    def triggers(self) -> list[Trigger]:
        """Return every trigger of every function."""
        return [
            Trigger(_folder(properties), name, event["Type"], event.get("Properties", {}))
            for _, properties in self.of_type("AWS::Serverless::Function")
            for name, event in properties.get("Events", {}).items()
        ]

    def environment(self, folder: str, resolve: Callable[[Any], str]) -> dict[str, str]:
        """Return the environment variables that the template sets for a function."""
        shared = self.text["Globals"]["Function"]["Environment"]["Variables"]
        for _, properties in self.of_type("AWS::Serverless::Function"):
            if _folder(properties) == folder:
                own = properties.get("Environment", {}).get("Variables", {})
                return {name: resolve(value) for name, value in (shared | own).items()}
        raise LookupError(f"template.yaml has no function in {folder}")

    def timeout(self, folder: str) -> float:
        """Return the seconds that a function may take."""
        for _, properties in self.of_type("AWS::Serverless::Function"):
            if _folder(properties) == folder:
                return float(properties.get("Timeout", self.text["Globals"]["Function"]["Timeout"]))
        raise LookupError(folder)


def _folder(properties: dict[str, Any]) -> str:
    return str(properties["CodeUri"]).rstrip("/").rpartition("/")[2]


@cache
def template() -> Template:
    """Return the template, parsed once."""
    return Template()


# ------------------------------------------------------------------------ AWS, out of moto


class Stack:
    """The template's resources as moto holds them; ``refs`` are the values of ``!Ref``."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self.refs: dict[str, str] = {
            "AWS::StackName": STACK,
            "AWS::Region": REGION,
            "AWS::AccountId": AWS_ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "Api": "a1b2c3d4e5",
            **{name: str(value) for name, value in template.parameters.items()},
            # As in the local environment: the accounts are at fake PACs.
            "AllowSandboxAccounts": "true",
        }
        self.arns: dict[str, str] = {}
        if _CREATED:
            _CREATED[0].recreate(self)
            return
        for name, properties in template.of_type("AWS::DynamoDB::Table"):
            self._table(name, properties)
        for name, properties in template.of_type("AWS::S3::Bucket"):
            self._bucket(name, properties)
        waiting = list(template.of_type("AWS::SQS::Queue"))
        # A queue comes after the dead letter queue that it names.
        for name, properties in sorted(waiting, key=lambda one: "RedrivePolicy" in one[1]):
            self._queue(name, properties)
        for name, _ in template.of_type("AWS::SNS::Topic"):
            self.refs[name] = self.client("sns").create_topic(Name=f"{STACK}-{name}")["TopicArn"]
        for name, properties in template.of_type("AWS::Events::EventBus"):
            self.refs[name] = self.resolve(properties["Name"])
            answer = self.client("events").create_event_bus(Name=self.refs[name])
            self.arns[name] = answer["EventBusArn"]
        _CREATED.append(_Created(self))

    def client(self, service: str) -> Any:
        """Return a client of the tests' own, without the time-outs of the functions'."""
        return _client_of_the_tests(service)

    def resolve(self, value: Any) -> Any:
        """Return a value of the template with If, Ref, GetAtt and Sub filled in."""
        while isinstance(value, dict) and value.keys() == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            value = then if self._holds({"Condition": condition}) else otherwise
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
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
        return {name: self.resolve(one) for name, one in value.items()}

    def _holds(self, condition: dict[str, Any]) -> bool:
        """Return the value of a condition of the template."""
        ((function, argument),) = condition.items()
        if function == "Condition":
            return self._holds(self.template.text["Conditions"][argument])
        if function == "Fn::Equals":
            left, right = (self.resolve(one) for one in argument)
            return bool(left == right)
        values = [self._holds(one) for one in argument]
        if function == "Fn::Not":
            return not values[0]
        return all(values) if function == "Fn::And" else any(values)

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return every item of a table, by its logical id in the template, as moto keeps them."""
        kept = dynamodb_backends[AWS_ACCOUNT][REGION].tables[self.refs[table]]
        return [item.to_regular_json() for item in kept.all_items()]

    def _table(self, name: str, properties: dict[str, Any]) -> None:
        self.refs[name] = f"{STACK}-{name}"
        handed_on = (
            "KeySchema",
            "AttributeDefinitions",
            "BillingMode",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
        )
        answer = self.client("dynamodb").create_table(
            TableName=self.refs[name],
            **{key: self.resolve(properties[key]) for key in handed_on if key in properties},
        )
        self.arns[name] = answer["TableDescription"]["TableArn"]

    def _bucket(self, name: str, properties: dict[str, Any]) -> None:
        self.refs[name] = f"{STACK}-{name}".lower()
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
        answer = self.client("sqs").create_queue(
            QueueName=f"{STACK}-{name}", Attributes=self.queue_attributes(properties)
        )
        self.refs[name] = answer["QueueUrl"]
        self.arns[name] = f"arn:aws:sqs:{REGION}:{AWS_ACCOUNT}:{STACK}-{name}"

    def queue_attributes(self, properties: dict[str, Any]) -> dict[str, str]:
        """Return a queue's properties of the template as SQS takes them."""
        return {
            key: json.dumps(value) if isinstance(value, dict | bool) else str(value)
            for key, value in self.resolve(properties).items()
        }


class _Created:
    """The empty resources of the first stack of this process, to be copied for the next ones."""

    def __init__(self, stack: Stack) -> None:
        self._names = (dict(stack.refs), dict(stack.arns))
        self._empty = copy.deepcopy(_resources())
        self._buckets = dict(s3_backends.bucket_accounts)
        # A queue has a lock, which cannot be copied.
        self._queues = {
            f"{STACK}-{name}": stack.queue_attributes(properties)
            for name, properties in stack.template.of_type("AWS::SQS::Queue")
        }
        self._queues = {name: self._queues[name] for name in _sqs().queues}

    def recreate(self, stack: Stack) -> None:
        """Give moto, which has none, the resources anew, and a stack their names."""
        stack.refs, stack.arns = map(dict, self._names)
        for kept, empty in zip(_resources(), self._empty, strict=True):
            kept.update(copy.deepcopy(empty))
        s3_backends.bucket_accounts.update(self._buckets)
        for name, attributes in self._queues.items():
            _sqs().create_queue(name, **attributes)


def _resources() -> list[dict[str, Any]]:
    return [
        dynamodb_backends[AWS_ACCOUNT][REGION].tables,
        s3_backends[AWS_ACCOUNT]["aws"].buckets,
        sns_backends[AWS_ACCOUNT][REGION].topics,
        events_backends[AWS_ACCOUNT][REGION].event_buses,
    ]


def _sqs() -> SQSBackend:
    return sqs_backends[AWS_ACCOUNT][REGION]


_CREATED: list[_Created] = []


@cache
def _client_of_the_tests(service: Any) -> Any:
    return _session_of_the_tests().client(service)


@cache
def _session_of_the_tests() -> boto3.Session:
    return boto3.Session(
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


# ------------------------------------------------------------------------------ the clock


class Clock:
    """The time in Mexico City: it stands still until a test moves it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        """Let time pass, given as to timedelta."""
        self.at = (self.at + timedelta(**by)).astimezone(MEXICO_CITY)


class FakeTime:
    """The seconds by which the pace of calls is kept: a worker's rest is over at once.

    ``real`` lets rests last as long as they are.
    """

    def __init__(self) -> None:
        self.real = False
        self.sleeps: list[float] = []
        self._ahead = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        return time.time() + self._ahead

    def sleep(self, seconds: float) -> None:
        if self.real:
            time.sleep(seconds)
            return
        with self._lock:
            self.sleeps.append(seconds)
            self._ahead += seconds


# ---------------------------------------------------------------------------- the way in


class LambdaContext:
    """The context that Lambda hands to a handler."""

    function_version = "$LATEST"
    memory_limit_in_mb = 512

    def __init__(self, function: str, seconds: float) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = f"{STACK}-{function}"
        self.invoked_function_arn = (
            f"arn:aws:lambda:{REGION}:{AWS_ACCOUNT}:function:{self.function_name}"
        )
        self.log_group_name = f"/aws/lambda/{STACK}-{function}"
        self.log_stream_name = "2026/11/19/[$LATEST]0"
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@dataclass(frozen=True)
class ApiResponse:
    """What the gateway hands to the caller; ``headers`` by their lower-case names."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


_numbers = itertools.count(1)
_MODULE_PREFIX = "timbres_function_"


def load_function(folder: str) -> ModuleType:
    """Import functions/<folder>/app.py afresh, as a cold start does."""
    name = f"{_MODULE_PREFIX}{folder}_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "functions" / folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    settings = template().environment(folder, lambda _: "read at the first use")
    try:
        with patch.dict(os.environ, settings):
            spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def proxy_event(
    method: str,
    path: str,
    query: Mapping[str, str | list[str]] | None = None,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    caller: str = MANAGER,
    is_base64: bool = False,
) -> dict[str, Any]:
    """Return the event that a REST API with IAM authorisation sends for a request."""
    resource, parameters = _route(method, path)
    sent = {
        "Accept": "*/*",
        "Host": f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com",
        "User-Agent": "curl/8.11.1",
        "X-Amz-Date": "20261119T195341Z",
        "X-Amzn-Trace-Id": "Root=1-691e0000-0123456789abcdef01234567",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        **({"Content-Type": "application/json"} if body is not None else {}),
        **(headers or {}),
    }
    many = {
        name: [value] if isinstance(value, str) else list(value)
        for name, value in (query or {}).items()
    }
    raw = body.encode() if isinstance(body, str) else body
    text = None if raw is None else base64.b64encode(raw).decode() if is_base64 else raw.decode()
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": {name: values[-1] for name, values in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "abc123",
            "resourcePath": resource,
            "httpMethod": method,
            "extendedRequestId": "U0Zxample0123=",
            "requestTime": "19/Nov/2026:19:53:41 +0000",
            "path": f"/dev{path}",
            "accountId": AWS_ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": "dev",
            "domainPrefix": "a1b2c3d4e5",
            "requestTimeEpoch": 1795118021000,
            "requestId": "5c1a3f0e-0000-4000-8000-1234567890ab",
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": AWS_ACCOUNT,
                "cognitoIdentityId": None,
                "caller": "AIDA-OF-THE-EXAMPLE",
                "sourceIp": "203.0.113.7",
                "principalOrgId": None,
                "accessKey": "AKIA-OF-THE-EXAMPLE",
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": caller,
                "userAgent": "curl/8.11.1",
                "user": "AIDA-OF-THE-EXAMPLE",
            },
            "domainName": f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com",
            "deploymentId": "dep123",
            "apiId": "a1b2c3d4e5",
        },
        "body": text,
        "isBase64Encoded": is_base64,
    }


def _route(method: str, path: str) -> tuple[str, dict[str, str]]:
    """Return the resource of the template that API Gateway picks, and its path parameters."""
    for found in _routes(method, path):
        return found
    raise LookupError(f"template.yaml has no route for {method} {path}")


def _routes(method: str, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    for trigger in template().triggers():
        if trigger.kind != "Api" or trigger.properties["Method"] != method:
            continue
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", trigger.properties["Path"])
        match = re.fullmatch(pattern, path)
        if match:
            yield trigger.properties["Path"], match.groupdict()


def sqs_event(queue_arn: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the event that Lambda makes of messages received from a queue."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(message["Body"].encode()).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": queue_arn,
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


def bus_event(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the event that a rule of the bus hands to a function."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": AWS_ACCOUNT,
        "time": "2026-11-19T19:53:41Z",
        "region": REGION,
        "resources": [],
        "detail": json.loads(entry["Detail"]),
    }


# ------------------------------------------------------------------------------- the world


@dataclass(frozen=True)
class Credentials:
    """What the accounts sign in with; every one is new, and to be seen nowhere."""

    api_key: str
    norte_api_key: str
    username: str
    password: str

    @classmethod
    def new(cls) -> Credentials:
        # Without digits and vowels: no id, hash or text has a part of it by chance.
        one = "".join(secrets.choice("ghjkmnpqrstvwxyz") for _ in range(32))
        return cls(
            api_key=f"api-key-{one}",
            norte_api_key=f"norte-key-{one}",
            username=f"usuaria-{one}@example.com",
            password=f'contraseña & <"{one}">',
        )

    def shapes(self) -> Iterator[str]:
        """Yield every form in which a credential could show."""
        for value in (self.api_key, self.norte_api_key, self.username, self.password):
            yield value
            yield quote(value)
            yield json.dumps(value)[1:-1]
            yield json.dumps(value, ensure_ascii=False)[1:-1]
            yield value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            yield base64.b64encode(value.encode()).decode().rstrip("=")[:-1]
        # The part of the password that no escaping changes.
        yield self.password[-34:-2]


class SwappableApp:
    """A WSGI application that hands on to another, which may be exchanged while it serves."""

    def __init__(self) -> None:
        self.app: Any = None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


@dataclass
class FakeStack:
    """One stack, both PACs, the accounts ``acme-rc`` and ``acme-sf``, and a clock."""

    stack: Stack
    clock: Clock
    credentials: Credentials
    books: FakePacState
    reachcore: FakeReachcore
    factible: FakeSolucionFactible
    urls: dict[str, str]
    logs: io.StringIO
    ticks: FakeTime
    published: list[dict[str, Any]] = field(default_factory=list)
    sends: Counter[str] = field(default_factory=Counter)
    outputs: list[str] = field(default_factory=list)
    _modules: dict[str, ModuleType] = field(default_factory=dict)
    cleanups: list[Callable[[], None]] = field(default_factory=list)
    _breaks: list[list[int]] = field(default_factory=list)
    _mailed_events: int = 0

    # ------------------------------------------------------------------ the functions

    def function(self, folder: str) -> ModuleType:
        """Return a function, warm once it has been used."""
        if folder not in self._modules:
            self._modules[folder] = load_function(folder)
        return self._modules[folder]

    def reset_warm_functions(self) -> None:
        """Forget every warm function, so that the next call is a cold start."""
        self._modules.clear()

    def invoke(
        self,
        folder: str,
        event: dict[str, Any],
        seconds: float | None = None,
        module: ModuleType | None = None,
    ) -> Any:
        """Run a function as Lambda does: JSON in, the template's environment, JSON out."""
        module = module or self.function(folder)
        context = LambdaContext(folder, seconds or self.stack.template.timeout(folder))
        with self.environment(folder):
            result = module.handler(json.loads(json.dumps(event)), context)
        text = json.dumps(result, ensure_ascii=False)
        # Lambda hands an answer on as UTF-8, 6 MB at most.
        assert len(text.encode()) < 6 * 1024 * 1024
        self.outputs.append(text)
        result = json.loads(text)
        if "httpMethod" in event:
            self._check_described(event, result)
        return result

    def _check_described(self, event: dict[str, Any], result: dict[str, Any]) -> None:
        """Check that docs/openapi.json has such an answer of such a route, if it is one."""
        method, path = event["httpMethod"], event["path"]
        if any(route == event["resource"] for route, _ in _routes(method, path)):
            answer = self.parse_response(result)
            response_validation.check(
                method, event["resource"], answer.status, answer.headers, answer.text
            )

    @contextmanager
    def environment(self, folder: str) -> Iterator[None]:
        """Set what the template sets for a function, and nothing of the others."""
        settings = self.stack.template.environment(folder, self.stack.resolve)
        with patch.dict(os.environ, settings):
            for name in _all_settings():
                if name not in settings:
                    os.environ.pop(name, None)
            yield

    def call(
        self,
        folder: str,
        method: str,
        path: str,
        query: Mapping[str, str | list[str]] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        caller: str = MANAGER,
        *,
        is_base64: bool = False,
        seconds: float | None = None,
        module: ModuleType | None = None,
    ) -> ApiResponse:
        """Send a request through the gateway; ``body`` is JSON unless text or bytes."""
        self.clock.forward(seconds=1)
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body, ensure_ascii=False)
        event = proxy_event(method, path, query, body, headers, caller, is_base64)
        return self.parse_response(self.invoke(folder, event, seconds, module))

    def parse_response(self, result: dict[str, Any]) -> ApiResponse:
        """Return a function's result as the gateway makes an answer of it."""
        assert result["isBase64Encoded"] is False
        headers = {
            name.lower(): value if isinstance(value, str) else ", ".join(value)
            for name, value in {
                **result.get("headers", {}),
                **result.get("multiValueHeaders", {}),
            }.items()
        }
        assert headers["cache-control"] == "no-store"
        return ApiResponse(result["statusCode"], headers, result["body"])

    def get(self, path: str, **query: str) -> ApiResponse:
        """GET a path of the API from the function that the template names."""
        return self.call(_function_of("GET", path), "GET", path, query)

    def create_contract(
        self,
        rfc: str = RFC,
        stamps: int = 500,
        key: str | None = None,
        account: str = SF,
        **more: Any,
    ) -> ApiResponse:
        """Ask for a contract, under a new Idempotency-Key unless one is given."""
        return self.call(
            "contract",
            "POST",
            f"/accounts/{account}/contracts",
            body={"rfc": rfc, "stamps": stamps},
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
            **more,
        )

    def request_report(
        self,
        account: str = RC,
        month: str = "2026-10",
        kind: str = "statement",
        form: str = "csv",
    ) -> ApiResponse:
        """Ask for a report."""
        body = {"month": month, "kind": kind, "format": form}
        return self.call("report", "POST", f"/accounts/{account}/reports", body=body)

    # -------------------------------------------------------------------- the queue

    def receive(self, queue: str = "ReportsQueue") -> list[dict[str, Any]]:
        """Return the messages of a queue, as Lambda receives them."""
        messages: list[dict[str, Any]] = []
        while (
            page := self.stack.client("sqs")
            .receive_message(
                QueueUrl=self.stack.refs[queue],
                AttributeNames=["All"],
                MaxNumberOfMessages=10,
            )
            .get("Messages")
        ):
            messages += page
        return messages

    def deliver(
        self,
        seconds: float | None = None,
        queue: str = "ReportsQueue",
        function: str = "report_worker",
        together: int = 1,
    ) -> tuple[int, int]:
        """Hand the messages of a queue to its worker, so many at a time, as the template says.

        Returns how many it took and how many it gave back; these can be delivered again,
        their count of receipts raised, until the queue puts them aside. Those of runs come
        again when the worker says, or after the queue's visibility timeout.
        """
        sqs, url = self.stack.client("sqs"), self.stack.refs[queue]
        taken = returned = 0
        messages = self.receive(queue)
        for begin in range(0, len(messages), together):
            some = messages[begin : begin + together]
            result = self.invoke(function, sqs_event(self.stack.arns[queue], some), seconds)
            assert result.keys() == {"batchItemFailures"}
            back = {one["itemIdentifier"] for one in result["batchItemFailures"]}
            assert back <= {message["MessageId"] for message in some}
            for message in some:
                receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
                if message["MessageId"] in back:
                    if queue != "RunsQueue":
                        sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
                    returned += 1
                else:
                    sqs.delete_message(**receipt)
                    taken += 1
        return taken, returned

    def run(self, due: datetime | None = None, rounds: int = 60) -> dict[str, Any]:
        """Start the daily run as its schedule does, and let the workers end it.

        Returns the run's record, as far as it has come when no message is left.
        """
        due = due or self.clock()
        payload = {"scheduled_time": due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        run_id = self.invoke("run", payload)["id"]
        self.run_worker_until_idle(rounds)
        return dict(self.get(f"/runs/{run_id}").body)

    def run_worker_once(self, seconds: float | None = None, together: int = 1) -> tuple[int, int]:
        """Hand the batches of runs that wait in the queue now to the worker."""
        return self.deliver(seconds, "RunsQueue", "run_worker", together)

    def run_worker_until_idle(self, rounds: int = 60, seconds: float | None = None) -> None:
        """Let the worker count until no batch is left, those held back in their time."""
        for _ in range(rounds):
            if self.run_worker_once(seconds) == (0, 0) and not self.advance_to_delayed():
                break

    def advance_to_delayed(self) -> float:
        """Let the time pass until the next message of a run comes again; return the seconds."""
        name = self.stack.refs["RunsQueue"].rpartition("/")[2]
        queue = sqs_backends[AWS_ACCOUNT][REGION].queues[name]
        now = time.time() * 1000
        held = [message for message in queue._messages if message.visible_at > now]
        if not held:
            return 0.0
        passed = min(message.visible_at for message in held) - now
        self.clock.forward(seconds=round(passed / 1000))
        for message in held:
            message.visible_at -= passed + 1
        return passed / 1000

    def close_overdue(self) -> list[dict[str, Any]]:
        """Close the runs that have taken too long, as the schedule does."""
        return list(self.invoke("run", {"close": "overdue"})["closed"])

    def add_issuers(self, rfcs: Iterable[str], account: str = SF, **values: Any) -> None:
        """Make issuers known at once; ``values`` are what the table holds of each."""
        table, pack = self.stack.refs["IssuersTable"], TypeSerializer().serialize
        puts = [
            {
                "PutRequest": {
                    "Item": {
                        key: pack(value)
                        for key, value in {
                            "account": account,
                            "rfc": rfc,
                            "since": self.clock().isoformat(),
                            "urgency": Issuer(account, rfc).urgency,
                            **values,
                        }.items()
                    }
                }
            }
            for rfc in rfcs
        ]
        for begin in range(0, len(puts), 25):
            self.stack.client("dynamodb").batch_write_item(
                RequestItems={table: puts[begin : begin + 25]}
            )

    def queued_messages(self, queue: str = "ReportsQueue") -> int:
        """Return how many messages of a queue could be received now."""
        answer = self.stack.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.refs[queue], AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    # ---------------------------------------------------------------------- the bus

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the details of the events published so far, of one kind or of all."""
        for entry in self.published:
            assert entry.keys() == {"EventBusName", "Source", "DetailType", "Detail"}
            assert entry["EventBusName"] == self.stack.refs["Bus"]
            assert entry["Source"] == "timbres"
        return [
            json.loads(entry["Detail"])
            for entry in self.published
            if kind in (None, entry["DetailType"])
        ]

    def mails(self) -> list[str]:
        """Let the mail function tell of the events so far, as its rule does; return all mails.

        Each is its subject, a blank line and its text.
        """
        (rule,) = (one for one in template().triggers() if one.kind == "EventBridgeRule")
        pattern = rule.properties["Pattern"]
        assert pattern.keys() == {"source", "detail-type"}
        for entry in self.published[self._mailed_events :]:
            if (
                entry["Source"] in pattern["source"]
                and entry["DetailType"] in (pattern["detail-type"])
            ):
                self.invoke(rule.function, bus_event(entry))
        self._mailed_events = len(self.published)
        topic = sns_backends[AWS_ACCOUNT][REGION].topics[self.stack.refs["MailTopic"]]
        return [f"{subject}\n\n{text}" for _, text, subject, *_ in topic.sent_notifications]

    def forget_events(self) -> None:
        """Forget all events and mails."""
        self.published.clear()
        self._mailed_events = 0

    # --------------------------------------------------------------------- accounts

    def create_account(self, name: str, value: Any) -> None:
        """Create an account's secret; a value that is not a text becomes JSON."""
        self.stack.client("secretsmanager").create_secret(
            Name=f"{self.stack.refs['SecretPrefix']}{name}",
            SecretString=value if isinstance(value, str) else json.dumps(value),
        )

    def change_account(self, name: str, value: Any) -> None:
        """Give an account's secret a new value."""
        self.stack.client("secretsmanager").put_secret_value(
            SecretId=f"{self.stack.refs['SecretPrefix']}{name}",
            SecretString=value if isinstance(value, str) else json.dumps(value),
        )

    def accept(self, name: str) -> None:
        """Let the PAC have accepted the secret as it is now, so that no call is a trial."""
        secrets = self.stack.client("secretsmanager")
        secret = secrets.get_secret_value(SecretId=f"{self.stack.refs['SecretPrefix']}{name}")
        self.stack.client("dynamodb").put_item(
            TableName=self.stack.refs["CredentialRejectionsTable"],
            Item={
                "account": {"S": name},
                "entry": {"S": f"{secret['VersionId']}#state"},
                "accepted_at": {"S": self.clock().isoformat()},
            },
        )

    def secret(self, name: str, **changes: Any) -> dict[str, Any]:
        """Return what the secret of a good account says, with changes; None leaves out."""
        if name == RC:
            value = {
                "pac": "reachcore",
                "environment": "sandbox",
                "endpoint": self.urls["reachcore"],
                "api_key": self.credentials.api_key,
            }
        else:
            value = {
                "pac": "solucion-factible",
                "environment": "sandbox",
                "endpoint": self.urls["factible"],
                "username": self.credentials.username,
                "password": self.credentials.password,
            }
        return {key: one for key, one in (value | changes).items() if one is not None}

    # ------------------------------------------------------------------------ PACs

    def fault(self, operation: str, fault: str, **more: Any) -> None:
        """Inject a fault into a PAC's operation, as the fake PAC's control endpoint does."""
        sandbox: FakePac = (
            self.reachcore if operation in self.reachcore.rules.kinds else self.factible
        )
        payload = {"operation": operation, "fault": fault, **more}
        sandbox.faults.put(parse_fault(payload, sandbox.rules))

    def calls(self) -> list[str]:
        """Return the operations that both PACs were asked for, in order."""
        return [
            call["operation"]
            for sandbox in (self.reachcore, self.factible)
            for call in sandbox.calls.as_json()
        ]

    def pac_contracts(self) -> list[tuple[str, int]]:
        """Return the contracts in the PAC's state: RFC and stamps."""
        (account,) = self.books.solucion_factible.as_json()["accounts"]
        return [(one["rfc"], one["timbres"]) for one in account["contracts"]]

    def contract_items(self, prefix: str = "contract#") -> list[dict[str, Any]]:
        """Return the journal's items of one sort."""
        items = self.stack.items("ContractsTable")
        return [item for item in items if item["entry"].startswith(prefix)]

    def clear_rejections(self) -> None:
        """Let rejected secrets be tried again, as an operator would."""
        table = self.stack.refs["CredentialRejectionsTable"]
        for item in self.rejections():
            self.stack.client("dynamodb").delete_item(
                TableName=table,
                Key={key: {"S": item[key]} for key in ("account", "entry")},
            )

    def rejections(self) -> list[dict[str, Any]]:
        """Return the rejections noted: an item for each version of a secret."""
        items = self.stack.items("CredentialRejectionsTable")
        return [item for item in items if item["entry"].endswith("#rejection")]

    # -------------------------------------------------------------------- AWS fails

    def break_aws(
        self,
        service: str,
        operation: str,
        code: str,
        status: int = 400,
        *,
        after: int = 0,
        times: int = 1_000,
        members: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Let calls of the functions to AWS fail over the wire, after the first ``after``.

        What fails has no effect. ``members`` are further ones of the error's body. Returns
        a list that grows with each failure.
        """
        failures: list[str] = []
        left = [after, times]
        self._breaks.append(left)

        def hook(request: Any, **_: Any) -> AWSResponse | None:
            if left[0] > 0 or left[1] <= 0:
                left[0] -= 1
                return None
            left[1] -= 1
            failures.append(operation)
            request.headers[_REFUSED] = "yes"
            if service == "s3":
                body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            else:
                body = json.dumps({"__type": code, "message": "no", **(members or {})}).encode()
            return AWSResponse(
                request.url,
                status,
                {"Content-Type": "application/x-amz-json-1.0"},  # type: ignore[arg-type]
                MockRawResponse(body),
            )

        self.watch_aws(service, operation, hook)
        return failures

    def lose_response(self, service: str, operation: str, *, after: int = 0) -> list[str]:
        """Let AWS apply one call of the functions, after ``after`` others, and lose its response.

        botocore sends it again. Returns a list that grows when the response is lost.
        """
        lost: list[str] = []
        left = [after]

        def hook(request: Any, **_: Any) -> None:
            if left[0] == 0:
                lost.append(operation)
                request.headers[LOST] = str(uuid.uuid4())
            left[0] -= 1

        self.watch_aws(service, operation, hook)
        return lost

    def lose_write_response(self, number: int) -> list[str]:
        """Let a write to DynamoDB take effect, the ``number``-th from now, and lose its response.

        The SDK repeats it. Returns a list with the operation once that has happened.
        """
        lost: list[str] = []
        left = [number]

        def hook(request: Any, event_name: str, **_: Any) -> None:
            if left[0] == 0:
                lost.append(event_name.rpartition(".")[2])
                request.headers[LOST] = str(uuid.uuid4())
            left[0] -= 1

        for operation in ("PutItem", "UpdateItem", "TransactWriteItems"):
            self.watch_aws("dynamodb", operation, hook)
        return lost

    def watch_aws(self, service: str, operation: str, hook: Callable[..., Any]) -> None:
        """Show each request of the functions to AWS to ``hook`` before it is sent."""
        events, name = session.client(service).meta.events, f"before-send.{service}.{operation}"
        events.register(name, hook)
        # The clients outlive this world.
        self.cleanups.append(lambda: events.unregister(name, hook))

    def restore_aws(self) -> None:
        """Let AWS work again."""
        for left in self._breaks:
            left[1] = 0

    # ------------------------------------------------------------------------ files

    def download(self, url: str) -> requests.Response:
        """Follow a presigned link."""
        response = requests.get(url, timeout=5)
        response.raise_for_status()
        self.outputs.append(response.content.decode(errors="replace"))
        return response

    # --------------------------------------------------------------------- the log

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the lines that the functions logged."""
        return [json.loads(line) for line in self.logs.getvalue().splitlines()]

    def log_lines_with(self, words: str) -> list[dict[str, Any]]:
        """Return the logged lines that contain some words."""
        return [line for line in self.log_lines() if words in str(line.get("message"))]

    def all_output(self) -> str:
        """Return all that left the functions: answers, events, logs, items, objects."""
        texts = [*self.outputs, self.logs.getvalue()]
        texts += [entry["Detail"] for entry in self.published]
        for name, _ in self.stack.template.of_type("AWS::DynamoDB::Table"):
            texts += [str(item) for item in self.stack.items(name)]
        texts += [message["Body"] for message in self.receive()]
        s3, bucket = self.stack.client("s3"), self.stack.refs["ReportsBucket"]
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            content = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            texts.append(content.decode(errors="replace"))
        return "\n".join(texts)


@cache
def _all_settings() -> frozenset[str]:
    text = template().text
    names = set(text["Globals"]["Function"]["Environment"]["Variables"])
    for _, properties in template().of_type("AWS::Serverless::Function"):
        names |= set(properties.get("Environment", {}).get("Variables", {}))
    return frozenset(names)


def _function_of(method: str, path: str) -> str:
    resource, _ = _route(method, path)
    return next(
        trigger.function
        for trigger in template().triggers()
        if trigger.kind == "Api"
        and (trigger.properties["Method"], trigger.properties["Path"]) == (method, resource)
    )


@contextmanager
def running_fake_stack(switches: dict[str, tuple[SwappableApp, str]]) -> Iterator[FakeStack]:
    """Build a fake stack on fake PACs that are already served; their state is reset.

    At its end, whatever left the functions is searched for credentials.
    """
    clock, ticks = Clock(), FakeTime()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, _clean_environment(), clear=True))
        logs = stack.enter_context(_captured_logs())
        for target, name, value in (
            (timbres_clock, "now", clock),
            # Attempts follow one another at once; how many there are stays as it is.
            (timbres.pacs.http, "_BACKOFF_SECONDS", 0.0),
            (timbres.services.daily_run.bulk_query, "time", ticks),
            (timbres.aws.rate_limiter, "time", ticks),
            (botocore.endpoint, "time", SimpleNamespace(sleep=lambda _: None, time=time.time)),
            # A transaction is repeated at once; how often stays as it is.
            (timbres.repositories.dynamodb, "time", SimpleNamespace(sleep=lambda _: None)),
        ):
            stack.enter_context(patch.object(target, name, value))
        stack.enter_context(patch.object(backend_index, "backend_url_patterns", _SERVICES))
        stack.enter_context(mock_aws())
        stack.enter_context(patch.object(session, "_session", _session_of_the_functions))
        world = _new_world(switches, logs, clock, ticks)
        stack.enter_context(_recorded_events(world.published))
        stack.enter_context(_lossy_transport(world.sends))
        try:
            yield world
            everything = world.all_output()
        finally:
            for undo in world.cleanups:
                undo()
    for shape in world.credentials.shapes():
        assert shape not in everything, "a credential was shown"


def _new_world(
    switches: dict[str, tuple[SwappableApp, str]], logs: io.StringIO, clock: Clock, ticks: FakeTime
) -> FakeStack:
    credentials = Credentials.new()
    books = demo_state(
        clock().date(),
        acme_api_key=credentials.api_key,
        norte_api_key=credentials.norte_api_key,
        username=credentials.username,
        password=credentials.password,
    )
    world = FakeStack(
        stack=Stack(template()),
        clock=clock,
        credentials=credentials,
        books=books,
        reachcore=FakeReachcore(books.reachcore, clock=clock),
        factible=FakeSolucionFactible(books.solucion_factible, wsdl=WSDL, clock=clock),
        urls={name: url for name, (_, url) in switches.items()},
        logs=logs,
        ticks=ticks,
    )
    switches["reachcore"][0].app = world.reachcore
    switches["factible"][0].app = world.factible
    for name in (RC, SF):
        world.create_account(name, world.secret(name))
        world.accept(name)
    return world


def _clean_environment() -> dict[str, str]:
    """Return an environment that knows no AWS account, profile or endpoint but moto's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "MOTO_ACCOUNT_ID": AWS_ACCOUNT,
    }


# moto looks at the addresses of all its services, at each request of a PAC too.
_SERVICES = [
    (service, pattern)
    for service, pattern in backend_index.backend_url_patterns
    if service in {"dynamodb", "events", "s3", "secretsmanager", "sns", "sqs"}
]


@cache
def _session_of_the_functions() -> boto3.Session:
    # As warm as a process is: what a session reads from disk, it reads once.
    made = boto3.Session()
    # moto checks no signature of DynamoDB's; tests/e2e has one that does.
    made.events.register("choose-signer.dynamodb", lambda **_: botocore.UNSIGNED)
    return made


_LIBRARIES_OF_THE_TESTS = ("botocore", "boto3", "s3transfer", "moto", "responses", "werkzeug")


@contextmanager
def _captured_logs() -> Iterator[io.StringIO]:
    """Give what the functions log, each line as CloudWatch gets it.

    What the libraries under them log, at every level, is in the same place.
    """
    written = io.StringIO()
    own = logger.registered_handler
    assert isinstance(own, logging.StreamHandler)
    others = logging.StreamHandler(written)
    others.setFormatter(own.formatter)
    others.addFilter(lambda record: record.name != logger.name)
    root = logging.getLogger()
    before = (root.level, own.setStream(written))
    levels = {name: logging.getLogger(name).level for name in _LIBRARIES_OF_THE_TESTS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING)
    root.addHandler(others)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.removeHandler(others)
        root.setLevel(before[0])
        own.setStream(before[1])
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _recorded_events(published: list[dict[str, Any]]) -> Iterator[None]:
    """Keep what arrives at the bus; moto itself does not show it."""
    put_events = EventsBackend.put_events

    def recorded(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
        published.extend(dict(event) for event in events)
        return put_events(backend, events)

    with patch.object(EventsBackend, "put_events", recorded):
        yield


_REFUSED = "X-Refused-By-The-Test"
# A request whose first response is lost; the value is its own and counted in ``FakeStack.sends``.
LOST = "X-Response-Lost-By-The-Test"


@contextmanager
def _lossy_transport(sends: Counter[str]) -> Iterator[None]:
    """Let the wire to moto lose what a test marks: a request (refused), or its first response.

    A lost response is what botocore makes of a closed connection or a time-out, so that its
    own retries run. A transaction that was applied is applied once for each token, as by AWS.
    """
    applied: set[str] = set()
    losses = itertools.cycle([ReadTimeoutError, ConnectionClosedError])

    def on_the_wire(stubber: BotocoreStubber, event_name: str, request: Any, **_: Any) -> Any:
        if _REFUSED in request.headers:
            return None
        token = _transaction_token(request)
        if token in applied:
            response = json_answer(request, {})
        else:
            response = carry_out(stubber, event_name, request)
        if token and response.status_code == 200:
            applied.add(token)
        if mark := request.headers.get(LOST):
            sends[mark] += 1
            if sends[mark] == 1:
                raise next(losses)(endpoint_url=request.url, error="lost by the test")
        return response

    with (
        whole_requests(AWS_ACCOUNT, REGION) as carry_out,
        patch.object(BotocoreStubber, "__call__", on_the_wire),
    ):
        yield


def _transaction_token(request: Any) -> str | None:
    # botocore keeps a header's value as bytes.
    if b"TransactWriteItems" not in request.headers.get("X-Amz-Target", b""):
        return None
    return str(json.loads(request.body)["ClientRequestToken"])


def check_problem(
    answer: ApiResponse,
    status: int,
    code: str,
    field: str | None = None,
) -> dict[str, Any]:
    """Check that an answer is a problem document, whole; return its members."""
    assert answer.headers["content-type"] == PROBLEM, answer.text
    body: dict[str, Any] = answer.body
    assert (answer.status, body["status"], body["code"]) == (status, status, code), answer.text
    assert body["type"] == f"urn:timbres:problem:{code}"
    assert body["title"]
    assert body["detail"].strip()
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", body["instance"])
    assert body.get("field") == field, answer.text
    return body
