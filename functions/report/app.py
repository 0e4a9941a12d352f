"""/accounts/{account}/reports and /reports: reports, their mails and mailed links.

The schedule of the 1st also starts it, with ``{"month": "previous", "scheduled_time": …, "time":
"06:00"}``: it requests that month's reports of every account, once; the repeated starts of the
schedule request only what is missing. Another schedule, with ``{"close": "overdue"}``, publishes
overdue events: of runs whose last reports will not arrive, of reports that were settled after
their run's event, and of reports whose worker stopped before it published them.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.aws.object_store import LINK_SECONDS, ReportStore
from timbres.aws.queues import ReportQueue
from timbres.domain import clock
from timbres.domain.account import parse_report_account
from timbres.domain.download_token import parse_link
from timbres.domain.month import parse_month, parse_period
from timbres.domain.report import (
    PENDING,
    READY,
    ReportSpec,
    parse_format,
    parse_formats,
    parse_kind,
)
from timbres.errors import BODY_INVALID, PARAMETER_INVALID, REPORT_FAILED, TimbresError
from timbres.handlers import schedule
from timbres.handlers.dependencies import create_account_repository, create_event_publisher
from timbres.handlers.http import HttpHandler, json_response
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import COUNT, metrics
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.reports import MAX_PAGE, MonthlyRunRepository, ReportRepository
from timbres.schemas.reports import report_to_dict
from timbres.services.monthly_reports import MonthlyReportService
from timbres.services.report_events import ReportPublisher
from timbres.services.reports import ReportService

api = HttpHandler()
account_repository = create_account_repository()
report_repository = ReportRepository(client("dynamodb"), get_env("REPORTS_TABLE"))
download_token_repository = DownloadTokenRepository(
    client("dynamodb"), get_env("DOWNLOAD_TOKENS_TABLE")
)
event_publisher = create_event_publisher()
report_service = ReportService(
    account_repository, report_repository, ReportQueue(client("sqs"), get_env("REPORTS_QUEUE_URL"))
)
monthly_report_service = MonthlyReportService(
    MonthlyRunRepository(client("dynamodb"), get_env("REPORTS_TABLE")),
    report_repository,
    event_publisher,
)


@cache
def report_store() -> ReportStore:
    # The S3 client is the slowest to create, and only one route needs it.
    return ReportStore(client("s3"), get_env("REPORTS_BUCKET"))


@api.post("/accounts/<account>/reports")
def request_report(account: str) -> Response[str]:
    api.query_params()
    body = api.json_body("month", "kind", "format")
    period = parse_period(body["month"], clock.now().date())
    kind = parse_kind(body["kind"])
    spec = ReportSpec(
        parse_report_account(account), period, kind, parse_format(body["format"], kind, period)
    )
    report = report_service.request(spec, api.caller_arn())
    location = api.location("reports", report.id)
    return json_response(202, report_to_dict(report), {"Location": location})


@api.get("/accounts/<account>/reports")
def list_reports(account: str) -> Response[str]:
    query = api.query_params("month", "limit", "cursor")
    month = query["month"]
    period = None if month is None else parse_period(month, clock.now().date())
    limit = api.page_limit(query["limit"], MAX_PAGE)
    reports, next_cursor = report_service.list_page(account, period, query["cursor"], limit)
    items = [report_to_dict(report) for report in reports]
    return json_response(200, {"reports": items, "next": next_cursor})


@api.get("/accounts/<account>/reports/<report_id>")
def get_report(account: str, report_id: str) -> Response[str]:
    redirect = api.query_params("redirect")["redirect"]
    if redirect not in (None, "true", "false"):
        raise TimbresError(PARAMETER_INVALID, "Expected true or false.", field="redirect")
    report = report_service.get(account, report_id)
    body = report_to_dict(report)
    if report.status == READY:
        url = report_store().presign_report(report)
        expires_at = clock.now() + timedelta(seconds=LINK_SECONDS)
        body |= {"url": url, "expires_at": expires_at.isoformat()}
        return json_response(200 if redirect == "false" else 302, body, {"Location": url})
    if redirect == "false":
        return json_response(200, body)
    if report.status == PENDING:
        return json_response(202, body, {"Retry-After": "5"})
    error = report.error or {}
    raise TimbresError(
        REPORT_FAILED,
        f"Report {report.id} failed: {error.get('detail')} Request it again to retry.",
        extensions={"report": body},
    )


@api.delete("/accounts/<account>/reports/<report_id>/tokens")
def revoke_download_tokens(account: str, report_id: str) -> Response[str]:
    api.query_params()
    # The account may no longer exist: its secret is not read.
    name = parse_report_account(account)
    report_service.get_any(name, report_id)
    count = download_token_repository.revoke(name, report_id, clock.now())
    result = {"account": name, "id": report_id, "revoked": count}
    logger.info("download tokens revoked", extra=result | {"by": api.caller_arn()})
    return json_response(200, result)


@api.post("/reports/revocation")
def revoke_links() -> Response[str]:
    api.query_params()
    body = api.json_body(optional=("link", "month"))
    if len(body) != 1:
        raise TimbresError(BODY_INVALID, "Expected either link or month.", field="body")
    tokens = download_token_repository
    found = (
        tokens.list_of_mail(parse_link(body["link"]))
        if "link" in body
        else tokens.list_of_month(parse_month(body["month"], clock.now()))
    )
    result = {"revoked": tokens.revoke_all(found, clock.now(), api.deadline)}
    what = {"month": body.get("month"), "by": api.caller_arn()}
    logger.info("download tokens revoked", extra=result | what)
    return json_response(200, result)


@api.post("/reports/mail")
def send_mail() -> Response[str]:
    api.query_params()
    month = parse_month(api.json_body("month")["month"], clock.now())
    result = monthly_report_service.publish_again(month)
    logger.info("mail requested again", extra=result | {"by": api.caller_arn()})
    return json_response(202, result)


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    monthly_reports = monthly_report_service
    formats = parse_formats(get_env("MONTHLY_FORMATS"))
    if payload.get("close") == "overdue":
        closed = monthly_reports.close_overdue()
        metrics.add_metric("MonthlyReportsMissing", int(monthly_reports.is_overdue()), COUNT)
        ReportPublisher(report_repository, monthly_reports, event_publisher).publish_unpublished(
            api.deadline
        )
        monthly_reports.resume(account_repository, report_service, formats, closed)
        return {"closed": closed}
    month, due = schedule.resolve_month(payload), schedule.scheduled_at(payload)
    run_id = f"{due.date()} for {month}"
    return monthly_reports.start(
        account_repository,
        report_service,
        month,
        run_id,
        formats,
        # The schedule repeats its start; a person who repeats it sends no time.
        only_missing="time" in payload,
    )


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway, or a schedule."""
    return api.handle(event, context, handle_schedule)
