"""A stack for integration tests: the functions of the template, moto and both fake PACs."""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
import botocore
import requests
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.faults import parse_fault
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from moto import mock_aws
from tools.openapi import response_validation

from tests.support import moto_patches
from tests.support.aws_faults import AwsFaults
from tests.support.clock import Clock, FakeTime
from tests.support.credential_search import Search
from tests.support.events import (
    CONTRACT_MANAGER,
    ApiResponse,
    LambdaContext,
    api_gateway_event,
    bus_event,
    load_function,
    schedule_event,
    sqs_event,
)
from tests.support.moto_stack import MotoStack
from tests.support.pac_servers import PacServer
from tests.support.template import AWS_ACCOUNT, REGION, WSDL, of_type, route, routes, template
from timbres.domain.issuer import Issuer
from timbres.handlers.invocation import logger
from timbres.repositories.dynamodb import serialize

RFC = "A&D061009TY8"
RFC_N = "ÑAN840101AB1"
RFC_NEW = "NUE200229AB3"
RC, SF = "acme-rc", "acme-sf"

PacServers = dict[str, tuple[PacServer, str]]
# The module `time` where the product waits for PACs, and where AWS's requests are repeated.
WAITING = [
    f"timbres.{module}.time"
    for module in (
        *("pacs.http", "aws.rate_limiter"),
        *("services.daily_run.account_stamps", "services.daily_run.bulk_query"),
    )
]
RETRYING = ["botocore.endpoint.time", "timbres.repositories.dynamodb.time"]


@dataclass(frozen=True)
class Credentials:
    """The credentials of the accounts, new for each stack."""

    api_key: str
    norte_api_key: str
    username: str
    password: str

    @classmethod
    def new(cls) -> Credentials:
        """Return new credentials, each with 32 letters in a row that occur nowhere else."""
        letters = "".join(secrets.choice("ghjkmnpqrstvwxyz") for _ in range(32))
        return cls(
            api_key=f"api-key-{letters}",
            norte_api_key=f"norte-key-{letters}",
            username=f"usuaria-{letters}@example.com",
            password=f'contraseña & <"{letters}">',
        )


@dataclass(frozen=True)
class Accounts:
    """The accounts of a stack: their secrets, rejections and known issuers."""

    _aws: MotoStack
    _credentials: Credentials
    _clock: Clock
    _urls: Mapping[str, str]

    def _id(self, name: str) -> str:
        return f"{self._aws.refs['SecretPrefix']}{name}"

    def create(self, name: str, value: Any) -> None:
        """Create an account's secret; a value that is not a text becomes JSON."""
        self._aws.client("secretsmanager").create_secret(
            Name=self._id(name), SecretString=_as_text(value)
        )

    def change(self, name: str, value: Any) -> None:
        self._aws.client("secretsmanager").put_secret_value(
            SecretId=self._id(name), SecretString=_as_text(value)
        )

    def delete(self, name: str) -> None:
        self._aws.client("secretsmanager").delete_secret(
            SecretId=self._id(name), ForceDeleteWithoutRecovery=True
        )

    def accept(self, name: str) -> None:
        """Store that the PAC accepted the current secret, so that no call is a first try."""
        secret = self._aws.client("secretsmanager").get_secret_value(SecretId=self._id(name))
        entry, at = f"{secret['VersionId']}#state", self._clock().isoformat()
        self._put("CredentialRejectionsTable", account=name, entry=entry, accepted_at=at)

    def _put(self, table: str, **item: Any) -> None:
        name, dynamodb = self._aws.refs[table], self._aws.client("dynamodb")
        dynamodb.put_item(TableName=name, Item=serialize(item))

    def secret(self, name: str, **changes: Any) -> dict[str, Any]:
        """Return the value of a valid secret, with changes; None removes a field."""
        value = {"environment": "sandbox"}
        if name == RC:
            value |= {"pac": "reachcore", "endpoint": self._urls["reachcore"]}
            value["api_key"] = self._credentials.api_key
        else:
            value |= {"pac": "solucion-factible", "endpoint": self._urls["factible"]}
            value |= {key: getattr(self._credentials, key) for key in ("username", "password")}
        return {key: item for key, item in (value | changes).items() if item is not None}

    def norte_secret(self) -> dict[str, Any]:
        return self.secret(RC, api_key=self._credentials.norte_api_key)

    def rejections(self) -> list[dict[str, Any]]:
        """Return the stored rejections of credentials, one per version of a secret."""
        items = self._aws.items("CredentialRejectionsTable")
        return [item for item in items if item["entry"].endswith("#rejection")]

    def clear_rejections(self) -> None:
        for item in self.rejections():
            self._aws.client("dynamodb").delete_item(
                TableName=self._aws.refs["CredentialRejectionsTable"],
                Key={key: {"S": item[key]} for key in ("account", "entry")},
            )

    def add_issuers(self, rfcs: Iterable[str], account: str = SF, **values: Any) -> None:
        """Store known issuers; ``values`` are further attributes of each."""
        since = self._clock().isoformat()
        for rfc in rfcs:
            stored = {"since": since, "urgency": Issuer(account, rfc).urgency} | values
            self._put("IssuersTable", account=account, rfc=rfc, **stored)

    def add_snapshots(self, counts: Mapping[str, Mapping[str, tuple[int, int]]]) -> None:
        """Store snapshots of 05:00 of acme-sf: contracted and used stamps, by RFC and day."""
        for rfc, days in counts.items():
            for day, (contracted, used) in days.items():
                stamps = {"contracted": contracted, "used": used, "available": contracted - used}
                key = {"account": SF, "entry": f"{day}#{rfc}", "at": f"{day}T05:00:00-06:00"}
                self._put("SnapshotsTable", **key, **stamps)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass
