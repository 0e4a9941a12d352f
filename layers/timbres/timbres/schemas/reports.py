"""JSON of reports and monthly runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.highlights import Highlights
from timbres.domain.report import FORMATS, READY, MonthlyRun, Report

# EventBridge, SNS and the queue of failed mails, which adds an envelope, accept 256 KB each. The
# text of a mail is about as long as its event.
_MAX_LISTED_BYTES = 220_000


def report_to_dict(report: Report) -> dict[str, Any]:
    """Return a report without a link."""
    return {
        "id": report.id,
        "account": report.spec.account,
        "month": str(report.spec.month),
        "kind": report.spec.kind,
        "format": report.spec.format,
        "status": report.status,
        "bytes": report.bytes,
        "sha256": report.sha256,
        "rows": report.rows,
        "seconds": report.seconds,
        "differences": report.differences,
        "requested_by": report.requested_by,
        "created_at": report.created_at.isoformat(),
        "settled_at": report.settled_at.isoformat() if report.settled_at else None,
        "url": None,
        "expires_at": None,
        "error": report.error,
    }


def report_to_event(report: Report) -> dict[str, Any]:
    """Return a report for events, with the fields from which a mail makes a link."""
    return report_to_dict(report) | {
        "run": report.run,
        "object_version": report.object_version,
        "summary": report.summary,
    }


def highlights_to_dict(highlights: Highlights) -> dict[str, Any]:
    """Return the highlights of a month for events; decimal numbers are texts."""
    line = highlights.account
    return {
        "stamps": highlights.stamps,
        "previous": highlights.previous,
        "change": _text(highlights.change),
        "is_new": highlights.is_new,
        "not_compared": highlights.not_compared,
        "cost": _text(highlights.cost),
        "exhausted": highlights.exhausted,
        "soon": highlights.soon,
        "account_stamps": line
        and {
            "account": line.account,
            "available": line.available,
            "days_left": _text(line.days_left),
            "as_of": line.as_of.isoformat() if line.as_of else None,
        },
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def monthly_reports_to_event(run: MonthlyRun, reports: Sequence[Report]) -> dict[str, Any]:
    """Return the event of a monthly run: failed reports, then ready ones, as many as fit."""
    ranks = {name: rank for rank, name in enumerate([*FORMATS, *FORMATS["consumption"]])}
    reports = sorted(
        reports,
        key=lambda report: (
            report.status == READY,
            report.spec.account != ALL_ACCOUNTS,
            report.spec.account,
            ranks[report.spec.kind],
            ranks[report.spec.format],
        ),
    )
    ready = sum(report.status == READY for report in reports)
    event = {
        "id": run.id,
        "month": run.month,
        "number": run.number,
        "ready": ready,
        "failed": len(reports) - ready,
        "accounts_failed": dict(run.failed),
        "summary": _summary_of_all(reports),
    }
    summaries = list(map(_summary, reports))
    sizes = accumulate(map(_size, summaries), initial=_size(event))
    fitting = sum(size <= _MAX_LISTED_BYTES for size in sizes) - 1
    return event | {"reports": summaries[: max(0, fitting)]}


def _summary_of_all(reports: Sequence[Report]) -> dict[str, Any] | None:
    """Return the highlights of all accounts together, or of the only account; None if unknown."""
    known = [report for report in reports if report.summary and report.status == READY]
    of_all = [report for report in known if report.spec.account == ALL_ACCOUNTS]
    if not of_all and len({report.spec.account for report in reports}) > 1:
        return None
    return next((report.summary for report in of_all or known), None)


def _size(value: Any) -> int:
    return len(json.dumps(value)) + len(", ")


def _summary(report: Report) -> dict[str, Any]:
    error = report.error
    return {
        "account": report.spec.account,
        "id": report.id,
        "month": str(report.spec.month),
        "kind": report.spec.kind,
        "format": report.spec.format,
        "status": report.status,
        "object_version": report.object_version,
        "differences": report.differences,
        # Without the detail, which repeats the PAC's message.
        "error": error and {"code": error["code"], "pac": error.get("pac")},
    }
