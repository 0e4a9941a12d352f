"""Making: a worker writes one report a message, and tells what became of it."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from timbres.aws.object_store import ReportStore
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.report import FAILED, PENDING, READY, Report
from timbres.errors import INTERNAL_ERROR, PacError, TimbresError
from timbres.observability.metrics import tally
from timbres.repositories.reports import Records
from timbres.services.report_events import ReportPublisher
from timbres.services.report_writer import Exporter

log = logging.getLogger("timbres")


class Worker:
    """Makes one report for each message, keeps it in ``bucket`` and publishes its events."""

    def __init__(
        self, records: Records, bucket: ReportStore, exporter: Exporter, publisher: ReportPublisher
    ) -> None:
        self._records = records
        self._bucket = bucket
        self._exporter = exporter
        self._publisher = publisher

    def make(self, account_name: str, report_id: str, last_try: bool, deadline: Deadline) -> None:
        """Make a pending report; one that is not pending is left as it is.

        Raises what a later try may mend, unless this is the last: then, and for what no
        try mends, the record says failed and why.
        """
        report = self._records.get(account_name, report_id)
        if report is None or report.status != PENDING:
            log.info("nothing to make", extra={"account": account_name, "report": report_id})
            # Settled by a try that ended before its event was taken.
            if report is not None and report.unannounced:
                self._publisher.publish(report)
            return
        try:
            made = self._made(report, last_try, deadline)
        except TimbresError as error:
            if error.problem_type.retryable and not last_try:
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
        told: dict[str, Any] = {"code": error.problem_type.code, "detail": error.detail}
        if isinstance(error, PacError):
            told["pac"] = {
                "name": error.pac,
                "code": error.pac_code,
                "message": error.pac_message,
            }
        self._settle(replace(report, status=FAILED, settled_at=clock.now(), error=told))

    def _settle(self, report: Report) -> None:
        settled = self._records.settle(report)
        if settled is None:
            log.info(
                "another worker settled the report",
                extra={"account": report.wanted.account, "report": report.id},
            )
            return
        tally.count("Reports", status=settled.status)
        tally.count("StatementsDiffering", 1 if settled.differences else 0)
        log.info(
            "report %s",
            settled.status,
            extra={
                "account": settled.wanted.account,
                "report": settled.id,
                "code": settled.error and settled.error["code"],
                "pac_code": settled.error and settled.error.get("pac", {}).get("code"),
            },
        )
        self._publisher.publish(settled)
