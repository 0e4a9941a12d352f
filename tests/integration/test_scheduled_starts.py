"""A schedule repeats its start: one that failed is made up for, one that succeeded stays one."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError
from moto.core.botocore_stubber import MockRawResponse
from tests.integration.test_monthly_mails import check_mailed, run_workers
from tests.integration.test_reports_api import REQUESTED, records
from tests.support.fake_stack import FakeStack
from tests.support.fault_injection import Killed

# The first of a month, in Mexico City; the schedules name the same moments in UTC.
DAILY = [f"2026-11-01T{hour}:{minute:02}:00Z" for hour in (11, 12) for minute in (0, 15, 30, 45)]
MONTHLY = [f"2026-11-01T{hour}:{minute:02}:00Z" for hour in (12, 13) for minute in (0, 15, 30, 45)]

STARTED = {"month": "2026-10", "requested": len(REQUESTED), "failed": {}}


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
    assert first == STARTED
    assert others == [STARTED | {"requested": 0}] * (len(MONTHLY) - 2)
    assert len(records(stack)) == len(REQUESTED)


def test_a_person_may_request_the_reports_of_a_started_month_again(
    on_the_first: FakeStack,
) -> None:
    start_monthly(on_the_first, MONTHLY[0])
    again = on_the_first.invoke("report", {"month": "previous", "scheduled_time": MONTHLY[3]})
    assert again == STARTED
    assert len(records(on_the_first)) == len(REQUESTED)


def reject_message(stack: FakeStack) -> None:
    """Let SQS accept a batch of messages except for the first one of acme-sf."""

    def hook(request: Any, **_: Any) -> AWSResponse | None:
        body = json.loads(request.body)
        if "acme-sf" not in str(body) or rejected:
            return None
        rejected.append({"Id": body["Entries"].pop(0)["Id"], "Code": "InternalError"})
        for entry in body["Entries"]:
            stack.aws.client("sqs").send_message(
                QueueUrl=body["QueueUrl"], MessageBody=entry["MessageBody"]
            )
        content: Any = MockRawResponse(json.dumps({"Successful": [], "Failed": rejected}))
        return AWSResponse(request.url, 200, {}, content)

    rejected: list[dict[str, str]] = []
    stack.aws_faults.watch("sqs", "SendMessageBatch", hook)


def throttle(stack: FakeStack) -> None:
    code = "ProvisionedThroughputExceededException"
    stack.aws_faults.reject("dynamodb", "PutItem", code, times=3, about="acme-sf")


def hide_secret(stack: FakeStack) -> None:
    stack.aws_faults.reject("secretsmanager", "GetSecretValue", "AccessDeniedException", times=1)


@pytest.mark.parametrize("fail", [reject_message, throttle, hide_secret])
# The reports of the other accounts may be mailed before the next start.
@pytest.mark.parametrize("mailed", [False, True])
def test_the_next_start_requests_the_accounts_that_failed(
    on_the_first: FakeStack, fail: Any, mailed: bool
) -> None:
    stack = on_the_first
    fail(stack)
    first = start_monthly(stack, MONTHLY[0])
    if mailed:
        run_workers(stack)

    again, last = (start_monthly(stack, due) for due in MONTHLY[1:3])
    run_workers(stack)

    (name,) = first["failed"]
    count = len([account for account, _ in REQUESTED if account == name])
    assert (again, last) == (STARTED | {"requested": count}, STARTED | {"requested": 0})
    check_mailed(stack, REQUESTED)
    (event, *supplements) = stack.events("Monthly Reports Completed")
    assert (event["accounts_failed"] == first["failed"]) == bool(supplements) == mailed


@pytest.mark.parametrize("call", [5, 12, 22])
def test_a_start_that_lambda_stopped_continues(on_the_first: FakeStack, call: int) -> None:
    stack = on_the_first
    calls = itertools.count(1)

    def stop(**_: Any) -> None:
        if next(calls) == call:
            raise Killed

    for service in ("dynamodb", "sqs"):
        stack.aws_faults.watch(service, "*", stop)
    with pytest.raises(Killed):
        start_monthly(stack, MONTHLY[0])
    run_workers(stack)

    # Lambda's own retry, then both deliveries of the next start.
    starts = [start_monthly(stack, due) for due in (MONTHLY[0], MONTHLY[1], MONTHLY[1])]
    run_workers(stack)

    assert starts == [STARTED, STARTED | {"requested": 0}, STARTED | {"requested": 0}]
    check_mailed(stack, REQUESTED)
    assert (len(records(stack)), len(stack.events("Report Ready"))) == (14, 14)


@pytest.mark.parametrize("time", ["five", "25:00", ""])
def test_a_start_with_an_invalid_time_fails(on_the_first: FakeStack, time: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|hour"):
        on_the_first.invoke("run", {"scheduled_time": DAILY[0], "time": time})
