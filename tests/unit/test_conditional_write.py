"""Conditional writes and transactions: lost responses and throttling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

import timbres.repositories.dynamodb
from timbres.repositories.dynamodb import conditional_write, serialize, transact_write

FAILED = "ConditionalCheckFailedException"


def writer(code: str | None, item: dict[str, Any] | None = None) -> Callable[..., Any]:
    def write(**request: Any) -> dict[str, Any]:
        assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
        if code is None:
            return {"Attributes": serialize(item or {})}
        response: Any = {"Error": {"Code": code, "Message": ""}}
        if item is not None:
            response["Item"] = serialize(item)
        raise ClientError(response, "UpdateItem")

    return write


@pytest.mark.parametrize(
    ("code", "item", "applied"),
    [
        pytest.param(None, {"a": 1}, True, id="took effect"),
        pytest.param(FAILED, {"a": 1, "b": 2}, True, id="took effect, and the response was lost"),
        pytest.param(FAILED, {"a": 2}, False, id="another writer was first"),
        pytest.param(FAILED, {"b": 1}, False, id="another item"),
        pytest.param(FAILED, None, False, id="no item"),
    ],
)
def test_after_a_failed_condition_the_item_is_compared(
    code: str | None, item: dict[str, Any] | None, applied: bool
) -> None:
    result = conditional_write(writer(code, item), {"a": 1}, TableName="t")
    assert result.applied is applied
    assert result.item == (item or {})


def test_any_other_error_of_a_write_is_raised() -> None:
    with pytest.raises(ClientError, match="ThrottlingException"):
        conditional_write(writer("ThrottlingException"), {"a": 1}, TableName="t")


class Transactions:
    """A client whose transactions fail as listed, and then succeed."""

    def __init__(self, *failures: tuple[str, ...]) -> None:
        self.failures = list(failures)
        self.tokens: list[str] = []

    def transact_write_items(
        self,
        TransactItems: list[Any],  # noqa: N803 boto3's name
        ClientRequestToken: str,  # noqa: N803
    ) -> None:
        self.tokens.append(ClientRequestToken)
        if not self.failures:
            return
        code, *reasons = self.failures.pop(0)
        response: Any = {
            "Error": {"Code": code, "Message": ""},
            "CancellationReasons": [{"Code": reason} for reason in reasons],
        }
        raise ClientError(response, "TransactWriteItems")


CANCELLED = "TransactionCanceledException"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    recorded: list[float] = []
    monkeypatch.setattr(timbres.repositories.dynamodb.time, "sleep", recorded.append)
    monkeypatch.setattr(
        timbres.repositories.dynamodb.random, "uniform", lambda _minimum, maximum: maximum
    )
    return recorded


@pytest.mark.parametrize(
    "failure",
    [
        (CANCELLED, "TransactionConflict", "None"),
        (CANCELLED, "None", "ThrottlingError"),
        (CANCELLED, "ProvisionedThroughputExceeded"),
        ("ProvisionedThroughputExceededException",),
        ("RequestLimitExceeded",),
        ("ThrottlingException",),
    ],
    ids=" ".join,
)
def test_a_transient_failure_of_a_transaction_is_retried(
    failure: tuple[str, ...], pauses: list[float]
) -> None:
    client = Transactions(failure, failure)
    assert transact_write(client, [{}, {}]) == set()
    assert len(client.tokens) == 3
    assert len(set(client.tokens)) == 1, "the same token, so that it is applied once"
    assert len(pauses) == 2


def test_throttling_is_waited_for_longer_than_a_conflict(pauses: list[float]) -> None:
    conflict, throttled = (CANCELLED, "TransactionConflict"), (CANCELLED, "ThrottlingError")
    transact_write(Transactions(*[conflict] * 7), [{}])
    conflict_seconds = sum(pauses)
    pauses.clear()
    transact_write(Transactions(*[throttled] * 7), [{}])
    assert sum(pauses) > 3 * conflict_seconds


def test_a_failed_condition_is_reported_and_not_retried(pauses: list[float]) -> None:
    client = Transactions((CANCELLED, "ConditionalCheckFailed", "TransactionConflict", "None"))
    assert transact_write(client, [{}, {}, {}]) == {0}
    assert pauses == []


@pytest.mark.parametrize(
    "failures",
    [
        [("AccessDeniedException",)],
        [(CANCELLED, "ValidationError")],
        [(CANCELLED, "TransactionConflict")] * 8,
    ],
    ids=["denied", "invalid", "no end"],
)
def test_a_permanent_failure_is_raised(
    failures: list[tuple[str, ...]], pauses: list[float]
) -> None:
    with pytest.raises(ClientError):
        transact_write(Transactions(*failures), [{}])
