"""Each monthly report is mailed once, whatever is late, repeated or broken off.

tests/unit/test_monthly_reports.py runs random sequences; the matrix of failures loses responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.template import template

from timbres.domain.download_token import download_token_hash
from timbres.domain.report import FILE_FORMATS

CLOSE = {"close": "overdue"}
CLOSED = {"closed": ["2026-11-01 for 2026-10"]}
REQUESTED = [
    *((RC, f"2026-10-statement-{form}-0001") for form in ("csv", "pdf")),
    *(
        (name, f"2026-10-consumption-{form}-0001")
        for name in (RC, SF, "all")
        for form in FILE_FORMATS
    ),
]


def run_monthly(stack: FakeStack, day: int = 1) -> None:
    due = f"2026-11-{day:02d}T12:00:00Z"
    stack.invoke("report", {"month": "previous", "scheduled_time": due})


def run_workers(stack: FakeStack) -> None:
    while stack.deliver() != (0, 0):
        pass


def close(stack: FakeStack, hours: int = 5) -> Any:
    stack.clock.forward(hours=hours)
    return stack.invoke("report", CLOSE)


def check_mailed(stack: FakeStack, reports: Sequence[tuple[str, str]]) -> None:
    """Check that the mails so far link each of these reports, (account, id), once."""
    url = template().environment("mail", stack.aws.resolve)["DOWNLOAD_URL"]
    lines = [line.strip() for text in stack.mails() for line in text.splitlines()]
    tokens = {item["ticket"]: item for item in stack.aws.items("DownloadTokensTable")}
    linked = [tokens[download_token_hash(line.removeprefix(url))] for line in lines if url in line]
    assert Counter((item["account"], item["id"]) for item in linked) == Counter(reports)


def count_reports(stack: FakeStack) -> int:
    """Return the number of stored reports, without the run."""
    return len([item for item in stack.aws.items("ReportsTable") if item["account"][0] != "#"])


def before_first_update(stack: FakeStack, action: Callable[[], Any]) -> None:
    """Call ``action`` just before the first UpdateItem."""
    actions = [action]

    def hook(**_: Any) -> None:
        if actions:
            actions.pop()()

    stack.aws_faults.watch("dynamodb", "UpdateItem", hook)


@pytest.mark.parametrize("fails", [False, True])
def test_late_reports_are_mailed_together(stack: FakeStack, fails: bool) -> None:
    run_monthly(stack)
    assert close(stack) == CLOSED
    if fails:
        stack.pacs.fault("pdf", "code", code="400-003", times=-1)

    run_workers(stack)

    failed = [(RC, "2026-10-statement-pdf-0001")] * fails
    check_mailed(stack, [report for report in REQUESTED if report not in failed])
    events = stack.events("Monthly Reports Completed")
    assert [event["number"] for event in events] == [1, 2]
    assert [(event["ready"], event["failed"]) for event in events] == [(0, 14), (14 - fails, fails)]
    assert [mail.partition("\n")[0] for mail in stack.mails()] == [
        "Timbres: reportes de octubre de 2026, incompletos",
        "Timbres: reportes de octubre de 2026 que faltaban" + ", incompletos" * fails,
    ]


@pytest.mark.parametrize(
    ("hours", "repeated", "mailed"),
    [
        ([5], True, REQUESTED),
        # The closing schedule starts the run again, for a week.
        ([5, 1, 1], False, REQUESTED),
        ([5, 7 * 24], False, []),
    ],
)
def test_a_start_that_broke_off_is_repeated(
    stack: FakeStack, hours: list[int], repeated: bool, mailed: list[tuple[str, str]]
) -> None:
    stack.aws_faults.reject("dynamodb", "UpdateItem", "InternalServerError", 500)
    with pytest.raises(Exception, match="InternalServerError"):
        run_monthly(stack)
    stack.aws_faults.restore()
    run_workers(stack)

    for pause in hours:
        close(stack, pause)
        run_workers(stack)
    if repeated:
        run_monthly(stack)
        run_workers(stack)

    check_mailed(stack, mailed)
    assert count_reports(stack) == 14
    event = stack.events("Monthly Reports Completed")[0]
    assert (event["ready"], event["accounts_failed"]) == (0, {"all": "internal-error"})


# A run of another day leaves pending reports to their own run.
@pytest.mark.parametrize(("work_between", "day"), [(True, 1), (False, 1), (False, 2)])
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
    assert count_reports(stack) == 14


def test_a_run_adopts_a_report_that_is_about_to_be_ready(stack: FakeStack) -> None:
    stack.request_report()
    before_first_update(stack, lambda: run_monthly(stack))

    # The worker stores that the report is ready after the run has adopted it.
    stack.deliver()
    run_workers(stack)

    check_mailed(stack, REQUESTED)
    assert len(stack.mails()) == 1


def test_a_report_that_was_ready_just_before_the_run_is_mailed_separately(stack: FakeStack) -> None:
    stack.request_report()
    before_first_update(stack, stack.deliver)

    run_monthly(stack)
    run_workers(stack)

    check_mailed(stack, [*REQUESTED, (RC, "2026-10-statement-csv-0002")])
    assert count_reports(stack) == 15


def test_a_run_adopts_a_report_although_the_response_is_lost(stack: FakeStack) -> None:
    stack.request_report()
    lost = stack.aws_faults.lose_response("dynamodb", "UpdateItem")

    run_monthly(stack)
    run_workers(stack)

    assert lost
    check_mailed(stack, REQUESTED)
    assert count_reports(stack) == 14


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
