"""Events of a monthly run: each report is mailed once despite failures and repetitions."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.clock import Clock
from tests.support.mail_samples import (
    ALL_FAILED,
    FIRST,
    OCTOBER,
    RUN_OF_OCTOBER,
    reports_of_2000_accounts,
)

from timbres.domain import clock
from timbres.domain.month import Month
from timbres.domain.report import FAILED, PENDING, READY, MonthlyRun, Report, ReportKey, ReportSpec
from timbres.notifications.mails import compose, dedup_key
from timbres.schemas.reports import monthly_reports_to_event
from timbres.services.monthly_reports import MonthlyReportService

FORMATS = ("csv", "xlsx")
MONTHLY = "Monthly Reports Completed"


class InterruptedCallError(Exception):
    """The process was killed, or a service did not respond."""


@dataclass
class FakeAws:
    """Fakes of the repositories of runs and reports, the report service and the event publisher.

    ``step`` runs before and after each call.
    """

    step: Callable[[], None] = lambda: None
    runs: dict[str, MonthlyRun] = field(default_factory=dict)
    reports: dict[ReportKey, Report] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    revisions: Iterator[int] = field(default_factory=itertools.count)

    def call(self, operation: Callable[[], Any]) -> Any:
        self.step()
        result = operation()
        self.step()
        return result

    def begin(self, run: str, month: Month, at: datetime) -> None:
        self.call(lambda: self.runs.setdefault(run, MonthlyRun(run, str(month), at)))

    def get(self, run: str) -> Any:
        return self.call(lambda: self.runs.get(run))

    def save(self, run: MonthlyRun, changed: MonthlyRun) -> Any:
        def write() -> MonthlyRun | None:
            if self.runs[run.id].revision != run.revision:
                return None
            self.runs[run.id] = replace(changed, revision=str(next(self.revisions)))
            return self.runs[run.id]

        return self.call(write)

    def list_recent(self) -> Any:
        return self.call(lambda: list(self.runs.values()))

    def get_many(self, keys: Sequence[ReportKey]) -> Iterator[Report]:
        return iter(self.call(lambda: [self.reports[key] for key in keys]))

    def request_all(self, specs: Sequence[ReportSpec], caller: str, run: str) -> Any:
        def request(spec: ReportSpec) -> Report:
            key = (spec.account, f"{spec.id_prefix}-0001")
            report = Report(key[1], spec, PENDING, caller, clock.now(), run=run)
            return self.call(lambda: self.reports.setdefault(key, report))

        return [request(spec) for spec in specs]

    def publish(self, kind: str, detail: dict[str, Any]) -> None:
        assert kind == MONTHLY
        self.call(lambda: self.published.append(detail))

    def mailed(self) -> Counter[ReportKey]:
        """Return how often each report is in the mails as ready or failed."""
        mails: dict[str, dict[str, Any]] = {}
        for detail in self.published:
            # The mail function sends one mail per key, for the first event.
            first = mails.setdefault(dedup_key(MONTHLY, detail), detail)
            assert _settled(first) == _settled(detail)
        return Counter(key for detail in mails.values() for key in _settled(detail))


def _settled(detail: dict[str, Any]) -> list[ReportKey]:
    reports = detail["reports"]
    return [(item["account"], item["id"]) for item in reports if item["status"] != PENDING]


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the domain, which the tests move."""
    now = Clock(FIRST)
    monkeypatch.setattr(clock, "now", now)
    return now


class RunDriver:
    """Runs the schedule, the workers and the closing schedule of a run."""

    def __init__(self, accounts: int) -> None:
        names = [f"acme-{number}" for number in range(accounts)]
        self.accounts: Any = SimpleNamespace(
            list_names=lambda: names,
            get=lambda _: SimpleNamespace(pac=SimpleNamespace(capabilities={"consumption"})),
        )
        self.aws: Any = FakeAws()
        self.monthly = MonthlyReportService(self.aws, self.aws, self.aws)

    def start(self, *, only_missing: bool = False) -> None:
        self.monthly.start(
            self.accounts, self.aws, OCTOBER, RUN_OF_OCTOBER, FORMATS, only_missing=only_missing
        )

    def repeat(self) -> None:
        self.start(only_missing=True)

    def work(self, status: str = READY) -> None:
        """Finalize the first pending report."""
        pending = [key for key, report in self.aws.reports.items() if report.status == PENDING]
        for key in pending[:1]:
            report = self.aws.reports[key]
            self.aws.reports[key] = replace(report, status=status, error={"code": "x"})
        self.monthly.publish_if_complete(RUN_OF_OCTOBER)

    def fail(self) -> None:
        self.work(FAILED)

    def close(self) -> None:
        self.monthly.close_overdue()


ACTIONS = ("start", "repeat", "work", "work", "work", "fail", "close")


