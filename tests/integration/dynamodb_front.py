"""DynamoDB's requests of items, taken from the wire to moto's handler and back.

moto reads a request as HTTP, by the model of its service, and writes the answer by it again:
for DynamoDB that is JSON to JSON, and takes longer than the operation itself.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import moto.dynamodb.models
from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.exceptions import HTTPException, ServiceException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler

_OPERATIONS = {
    "BatchGetItem": DynamoHandler.batch_get_item,
    "BatchWriteItem": DynamoHandler.batch_write_item,
    "DeleteItem": DynamoHandler.delete_item,
    "GetItem": DynamoHandler.get_item,
    "PutItem": DynamoHandler.put_item,
    "Query": DynamoHandler.query,
    "Scan": DynamoHandler.scan,
    "TransactWriteItems": DynamoHandler.transact_write_items,
    "UpdateItem": DynamoHandler.update_item,
}
_CarryOut = Callable[[BotocoreStubber, str, Any], AWSResponse]


@contextlib.contextmanager
def whole_requests(account: str, region: str) -> Iterator[_CarryOut]:
    """Give a way to carry out a request that moto has; DynamoDB's are one after another, whole.

    In AWS a condition and the write that it guards are one step, and an answer is what an item
    was in it; in moto they are several, and the answer is written from the stored item.
    Before a transaction moto copies its tables, once for each step; what the steps write is
    enough.
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

    def carry_out(stubber: BotocoreStubber, event_name: str, request: Any) -> AWSResponse:
        _, service, operation = event_name.split(".")
        if service != "dynamodb":
            return through_http(stubber, event_name, request)
        with lock:
            if operation in _OPERATIONS:
                handler = DynamoHandler()
                handler.body = json.loads(request.body)
                handler.current_account, handler.region = account, region
                # moto's own way words the error: what failed has changed nothing, and fails again.
                with contextlib.suppress(ServiceException, HTTPException):
                    return json_answer(request, _OPERATIONS[operation](handler).result)
            return through_http(stubber, event_name, request)

    copies = SimpleNamespace(deepcopy=_copy_of_an_item)
    with (
        # Who changes the tree of an expression copies it first.
        patch.object(UpdateExpressionParser, "make", _parse),
        patch.object(DynamoDBBackend, "transact_write_items", transacted),
        patch.object(moto.dynamodb.models, "copy", copies),
    ):
        yield carry_out


def json_answer(request: Any, body: Any) -> AWSResponse:
    """Return DynamoDB's answer to a request that it has carried out."""
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, 200, headers, MockRawResponse(json.dumps(body)))


_parse = functools.cache(UpdateExpressionParser.make)


def _copy_of_an_item(value: Any) -> Any:
    return value if isinstance(value, moto.dynamodb.models.Table) else copy.deepcopy(value)


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
