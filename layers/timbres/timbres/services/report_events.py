"""Publishes the events of reports that are ready or failed."""

from __future__ import annotations

from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain.report import READY, Report
from timbres.repositories.reports import ReportRepository
from timbres.schemas.reports import report_to_event
from timbres.services.monthly_reports import MonthlyReportService


class ReportPublisher:
    """Publishes a settled report's events, at least once each."""

    def __init__(
        self, records: ReportRepository, monthly: MonthlyReportService, bus: EventPublisher
    ) -> None:
        self._records = records
        self._monthly = monthly
        self._bus = bus

    def publish(self, report: Report) -> None:
        """Publish the events of a settled report, and that of its run if it was the last.

        The report is marked as announced at the end: if this breaks off, the message that
        comes again or the hourly schedule publishes all of it again.
        """
        if report.differences:
            self._bus.publish("Statement Mismatch Detected", report_to_event(report))
        self._bus.publish(
            "Report Ready" if report.status == READY else "Report Failed", report_to_event(report)
        )
        if report.run is not None:
            self._monthly.publish_if_complete(report.run)
        self._records.mark_published(report)

    def publish_unpublished(self, deadline: Deadline) -> int:
        """Publish the events that a worker did not get to, as long as there is time.

        Returns of how many reports.
        """
        count = 0
        for report in self._records.list_unpublished():
            if deadline.remaining() <= 0:
                break
            self.publish(report)
            count += 1
        return count
