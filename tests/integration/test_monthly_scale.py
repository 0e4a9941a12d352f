"""A monthly run of 2,000 accounts: AWS calls, size of the item, of the event and of the mail."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from tests.support.clock import START
from tests.support.fake_stack import FakeStack

from timbres.domain.month import Month
from timbres.domain.report import FAILED, READY, MonthlyRun, Report, ReportSpec
from timbres.notifications.mails import LinkFactory, compose
from timbres.repositories.reports import MonthlyRunRepository
from timbres.schemas.reports import monthly_reports_to_event

RUN = "2026-11-01 for 2026-10"
OCTOBER = Month(2026, 10)
FORMATS = ("csv", "xlsx", "pdf", "html")
ACCOUNTS = [f"compania-del-norte-{number:04d}" for number in range(2000)]
LIMIT = 256 * 1024


def report(account: str, file_format: str, status: Any) -> Report:
    spec = ReportSpec(account, OCTOBER, "consumption", file_format)
    return Report(
        f"{spec.id_prefix}-0001",
        spec,
        status,
        "schedule",
        START,
        run=RUN,
        object_version="v" * 32,
        error={"code": "pac-timeout", "detail": "x"} if status == FAILED else None,
    )


def test_the_start_makes_few_calls_per_account(stack: FakeStack) -> None:
    calls: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        calls[event_name.rpartition(".")[2]] += 1

    for number in range(30):
        stack.accounts.create(f"sf-{number}", stack.accounts.secret("acme-sf"))
    for service in ("dynamodb", "sqs", "secretsmanager"):
        stack.aws_faults.watch(service, "*", count)

    started = stack.invoke(
        "monthly_reports", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z"}
    )

    accounts = 30 + 3
    assert started == {"month": "2026-10", "requested": started["requested"], "failed": {}}
    assert stack.queued_messages() == started["requested"]
    assert calls["PutItem"] == started["requested"] + 1
    assert calls["Query"] == calls["SendMessageBatch"] == accounts
    assert calls["GetSecretValue"] == accounts - 1


@pytest.mark.parametrize("failed", [{}, dict.fromkeys(ACCOUNTS, "account-misconfigured")])
def test_a_run_of_2000_accounts_fits_into_an_item(stack: FakeStack, failed: dict[str, str]) -> None:
    runs = MonthlyRunRepository(stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"])
    reports = [(name, report(name, form, READY).id) for name in ACCOUNTS for form in FORMATS]
    runs.begin(RUN, OCTOBER, START)
    begun = runs.get(RUN)
    assert begun is not None

    saved = runs.save(begun, begun.with_requested(reports, failed))

    assert runs.get(RUN) == saved
    assert saved is not None
    assert saved.reports == reports
    assert saved.failed == failed


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        (READY, {}),
        (FAILED, {}),
        (READY, dict.fromkeys(ACCOUNTS, "account-misconfigured")),
    ],
)
def test_the_event_and_the_mail_of_2000_accounts_are_within_the_limits(
    status: Any, failed: dict[str, str]
) -> None:
    run = MonthlyRun(RUN, str(OCTOBER), START, number=1, failed=failed)
    reports = [report(name, form, status) for name in ACCOUNTS for form in FORMATS]

    event = monthly_reports_to_event(run, reports)
    mail = compose(
        "Monthly Reports Completed",
        event,
        LinkFactory(lambda _: "https://a1b2c3d4e5.execute-api.example/dev/d/" + "t" * 43, 30),
    )

    assert len(json.dumps(event, ensure_ascii=False).encode()) < LIMIT - 2000
    assert len(mail.text.encode()) < LIMIT
    assert event["ready"] + event["failed"] == len(reports)
    assert len(event["reports"]) > 300


def test_failures_come_first() -> None:
    run = MonthlyRun(RUN, str(OCTOBER), START, number=1, failed={"acme-rc": "account-unknown"})
    reports = [report(name, form, READY) for name in ACCOUNTS for form in FORMATS]
    reports += [report("zeta", "pdf", FAILED)]

    event = monthly_reports_to_event(run, reports)
    mail = compose("Monthly Reports Completed", event, LinkFactory(lambda _: "https://x/d/t", 30))

    assert event["reports"][0]["account"] == "zeta"
    lines = mail.text.splitlines()
    first_link = next(n for n, line in enumerate(lines) if "https://" in line)
    for account in ("acme-rc", "zeta"):
        assert any(account in line for line in lines[:first_link])
