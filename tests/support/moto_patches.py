"""Everything that the tests change in moto, or read from its internals, and why.

Each part names the upstream issue, or the missing interface.
"""

from __future__ import annotations

import base64
import copy
import functools
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import moto.dynamodb.models
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from moto import backend_index
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.exceptions import HTTPException, ServiceException
from moto.dynamodb.models import DynamoDBBackend, Table, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler
from moto.events.models import EventsBackend, events_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from tests.support.template import AWS_ACCOUNT, REGION

REFUSED = "X-Refused-By-The-Test"
LOST = "X-Response-Lost-By-The-Test"
"""Header of a request whose first response is lost; each value is counted in ``sends``."""

_SERVICES = {"dynamodb", "events", "s3", "secretsmanager", "sns", "sqs"}


@contextmanager
def patched(published: list[dict[str, Any]], sends: Counter[str]) -> Iterator[None]:
    """Change moto for a test. ``published`` receives the entries of PutEvents."""
    with _few_services(), _recorded_events(published), _lossy_transport(sends):
        yield


def _few_services() -> Any:
    # moto compares the URL of every request, also of those to a PAC, with all its services.
    # No issue: moto has no setting for it.
    patterns = [line for line in backend_index.backend_url_patterns if line[0] in _SERVICES]
    return patch.object(backend_index, "backend_url_patterns", patterns)


