"""Each monthly report is mailed once, whatever is late, repeated or broken off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import MockRawResponse
from tests.integration.test_reports_api import REQUESTED, make_report, records, run_monthly
from tests.support.events import check_problem, sqs_event
from tests.support.fake_stack import RC, FakeStack
from tests.support.template import template

from timbres.domain.download_token import download_token_hash

CLOSE = {"close": "overdue"}
RUN = "2026-11-01 for 2026-10"


def count_links(stack: FakeStack) -> Counter[tuple[str, str]]:
    """Return how often each report, (account, id), is linked in the mails so far."""
    url = template().environment("mail", stack.aws.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for text in stack.mails() for line in text.splitlines()]
    tokens = {item["ticket"]: item for item in stack.aws.items("DownloadTokensTable")}
    mailed = [tokens[download_token_hash(line.removeprefix(url))] for line in lines if url in line]
    return Counter((item["account"], item["id"]) for item in mailed)


def each_once(reports: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter(dict.fromkeys(reports, 1))


def run_workers(stack: FakeStack) -> None:
    while stack.deliver() != (0, 0):
        pass


def subjects(stack: FakeStack) -> list[str]:
    return [mail.partition("\n")[0] for mail in stack.mails()]


def lose_response(stack: FakeStack, operation: str, number: int) -> None:
    """Apply the ``number``-th write to the reports table and lose its response."""
    left = [number]

    def hook(request: Any, **_: Any) -> AWSResponse | None:
        if stack.aws.refs["ReportsTable"].encode() not in request.body:
            return None
        left[0] -= 1
        if left[0] != -1:
            return None
        body = MockRawResponse(b'{"__type": "InternalServerError", "message": "lost"}')
        headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 500, headers, body)

    stack.aws_faults.watch("dynamodb", operation, hook)


def run_before_first(stack: FakeStack, operation: str, action: Callable[[], Any]) -> None:
    """Call ``action`` just before the first request of an operation to DynamoDB."""
    left = [1]

    def hook(**_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            action()

    stack.aws_faults.watch("dynamodb", operation, hook)


# --------------------------------------------------------------------------------- late


def test_reports_whose_workers_are_five_hours_late_are_mailed_together(stack: FakeStack) -> None:
    run_monthly(stack)
    stack.clock.forward(hours=5)
    assert stack.invoke("report", CLOSE) == {"closed": [RUN]}

    run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)
    assert subjects(stack) == [
        "Timbres: reportes de octubre de 2026, incompletos",
        "Timbres: reportes de octubre de 2026 que faltaban",
    ]
    first, supplement = stack.events("Monthly Reports Completed")
    assert (first["number"], first["ready"], first["failed"]) == (1, 0, 14)
    assert (supplement["number"], supplement["ready"], supplement["failed"]) == (2, 14, 0)


def test_late_failures_are_mailed_too(stack: FakeStack) -> None:
    run_monthly(stack)
    stack.clock.forward(hours=5)
    stack.invoke("report", CLOSE)
    stack.pacs.fault("pdf", "code", code="400-003", times=-1)

    run_workers(stack)

    failed = (RC, "2026-10-statement-pdf-0001")
    assert count_links(stack) == each_once([report for report in REQUESTED if report != failed])
    (supplement,) = stack.events("Monthly Reports Completed")[1:]
    assert (supplement["ready"], supplement["failed"]) == (13, 1)
    assert subjects(stack)[-1] == "Timbres: reportes de octubre de 2026 que faltaban, incompletos"


def test_late_reports_do_not_wait_for_a_lost_report(stack: FakeStack) -> None:
    run_monthly(stack)
    stack.clock.forward(hours=5)
    stack.invoke("report", CLOSE)
    messages = stack.receive()
    arn = stack.aws.arns["ReportsQueue"]
    stack.invoke("report_worker", sqs_event(arn, messages[:9]))
    assert count_links(stack) == Counter()

    assert stack.invoke("report", CLOSE) == {"closed": [RUN]}
    assert stack.invoke("report", CLOSE) == {"closed": []}
    assert count_links(stack) == each_once(REQUESTED[:9])

    stack.invoke("report_worker", sqs_event(arn, messages[9:]))
    assert count_links(stack) == each_once(REQUESTED)


# ---------------------------------------------------------------------- started again


def break_off_start(stack: FakeStack) -> None:
    """Start the run, and fail before it stores its requests."""
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)
    with pytest.raises(Exception, match="InternalServerError"):
        run_monthly(stack)
    stack.aws_faults.restore()


def test_a_start_that_is_repeated_after_its_run_was_closed_mails_every_report(
    stack: FakeStack,
) -> None:
    break_off_start(stack)
    run_workers(stack)
    stack.clock.forward(hours=5)
    stack.invoke("report", CLOSE)
    (event,) = stack.events("Monthly Reports Completed")
    assert event["accounts_failed"] == {"all": "internal-error"}
    assert count_links(stack) == Counter()

    run_monthly(stack)
    run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)


def test_a_start_that_broke_off_is_repeated_by_the_closing_schedule(stack: FakeStack) -> None:
    break_off_start(stack)
    run_workers(stack)
    for hours in (5, 1, 1):
        stack.clock.forward(hours=hours)
        stack.invoke("report", CLOSE)
        run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)
    assert len(records(stack)) == 14


def test_an_old_start_that_broke_off_is_left_alone(stack: FakeStack) -> None:
    break_off_start(stack)
    run_workers(stack)
    stack.clock.forward(hours=5)
    stack.invoke("report", CLOSE)
    stack.clock.forward(days=7)
    stack.invoke("report", CLOSE)

    assert count_links(stack) == Counter()


@pytest.mark.parametrize("work_between", [False, True])
def test_a_start_that_is_repeated_mails_nothing_again(stack: FakeStack, work_between: bool) -> None:
    run_monthly(stack)
    if work_between:
        run_workers(stack)
    stack.clock.forward(hours=1)
    run_monthly(stack)
    run_workers(stack)
    run_monthly(stack)
    stack.invoke("report", CLOSE)

    assert count_links(stack) == each_once(REQUESTED)
    assert len(stack.events("Monthly Reports Completed")) == 1


def test_an_account_that_a_repeated_start_adds_is_mailed_alone(stack: FakeStack) -> None:
    stack.accounts.create("norte", "no JSON")
    run_monthly(stack)
    run_workers(stack)
    assert stack.events("Monthly Reports Completed")[0]["accounts_failed"] == {
        "norte": "account-misconfigured"
    }
    stack.accounts.change("norte", stack.accounts.norte_secret())
    stack.reset_warm_functions()

    run_monthly(stack)
    run_workers(stack)

    added = [("norte", report) for account, report in REQUESTED if account == RC]
    assert count_links(stack) == each_once([*REQUESTED, *added])
    assert [event["number"] for event in stack.events("Monthly Reports Completed")] == [1, 2]


def test_a_run_of_another_day_leaves_pending_reports_to_their_own_run(stack: FakeStack) -> None:
    run_monthly(stack)
    run_monthly(stack, "2026-11-02T12:00:00Z")
    run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)
    assert len(records(stack)) == 14


def test_a_run_adopts_a_report_that_is_about_to_be_ready(stack: FakeStack) -> None:
    """A run starts while a worker is about to store that a person's report is ready."""
    stack.request_report()
    run_before_first(stack, "UpdateItem", lambda: run_monthly(stack))
    stack.deliver()
    run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)
    assert len(stack.mails()) == 1


