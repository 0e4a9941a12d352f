"""Requests the monthly reports of every account, and publishes one event for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from timbres.errors import INTERNAL_ERROR, MAIL_NOT_FOUND, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.reports import MonthlyRunRepository, ReportRepository
from timbres.schemas.reports import monthly_reports_to_event
from timbres.services.reports import ReportService

logger = logging.getLogger("timbres")

# The hourly schedule resumes an interrupted start for this long.
_RESUME_WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class MonthlyReportService:
    """Starts, resumes and completes monthly runs."""

    runs: MonthlyRunRepository
    reports: ReportRepository
    event_publisher: EventPublisher

    def start(
        self,
        account_repository: AccountRepository,
        report_service: ReportService,
        month: Month,
        run_id: str,
        formats: Sequence[str],
        *,
        only_missing: bool = False,
    ) -> dict[str, Any]:
        """Request a month's reports of every account, and of all together, in ``formats``.

        An account that fails does not stop the others. Returns ``{"month", "requested": number of
        reports, "failed": {account: code}}``. A repeated start does not request or mail a report
        twice: reports added after the run's event are mailed in a supplement. ``only_missing``:
        accounts of which an earlier start has requested reports are left out.
        """
        self.runs.begin(run_id, month, clock.now())
        names = [*account_repository.list_names(), ALL_ACCOUNTS]
        if only_missing and (run := self.runs.get(run_id)):
            done = {account for account, _ in run.requested}
            names = [name for name in names if name not in done]
        requested: list[Report] = []
        failed: dict[str, str] = {}
        for name in names:
            try:
                # All accounts together have no PAC, and therefore no statement.
                kinds: Sequence[str] = ("consumption",)
                if name != ALL_ACCOUNTS:
                    kinds = account_repository.get(name).pac.capabilities
                specs = [
                    ReportSpec(name, month, kind, file_format)
                    for kind, file_formats in FORMATS.items()
                    for file_format in file_formats
                    if kind in kinds and file_format in formats
                ]
                requested += report_service.request_all(specs, "schedule", run_id)
            except Exception as error:
                failed[name] = getattr(error, "problem_type", INTERNAL_ERROR).code
                logger.error(
                    "an account's monthly reports were not requested: %s",
                    type(error).__name__,
                    extra={"account": name, "code": failed[name]},
                )
        # A report of another run is mailed by that run.
        own = [(report.spec.account, report.id) for report in requested if report.run == run_id]
        while names and (run := self.runs.get(run_id)) is not None:
            if self.runs.save(run, run.with_requested(own, failed)):
                break
        # The workers may have finished before.
        self.publish_if_complete(run_id)
        return {"month": str(month), "requested": len(requested), "failed": failed}

    def publish_if_complete(self, run_id: str, *, overdue: bool = False) -> bool:
        """Publish the event of a complete run, or a supplement with reports settled later.

        The event is due when every report that is not in an earlier event is settled; if
        ``overdue``, it is due with the settled ones. Returns whether an event was published. Two
        workers that settle the last two reports at the same time may both publish it, with the
        same content and the same mail key.
        """
        published = False
        while (run := self.runs.get(run_id)) is not None:
            if run.published == run.number:
                planned = self._next_event(run, overdue)
                if planned is None:
                    break
                # Saved before it is published, so that a repeated event has the same content.
                saved = self.runs.save(run, planned)
                if saved is None:
                    continue
                run = saved
            self.event_publisher.publish(
                "Monthly Reports Completed",
                monthly_reports_to_event(run, list(self._list_named(run))),
            )
            self.runs.save(run, run.with_published(clock.now()))
            logger.info("monthly reports published", extra={"run": run_id, "number": run.number})
            published = True
        return published

    def publish_again(self, month: Month) -> dict[str, Any]:
        """Publish the event of a month's newest published run again, for a mail with new links.

        A repetition within the same minute has the same mail key, and sends one mail. Raises
        ``mail-not-found``.
        """
        runs = self.runs.list_recent()
        run = next((run for run in runs if run.month == str(month) and run.published_at), None)
        if run is None:
            raise TimbresError(
                MAIL_NOT_FOUND, f"No mail of {month} was sent: request its reports.", field="month"
            )
        reports = list(self.reports.get_many(run.reports or ()))
        event = monthly_reports_to_event(replace(run, number=1), reports)
        resend = clock.now().isoformat(timespec="minutes")
        self.event_publisher.publish("Monthly Reports Completed", event | {"resend": resend})
        return {"month": str(month), "run": run.id, "reports": len(reports)}

    def _next_event(self, run: MonthlyRun, overdue: bool) -> MonthlyRun | None:
        """Return the run with its next event; None if no event is due."""
        if run.number:
            unnamed = run.late
        elif run.reports is not None:
            unnamed = run.reports
        else:
            return run.with_next_event(()) if overdue else None
        settled: list[ReportKey] = []
        # An older version of a report that was requested again does not delay the event.
        newest = {(account, id_prefix_of(report)): report for account, report in sorted(unnamed)}
        # The reports requested last are usually settled last.
        for report in self.reports.get_many(unnamed[::-1]):
            if report.status != PENDING:
                settled.append((report.spec.account, report.id))
            elif not overdue and newest[report.spec.account, report.spec.id_prefix] == report.id:
                return None
        if run.number and not settled and not run.late_failed:
            return None
        return run.with_next_event(settled)

    def _list_named(self, run: MonthlyRun) -> Iterator[Report]:
        """Yield the reports of the run's last event."""
        if run.number > 1:
            yield from self.reports.get_many(run.supplement)
            return
        yield from self.reports.get_many(run.reports or ())
        for report in self.reports.get_many(run.late):
            # As pending, whatever its status is now: a supplement reports the outcome.
            yield replace(report, status=PENDING, object_version=None, error=None, differences=None)

    def close_overdue(self) -> list[str]:
        """Publish the events of runs whose last reports will not arrive; return their ids.

        Also publishes supplements with reports settled after their run's event, and events that
        a worker saved and did not publish.
        """
        now = clock.now()
        return [
            run.id
            for run in self.runs.list_recent()
            if run.is_open
            and (run.number or now - run.started_at >= STALE_AFTER)
            and self.publish_if_complete(run.id, overdue=True)
        ]

    def resume(
        self,
        account_repository: AccountRepository,
        report_service: ReportService,
        formats: Sequence[str],
        closed: Sequence[str],
    ) -> None:
        """Start the interrupted runs again, except those just ``closed``."""
        for run in self.runs.list_recent():
            interrupted = run.reports is None and run.published_at is not None
            in_window = clock.now() - run.started_at < _RESUME_WINDOW
            if interrupted and in_window and run.id not in closed:
                month = Month.from_text(run.month)
                self.start(account_repository, report_service, month, run.id, formats)

    def is_overdue(self) -> bool:
        """Return whether last month's reports are unpublished on the 2nd or later."""
        now = clock.now()
        month = str(month_of(now).previous())
        runs = self.runs.list_recent()
        published = any(run.month == month and run.published_at for run in runs)
        return now.day > 1 and not published
