"""Monthly: a month's reports of every account, asked for together and told of in one event."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from timbres.aws.events import EventPublisher
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.month import Month, month_of
from timbres.domain.report import (
    FORMATS,
    PENDING,
    STALE_AFTER,
    MonthlyRun,
    Report,
    ReportKey,
    ReportSpec,
    id_prefix_of,
)
from timbres.errors import INTERNAL_ERROR, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.reports import MonthlyRunRepository, ReportRepository
from timbres.schemas.reports import monthly_reports_to_event
from timbres.services.reports import ReportService

logger = logging.getLogger("timbres")

# How long a start that broke off is repeated by the hourly schedule.
_RESUME_WINDOW = timedelta(days=7)


class MonthlyReportService:
    """The runs of the 1st: what each asked for, and its end."""

    def __init__(
        self, runs: MonthlyRunRepository, records: ReportRepository, bus: EventPublisher
    ) -> None:
        self._runs = runs
        self._records = records
        self._bus = bus

    def start(
        self,
        accounts: AccountRepository,
        reports: ReportService,
        month: Month,
        run: str,
        formats: Sequence[str],
    ) -> dict[str, Any]:
        """Ask for a month's reports of every account, and of all together, in ``formats``.

        An account that fails stops no other. Returns ``{"month", "asked": [account and id],
        "failed": [account and code]}``. Starting the same ``run`` again asks for nothing twice,
        and mails nothing twice: what it adds to a run whose event is published is mailed in a
        supplement.
        """
        self._runs.begin(run, month, clock.now())
        asked: list[ReportKey] = []
        own: list[ReportKey] = []
        failed: dict[str, str] = {}
        for name in [*accounts.list_names(), ALL_ACCOUNTS]:
            try:
                kinds = (
                    ("consumption",)
                    if name == ALL_ACCOUNTS
                    else accounts.get(name).pac.capabilities
                )
                for wanted in _list_specs(name, kinds, month, formats):
                    report = reports.request(wanted, "schedule", run)
                    asked.append((name, report.id))
                    if report.run == run:
                        # That of another run is mailed by that run.
                        own.append((name, report.id))
            except Exception as error:
                code = (
                    error.problem_type.code
                    if isinstance(error, TimbresError)
                    else INTERNAL_ERROR.code
                )
                logger.error(
                    "an account's monthly reports were not asked for: %s",
                    type(error).__name__,
                    extra={"account": name, "code": code},
                )
                failed[name] = code
        self._save_requested(run, own, failed)
        # The workers may have been faster.
        self.publish_if_complete(run)
        return {
            "month": str(month),
            "asked": [{"account": name, "id": report} for name, report in asked],
            "failed": [{"account": name, "code": code} for name, code in failed.items()],
        }

    def _save_requested(
        self, run_id: str, reports: Sequence[ReportKey], failed: Mapping[str, str]
    ) -> None:
        while (run := self._runs.get(run_id)) is not None:
            if self._runs.save(run, run.with_requested(reports, failed)):
                return

    def publish_if_complete(self, run_id: str, *, overdue: bool = False) -> bool:
        """Publish the event that a run is due: at its end, or about reports settled later.

        It is due once every report that no event has named is settled; ``overdue``: with
        those that are. Returns whether an event was published. Two workers that settle the
        last two reports at the same time may both publish it; it has the same content, and
        the same mail key.
        """
        published = False
        while (run := self._runs.get(run_id)) is not None:
            if run.published == run.number:
                decided = self._next_event(run, overdue)
                if decided is None:
                    break
                # Stored before it is published, so that it names the same if it is again.
                saved = self._runs.save(run, decided)
                if saved is None:
                    continue
                run = saved
            self._bus.publish(
                "Monthly Reports Completed",
                monthly_reports_to_event(run, list(self._list_named(run))),
            )
            self._runs.save(run, run.with_published(clock.now()))
            logger.info("monthly reports published", extra={"run": run_id, "number": run.number})
            published = True
        return published

    def _next_event(self, run: MonthlyRun, overdue: bool) -> MonthlyRun | None:
        """Return the run with its next event decided, None if none is due."""
        if run.number:
            unnamed = run.late
        elif run.reports is not None:
            unnamed = run.reports
        else:
            return run.with_next_event(()) if overdue else None
        settled: list[ReportKey] = []
        # A version that was lost and made anew holds nothing up.
        newest = {(account, id_prefix_of(report)): report for account, report in sorted(unnamed)}
        # Those asked for last are made last.
        for report in self._records.get_many(unnamed[::-1]):
            if report.status != PENDING:
                settled.append((report.spec.account, report.id))
            elif not overdue and newest[report.spec.account, report.spec.id_prefix] == report.id:
                return None
        if run.number and not settled and not run.late_failed:
            return None
        return run.with_next_event(settled)

    def _list_named(self, run: MonthlyRun) -> Iterator[Report]:
        """Yield the reports that the event decided last names."""
        if run.number > 1:
            yield from self._records.get_many(run.supplement)
            return
        yield from self._records.get_many(run.reports or ())
        for report in self._records.get_many(run.late):
            # Whatever it is by now: once settled, a supplement names it.
            yield replace(report, status=PENDING, object_version=None, error=None, differences=None)

    def close_overdue(self) -> list[str]:
        """Publish the events of runs that wait for a report that will not come; return their ids.

        So are those of reports that were settled after their run's event, and those that a
        worker decided on and did not get to publish.
        """
        now = clock.now()
        return [
            run.id
            for run in self._runs.list_recent()
            if run.is_open
            and (run.number or now - run.started_at >= STALE_AFTER)
            and self.publish_if_complete(run.id, overdue=True)
        ]

    def resume(
        self,
        accounts: AccountRepository,
        reports: ReportService,
        formats: Sequence[str],
        closed: Sequence[str],
    ) -> None:
        """Start the runs again whose start broke off and was not repeated by anyone.

        Those just ``closed`` have until the next hour.
        """
        for run in self._runs.list_recent():
            broken = run.reports is None and run.published_at is not None and run.id not in closed
            if broken and clock.now() - run.started_at < _RESUME_WINDOW:
                self.start(accounts, reports, Month.from_text(run.month), run.id, formats)

    def missing(self) -> bool:
        """Tell whether it is the 2nd or later and no run has told of last month's reports."""
        now = clock.now()
        last = str(month_of(now).previous())
        told = any(run.month == last and run.published_at for run in self._runs.list_recent())
        return now.day > 1 and not told


def _list_specs(
    name: str, kinds: Sequence[str], month: Month, formats: Sequence[str]
) -> list[ReportSpec]:
    return [
        ReportSpec(name, month, kind, form)
        for kind in FORMATS
        if kind in kinds
        for form in FORMATS[kind]
        if form in formats
    ]
