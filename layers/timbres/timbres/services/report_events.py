"""Publishes the events of reports that are ready or failed."""

from __future__ import annotations

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain.report import READY, Report
from timbres.repositories.reports import ReportRepository
from timbres.schemas.reports import report_to_event
from timbres.services.monthly_reports import MonthlyReportService


class ReportPublisher:
    """Publishes the events of settled reports, at least once each."""

    def __init__(
        self,
        report_repository: ReportRepository,
        monthly_reports: MonthlyReportService,
        event_publisher: EventPublisher,
    ) -> None:
        self._report_repository = report_repository
        self._monthly_reports = monthly_reports
        self._event_publisher = event_publisher

    def publish(self, report: Report) -> None:
        """Publish the events of a settled report, and that of its run if it was the last.

        The report is marked as published at the end: after an interruption, the repeated message
        or the hourly schedule publishes the events again.
        """
        if report.differences:
            self._event_publisher.publish("Statement Mismatch Detected", report_to_event(report))
        self._event_publisher.publish(
            "Report Ready" if report.status == READY else "Report Failed", report_to_event(report)
        )
        if report.run is not None:
            self._monthly_reports.publish_if_complete(report.run)
        self._report_repository.mark_published(report)

    def publish_unpublished(self, deadline: Deadline) -> int:
        """Publish events that a worker did not publish; return the number of reports."""
        count = 0
        for report in self._report_repository.list_unpublished():
            if deadline.remaining() <= 0:
                break
            self.publish(report)
            count += 1
        return count
