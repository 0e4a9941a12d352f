"""JSON of reports and monthly runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.report import FORMATS, READY, MonthlyRun, Report

# An event is limited to 256 KB, and a mail with more links is not readable.
MAX_LISTED = 200


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
    return report_to_dict(report) | {"run": report.run, "object_version": report.object_version}


def monthly_reports_to_event(run: MonthlyRun, reports: Sequence[Report]) -> dict[str, Any]:
    """Return the event of a monthly run with ``reports``, in the order of the mail."""
    ranks = {name: rank for rank, name in enumerate([*FORMATS, *FORMATS["consumption"]])}
    reports = sorted(
        reports,
        key=lambda report: (
            report.spec.account != ALL_ACCOUNTS,
            report.spec.account,
            ranks[report.spec.kind],
            ranks[report.spec.format],
        ),
    )
    ready = sum(report.status == READY for report in reports)
    return {
        "id": run.id,
        "month": run.month,
        "number": run.number,
        "ready": ready,
        "failed": len(reports) - ready,
        "reports": [_summary(report) for report in reports[:MAX_LISTED]],
        "accounts_failed": dict(run.failed),
    }


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
