"""/accounts/{account}/reports: asked for, listed, handed out through links; tickets revoked.

The schedule of the 1st starts it too, with ``{"month": "previous", "scheduled_time": …}``:
it asks for that month's reports of every account. Another, with ``{"close": "overdue"}``, publishes
the events that are overdue: of runs whose last reports will not come, of reports that came after
their run's event, and of reports whose worker broke off before it had published them.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.object_store import LINK_SECONDS
from timbres.domain import clock
from timbres.domain.account import parse_report_account
from timbres.domain.month import parse_month
from timbres.domain.report import (
    PENDING,
    READY,
    Wanted,
    parse_format,
    parse_formats,
    parse_kind,
)
from timbres.errors import PARAMETER_INVALID, REPORT_FAILED, TimbresError
from timbres.handlers import schedule
from timbres.handlers.container import Parts, setting
from timbres.handlers.http import Gateway, answer, log
from timbres.observability.metrics import COUNT, tally
from timbres.services.monthly_reports import Monthly
from timbres.services.report_events import ReportPublisher
from timbres.services.reports import Reports, shown

api = Gateway()
parts = Parts()


@cache
def reports() -> Reports:
    return Reports(parts.accounts, parts.records, parts.queue)


@api.post("/accounts/<account>/reports")
def ask(account: str) -> Response[str]:
    api.query()
    body = api.body("month", "kind", "format")
    month = parse_month(body["month"], clock.now())
    kind = parse_kind(body["kind"])
    wanted = Wanted(parse_report_account(account), month, kind, parse_format(body["format"], kind))
    report = reports().ask(wanted, api.caller())
    return answer(202, shown(report), {"Location": f"reports/{report.id}"})


@api.get("/accounts/<account>/reports")
def page(account: str) -> Response[str]:
    query = api.query("month", "cursor")
    month = None if query["month"] is None else parse_month(query["month"], clock.now())
    return answer(200, reports().page(account, month, query["cursor"]))


@api.get("/accounts/<account>/reports/<report_id>")
def read(account: str, report_id: str) -> Response[str]:
    redirect = api.query("redirect")["redirect"]
    if redirect not in (None, "true", "false"):
        raise TimbresError(PARAMETER_INVALID, "Expected true or false.", field="redirect")
    report = reports().get(account, report_id)
    body = shown(report)
    if report.status == READY:
        # Signed here, so that nothing else waits for S3's client, the slowest to make.
        url, ends = parts.bucket.link(report), clock.now() + timedelta(seconds=LINK_SECONDS)
        body |= {"url": url, "expires_at": ends.isoformat()}
        return answer(200 if redirect == "false" else 302, body, {"Location": url})
    if redirect == "false":
        return answer(200, body)
    if report.status == PENDING:
        return answer(202, body, {"Retry-After": "5"})
    error = report.error or {}
    raise TimbresError(
        REPORT_FAILED,
        f"Report {report.id} failed: {error.get('detail')} Ask for it again to try again.",
        extensions={"report": body},
    )


@api.delete("/accounts/<account>/reports/<report_id>/tickets")
def revoke(account: str, report_id: str) -> Response[str]:
    api.query()
    # Of an account that is no more, too: not its secret counts here, but the report's record.
    name = parse_report_account(account)
    reports().record(name, report_id)
    revoked = parts.download_tokens.revoke(name, report_id, clock.now())
    said = {"account": name, "id": report_id, "revoked": revoked}
    log.info("tickets revoked", extra=said | {"by": api.caller()})
    return answer(200, said)


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    monthly = Monthly(parts.monthly_runs, parts.records, parts.bus)
    formats = parse_formats(setting("MONTHLY_FORMATS"))
    if wanted.get("close") == "overdue":
        closed = monthly.close_overdue()
        tally.measure("MonthlyReportsMissing", int(monthly.missing()), COUNT)
        ReportPublisher(parts.records, monthly, parts.bus).publish_unannounced(api.deadline)
        monthly.resume(parts.accounts, reports(), formats, closed)
        return {"closed": closed}
    month, due = schedule.month(wanted), schedule.moment(wanted)
    run = f"{due.date()} for {month}"
    return monthly.start(parts.accounts, reports(), month, run, formats)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or the monthly schedule."""
    return api.run(event, context, scheduled)
