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
from typing import Any, cast

import pytest

from timbres.domain import clock
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.month import Month
from timbres.domain.report import FAILED, PENDING, READY, MonthlyRun, Report, ReportKey, ReportSpec
from timbres.notifications.mails import dedup_key
from timbres.services.monthly_reports import MonthlyReportService

RUN = "2026-11-01 for 2026-10"
OCTOBER = Month(2026, 10)
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

    def get(self, run: str) -> MonthlyRun | None:
        return cast("MonthlyRun | None", self.call(lambda: self.runs.get(run)))

    def save(self, run: MonthlyRun, changed: MonthlyRun) -> MonthlyRun | None:
        def write() -> MonthlyRun | None:
            if self.runs[run.id].revision != run.revision:
                return None
            self.runs[run.id] = replace(changed, revision=str(next(self.revisions)))
            return self.runs[run.id]

        return cast("MonthlyRun | None", self.call(write))

    def list_recent(self) -> list[MonthlyRun]:
        return list(self.call(lambda: list(self.runs.values())))

    def get_many(self, keys: Sequence[ReportKey]) -> Iterator[Report]:
        return iter(self.call(lambda: [self.reports[key] for key in keys]))

    def request(self, spec: ReportSpec, caller: str, run: str) -> Report:
        at = (spec.account, f"{spec.id_prefix}-0001")
        report = Report(at[1], spec, PENDING, caller, clock.now(), run=run)
        return cast("Report", self.call(lambda: self.reports.setdefault(at, report)))

    def publish(self, kind: str, detail: dict[str, Any]) -> None:
        assert kind == "Monthly Reports Completed"
        self.call(lambda: self.published.append(detail))

    def settle(self, status: str) -> None:
        """Finalize the first pending report, as a worker does."""
        pending = [item for item in self.reports.values() if item.status == PENDING]
        if pending:
            report = replace(pending[0], status=status, error={"code": "x"})
            self.reports[report.spec.account, report.id] = report

    def mailed(self) -> Counter[ReportKey]:
        """Return how often each report is in the mails as ready or failed."""
        mails: dict[str, dict[str, Any]] = {}
        for detail in self.published:
            # The mail function sends one mail per key, for the first event.
            first = mails.setdefault(dedup_key("Monthly Reports Completed", detail), detail)
            assert _settled(first) == _settled(detail)
        return Counter(key for detail in mails.values() for key in _settled(detail))


def _settled(detail: dict[str, Any]) -> list[ReportKey]:
    return [
        (report["account"], report["id"])
        for report in detail["reports"]
        if report["status"] != PENDING
    ]


class RunDriver:
    """Runs the schedule, the workers and the closing schedule of a run."""

    def __init__(self, aws: FakeAws, accounts: int) -> None:
        names = [f"acme-{number}" for number in range(accounts)]
        self.accounts: Any = SimpleNamespace(
            list_names=lambda: names,
            get=lambda _: SimpleNamespace(pac=SimpleNamespace(capabilities={"consumption"})),
        )
        self.aws = aws
        fake: Any = aws
        self.monthly = MonthlyReportService(fake, fake, fake)

    def start(self) -> None:
        fake: Any = self.aws
        self.monthly.start(self.accounts, fake, OCTOBER, RUN, FORMATS)

    def work(self, status: str = READY) -> None:
        self.aws.settle(status)
        self.monthly.publish_if_complete(RUN)

    def fail(self) -> None:
        self.work(FAILED)

    def close(self) -> None:
        self.monthly.close_overdue()


ACTIONS = ("start", "work", "work", "work", "fail", "close")


@pytest.mark.parametrize("begin", range(0, 2000, 100))
def test_each_report_is_mailed_once(begin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(begin, begin + 100):
        run_random_sequence(random.Random(seed), monkeypatch)


def run_random_sequence(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start, work on and close a run, with interrupted and concurrent calls."""
    at = [FIRST]
    monkeypatch.setattr(clock, "now", lambda: at[0])
    aws = FakeAws()
    run = RunDriver(aws, rng.randrange(3))
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

    aws.step = step
    for action in ["start", *rng.choices(ACTIONS, k=rng.randrange(12))]:
        act(action)
        at[0] += timedelta(hours=rng.choice([0, 0, 1, 5]))
    aws.step = lambda: None
    run.start()
    while any(report.status == PENDING for report in aws.reports.values()):
        run.work()
    at[0] += timedelta(hours=6)
    run.close()

    assert aws.mailed() == Counter(dict.fromkeys(aws.reports, 1))
    before = len(aws.published)
    run.start()
    run.close()
    assert len(aws.published) == before


def test_late_reports_are_mailed_in_one_supplement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    aws = FakeAws()
    run = RunDriver(aws, 1)
    run.start()
    run.work()
    monkeypatch.setattr(clock, "now", lambda: FIRST + timedelta(hours=5))
    run.close()
    for _ in range(3):
        run.work()

    first, supplement = aws.published
    assert (first["number"], first["ready"], first["failed"]) == (1, 1, 3)
    assert (supplement["number"], supplement["ready"], supplement["failed"]) == (2, 3, 0)


def test_accounts_that_fail_at_a_repeated_start_are_listed_in_a_supplement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    aws = FakeAws()
    run = RunDriver(aws, 1)
    names, run.accounts.list_names = run.accounts.list_names, list
    run.start()
    for _ in FORMATS:
        run.work()

    def broken(_: str) -> Any:
        raise ValueError("no secret")

    run.accounts.list_names, run.accounts.get = names, broken
    run.start()
    run.start()

    assert [detail["accounts_failed"] for detail in aws.published] == [
        {},
        {"acme-0": "internal-error"},
    ]


@pytest.mark.parametrize("older", [PENDING, READY])
def test_a_lost_version_does_not_block_a_newer_one(
    older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    aws = FakeAws()
    run = RunDriver(aws, 0)
    run.start()
    lost, other = aws.reports
    newer = ("all", lost[1].replace("0001", "0002"))
    aws.reports[newer] = replace(aws.reports[lost], id=newer[1], status=READY)
    stored = aws.runs[RUN]
    aws.runs[RUN] = replace(stored, reports=[*(stored.reports or ()), newer])
    aws.settle(older)
    aws.reports[other] = replace(aws.reports[other], status=READY)

    run.monthly.publish_if_complete(RUN)

    assert aws.mailed() == Counter([newer, other] + ([lost] if older == READY else []))
