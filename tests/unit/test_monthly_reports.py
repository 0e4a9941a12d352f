"""The events of a monthly run: whatever breaks off or comes twice, each report is mailed once."""

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
FORMS = ("csv", "xlsx")


class BrokenError(Exception):
    """The process is gone, or a service did not answer."""


@dataclass
class Cloud:
    """The table, the queue and the bus of a run; ``step`` happens before and after each call."""

    step: Callable[[], None] = lambda: None
    runs: dict[str, MonthlyRun] = field(default_factory=dict)
    reports: dict[ReportKey, Report] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    revisions: Iterator[int] = field(default_factory=itertools.count)

    def call(self, act: Callable[[], Any]) -> Any:
        self.step()
        result = act()
        self.step()
        return result

    # ---------------------------------------------------------------- MonthlyRuns

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

    # ------------------------------------------------------- Records, Reports, Bus

    def get_many(self, keys: Sequence[ReportKey]) -> Iterator[Report]:
        return iter(self.call(lambda: [self.reports[one] for one in keys]))

    def request(self, spec: ReportSpec, caller: str, run: str) -> Report:
        at = (spec.account, f"{spec.id_prefix}-0001")
        report = Report(at[1], spec, PENDING, caller, clock.now(), run=run)
        return cast("Report", self.call(lambda: self.reports.setdefault(at, report)))

    def publish(self, kind: str, detail: dict[str, Any]) -> None:
        assert kind == "Monthly Reports Completed"
        self.call(lambda: self.published.append(detail))

    # ------------------------------------------------------------ what comes of it

    def settle(self, status: str = READY) -> None:
        """Let a worker end the first report that is pending."""
        pending = [one for one in self.reports.values() if one.status == PENDING]
        if pending:
            report = replace(pending[0], status=status, error={"code": "x"})
            self.reports[report.spec.account, report.id] = report

    def mailed(self) -> Counter[ReportKey]:
        """Return how often each report is in the mails as ready or failed."""
        mails: dict[str, dict[str, Any]] = {}
        for detail in self.published:
            # The mail function sends one mail for a key; whichever of the events comes first.
            first = mails.setdefault(dedup_key("Monthly Reports Completed", detail), detail)
            assert _settled(first) == _settled(detail)
        return Counter(one for detail in mails.values() for one in _settled(detail))


def _settled(detail: dict[str, Any]) -> list[ReportKey]:
    return [(one["account"], one["id"]) for one in detail["reports"] if one["status"] != PENDING]


class Run:
    """What is done to a run: by its schedule, its workers and the closing schedule."""

    def __init__(self, cloud: Cloud, accounts: int) -> None:
        names = [f"acme-{number}" for number in range(accounts)]
        self.accounts: Any = SimpleNamespace(
            list_names=lambda: names,
            get=lambda _: SimpleNamespace(pac=SimpleNamespace(capabilities={"consumption"})),
        )
        self.cloud = cloud
        fake: Any = cloud
        self.monthly = MonthlyReportService(fake, fake, fake)

    def start(self) -> None:
        fake: Any = self.cloud
        self.monthly.start(self.accounts, fake, OCTOBER, RUN, FORMS)

    def work(self) -> None:
        self.cloud.settle()
        self.monthly.publish_if_complete(RUN)

    def fail(self) -> None:
        self.cloud.settle(FAILED)
        self.monthly.publish_if_complete(RUN)

    def close(self) -> None:
        self.monthly.close_overdue()


ACTIONS = ("start", "work", "work", "work", "fail", "close")


@pytest.mark.parametrize("begin", range(0, 2000, 100))
def test_each_report_is_mailed_once(begin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(begin, begin + 100):
        play(random.Random(seed), monkeypatch)


def play(dice: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be started, worked on and closed; calls break off, and others come between."""
    at = [FIRST]
    monkeypatch.setattr(clock, "now", lambda: at[0])
    cloud = Cloud()
    run = Run(cloud, dice.randrange(3))
    breaks, others = dice.choice([0.0, 0.02, 0.1]), dice.choice([0.0, 0.02, 0.1])

    def step() -> None:
        if dice.random() < breaks:
            raise BrokenError
        if dice.random() < others:
            act(dice.choice(ACTIONS))

    def act(what: str) -> None:
        # Others are at work at the same time, and break off on their own.
        with suppress(BrokenError):
            getattr(run, what)()

    cloud.step = step
    for action in ["start", *dice.choices(ACTIONS, k=dice.randrange(12))]:
        act(action)
        at[0] += timedelta(hours=dice.choice([0, 0, 1, 5]))
    cloud.step = lambda: None
    run.start()
    while any(report.status == PENDING for report in cloud.reports.values()):
        run.work()
    at[0] += timedelta(hours=6)
    run.close()

    assert cloud.mailed() == Counter(dict.fromkeys(cloud.reports, 1))
    before = len(cloud.published)
    run.start()
    run.close()
    assert len(cloud.published) == before


def test_late_reports_come_in_one_supplement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    cloud = Cloud()
    run = Run(cloud, 1)
    run.start()
    run.work()
    monkeypatch.setattr(clock, "now", lambda: FIRST + timedelta(hours=5))
    run.close()
    for _ in range(3):
        run.work()

    first, supplement = cloud.published
    assert (first["number"], first["ready"], first["failed"]) == (1, 1, 3)
    assert (supplement["number"], supplement["ready"], supplement["failed"]) == (2, 3, 0)


def test_accounts_that_fail_at_a_repeated_start_are_named_in_a_supplement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    cloud = Cloud()
    run = Run(cloud, 1)
    names, run.accounts.list_names = run.accounts.list_names, list
    run.start()
    for _ in FORMS:
        run.work()

    def broken(_: str) -> Any:
        raise ValueError("no secret")

    run.accounts.list_names, run.accounts.get = names, broken
    run.start()
    run.start()

    assert [detail["accounts_failed"] for detail in cloud.published] == [
        {},
        {"acme-0": "internal-error"},
    ]


@pytest.mark.parametrize("older", [PENDING, READY])
def test_a_lost_version_holds_no_newer_one_up(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: FIRST)
    cloud = Cloud()
    run = Run(cloud, 0)
    run.start()
    lost, other = cloud.reports
    newer = ("all", lost[1].replace("0001", "0002"))
    cloud.reports[newer] = replace(cloud.reports[lost], id=newer[1], status=READY)
    stored = cloud.runs[RUN]
    cloud.runs[RUN] = replace(stored, reports=[*(stored.reports or ()), newer])
    cloud.settle(older)
    cloud.reports[other] = replace(cloud.reports[other], status=READY)

    run.monthly.publish_if_complete(RUN)

    assert cloud.mailed() == Counter([newer, other] + ([lost] if older == READY else []))
