"""Reports: asked for, made by a worker, handed out through a presigned link."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from timbres.aws.accounts import Accounts
from timbres.aws.bus import Bus
from timbres.aws.reports import LINK_SECONDS, Bucket, Queue, Records
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.month import Month
from timbres.domain.report import (
    FAILED,
    FORMATS,
    LOST_AFTER,
    PENDING,
    READY,
    Report,
    Wanted,
    is_report_id,
)
from timbres.errors import INTERNAL_ERROR, REPORT_UNKNOWN, TimbresError
from timbres.work.access import Access
from timbres.work.export import Exporter

log = logging.getLogger("timbres")


class Reports:
    """What a caller may do with reports; ``bucket`` only signs links here."""

    def __init__(self, accounts: Accounts, records: Records, queue: Queue, bucket: Bucket) -> None:
        self._accounts = accounts
        self._records = records
        self._queue = queue
        self._bucket = bucket

    def ask(self, wanted: Wanted, caller: str, run: str | None = None) -> Report:
        """Return the report asked for, pending, with a message on its way to a worker.

        While it is being made, asking again gives the same one. One that is ready or
        failed is made anew as the next version, but never twice for the same ``run``.
        """
        self._accounts.get(wanted.account).must(wanted.kind)
        now = clock.now()
        versions = self._records.versions(wanted)
        newest = versions[0] if versions else None
        if newest and newest.status == PENDING and now - newest.created_at < LOST_AFTER:
            if run is not None and newest.run != run:
                self._records.adopt(newest, run)
            # The message again, since the first may never have been sent.
            self._queue.send(newest)
            return newest
        for one in versions:
            if run is not None and one.run == run and one.status != PENDING:
                return one
        version = newest.version + 1 if newest else 1
        report = self._records.add(wanted, version, caller, now, run)
        self._queue.send(report)
        return report

    def monthly(self, month: Month, run: str) -> dict[str, Any]:
        """Ask for a month's reports of every account; one that fails stops no other.

        Returns ``{"month", "asked": [ids with account], "failed": [account and code]}``.
        """
        asked, failed = [], []
        for name in self._accounts.names():
            try:
                for wanted in _all_of(self._accounts.get(name), month):
                    report = self.ask(wanted, "schedule", run)
                    asked.append({"account": name, "id": report.id})
            except Exception as error:
                code = error.kind.code if isinstance(error, TimbresError) else INTERNAL_ERROR.code
                log.error(
                    "an account's monthly reports were not asked for: %s",
                    type(error).__name__,
                    extra={"account": name, "code": code},
                )
                failed.append({"account": name, "code": code})
        return {"month": str(month), "asked": asked, "failed": failed}

    def get(self, account_name: str, report_id: str) -> Report:
        """Return a report. Raises ``report-not-found``."""
        account = self._accounts.get(account_name)
        report = self._records.get(account.name, report_id) if is_report_id(report_id) else None
        if report is None:
            raise TimbresError(
                REPORT_UNKNOWN, f"Account {account.name} has no such report.", field="id"
            )
        return report

    def page(self, account_name: str, month: Month | None, after: str | None) -> dict[str, Any]:
        """Return the reports of an account, newest month first, as the API lists them."""
        account = self._accounts.get(account_name)
        reports, rest = self._records.page(account.name, month, after)
        return {"reports": [shown(report) for report in reports], "next": rest}

    def link(self, report: Report) -> tuple[str, datetime]:
        """Return a presigned link to a ready report and when it ends."""
        return self._bucket.link(report), clock.now() + timedelta(seconds=LINK_SECONDS)


class Worker:
    """Makes one report a message."""

    def __init__(
        self, access: Access, records: Records, bucket: Bucket, exporter: Exporter, bus: Bus
    ) -> None:
        self._access = access
        self._records = records
        self._bucket = bucket
        self._exporter = exporter
        self._bus = bus

    def make(self, account_name: str, report_id: str, last_try: bool, deadline: Deadline) -> None:
        """Make a pending report; one that is not pending is left as it is.

        Raises what a later try may mend, unless this is the last: then, and for what no
        try mends, the record says failed and why.
        """
        report = self._records.get(account_name, report_id)
        if report is None or report.status != PENDING:
            log.info("nothing to make", extra={"account": account_name, "report": report_id})
            # Settled by a try that ended before its event was taken.
            if report is not None and not self._records.is_announced(report):
                self._announce(report)
            return
        try:
            made = self._made(report, deadline)
        except TimbresError as error:
            if error.kind.retry and not last_try:
                raise
            self._fail(report, error.kind.code, error.detail)
            return
        except Exception:
            if not last_try:
                raise
            log.exception("a report failed", extra={"account": account_name, "report": report_id})
            self._fail(report, INTERNAL_ERROR.code, "An error of Timbres' own.")
            return
        self._settle(made)

    def _made(self, report: Report, deadline: Deadline) -> Report:
        account = self._access.account(report.wanted.account, report.wanted.kind)
        with self._exporter.export(account, report.wanted, deadline) as export:
            version = self._bucket.put(report.wanted, export.file, export.sha256)
            return replace(
                report,
                status=READY,
                settled_at=clock.now(),
                bytes=export.size,
                sha256=export.sha256,
                rows=export.rows,
                object_version=version,
            )

    def _fail(self, report: Report, code: str, detail: str) -> None:
        error = {"code": code, "detail": detail}
        self._settle(replace(report, status=FAILED, settled_at=clock.now(), error=error))

    def _settle(self, report: Report) -> None:
        if self._records.settle(report):
            log.info(
                "report %s",
                report.status,
                extra={"account": report.wanted.account, "report": report.id},
            )
            self._announce(report)

    def _announce(self, report: Report) -> None:
        event = "Report Ready" if report.status == READY else "Report Failed"
        # A quote would end the text that the rule of the mail puts it into.
        why = (report.error or {}).get("detail", "").replace('"', "'").replace("\\", "/")
        self._bus.publish(event, shown(report) | {"why": why})
        self._records.announced(report)


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
        "requested_by": report.requested_by,
        "created_at": report.created_at.isoformat(),
        "settled_at": report.settled_at.isoformat() if report.settled_at else None,
        "url": None,
        "expires_at": None,
        "error": report.error,
    }


def _all_of(account: Account, month: Month) -> list[Wanted]:
    return [
        Wanted(account.name, month, kind, form)
        for kind, forms in FORMATS.items()
        if kind in account.pac.can
        for form in forms
    ]
