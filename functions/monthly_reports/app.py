"""Requests the monthly reports of every account, and publishes their events.

The schedule of the 1st invokes it with ``{"month": "previous", "scheduled_time": …}``. Another
schedule, with ``{"close": "overdue"}``, publishes overdue events: of runs whose last reports will
not arrive, of reports that were settled after their run's event, and of reports whose worker
stopped before it published them. It also resumes an interrupted start.
"""

from __future__ import annotations

from typing import Any

from timbres.domain.report import parse_formats
from timbres.handlers import schedule
from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import COUNT, metrics
from timbres.services.monthly_reports import MonthlyReportService
from timbres.services.report_events import ReportPublisher
from timbres.services.reports import ReportService

api = HttpHandler()
container = Container(
    "SECRET_PREFIX", "REPORTS_TABLE", "REPORTS_QUEUE_URL", "MONTHLY_FORMATS", "EVENT_BUS"
)


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    accounts, formats = container.account_repository, parse_formats(get_env("MONTHLY_FORMATS"))
    report_service = ReportService(accounts, container.report_repository, container.report_queue)
    monthly_reports = MonthlyReportService(
        container.monthly_run_repository, container.report_repository, container.event_publisher
    )
    if payload.get("close") == "overdue":
        closed = monthly_reports.close_overdue()
        metrics.add_metric("MonthlyReportsMissing", int(monthly_reports.is_overdue()), COUNT)
        ReportPublisher(
            container.report_repository, monthly_reports, container.event_publisher
        ).publish_unpublished(api.deadline)
        monthly_reports.resume(accounts, report_service, formats, closed)
        return {"closed": closed}
    month, due = schedule.resolve_month(payload), schedule.scheduled_at(payload)
    run_id = f"{due.date()} for {month}"
    return monthly_reports.start(accounts, report_service, month, run_id, formats)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a schedule."""
    return api.handle(event, context, handle_schedule)
