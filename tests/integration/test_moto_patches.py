"""DynamoDB responds as through moto's HTTP, with an item as it was when it was read."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb.models import DynamoDBBackend
from tests.support.fake_stack import SF, FakeStack

THROUGH_HTTP = BotocoreStubber.__call__
TABLE = {"TableName": "test"}
ITEM: dict[str, Any] = {
    "account": {"S": SF},
    "entry": {"S": "ñ"},
    "number": {"N": "0.10"},
    "list": {"L": [{"NULL": True}, {"BOOL": False}, {"M": {"key": {"S": ""}}}]},
    "set": {"SS": ["b", "a"]},
}
KEY = {name: ITEM[name] for name in ("account", "entry")}
OTHER = {**KEY, "entry": {"S": "o"}}
CONDITION = {"ConditionExpression": "attribute_not_exists(entry)"}
QUERY = {
    "KeyConditionExpression": "account = :account",
    "ExpressionAttributeValues": {":account": {"S": SF}},
    "Limit": 1,
}
UPDATE = {
    "UpdateExpression": "SET #n = #n + :more",
    "ExpressionAttributeNames": {"#n": "number"},
    "ExpressionAttributeValues": {":more": {"N": "2"}},
    "ReturnValues": "ALL_NEW",
}
PUT_OTHER, DELETE = {"Put": TABLE | {"Item": OTHER}}, {"Delete": TABLE | {"Key": KEY}}
PUT_ANEW = {"Put": TABLE | {"Item": OTHER, **CONDITION}}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("put_item", TABLE | {"Item": ITEM}),
    ("put_item", TABLE | {"Item": ITEM, **CONDITION}),
    ("get_item", TABLE | {"Key": KEY}),
    ("get_item", TABLE | {"Key": OTHER}),
    ("get_item", {"TableName": "none", "Key": OTHER}),
    ("update_item", TABLE | {"Key": KEY, **UPDATE}),
    ("transact_write_items", {"TransactItems": [PUT_OTHER]}),
    ("transact_write_items", {"TransactItems": [DELETE, PUT_ANEW]}),
    ("query", TABLE | QUERY),
    ("scan", TABLE),
    ("scan", TABLE | {"FilterExpression": "attribute_exists("}),
    ("batch_get_item", {"RequestItems": {"test": {"Keys": [KEY, OTHER]}}}),
    ("batch_write_item", {"RequestItems": {"test": [{"DeleteRequest": {"Key": OTHER}}]}}),
    ("delete_item", TABLE | {"Key": KEY, "ReturnValues": "ALL_OLD"}),
]


def responses(stack: FakeStack) -> list[dict[str, Any]]:
    """Send each request to a new table; return what a client makes of the responses."""
    dynamodb = stack.aws.client("dynamodb")
    dynamodb.create_table(
        **TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "account", "KeyType": "HASH"},
            {"AttributeName": "entry", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in KEY],
    )
    received = []
    for operation, request in REQUESTS:
        try:
            response = getattr(dynamodb, operation)(**request)
        except ClientError as error:
            response = error.response
        received.append({key: response[key] for key in response if key != "ResponseMetadata"})
    dynamodb.delete_table(**TABLE)
    return received


def test_dynamodb_responds_as_through_http(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = responses(stack)
    monkeypatch.setattr(BotocoreStubber, "__call__", THROUGH_HTTP)

    assert direct == responses(stack)
    assert [response["Error"]["Code"] for response in direct if "Error" in response] == [
        "ConditionalCheckFailedException",
        "ResourceNotFoundException",
        "TransactionCanceledException",
        "ValidationException",
    ]


def test_a_response_is_the_item_before_a_write_meanwhile(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["RateLimitTable"]
    first, second = ({"account": {"S": SF}, "version": {"N": version}} for version in "12")
    dynamodb.put_item(TableName=table, Item=first)
    get_item = DynamoDBBackend.get_item
    writer = threading.Thread(target=dynamodb.put_item, kwargs={"TableName": table, "Item": second})

    def get_then_write(backend: DynamoDBBackend, *args: Any, **named: Any) -> Any:
        item = get_item(backend, *args, **named)
        monkeypatch.undo()
        writer.start()
        writer.join(0.1)
        return item

    monkeypatch.setattr(DynamoDBBackend, "get_item", get_then_write)
    during = dynamodb.get_item(TableName=table, Key={"account": {"S": SF}})
    writer.join()

    assert during["Item"] == first
    assert dynamodb.get_item(TableName=table, Key={"account": {"S": SF}})["Item"] == second
