"""A monthly run of 2,000 accounts: AWS calls, size of the item, of the event and of the mail.

tests/e2e/test_monthly_scale.py starts such a run on the local AWS.
"""

from __future__ import annotations

import json
import random
import string
from collections import Counter
from typing import Any

import pytest
from boto3.dynamodb.types import Binary
from tests.support.clock import START
from tests.support.fake_stack import RC, SF, FakeStack

from timbres.domain.month import Month
from timbres.domain.report import FAILED, FORMATS, PENDING, READY, MonthlyRun, Report, ReportSpec
from timbres.notifications.mails import LinkFactory, compose
from timbres.repositories.dynamodb import serialize
from timbres.repositories.reports import MonthlyRunRepository
from timbres.schemas.reports import monthly_reports_to_event

RUN, OCTOBER = "2026-11-01 for 2026-10", Month(2026, 10)
# The longest names, and those that compress worst.
CHARACTERS = string.ascii_lowercase + string.digits + "-"
NAMES = random.Random(0)
ACCOUNTS = sorted("a" + "".join(NAMES.choices(CHARACTERS, k=40)) for _ in range(2000))
ALL_FAILED = dict.fromkeys(ACCOUNTS, "account-credentials-on-trial")
KINDS = [(kind, form) for kind, forms in FORMATS.items() for form in forms]
LIMIT = 256 * 1024
LINK = "https://timbres.a-rather-long-company-name.example.com.mx/timbres/d/" + "t" * 43


def reports(status: Any) -> list[Report]:
    """Return the reports of all accounts, each with every kind and format."""
    pac = {"name": "reachcore", "code": "500", "message": "Error de la plataforma " + "x" * 200}
    error = {"code": "pac-error", "detail": "x", "pac": pac} if status == FAILED else None
    specs = [ReportSpec(name, OCTOBER, *kind) for name in ACCOUNTS for kind in KINDS]
    return [
        Report(
            f"{spec.id_prefix}-0001", spec, status, "schedule", START,
            run=RUN, object_version="v" * 32, error=error,
        )
        for spec in specs
    ]  # fmt: skip


def test_the_number_of_calls_grows_with_the_accounts_only(stack: FakeStack) -> None:
    calls: Counter[str] = Counter()
    for number in range(20):
        stack.accounts.create(f"sf-{number}", stack.accounts.secret(SF))
    for service in ("dynamodb", "sqs", "secretsmanager"):
        stack.aws_faults.watch(
            service, "*", lambda event_name, **_: calls.update([event_name.rpartition(".")[2]])
        )

    started = stack.invoke(
        "report", {"month": "previous", "scheduled_time": "2026-11-01T12:00:00Z", "time": "06:00"}
    )

    accounts, requested = 20 + 3, 4 * (20 + 3) + 2
    assert (started["requested"], stack.queued_messages()) == (requested, accounts + 2)
    assert calls.pop("PutItem") == requested + 1
    assert calls.pop("Query") == calls.pop("SendMessageBatch") == accounts
    assert calls.pop("GetSecretValue") == accounts - 1
    assert calls.total() < 8


@pytest.mark.parametrize("failed", [{}, ALL_FAILED])
@pytest.mark.parametrize("late", [False, True])
def test_a_run_of_2000_accounts_fits_into_an_item(
    stack: FakeStack, failed: dict[str, str], late: bool
) -> None:
    runs = MonthlyRunRepository(stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"])
    keys = [(report.spec.account, report.id) for report in reports(PENDING)]
    runs.begin(RUN, OCTOBER, START)
    begun = runs.get(RUN)
    assert begun is not None
    changed = begun.with_requested(keys, failed)

    saved = runs.save(begun, changed.with_next_event(keys[::2]) if late else changed)

    assert saved is not None
    assert runs.get(RUN) == saved
    assert sorted([*(saved.reports or ()), *saved.late]) == sorted(keys)
    (item,) = stack.aws.items("ReportsTable")
    assert sum(len(bytes(v)) for v in item.values() if isinstance(v, Binary)) < 300_000


def test_a_run_that_an_earlier_version_stored_is_completed(stack: FakeStack) -> None:
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"]
    runs, key, new = MonthlyRunRepository(dynamodb, table), (SF, "a-0001"), (SF, "b-0001")
    stored = {"asked": [f"{SF}/a-0001"], "late": [], "supplement": [], "failed": {RC: "x"}}
    runs.begin(RUN, OCTOBER, START)
    (item,) = stack.aws.items("ReportsTable")
    dynamodb.put_item(TableName=table, Item=serialize(item | stored | {"late_failed": {}}))

    run = runs.get(RUN)

    assert run is not None
    assert (run.reports, run.late, run.failed) == ([key], [], {RC: "x"})
    assert runs.save(run, run.with_requested([new], {})) == runs.get(RUN)


@pytest.mark.parametrize("status", [READY, FAILED])
@pytest.mark.parametrize("failed", [{}, ALL_FAILED])
def test_the_event_and_the_mail_of_2000_accounts_are_within_the_limits(
    status: Any, failed: dict[str, str]
) -> None:
    run = MonthlyRun(RUN, str(OCTOBER), START, number=1, failed=failed)

    event = monthly_reports_to_event(run, reports(status))
    mail = compose("Monthly Reports Completed", event, LinkFactory(lambda _: LINK, 30))

    # With the envelope of the event.
    assert len(json.dumps(event, ensure_ascii=False).encode()) < LIMIT - 2000
    assert len(mail.text.encode()) < LIMIT
    assert event["ready"] + event["failed"] == 2000 * len(KINDS)
    assert len(event["reports"]) > 100
    assert all(name in mail.text for name in failed)
    assert "no caben en este correo" in mail.text


def test_failed_accounts_come_first_then_failed_reports() -> None:
    run = MonthlyRun(RUN, str(OCTOBER), START, number=1, failed={"zeta-rc": "account-unknown"})
    (failed, *_) = reports(FAILED)

    event = monthly_reports_to_event(run, [*reports(READY)[6:], failed])
    mail = compose("Monthly Reports Completed", event, LinkFactory(lambda _: LINK, 30))

    assert event["reports"][0]["status"] == "failed"
    found = [mail.text.index(text) for text in ("zeta-rc", failed.spec.account, "https://")]
    assert found == sorted(found)
