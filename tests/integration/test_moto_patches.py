"""DynamoDB answers as moto's own HTTP does, and an answer is what an item was when it was read."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.botocore_stubber import BotocoreStubber
from moto.dynamodb.models import DynamoDBBackend
from tests.support.fake_stack import SF, FakeStack

TABLE = "test"
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
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("put_item", {"TableName": TABLE, "Item": ITEM}),
    ("put_item", {"TableName": TABLE, "Item": ITEM, **CONDITION}),
    ("get_item", {"TableName": TABLE, "Key": KEY}),
    ("get_item", {"TableName": TABLE, "Key": OTHER}),
    ("get_item", {"TableName": "none", "Key": OTHER}),
    (
        "update_item",
        {
            "TableName": TABLE,
            "Key": KEY,
            "UpdateExpression": "SET #n = #n + :more",
            "ExpressionAttributeNames": {"#n": "number"},
            "ExpressionAttributeValues": {":more": {"N": "2"}},
            "ReturnValues": "ALL_NEW",
        },
    ),
    ("transact_write_items", {"TransactItems": [{"Put": {"TableName": TABLE, "Item": OTHER}}]}),
    (
        "transact_write_items",
        {
            "TransactItems": [
                {"Delete": {"TableName": TABLE, "Key": KEY}},
                {"Put": {"TableName": TABLE, "Item": OTHER, **CONDITION}},
            ]
        },
    ),
    (
        "query",
        {
            "TableName": TABLE,
            "KeyConditionExpression": "account = :account",
            "ExpressionAttributeValues": {":account": {"S": SF}},
            "Limit": 1,
        },
    ),
    ("scan", {"TableName": TABLE}),
    ("scan", {"TableName": TABLE, "FilterExpression": "attribute_exists("}),
    ("batch_get_item", {"RequestItems": {TABLE: {"Keys": [KEY, OTHER]}}}),
    (
        "batch_write_item",
        {"RequestItems": {TABLE: [{"DeleteRequest": {"Key": OTHER}}]}},
    ),
    ("delete_item", {"TableName": TABLE, "Key": KEY, "ReturnValues": "ALL_OLD"}),
]


def test_dynamodb_answers_as_through_its_http(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = answers(stack)
    with monkeypatch.context() as patched:
        patched.setattr(BotocoreStubber, "__call__", THROUGH_HTTP)
        whole = answers(stack)

    assert short == whole
    errors = [answer["Error"]["Code"] for answer in short if "Error" in answer]
    assert errors == [
        "ConditionalCheckFailedException",
        "ResourceNotFoundException",
        "TransactionCanceledException",
        "ValidationException",
    ]


THROUGH_HTTP = BotocoreStubber.__call__


def answers(stack: FakeStack) -> list[dict[str, Any]]:
    """Make each call to a new table; return what a client makes of the answers."""
    dynamodb = stack.aws.client("dynamodb")
    schema = [("account", "HASH"), ("entry", "RANGE")]
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in schema],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in schema],
    )
    received = []
    for operation, request in CALLS:
        try:
            answer = getattr(dynamodb, operation)(**request)
        except ClientError as error:
            answer = error.response
        received.append({key: value for key, value in answer.items() if key != "ResponseMetadata"})
    dynamodb.delete_table(TableName=TABLE)
    return received


def test_an_answer_is_what_an_item_was_whatever_is_written_meanwhile(
    stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["RateLimitTable"]
    first, second = ({"account": {"S": SF}, "version": {"N": version}} for version in "12")
    dynamodb.put_item(TableName=table, Item=first)
    get_item = DynamoDBBackend.get_item
    writer = threading.Thread(target=dynamodb.put_item, kwargs={"TableName": table, "Item": second})

    def meanwhile(backend: DynamoDBBackend, *args: Any, **named: Any) -> Any:
        item = get_item(backend, *args, **named)
        monkeypatch.undo()
        writer.start()
        writer.join(0.1)
        return item

    monkeypatch.setattr(DynamoDBBackend, "get_item", meanwhile)
    answer = dynamodb.get_item(TableName=table, Key={"account": {"S": SF}})
    writer.join()

    assert answer["Item"] == first
    assert dynamodb.get_item(TableName=table, Key={"account": {"S": SF}})["Item"] == second