def test_a_person_s_report_that_finished_first_is_mailed_separately(stack: FakeStack) -> None:
    """A worker finishes a report between the two reads of the run that would adopt it."""
    stack.request_report()
    run_before_first(stack, "UpdateItem", stack.deliver)
    run_monthly(stack)
    run_workers(stack)

    next_version = (RC, "2026-10-statement-csv-0002")
    assert count_links(stack) == each_once([*REQUESTED, next_version])
    assert len(records(stack)) == 15


# ----------------------------------------------------------------------- lost responses


@pytest.mark.parametrize("number", range(3))
def test_a_report_is_published_although_the_response_of_a_write_is_lost(
    stack: FakeStack, number: int
) -> None:
    lose_response(stack, "PutItem", 0)
    lose_response(stack, "UpdateItem", number)

    report = make_report(stack)

    assert count_links(stack) == each_once([(RC, report["id"])])
    assert len(records(stack)) == 1


@pytest.mark.parametrize("number", range(9))
def test_each_report_of_a_run_is_mailed_once_although_a_response_is_lost(
    stack: FakeStack, number: int
) -> None:
    stack.aws.refs["MonthlyFormats"] = "csv"
    lose_response(stack, "UpdateItem", number)
    lose_response(stack, "PutItem", number)

    run_monthly(stack)
    run_workers(stack)

    csv_reports = [report for report in REQUESTED if "-csv-" in report[1]]
    assert count_links(stack) == each_once(csv_reports)
    assert len(records(stack)) == 4


def test_a_repeated_run_adopts_a_report_although_the_response_is_lost(stack: FakeStack) -> None:
    stack.request_report()
    lose_response(stack, "UpdateItem", 0)
    run_monthly(stack)
    run_workers(stack)

    assert count_links(stack) == each_once(REQUESTED)
    assert len(records(stack)) == 14


# ------------------------------------------------------------------- never published


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_a_finished_report_without_a_message_is_published_within_the_hour(
    stack: FakeStack, status: str
) -> None:
    stack.request_report()
    if status == "failed":
        stack.pacs.fault("csv", "code", code="400-003")
    stack.aws_faults.reject("events", "PutEvents", "InternalException", 500)
    assert [stack.deliver() for _ in range(4)] == [(0, 1), (0, 1), (0, 1), (0, 0)]
    assert stack.queued_messages("ReportsDeadLetterQueue") == 1
    assert stack.mails() == []
    stack.aws_faults.restore()

    stack.invoke("report", CLOSE)
    stack.invoke("report", CLOSE)

    assert len(stack.mails()) == 1
    assert len(stack.events(f"Report {status.capitalize()}")) == 1


def test_the_closing_schedule_fails_while_events_cannot_be_published(stack: FakeStack) -> None:
    stack.request_report()
    stack.aws_faults.reject("events", "PutEvents", "InternalException", 500)
    stack.deliver()

    with pytest.raises(Exception, match="InternalException"):
        stack.invoke("report", CLOSE)


def test_a_missing_report_is_not_published(stack: FakeStack) -> None:
    check_problem(
        stack.get(f"/accounts/{RC}/reports/2026-10-statement-csv-0001"),
        404,
        "report-not-found",
        "id",
    )
    assert stack.invoke("report", CLOSE) == {"closed": []}
