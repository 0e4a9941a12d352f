"""A schedule repeats its start: one that failed is made up for, one that succeeded stays one."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.integration.test_reports_api import REQUESTED, records
from tests.support.fake_stack import FakeStack

# The first of a month, in Mexico City; the schedules name the same moments in UTC.
DAILY = [f"2026-11-01T{hour}:{minute:02}:00Z" for hour in (11, 12) for minute in (0, 15, 30, 45)]
MONTHLY = [f"2026-11-01T{hour}:{minute:02}:00Z" for hour in (12, 13) for minute in (0, 15, 30, 45)]


@pytest.fixture
def on_the_first(stack: FakeStack) -> FakeStack:
    """A stack at 05:00 on November 1st."""
    stack.clock.at = stack.clock.at.replace(month=11, day=1, hour=5, minute=0, second=0)
    return stack


def stop_dynamodb(stack: FakeStack) -> None:
    """Let every call that a start makes to DynamoDB fail until `restore_aws`."""
    for operation in ("GetItem", "PutItem", "UpdateItem", "Query", "TransactWriteItems"):
        stack.aws_faults.reject("dynamodb", operation, "InternalServerError", 500)


def start_daily(stack: FakeStack, due: str) -> Any:
    return stack.invoke("run", {"scheduled_time": due, "time": "05:00"})


def start_monthly(stack: FakeStack, due: str) -> Any:
    return stack.invoke("report", {"month": "previous", "scheduled_time": due, "time": "06:00"})


@pytest.mark.parametrize("start", [start_daily, start_monthly])
def test_a_start_fails_visibly_while_its_tables_are_unavailable(
    on_the_first: FakeStack, start: Any
) -> None:
    stop_dynamodb(on_the_first)
    # Lambda retries a function that raises, and keeps the event in the end.
    with pytest.raises((BotoCoreError, ClientError)):
        start(on_the_first, DAILY[0])


def test_the_daily_run_starts_once_after_an_outage(on_the_first: FakeStack) -> None:
    stack = on_the_first
    stop_dynamodb(stack)
    with pytest.raises((BotoCoreError, ClientError)):
        start_daily(stack, DAILY[0])
    stack.aws_faults.restore()
    ids = []
    for due in DAILY[1:]:
        stack.clock.forward(minutes=15)
        ids.append(start_daily(stack, due)["id"])
    assert set(ids) == {"2026-11-01-050000"}
    assert [run["id"] for run in stack.get("/runs").body["runs"]] == ["2026-11-01-050000"]


def test_the_monthly_reports_are_requested_once_after_an_outage(on_the_first: FakeStack) -> None:
    stack = on_the_first
    stop_dynamodb(stack)
    with pytest.raises((BotoCoreError, ClientError)):
        start_monthly(stack, MONTHLY[0])
    stack.aws_faults.restore()
    stack.clock.forward(minutes=75)
    first, *others = (start_monthly(stack, due) for due in MONTHLY[1:])
    assert [(one["account"], one["id"]) for one in first["asked"]] == REQUESTED
    assert others == [{"started": "2026-11-01 for 2026-10"}] * (len(MONTHLY) - 2)
    assert len(records(stack)) == len(REQUESTED)


def test_a_person_may_request_the_reports_of_a_started_month_again(
    on_the_first: FakeStack,
) -> None:
    start_monthly(on_the_first, MONTHLY[0])
    again = on_the_first.invoke("report", {"month": "previous", "scheduled_time": MONTHLY[3]})
    assert [(one["account"], one["id"]) for one in again["asked"]] == REQUESTED
    assert len(records(on_the_first)) == len(REQUESTED)


@pytest.mark.parametrize("time", ["five", "25:00", ""])
def test_a_start_with_an_invalid_time_fails(on_the_first: FakeStack, time: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|hour"):
        on_the_first.invoke("run", {"scheduled_time": DAILY[0], "time": time})
