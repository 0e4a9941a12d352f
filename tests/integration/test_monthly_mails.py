"""Each monthly report is requested and mailed once, whatever is late, repeated or broken off.

tests/unit/test_monthly_reports.py runs random sequences; the matrix of failures loses responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from boto3.dynamodb.types import Binary
from tests.support.clock import START
from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.mail_samples import (
    ALL_FAILED,
    OCTOBER,
    RUN_OF_OCTOBER,
    reports_of_2000_accounts,
)
from tests.support.reports import monthly_reports, run_monthly, run_workers
from tests.support.template import template

from timbres.domain.download_token import download_token_hash
from timbres.domain.report import FILE_FORMATS, PENDING
from timbres.repositories.dynamodb import serialize
from timbres.repositories.reports import MonthlyRunRepository

REQUESTED = monthly_reports("csv")
STARTED = {"month": "2026-10", "requested": len(REQUESTED), "failed": {}}


@pytest.fixture
def stack(stack: FakeStack) -> FakeStack:
    """A stack whose monthly reports have one format; the others take longer."""
    stack.aws.refs["MonthlyFormats"] = "csv"
    return stack


def start_by_schedule(stack: FakeStack, minute: int) -> Any:
    """Start the run as its schedule does every 15 minutes from 06:00 in Mexico City."""
    return run_monthly(stack, minute=minute, time="06:00")


def close(stack: FakeStack, hours: int = 5) -> Any:
    stack.clock.forward(hours=hours)
    return stack.invoke("report", {"close": "overdue"})


def check_mailed(stack: FakeStack, reports: Sequence[tuple[str, str]]) -> None:
    """Check that the mails so far link each of these reports, (account, id), once."""
    url = template().environment("mail", stack.aws.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for text in stack.mails() for line in text.splitlines()]
    tokens = {item["ticket"]: item for item in stack.aws.items("DownloadTokensTable")}
    linked = [tokens[download_token_hash(line.removeprefix(url))] for line in lines if url in line]
    assert Counter((item["account"], item["id"]) for item in linked) == Counter(reports)


def check_requested(stack: FakeStack, *others: tuple[str, str]) -> None:
    """Check that each monthly report, and each of the others, is stored once."""
    items = [item for item in stack.aws.items("ReportsTable") if item["account"][0] != "#"]
    assert sorted((i["account"], i["id"]) for i in items) == sorted([*REQUESTED, *others])


@pytest.mark.parametrize(("hours", "mailed"), [([5, 1, 1], REQUESTED), ([5, 7 * 24], [])])
def test_the_closing_schedule_repeats_a_start_that_broke_off_for_a_week(
    stack: FakeStack, hours: list[int], mailed: list[tuple[str, str]]
) -> None:
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)
    with pytest.raises(Exception, match="InternalServerError"):
        run_monthly(stack)
    stack.aws_faults.restore()
    run_workers(stack)

    for pause in hours:
        close(stack, pause)
        run_workers(stack)

    check_mailed(stack, mailed)
    check_requested(stack)
    event = stack.events("Monthly Reports Completed")[0]
    assert (event["ready"], event["accounts_failed"]) == (0, {"all": "internal-error"})


# A run of another day leaves pending reports to their own run.
@pytest.mark.parametrize(("work_between", "day"), [(True, 1), (False, 2)])
def test_a_repeated_start_mails_nothing_again(
    stack: FakeStack, work_between: bool, day: int
) -> None:
    run_monthly(stack)
    if work_between:
        run_workers(stack)
    stack.clock.forward(hours=1)

    run_monthly(stack, day)
    run_workers(stack)
    run_monthly(stack)
    close(stack, 0)

    check_mailed(stack, REQUESTED)
    check_requested(stack)


@pytest.mark.parametrize("response", ["late", "lost"])
def test_a_run_adopts_a_report_that_is_about_to_be_ready(stack: FakeStack, response: str) -> None:
    stack.request_report()
    if response == "lost":
        stack.aws_faults.lose_response("dynamodb", "UpdateItem")
        run_monthly(stack)
    else:
        # The worker stores that the report is ready after the run has adopted it.
        stack.aws_faults.before("dynamodb", "UpdateItem", lambda: run_monthly(stack))
        stack.deliver()
    run_workers(stack)

    check_mailed(stack, REQUESTED)
    check_requested(stack)
    assert len(stack.mails()) == 1


def test_a_report_that_was_ready_just_before_the_run_is_mailed_separately(stack: FakeStack) -> None:
    stack.request_report()
    stack.aws_faults.before("dynamodb", "UpdateItem", stack.deliver)

    run_monthly(stack)
    run_workers(stack)

    newer = (RC, "2026-10-statement-csv-0002")
    check_mailed(stack, [*REQUESTED, newer])
    check_requested(stack, newer)


@pytest.mark.parametrize("status", ["Ready", "Failed"])
def test_a_finished_report_without_a_message_is_published_within_the_hour(
    stack: FakeStack, status: str
) -> None:
    stack.request_report()
    if status == "Failed":
        stack.pacs.fault("csv", "code", code="400-003")
    stack.aws_faults.reject("events", "PutEvents", "InternalException", 500)
    assert [stack.deliver() for _ in range(4)] == [(0, 1), (0, 1), (0, 1), (0, 0)]
    assert stack.queued_messages("ReportsDeadLetterQueue") == 1
    with pytest.raises(Exception, match="InternalException"):
        close(stack, 0)
    assert stack.mails() == []
    stack.aws_faults.restore()

    close(stack, 0)
    close(stack, 0)

    assert len(stack.mails()) == len(stack.events(f"Report {status}")) == 1


# ------------------------------------------------------- the schedule repeats its start


def test_later_starts_of_a_schedule_belong_to_the_first(stack: FakeStack) -> None:
    stack.clock.at = stack.clock.at.replace(month=11, day=1, hour=5)
    for minute in (0, 15):
        due = {"scheduled_time": f"2026-11-01T11:{minute:02d}:00Z", "time": "05:00"}
        assert stack.invoke("run", due)["id"] == "2026-11-01-050000"
        stack.clock.forward(minutes=15)

    starts = [start_by_schedule(stack, minute) for minute in (0, 15)]
    # A person who repeats a start sends no time.
    starts.append(run_monthly(stack, minute=45))

    assert starts == [STARTED, STARTED | {"requested": 0}, STARTED]
    check_requested(stack)
    with pytest.raises(ValueError, match="hour"):
        run_monthly(stack, time="25:00")


@pytest.mark.parametrize(
    ("service", "operation"), [("sqs", "SendMessageBatch"), ("secretsmanager", "GetSecretValue")]
)
def test_the_next_start_requests_the_accounts_that_failed(
    stack: FakeStack, service: str, operation: str
) -> None:
    stack.aws_faults.reject(service, operation, "AccessDeniedException", times=1, about=SF)
    first = start_by_schedule(stack, 0)
    run_workers(stack)

    again, last = (start_by_schedule(stack, minute) for minute in (15, 30))
    run_workers(stack)

    assert first["failed"].keys() == {SF}
    assert (again, last) == (STARTED | {"requested": 1}, STARTED | {"requested": 0})
    check_mailed(stack, REQUESTED)
    event, supplement = stack.events("Monthly Reports Completed")
    assert (event["accounts_failed"], supplement["accounts_failed"]) == (first["failed"], {})


# ---------------------------------------------------------------------- 2,000 accounts


def test_the_number_of_calls_grows_with_the_accounts_only(stack: FakeStack) -> None:
    calls: Counter[str] = Counter()
    stack.aws.refs["MonthlyFormats"] = ",".join(FILE_FORMATS)
    for number in range(5):
        stack.accounts.create(f"sf-{number}", stack.accounts.secret(SF))
    for service in ("dynamodb", "sqs", "secretsmanager"):
        stack.aws_faults.watch(
            service, "*", lambda event_name, **_: calls.update([event_name.rpartition(".")[2]])
        )

    started = start_by_schedule(stack, 0)

    # With two statements.
    accounts, requested = 5 + 3, 4 * (5 + 3) + 2
    assert (started["requested"], stack.queued_messages()) == (requested, accounts + 2)
    assert calls.pop("PutItem") == requested + 1
    assert calls.pop("Query") == calls.pop("SendMessageBatch") == accounts
    assert calls.pop("GetSecretValue") == accounts - 1
    assert calls.total() < 8


@pytest.mark.parametrize("late", [False, True])
def test_a_run_of_2000_accounts_fits_into_an_item(stack: FakeStack, late: bool) -> None:
    runs = MonthlyRunRepository(stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"])
    keys = [(report.spec.account, report.id) for report in reports_of_2000_accounts(PENDING)]
    runs.begin(RUN_OF_OCTOBER, OCTOBER, START)
    begun = runs.get(RUN_OF_OCTOBER)
    assert begun is not None
    changed = begun.with_requested(keys, ALL_FAILED)

    saved = runs.save(begun, changed.with_next_event(keys[::2]) if late else changed)

    assert saved is not None
    assert runs.get(RUN_OF_OCTOBER) == saved
    assert sorted([*(saved.reports or ()), *saved.late]) == sorted(keys)
    (item,) = stack.aws.items("ReportsTable")
    assert sum(len(bytes(v)) for v in item.values() if isinstance(v, Binary)) < 300_000


def test_a_run_that_an_earlier_version_stored_is_completed(stack: FakeStack) -> None:
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"]
    runs, key, new = MonthlyRunRepository(dynamodb, table), (SF, "a-0001"), (SF, "b-0001")
    stored = {"asked": [f"{SF}/a-0001"], "late": [], "supplement": [], "failed": {RC: "x"}}
    runs.begin(RUN_OF_OCTOBER, OCTOBER, START)
    (item,) = stack.aws.items("ReportsTable")
    dynamodb.put_item(TableName=table, Item=serialize(item | stored | {"late_failed": {}}))

    run = runs.get(RUN_OF_OCTOBER)

    assert run is not None
    assert (run.reports, run.late, run.failed) == ([key], [], {RC: "x"})
    assert runs.save(run, run.with_requested([new], {})) == runs.get(RUN_OF_OCTOBER)