class Pacs:
    """Both fake PACs and their state. ``urls`` are their addresses on loopback."""

    state: FakePacState
    reachcore: FakeReachcore
    solucion_factible: FakeSolucionFactible
    urls: dict[str, str]

    @classmethod
    def start(cls, servers: PacServers, credentials: Credentials, clock: Clock) -> Pacs:
        """Serve both fake PACs, in their initial state."""
        own = asdict(credentials)
        state = demo_state(clock().date(), acme_api_key=own.pop("api_key"), **own)
        pacs = cls(
            state,
            FakeReachcore(state.reachcore, clock=clock),
            FakeSolucionFactible(state.solucion_factible, wsdl=WSDL, clock=clock),
            {name: url for name, (_, url) in servers.items()},
        )
        servers["reachcore"][0].serve_app(pacs.reachcore)
        servers["factible"][0].serve_app(pacs.solucion_factible)
        return pacs

    @property
    def fakes(self) -> tuple[FakePac, ...]:
        return self.reachcore, self.solucion_factible

    def fault(self, operation: str, fault: str, **options: Any) -> None:
        """Inject a fault into an operation, as the control endpoint of a fake PAC does."""
        (fake,) = (fake for fake in self.fakes if operation in fake.rules.kinds)
        options |= {"operation": operation, "fault": fault}
        fake.faults.put(parse_fault(options, fake.rules))

    def calls(self) -> list[str]:
        return [call["operation"] for fake in self.fakes for call in fake.calls.as_json()]

    def contracts(self) -> list[tuple[str, int]]:
        """Return the contracts at the PAC: RFC and stamps."""
        (account,) = self.state.solucion_factible.as_json()["accounts"]
        return [(contract["rfc"], contract["timbres"]) for contract in account["contracts"]]


