"""Events of a monthly run: each report is mailed once despite failures and repetitions."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from timbres.domain import clock
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.month import Month
from timbres.domain.report import FAILED, PENDING, READY, MonthlyRun, Report, ReportKey, ReportSpec
from timbres.notifications.mails import dedup_key
from timbres.services.monthly_reports import MonthlyReportService

RUN = "2026-11-01 for 2026-10"
FIRST = datetime(2026, 11, 1, 6, tzinfo=MEXICO_CITY)
FORMATS = ("csv", "xlsx")


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
        assert kind == "Monthly Reports Completed"
        self.call(lambda: self.published.append(detail))

    def mailed(self) -> Counter[ReportKey]:
        """Return how often each report is in the mails as ready or failed."""
        mails: dict[str, dict[str, Any]] = {}
        for detail in self.published:
            # The mail function sends one mail per key, for the first event.
            first = mails.setdefault(dedup_key("Monthly Reports Completed", detail), detail)
            assert _settled(first) == _settled(detail)
        return Counter(key for detail in mails.values() for key in _settled(detail))


def _settled(detail: dict[str, Any]) -> list[ReportKey]:
    reports = detail["reports"]
    return [(item["account"], item["id"]) for item in reports if item["status"] != PENDING]


class RunDriver:
    """Runs the schedule, the workers and the closing schedule of a run."""

    def __init__(self, accounts: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = FIRST
        monkeypatch.setattr(clock, "now", lambda: self.now)
        names = [f"acme-{number}" for number in range(accounts)]
        self.accounts: Any = SimpleNamespace(
            list_names=lambda: names,
            get=lambda _: SimpleNamespace(pac=SimpleNamespace(capabilities={"consumption"})),
        )
        self.aws: Any = FakeAws()
        self.monthly = MonthlyReportService(self.aws, self.aws, self.aws)

    def start(self, *, only_missing: bool = False) -> None:
        self.monthly.start(
            self.accounts, self.aws, Month(2026, 10), RUN, FORMATS, only_missing=only_missing
        )

    def repeat(self) -> None:
        self.start(only_missing=True)

    def work(self, status: str = READY) -> None:
        """Finalize the first pending report."""
        pending = [key for key, report in self.aws.reports.items() if report.status == PENDING]
        for key in pending[:1]:
            report = self.aws.reports[key]
            self.aws.reports[key] = replace(report, status=status, error={"code": "x"})
        self.monthly.publish_if_complete(RUN)

    def fail(self) -> None:
        self.work(FAILED)

    def close(self) -> None:
        self.monthly.close_overdue()


ACTIONS = ("start", "repeat", "work", "work", "work", "fail", "close")


@pytest.mark.parametrize("begin", range(0, 2000, 100))
def test_each_report_is_mailed_once(begin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(begin, begin + 100):
        run_random_sequence(random.Random(seed), monkeypatch)


def run_random_sequence(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start, work on and close a run, with interrupted and concurrent calls."""
    run = RunDriver(rng.randrange(3), monkeypatch)
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
        run.now += timedelta(hours=rng.choice([0, 0, 1, 5]))
    run.aws.step = lambda: None
    rng.choice([run.start, run.repeat])()
    while any(report.status == PENDING for report in run.aws.reports.values()):
        run.work()
    run.now += timedelta(hours=6)
    run.close()

    assert run.aws.mailed() == Counter(dict.fromkeys(run.aws.reports, 1))
    before = len(run.aws.published)
    run.start()
    run.close()
    assert len(run.aws.published) == before


def test_late_reports_are_mailed_in_one_supplement(monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDriver(1, monkeypatch)
    run.start()
    run.work()
    run.now += timedelta(hours=4)
    run.close()
    assert run.aws.published == []

    run.now += timedelta(hours=1)
    run.close()
    for _ in range(3):
        run.work()

    numbers = [(event["number"], event["ready"], event["failed"]) for event in run.aws.published]
    assert numbers == [(1, 1, 3), (2, 3, 0)]


def test_accounts_that_fail_at_a_repeated_start_are_listed_in_a_supplement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = RunDriver(1, monkeypatch)
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
def test_a_lost_version_does_not_block_a_newer_one(
    older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDriver(0, monkeypatch)
    run.start()
    aws = run.aws
    lost, other = aws.reports
    newer = ("all", lost[1].replace("0001", "0002"))
    aws.reports[newer] = replace(aws.reports[lost], id=newer[1])
    aws.runs[RUN] = replace(aws.runs[RUN], reports=[*aws.runs[RUN].reports, newer])
    for key, status in ((lost, older), (other, READY), (newer, READY)):
        aws.reports[key] = replace(aws.reports[key], status=status)

    run.monthly.publish_if_complete(RUN)

    assert aws.mailed() == Counter([newer, other] + ([lost] if older == READY else []))
