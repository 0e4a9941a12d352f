"""Each monthly report is mailed once, whatever is late, repeated or broken off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from moto.core.botocore_stubber import MockRawResponse
from tests.integration.harness import RC, FakeStack, check_problem, sqs_event, template
from tests.integration.test_reports_api import REQUESTED, make_report, records, run_monthly

from timbres.domain.download_token import download_token_hash

CLOSE = {"close": "overdue"}
RUN = "2026-11-01 for 2026-10"


def count_links(world: FakeStack) -> Counter[tuple[str, str]]:
    """Return how often each report, (account, id), is linked in the mails so far."""
    url = template().environment("mail", world.stack.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for text in world.mails() for line in text.splitlines()]
    tokens = {item["ticket"]: item for item in world.stack.items("DownloadTokensTable")}
    mailed = [tokens[download_token_hash(line.removeprefix(url))] for line in lines if url in line]
    return Counter((item["account"], item["id"]) for item in mailed)


def each_once(reports: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter(dict.fromkeys(reports, 1))


def run_workers(world: FakeStack) -> None:
    while world.deliver() != (0, 0):
        pass


def subjects(world: FakeStack) -> list[str]:
    return [mail.partition("\n")[0] for mail in world.mails()]


def lose_response(world: FakeStack, operation: str, number: int) -> None:
    """Apply the ``number``-th write to the reports table and lose its response."""
    left = [number]

    def hook(request: Any, **_: Any) -> AWSResponse | None:
        if world.stack.refs["ReportsTable"].encode() not in request.body:
            return None
        left[0] -= 1
        if left[0] != -1:
            return None
        body = MockRawResponse(b'{"__type": "InternalServerError", "message": "lost"}')
        headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 500, headers, body)

    world.watch_aws("dynamodb", operation, hook)


def run_before_first(world: FakeStack, operation: str, action: Callable[[], Any]) -> None:
    """Call ``action`` just before the first request of an operation to DynamoDB."""
    left = [1]

    def hook(**_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            action()

    world.watch_aws("dynamodb", operation, hook)


# --------------------------------------------------------------------------------- late


def test_reports_whose_workers_are_five_hours_late_are_mailed_together(world: FakeStack) -> None:
    run_monthly(world)
    world.clock.forward(hours=5)
    assert world.invoke("report", CLOSE) == {"closed": [RUN]}

    run_workers(world)

    assert count_links(world) == each_once(REQUESTED)
    assert subjects(world) == [
        "Timbres: reportes de octubre de 2026, incompletos",
        "Timbres: reportes de octubre de 2026 que faltaban",
    ]
    first, supplement = world.events("Monthly Reports Completed")
    assert (first["number"], first["ready"], first["failed"]) == (1, 0, 14)
    assert (supplement["number"], supplement["ready"], supplement["failed"]) == (2, 14, 0)


def test_late_failures_are_mailed_too(world: FakeStack) -> None:
    run_monthly(world)
    world.clock.forward(hours=5)
    world.invoke("report", CLOSE)
    world.fault("pdf", "code", code="400-003", times=-1)

    run_workers(world)

    failed = (RC, "2026-10-statement-pdf-0001")
    assert count_links(world) == each_once([report for report in REQUESTED if report != failed])
    (supplement,) = world.events("Monthly Reports Completed")[1:]
    assert (supplement["ready"], supplement["failed"]) == (13, 1)
    assert subjects(world)[-1] == "Timbres: reportes de octubre de 2026 que faltaban, incompletos"


def test_late_reports_do_not_wait_for_a_lost_report(world: FakeStack) -> None:
    run_monthly(world)
    world.clock.forward(hours=5)
    world.invoke("report", CLOSE)
    messages = world.receive()
    arn = world.stack.arns["ReportsQueue"]
    world.invoke("report_worker", sqs_event(arn, messages[:9]))
    assert count_links(world) == Counter()

    assert world.invoke("report", CLOSE) == {"closed": [RUN]}
    assert world.invoke("report", CLOSE) == {"closed": []}
    assert count_links(world) == each_once(REQUESTED[:9])

    world.invoke("report_worker", sqs_event(arn, messages[9:]))
    assert count_links(world) == each_once(REQUESTED)


# ---------------------------------------------------------------------- started again


def break_off_start(world: FakeStack) -> None:
    """Start the run, and fail before it stores its requests."""
    world.break_aws("dynamodb", "UpdateItem", "InternalServerError", 500)
    with pytest.raises(Exception, match="InternalServerError"):
        run_monthly(world)
    world.restore_aws()


def test_a_start_that_is_repeated_after_its_run_was_closed_mails_every_report(
    world: FakeStack,
) -> None:
    break_off_start(world)
    run_workers(world)
    world.clock.forward(hours=5)
    world.invoke("report", CLOSE)
    (event,) = world.events("Monthly Reports Completed")
    assert event["accounts_failed"] == {"all": "internal-error"}
    assert count_links(world) == Counter()

    run_monthly(world)
    run_workers(world)

    assert count_links(world) == each_once(REQUESTED)


def test_a_start_that_broke_off_is_repeated_by_the_closing_schedule(world: FakeStack) -> None:
    break_off_start(world)
    run_workers(world)
    for hours in (5, 1, 1):
        world.clock.forward(hours=hours)
        world.invoke("report", CLOSE)
        run_workers(world)

    assert count_links(world) == each_once(REQUESTED)
    assert len(records(world)) == 14


def test_an_old_start_that_broke_off_is_left_alone(world: FakeStack) -> None:
    break_off_start(world)
    run_workers(world)
    world.clock.forward(hours=5)
    world.invoke("report", CLOSE)
    world.clock.forward(days=7)
    world.invoke("report", CLOSE)

    assert count_links(world) == Counter()


@pytest.mark.parametrize("work_between", [False, True])
def test_a_start_that_is_repeated_mails_nothing_again(world: FakeStack, work_between: bool) -> None:
    run_monthly(world)
    if work_between:
        run_workers(world)
    world.clock.forward(hours=1)
    run_monthly(world)
    run_workers(world)
    run_monthly(world)
    world.invoke("report", CLOSE)

    assert count_links(world) == each_once(REQUESTED)
    assert len(world.events("Monthly Reports Completed")) == 1


def test_an_account_that_a_repeated_start_adds_is_mailed_alone(world: FakeStack) -> None:
    world.create_account("norte", "no JSON")
    run_monthly(world)
    run_workers(world)
    assert world.events("Monthly Reports Completed")[0]["accounts_failed"] == {
        "norte": "account-misconfigured"
    }
    world.change_account("norte", world.secret(RC, api_key=world.credentials.norte_api_key))
    world.reset_warm_functions()

    run_monthly(world)
    run_workers(world)

    added = [("norte", report) for account, report in REQUESTED if account == RC]
    assert count_links(world) == each_once([*REQUESTED, *added])
    assert [event["number"] for event in world.events("Monthly Reports Completed")] == [1, 2]


def test_a_run_of_another_day_leaves_pending_reports_to_their_own_run(world: FakeStack) -> None:
    run_monthly(world)
    run_monthly(world, "2026-11-02T12:00:00Z")
    run_workers(world)

    assert count_links(world) == each_once(REQUESTED)
    assert len(records(world)) == 14


def test_a_run_adopts_a_report_that_is_about_to_be_ready(world: FakeStack) -> None:
    """A run starts while a worker is about to store that a person's report is ready."""
    world.request_report()
    run_before_first(world, "UpdateItem", lambda: run_monthly(world))
    world.deliver()
    run_workers(world)

    assert count_links(world) == each_once(REQUESTED)
    assert len(world.mails()) == 1


