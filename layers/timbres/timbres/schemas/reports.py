"""Reports and monthly runs as the API and the events show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.report import FORMATS, READY, MonthlyRun, Report

# An event takes 256 KB, and nobody reads a mail with more links.
MAX_LISTED = 200


def report_to_dict(report: Report) -> dict[str, Any]:
    """Return a report as the API shows it, without a link."""
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
    """Return a report as events show it: with what a mail needs to make a link of."""
    return report_to_dict(report) | {"run": report.run, "object_version": report.object_version}


def monthly_reports_to_event(run: MonthlyRun, reports: Sequence[Report]) -> dict[str, Any]:
    """Return the event of a monthly run that names ``reports``, in the order of the mail."""
    order = {name: place for place, name in enumerate([*FORMATS, *FORMATS["consumption"]])}
    reports = sorted(
        reports,
        key=lambda one: (
            one.spec.account != ALL_ACCOUNTS,
            one.spec.account,
            order[one.spec.kind],
            order[one.spec.format],
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
        # The PAC's words are short; a detail repeats them.
        "error": error and {"code": error["code"], "pac": error.get("pac")},
    }