@contextmanager
def _recorded_events(published: list[dict[str, Any]]) -> Iterator[None]:
    """Record the entries of PutEvents. No issue: moto does not return published events."""
    put_events = EventsBackend.put_events

    def record(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
        published.extend(dict(event) for event in events)
        return put_events(backend, events)

    with patch.object(EventsBackend, "put_events", record):
        yield


@contextmanager
def _lossy_transport(sends: Counter[str]) -> Iterator[None]:
    """Lose a marked request (``REFUSED``), or its first response (``LOST``).

    No issue: moto cannot lose a response. botocore sees a closed connection or a timeout and
    retries. As in AWS, a transaction is applied once per token.
    """
    applied: set[str] = set()
    losses = itertools.cycle([ReadTimeoutError, ConnectionClosedError])

    def transport(stubber: BotocoreStubber, event_name: str, request: Any, **_: Any) -> Any:
        if REFUSED in request.headers:
            return None
        token = _transaction_token(request)
        if token in applied:
            response = _json_response(request, {})
        else:
            response = execute(stubber, event_name, request)
        if token and response.status_code == 200:
            applied.add(token)
        if mark := request.headers.get(LOST):
            sends[mark] += 1
            if sends[mark] == 1:
                raise next(losses)(endpoint_url=request.url, error="lost by the test")
        return response

    with _serialized_dynamodb() as execute, patch.object(BotocoreStubber, "__call__", transport):
        yield


def _transaction_token(request: Any) -> str | None:
    # botocore keeps a header's value as bytes.
    if b"TransactWriteItems" not in request.headers.get("X-Amz-Target", b""):
        return None
    return str(json.loads(request.body)["ClientRequestToken"])


def items(table: str) -> list[dict[str, Any]]:
    """Return all items of a table as DynamoDB's JSON, without a request."""
    moto_table = dynamodb_backends[AWS_ACCOUNT][REGION].tables[table]
    return [item.to_regular_json() for item in moto_table.all_items()]


def sent_mails(topic: str) -> list[tuple[str, str]]:
    """Return the subject and the text of each message to a topic."""
    sent = sns_backends[AWS_ACCOUNT][REGION].topics[topic].sent_notifications
    return [(subject, text) for _, text, subject, *_ in sent]


@dataclass(frozen=True)
class Resources:
    """Copies of empty resources, because creating them takes longer than most tests."""

    empty: list[dict[str, Any]]
    buckets: dict[str, Any]
    queues: dict[str, dict[str, str]]

    @classmethod
    def copy(cls, attributes: Mapping[str, dict[str, str]]) -> Resources:
        """Copy the present resources; ``attributes`` are those of each queue, by its name."""
        # A queue has a lock, which cannot be copied.
        return cls(
            copy.deepcopy(_stores()),
            dict(s3_backends.bucket_accounts),
            {name: attributes[name] for name in sqs_backends[AWS_ACCOUNT][REGION].queues},
        )

    def restore(self) -> None:
        """Create the resources again in an empty moto."""
        for store, empty in zip(_stores(), self.empty, strict=True):
            store.update(copy.deepcopy(empty))
        s3_backends.bucket_accounts.update(self.buckets)
        for name, attributes in self.queues.items():
            sqs_backends[AWS_ACCOUNT][REGION].create_queue(name, **attributes)


def _stores() -> list[dict[str, Any]]:
    return [
        dynamodb_backends[AWS_ACCOUNT][REGION].tables,
        s3_backends[AWS_ACCOUNT]["aws"].buckets,
        sns_backends[AWS_ACCOUNT][REGION].topics,
        events_backends[AWS_ACCOUNT][REGION].event_buses,
    ]


def clear_resources() -> None:
    """Remove all items, messages, objects and mails. No issue: moto resets only everything."""
    for table in dynamodb_backends[AWS_ACCOUNT][REGION].tables.values():
        table.items.clear()
    for queue in sqs_backends[AWS_ACCOUNT][REGION].queues.values():
        queue._messages = []
        queue._pending_messages = set()
    for bucket in s3_backends[AWS_ACCOUNT]["aws"].buckets.values():
        bucket.keys.clear()
        bucket.multiparts.clear()
    for topic in sns_backends[AWS_ACCOUNT][REGION].topics.values():
        topic.sent_notifications.clear()


def stored_messages(queue_url: str) -> list[Any]:
    """Return the messages of a queue, visible or not; ``visible_at`` is in milliseconds.

    No issue: moto's queues use the time of the machine, which a test cannot move.
    """
    name = queue_url.rpartition("/")[2]
    messages: list[Any] = sqs_backends[AWS_ACCOUNT][REGION].queues[name]._messages
    return messages


def make_visible() -> None:
    """Make every message of every queue visible now."""
    for queue in sqs_backends[AWS_ACCOUNT][REGION].queues.values():
        for message in queue._messages:
            message.visible_at = 0
        queue._pending_messages = set()


def advance_to_delayed(queue_url: str) -> float:
    """Make the next delayed message of a queue visible; return the skipped seconds."""
    now = time.time() * 1000
    delayed = [message for message in stored_messages(queue_url) if message.visible_at > now]
    if not delayed:
        return 0.0
    skipped = min(message.visible_at for message in delayed) - now
    for message in delayed:
        message.visible_at -= skipped + 1
    return skipped / 1000


# By the operation, the name of the method of moto's handler.
_OPERATIONS = {
    "".join(part.capitalize() for part in name.split("_")): name
    for name in (
        *("batch_get_item", "batch_write_item", "delete_item", "get_item", "put_item", "query"),
        *("scan", "transact_write_items", "update_item"),
    )
}


@contextmanager
def _serialized_dynamodb() -> Iterator[Callable[[BotocoreStubber, str, Any], AWSResponse]]:
    """Yield a function that executes a request in moto, one DynamoDB request at a time.

    moto is not thread-safe (https://github.com/getmoto/moto/issues/7164): a condition and its
    write are two steps, and a response is serialized from the stored item. It also copies every
    table before each step of a transaction (https://github.com/getmoto/moto/pull/9670); here
    only the items that the transaction writes are copied. Requests go to moto's handler as JSON,
    because the conversion to and from HTTP takes longer than the operation.
    """
    lock = threading.RLock()
    through_http = BotocoreStubber.__call__
    transact_write_items = DynamoDBBackend.transact_write_items

    def transacted(backend: DynamoDBBackend, steps: list[dict[str, Any]]) -> None:
        before = [_stored(backend, step) for step in steps]
        try:
            transact_write_items(backend, steps)
        except BaseException:
            for line, key, item in before:
                line.pop(key, None)
                if item is not None:
                    line[key] = item
            raise

    def execute(stubber: BotocoreStubber, event_name: str, request: Any) -> AWSResponse:
        _, service, operation = event_name.split(".")
        if service != "dynamodb":
            return through_http(stubber, event_name, request)
        with lock:
            if operation in _OPERATIONS:
                handler = DynamoHandler()
                handler.body = json.loads(request.body)
                handler.current_account, handler.region = AWS_ACCOUNT, REGION
                # A failed operation changes nothing; moto's HTTP interface words its error.
                with suppress(ServiceException, HTTPException):
                    return _json_response(
                        request, getattr(handler, _OPERATIONS[operation])().result
                    )
            return through_http(stubber, event_name, request)

    # moto copies every table before a transaction: each copy here is the table itself.
    copies = SimpleNamespace(
        deepcopy=lambda value: value if isinstance(value, Table) else copy.deepcopy(value)
    )
    with (
        # moto copies the tree of an expression before it changes it.
        patch.object(UpdateExpressionParser, "make", _parse),
        patch.object(DynamoDBBackend, "transact_write_items", transacted),
        patch.object(moto.dynamodb.models, "copy", copies),
    ):
        yield execute


def _json_response(request: Any, body: Any) -> AWSResponse:
    """Return a successful response of DynamoDB."""
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
    text = json.dumps(body, default=lambda value: base64.b64encode(value).decode())
    return AWSResponse(request.url, 200, headers, MockRawResponse(text))


_parse = functools.cache(UpdateExpressionParser.make)


def _stored(backend: DynamoDBBackend, step: dict[str, Any]) -> tuple[dict[Any, Any], Any, Any]:
    """Return where moto stores what a step writes, its key there, and a copy of the stored item."""
    ((_, request),) = step.items()
    table = backend.get_table(request["TableName"])
    attributes = request.get("Key") or request["Item"]
    line: dict[Any, Any] = table.items
    key = DynamoType(attributes[table.hash_key_attr])
    if table.range_key_attr is not None:
        line, key = line[key], DynamoType(attributes[table.range_key_attr])
    return line, key, copy.deepcopy(line.get(key))