@pytest.mark.parametrize("seed", range(500))
def test_each_report_is_mailed_once(seed: int, now: Clock) -> None:
    """Start, work on and close a run, with interrupted and concurrent calls."""
    rng = random.Random(seed)
    run = RunDriver(rng.randrange(3))
    failure_rate, concurrency = rng.choice([0.0, 0.02, 0.1]), rng.choice([0.0, 0.02, 0.1])

    def step() -> None:
        if rng.random() < failure_rate:
            raise InterruptedCallError
        if rng.random() < concurrency:
            act(rng.choice(ACTIONS))

    def act(action: str) -> None:
        # Concurrent calls may be interrupted as well.
        with suppress(InterruptedCallError):
            getattr(run, action)()

    run.aws.step = step
    for action in ["start", *rng.choices(ACTIONS, k=rng.randrange(12))]:
        act(action)
        now.forward(hours=rng.choice([0, 0, 1, 5]))
    run.aws.step = lambda: None
    rng.choice([run.start, run.repeat])()
    while any(report.status == PENDING for report in run.aws.reports.values()):
        run.work()
    now.forward(hours=6)
    run.close()

    assert run.aws.mailed() == Counter(dict.fromkeys(run.aws.reports, 1))
    before = len(run.aws.published)
    run.start()
    run.close()
    assert len(run.aws.published) == before


def test_late_reports_are_mailed_in_one_supplement(now: Clock) -> None:
    run = RunDriver(1)
    run.start()
    run.work()
    now.forward(hours=4)
    run.close()
    assert run.aws.published == []

    now.forward(hours=1)
    run.close()
    for _ in range(3):
        run.work()

    numbers = [(event["number"], event["ready"], event["failed"]) for event in run.aws.published]
    assert numbers == [(1, 1, 3), (2, 3, 0)]


def test_accounts_that_fail_at_a_repeated_start_are_listed_in_a_supplement() -> None:
    run = RunDriver(1)
    names, run.accounts.list_names = run.accounts.list_names, list
    run.start()
    for _ in FORMATS:
        run.work()

    run.accounts.list_names, run.accounts.get = names, {}.__getitem__
    run.start()
    run.start()

    failed = [event["accounts_failed"] for event in run.aws.published]
    assert failed == [{}, {"acme-0": "internal-error"}]


@pytest.mark.parametrize("older", [PENDING, READY])
def test_a_lost_version_does_not_block_a_newer_one(older: str) -> None:
    run = RunDriver(0)
    run.start()
    aws = run.aws
    lost, other = aws.reports
    newer = ("all", lost[1].replace("0001", "0002"))
    aws.reports[newer] = replace(aws.reports[lost], id=newer[1])
    aws.runs[RUN_OF_OCTOBER] = replace(
        aws.runs[RUN_OF_OCTOBER], reports=[*aws.runs[RUN_OF_OCTOBER].reports, newer]
    )
    for key, status in ((lost, older), (other, READY), (newer, READY)):
        aws.reports[key] = replace(aws.reports[key], status=status)

    run.monthly.publish_if_complete(RUN_OF_OCTOBER)

    assert aws.mailed() == Counter([newer, other] + ([lost] if older == READY else []))


# ---------------------------------------------------------------------- 2,000 accounts

LINK = "https://timbres.a-rather-long-company-name.example.com.mx/timbres/d/" + "t" * 43


def event_and_mail(reports: list[Report], failed: dict[str, str]) -> tuple[dict[str, Any], str]:
    run = MonthlyRun(RUN_OF_OCTOBER, str(OCTOBER), FIRST, number=1, failed=failed)
    event = monthly_reports_to_event(run, reports)
    return event, compose(MONTHLY, event, lambda _: LINK, 30).text


@pytest.mark.parametrize("status", [READY, FAILED])
@pytest.mark.parametrize("failed", [{}, ALL_FAILED])
def test_the_event_and_the_mail_of_2000_accounts_are_within_the_limits(
    status: Any, failed: dict[str, str]
) -> None:
    event, mail = event_and_mail(reports_of_2000_accounts(status), failed)

    # 256 KB, for an event with its envelope.
    assert len(json.dumps(event, ensure_ascii=False).encode()) < 256 * 1024 - 2000
    assert len(mail.encode()) < 256 * 1024
    assert event["ready"] + event["failed"] == len(reports_of_2000_accounts(status))
    assert len(event["reports"]) > 100
    assert all(name in mail for name in failed)
    assert "no caben en este correo" in mail


def test_failed_accounts_come_first_then_failed_reports() -> None:
    (failed, *_) = reports_of_2000_accounts(FAILED)
    ready = reports_of_2000_accounts(READY)[6:]

    event, mail = event_and_mail([*ready, failed], {"zeta-rc": "account-unknown"})

    assert event["reports"][0]["status"] == "failed"
    found = [mail.index(text) for text in ("zeta-rc", failed.spec.account, "https://")]
    assert found == sorted(found)