def test_a_person_s_report_that_finished_first_is_mailed_separately(world: FakeStack) -> None:
    """A worker finishes a report between the two reads of the run that would adopt it."""
    world.request_report()
    run_before_first(world, "UpdateItem", world.deliver)
    run_monthly(world)
    run_workers(world)

    next_version = (RC, "2026-10-statement-csv-0002")
    assert count_links(world) == each_once([*REQUESTED, next_version])
    assert len(records(world)) == 15


# ----------------------------------------------------------------------- lost responses


@pytest.mark.parametrize("number", range(3))
def test_a_report_is_published_although_the_response_of_a_write_is_lost(
    world: FakeStack, number: int
) -> None:
    lose_response(world, "PutItem", 0)
    lose_response(world, "UpdateItem", number)

    report = make_report(world)

    assert count_links(world) == each_once([(RC, report["id"])])
    assert len(records(world)) == 1


@pytest.mark.parametrize("number", range(9))
def test_each_report_of_a_run_is_mailed_once_although_a_response_is_lost(
    world: FakeStack, number: int
) -> None:
    world.stack.refs["MonthlyFormats"] = "csv"
    lose_response(world, "UpdateItem", number)
    lose_response(world, "PutItem", number)

    run_monthly(world)
    run_workers(world)

    csv_reports = [report for report in REQUESTED if "-csv-" in report[1]]
    assert count_links(world) == each_once(csv_reports)
    assert len(records(world)) == 4


def test_a_repeated_run_adopts_a_report_although_the_response_is_lost(world: FakeStack) -> None:
    world.request_report()
    lose_response(world, "UpdateItem", 0)
    run_monthly(world)
    run_workers(world)

    assert count_links(world) == each_once(REQUESTED)
    assert len(records(world)) == 14


# ------------------------------------------------------------------- never published


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_a_finished_report_without_a_message_is_published_within_the_hour(
    world: FakeStack, status: str
) -> None:
    world.request_report()
    if status == "failed":
        world.fault("csv", "code", code="400-003")
    world.break_aws("events", "PutEvents", "InternalException", 500)
    assert [world.deliver() for _ in range(4)] == [(0, 1), (0, 1), (0, 1), (0, 0)]
    assert world.queued_messages("ReportsDeadLetterQueue") == 1
    assert world.mails() == []
    world.restore_aws()

    world.invoke("report", CLOSE)
    world.invoke("report", CLOSE)

    assert len(world.mails()) == 1
    assert len(world.events(f"Report {status.capitalize()}")) == 1


def test_the_closing_schedule_fails_while_events_cannot_be_published(world: FakeStack) -> None:
    world.request_report()
    world.break_aws("events", "PutEvents", "InternalException", 500)
    world.deliver()

    with pytest.raises(Exception, match="InternalException"):
        world.invoke("report", CLOSE)


def test_a_missing_report_is_not_published(world: FakeStack) -> None:
    check_problem(
        world.get(f"/accounts/{RC}/reports/2026-10-statement-csv-0001"),
        404,
        "report-not-found",
        "id",
    )
    assert world.invoke("report", CLOSE) == {"closed": []}
