"""Reports: asked for and listed."""

from __future__ import annotations

from typing import Any

from timbres.aws.queues import ReportQueue
from timbres.domain import clock
from timbres.domain.account import ALL
from timbres.domain.month import Month
from timbres.domain.report import (
    LOST_AFTER,
    PENDING,
    Report,
    Wanted,
    is_report_id,
)
from timbres.errors import OPERATION_UNSUPPORTED, REPORT_NOT_FOUND, TimbresError
from timbres.repositories.accounts import Accounts
from timbres.repositories.reports import Records


class Reports:
    """What a caller may do with reports: ask for them, list them, look one up.

    They are made elsewhere, by who reads ``queue``; ``records`` say how far they are.
    """

    def __init__(self, accounts: Accounts, records: Records, queue: ReportQueue) -> None:
        self._accounts = accounts
        self._records = records
        self._queue = queue

    def ask(self, wanted: Wanted, caller: str, run: str | None = None) -> Report:
        """Return the report asked for, pending, with a message on its way to a worker.

        While it is being made, asking again gives the same one. One that is ready or
        failed is made anew as the next version, but never twice for the same ``run``. A
        pending report of no run becomes one of ``run``; one of another run stays that run's,
        which mails it.
        """
        self._must(wanted)
        while (report := self._requested(wanted, caller, run)) is None:
            # Another request, or the worker, changed the report meanwhile: look again.
            pass
        if report.status == PENDING:
            # For a report that was there before too: its message may never have been sent.
            self._queue.send(report)
        return report

    def _requested(self, wanted: Wanted, caller: str, run: str | None) -> Report | None:
        """Return the report that stands for a request; None if another writer was first."""
        now = clock.now()
        versions = self._records.versions(wanted)
        newest = versions[0] if versions else None
        if newest and newest.status == PENDING and now - newest.created_at < LOST_AFTER:
            if run is None or newest.run is not None:
                return newest
            return self._records.adopt(newest, run)
        for version in versions:
            if run is not None and version.run == run and version.status != PENDING:
                return version
        number = newest.version + 1 if newest else 1
        return self._records.add(wanted, number, caller, now, run)

    def _must(self, wanted: Wanted) -> None:
        if wanted.account != ALL:
            self._accounts.get(wanted.account).must(wanted.kind)
        elif wanted.kind != "consumption":
            raise TimbresError(
                OPERATION_UNSUPPORTED,
                f"{ALL} has consumption only: a {wanted.kind} is one account's.",
                field="account",
            )

    def get(self, account_name: str, report_id: str) -> Report:
        """Return a report. Raises ``account-unknown`` or ``report-not-found``."""
        return self.record(self._known(account_name), report_id)

    def record(self, name: str, report_id: str) -> Report:
        """Return a report, of an account that is no more, too. Raises ``report-not-found``."""
        report = self._records.get(name, report_id) if is_report_id(report_id) else None
        if report is None:
            raise TimbresError(REPORT_NOT_FOUND, f"Account {name} has no such report.", field="id")
        return report

    def page(self, account_name: str, month: Month | None, after: str | None) -> dict[str, Any]:
        """Return the reports of an account, newest month first, as the API lists them."""
        reports, rest = self._records.page(self._known(account_name), month, after)
        return {"reports": [shown(report) for report in reports], "next": rest}

    def _known(self, account: str) -> str:
        return ALL if account == ALL else self._accounts.get(account).name


def shown(report: Report) -> dict[str, Any]:
    """Return a report as the API shows it, without a link."""
    return {
        "id": report.id,
        "account": report.wanted.account,
        "month": str(report.wanted.month),
        "kind": report.wanted.kind,
        "format": report.wanted.format,
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


def told(report: Report) -> dict[str, Any]:
    """Return a report as events tell of it: with what a ticket for it is issued from."""
    return shown(report) | {"run": report.run, "object_version": report.object_version}
