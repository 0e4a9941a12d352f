"""Making: a worker writes one report a message, and tells what became of it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from timbres.aws.bus import Bus
from timbres.aws.reports import Bucket, Records
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.report import FAILED, PENDING, READY, Report
from timbres.errors import INTERNAL_ERROR, PacError, TimbresError
from timbres.tally import tally
from timbres.work.export import Exporter
from timbres.work.monthly import Monthly
from timbres.work.report import told

log = logging.getLogger("timbres")


class Worker:
    """Makes one report a message, keeps it in ``bucket`` and tells of it on ``bus``."""

    def __init__(
        self, records: Records, bucket: Bucket, exporter: Exporter, monthly: Monthly, bus: Bus
    ) -> None:
        self._records = records
        self._bucket = bucket
        self._exporter = exporter
        self._monthly = monthly
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
            made = self._made(report, last_try, deadline)
        except TimbresError as error:
            if error.kind.retry and not last_try:
                raise
            self._fail(report, error)
            return
        except Exception:
            if not last_try:
                raise
            log.exception("a report failed", extra={"account": account_name, "report": report_id})
            self._fail(report, TimbresError(INTERNAL_ERROR, "An error of Timbres' own."))
            return
        self._settle(made)

    def _made(self, report: Report, last_try: bool, deadline: Deadline) -> Report:
        started = time.monotonic()
        with self._bucket.upload(report.wanted) as out:
            written = self._exporter.write(report.wanted, out, deadline, tolerant=last_try)
        return replace(
            report,
            status=READY,
            settled_at=clock.now(),
            bytes=out.bytes,
            sha256=out.sha256,
            rows=written.rows,
            object_version=out.version_id,
            seconds=round(time.monotonic() - started, 1),
            differences=written.differences,
        )

    def _fail(self, report: Report, error: TimbresError) -> None:
        told: dict[str, Any] = {"code": error.kind.code, "detail": error.detail}
        if isinstance(error, PacError):
            told["pac"] = {
                "name": error.pac,
                "code": error.pac_code,
                "message": error.pac_message,
            }
        self._settle(replace(report, status=FAILED, settled_at=clock.now(), error=told))

    def _settle(self, report: Report) -> None:
        if self._records.settle(report):
            tally.count("Reports", status=report.status)
            tally.count("StatementsDiffering", 1 if report.differences else 0)
            log.info(
                "report %s",
                report.status,
                extra={
                    "account": report.wanted.account,
                    "report": report.id,
                    "code": report.error and report.error["code"],
                    "pac_code": report.error and report.error.get("pac", {}).get("code"),
                },
            )
            self._announce(report)

    def _announce(self, report: Report) -> None:
        if report.differences:
            self._bus.publish("Statement Differs", told(report))
        self._bus.publish(
            "Report Ready" if report.status == READY else "Report Failed", told(report)
        )
        # A run may have adopted it while it was made.
        settled = self._records.get(report.wanted.account, report.id) or report
        if settled.run is not None:
            self._monthly.finish(settled.run)
        self._records.announced(report)