@dataclass(frozen=True)
class Logs:
    """The logs of the functions and of the libraries below them."""

    _stream: io.StringIO

    @property
    def text(self) -> str:
        """All lines, as CloudWatch receives them."""
        return self._stream.getvalue()

    def lines(self, text: str = "") -> list[dict[str, Any]]:
        """Return the parsed lines whose message contains ``text``."""
        parsed = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in parsed if text in str(line.get("message"))]

    def clear(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()


@dataclass
class FakeStack:
    """One stack, both PACs, the accounts ``acme-rc`` and ``acme-sf``, and a clock.

    ``published`` are the entries of PutEvents, ``sends`` counts requests with a lost response,
    ``outputs`` are the responses and downloads so far.
    """

    aws: MotoStack
    clock: Clock
    credentials: Credentials
    accounts: Accounts
    pacs: Pacs
    logs: Logs
    time: FakeTime
    aws_faults: AwsFaults = field(default_factory=AwsFaults)
    published: list[dict[str, Any]] = field(default_factory=list)
    sends: Counter[str] = field(default_factory=Counter)
    outputs: list[str] = field(default_factory=list)
    _modules: dict[str, ModuleType] = field(default_factory=dict)
    _mailed_events: int = 0

    # Functions

    def function(self, folder: str) -> ModuleType:
        """Return the module of a function; it stays warm after the first use."""
        if folder not in self._modules:
            self._modules[folder] = self.load_function(folder)
        return self._modules[folder]

    def load_function(self, folder: str) -> ModuleType:
        """Return a new module of a function: a cold start."""
        with self.environment(folder):
            return load_function(folder)

    def reset_warm_functions(self) -> None:
        """Let the next invocation of each function be a cold start."""
        self._modules.clear()

    def invoke(
        self,
        folder: str,
        event: dict[str, Any],
        seconds: float | None = None,
        module: ModuleType | None = None,
    ) -> Any:
        """Invoke a function as Lambda does: JSON in, the template's environment, JSON out."""
        module = module or self.function(folder)
        context = LambdaContext(folder, seconds or self.aws.template.timeout(folder))
        with self.environment(folder):
            result = module.handler(json.loads(json.dumps(event)), context)
        text = json.dumps(result, ensure_ascii=False)
        # The limit of a Lambda response.
        assert len(text.encode()) < 6 * 1024 * 1024
        self.outputs.append(text)
        result = json.loads(text)
        if "httpMethod" in event:
            self._check_documented(event, result)
        return result

    def _check_documented(self, event: dict[str, Any], result: dict[str, Any]) -> None:
        """Check that docs/openapi.json allows the response of a documented route."""
        method, resource = event["httpMethod"], event["resource"]
        if any(
            trigger.properties["Path"] == resource and trigger.properties["Method"] != "ANY"
            for trigger, _ in routes(method, event["path"])
        ):
            own = self.parse_response(result)
            response_validation.check(method, resource, own.status, own.headers, own.text)

    @contextmanager
    def environment(self, folder: str) -> Iterator[None]:
        """Set exactly the environment variables that the template sets for a function."""
        settings = self.aws.template.environment(folder, self.aws.resolve)
        with patch.dict(os.environ, settings):
            for name in self.aws.template.environment_names() - settings.keys():
                os.environ.pop(name, None)
            yield

    # API

    def call(
        self,
        folder: str,
        method: str,
        path: str,
        query: Mapping[str, str | list[str]] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        caller: str = CONTRACT_MANAGER,
        *,
        is_base64: bool = False,
        seconds: float | None = None,
        module: ModuleType | None = None,
    ) -> ApiResponse:
        """Send a request; a ``body`` that is neither text nor bytes becomes JSON."""
        self.clock.forward(seconds=1)
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body, ensure_ascii=False)
        event = api_gateway_event(method, path, query, body, headers, caller, is_base64)
        return self.parse_response(self.invoke(folder, event, seconds, module))

    def parse_response(self, result: dict[str, Any]) -> ApiResponse:
        """Return the response that API Gateway makes of a function's result."""
        assert result["isBase64Encoded"] is False
        sent = result.get("headers", {}) | result.get("multiValueHeaders", {})
        headers = {
            name.lower(): value if isinstance(value, str) else ", ".join(value)
            for name, value in sent.items()
        }
        assert headers["cache-control"] == "no-store"
        return ApiResponse(result["statusCode"], headers, result["body"])

    def get(self, path: str, **query: str) -> ApiResponse:
        """Send a GET request to the function that the template routes it to."""
        return self.call(route("GET", path)[0].function, "GET", path, query)

    def create_contract(
        self,
        rfc: str = RFC,
        stamps: int = 500,
        key: str | None = None,
        account: str = SF,
        **options: Any,
    ) -> ApiResponse:
        """Request a contract, with a new Idempotency-Key unless ``key`` is given."""
        path, body = f"/accounts/{account}/contracts", {"rfc": rfc, "stamps": stamps}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return self.call("contract", "POST", path, body=body, headers=headers, **options)

    def reconcile(self, **later: float) -> dict[str, int]:
        """Run the reconciler later; return the number of contracts by new state."""
        self.clock.forward(**later)
        return dict(self.invoke("reconciler", {"scheduled_time": "2026-11-19T20:00:00Z"}))

    def request_report(
        self, account: str = RC, month: str = "2026-10", kind: str = "statement", form: str = "csv"
    ) -> ApiResponse:
        body = {"month": month, "kind": kind, "format": form}
        return self.call("report", "POST", f"/accounts/{account}/reports", body=body)

    def contract_items(self, prefix: str = "contract#") -> list[dict[str, Any]]:
        items = self.aws.items("ContractsTable")
        return [item for item in items if item["entry"].startswith(prefix)]

    # Queues

    def receive(self, queue: str = "ReportsQueue") -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        request = {"AttributeNames": ["All"], "MaxNumberOfMessages": 10}
        request["QueueUrl"] = self.aws.refs[queue]
        while page := self.aws.client("sqs").receive_message(**request).get("Messages"):
            messages += page
        return messages

    def deliver(
        self,
        seconds: float | None = None,
        queue: str = "ReportsQueue",
        function: str = "report_worker",
        batch_size: int = 1,
    ) -> tuple[int, int]:
        """Deliver the messages of a queue to its worker, in batches.

        Returns how many messages it processed, and how many it returned. Returned messages are
        visible again at once; those of runs after the time that the worker set.
        """
        sqs, url = self.aws.client("sqs"), self.aws.refs[queue]
        processed = returned = 0
        messages = self.receive(queue)
        for begin in range(0, len(messages), batch_size):
            batch = messages[begin : begin + batch_size]
            result = self.invoke(function, sqs_event(self.aws.arns[queue], batch), seconds)
            assert result.keys() == {"batchItemFailures"}
            failures = {failure["itemIdentifier"] for failure in result["batchItemFailures"]}
            assert failures <= {message["MessageId"] for message in batch}
            for message in batch:
                receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
                if message["MessageId"] in failures:
                    if queue != "RunsQueue":
                        sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
                    returned += 1
                else:
                    sqs.delete_message(**receipt)
                    processed += 1
        return processed, returned

    def queued_messages(self, queue: str = "ReportsQueue") -> int:
        name = "ApproximateNumberOfMessages"
        url = self.aws.refs[queue]
        response = self.aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        return int(response["Attributes"][name])

    # Daily run

    def run(self, due: datetime | None = None) -> dict[str, Any]:
        """Start the daily run as its schedule does, and deliver its messages.

        Returns the run of the API after the last message.
        """
        run_id = self.invoke("run", schedule_event(due or self.clock()))["id"]
        self.run_worker_until_idle()
        return dict(self.get(f"/runs/{run_id}").body)

    def run_worker_once(self, seconds: float | None = None) -> tuple[int, int]:
        """Deliver the visible messages of runs to the worker; see :meth:`deliver`."""
        return self.deliver(seconds, "RunsQueue", "run_worker")

    def run_worker_until_idle(self) -> None:
        """Deliver messages of runs until none is left, delayed messages in their time."""
        for _ in range(60):
            if self.run_worker_once() == (0, 0) and not self.advance_to_delayed():
                break

    def advance_to_delayed(self) -> float:
        """Move the clock to the next delayed message of a run; return the seconds."""
        skipped = moto_patches.advance_to_delayed(self.aws.refs["RunsQueue"])
        self.clock.forward(seconds=round(skipped))
        return skipped

    def close_overdue(self) -> list[dict[str, Any]]:
        return list(self.invoke("run", {"close": "overdue"})["closed"])

    # Events and mails

    def events(self, detail_type: str | None = None) -> list[dict[str, Any]]:
        """Return the details of the published events, of one type or of all."""
        for entry in self.published:
            assert entry.keys() == {"EventBusName", "Source", "DetailType", "Detail"}
            assert entry["EventBusName"] == self.aws.refs["Bus"]
            assert entry["Source"] == "timbres"
        return [
            json.loads(entry["Detail"])
            for entry in self.published
            if detail_type in (None, entry["DetailType"])
        ]

    def mails(self) -> list[str]:
        """Invoke the mail function for new events, as its rule does; return all mails.

        A mail is its subject, a blank line and its text.
        """
        (rule,) = (one for one in template().triggers() if one.kind == "EventBridgeRule")
        sources, types = (rule.properties["Pattern"][key] for key in ("source", "detail-type"))
        for entry in self.published[self._mailed_events :]:
            if entry["Source"] in sources and entry["DetailType"] in types:
                self.invoke(rule.function, bus_event(entry))
        self._mailed_events = len(self.published)
        sent = moto_patches.sent_mails(self.aws.refs["MailTopic"])
        return [f"{subject}\n\n{text}" for subject, text in sent]

    def clear_events(self) -> None:
        self.published.clear()
        self._mailed_events = 0

    # Output

    def download(self, url: str) -> requests.Response:
        response = requests.get(url, timeout=5)
        response.raise_for_status()
        self.outputs.append(response.content.decode(errors="replace"))
        return response

    def all_output(self) -> str:
        """Return everything that left the functions: responses, events, logs, items, objects."""
        texts = [*self.outputs, self.logs.text]
        texts += [entry["Detail"] for entry in self.published]
        for name in of_type("AWS::DynamoDB::Table"):
            texts += [str(item) for item in self.aws.items(name)]
        texts += [message["Body"] for message in self.receive()]
        s3, bucket = self.aws.client("s3"), self.aws.refs["ReportsBucket"]
        for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            content = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            texts.append(content.decode(errors="replace"))
        return "\n".join(texts)


@contextmanager
def running_fake_stack(servers: PacServers) -> Iterator[FakeStack]:
    """Build a stack on servers for both PACs, which get a new state.

    At the end, everything that left the functions is searched for credentials.
    """
    clock, fake_time = Clock(), FakeTime()
    published: list[dict[str, Any]] = []
    sends: Counter[str] = Counter()
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, _clean_environment(), clear=True))
        logs = stack.enter_context(_captured_logs())
        no_pause = SimpleNamespace(sleep=lambda _: None, time=time.time)
        for target, value in {
            "timbres.domain.clock.now": clock,
            **dict.fromkeys(WAITING, fake_time),
            **dict.fromkeys(RETRYING, no_pause),
        }.items():
            stack.enter_context(patch(target, value))
        stack.enter_context(mock_aws())
        stack.enter_context(patch.object(boto3, "DEFAULT_SESSION", _functions_session()))
        stack.enter_context(moto_patches.patched(published, sends))
        aws, credentials = MotoStack(template()), Credentials.new()
        pacs = Pacs.start(servers, credentials, clock)
        accounts = Accounts(aws, credentials, clock, pacs.urls)
        for name in (RC, SF):
            accounts.create(name, accounts.secret(name))
            accounts.accept(name)
        fake_stack = FakeStack(
            *(aws, clock, credentials, accounts, pacs, Logs(logs), fake_time),
            published=published,
            sends=sends,
        )
        try:
            yield fake_stack
            output = fake_stack.all_output()
        finally:
            fake_stack.aws_faults.restore()
    assert not Search(asdict(fake_stack.credentials)).found(output)


def _clean_environment() -> dict[str, str]:
    """Return an environment without the AWS account, profile and endpoint of the machine."""
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


@cache
def _functions_session() -> boto3.Session:
    # A session reads its files from disk once, as in a warm function.
    session = boto3.Session()
    # moto verifies no signature of DynamoDB; tests/e2e does.
    session.events.register("choose-signer.dynamodb", lambda **_: botocore.UNSIGNED)
    return session


@contextmanager
def _captured_logs() -> Iterator[io.StringIO]:
    """Capture what the functions log, and what libraries log at every level."""
    stream, root, own = io.StringIO(), logging.getLogger(), logger.registered_handler
    assert isinstance(own, logging.StreamHandler)
    for name in ("botocore", "boto3", "s3transfer", "moto", "responses", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
    others = logging.StreamHandler(stream)
    others.setFormatter(own.formatter)
    others.addFilter(lambda record: record.name != logger.name)
    before = (root.level, own.setStream(stream))
    root.addHandler(others)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(others)
        root.setLevel(before[0])
        own.setStream(before[1])
