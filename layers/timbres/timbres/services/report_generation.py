"""Generates reports and publishes their events."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from timbres.aws.object_store import ReportStore
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.report import FAILED, PENDING, READY, Report
from timbres.errors import INTERNAL_ERROR, TimbresError
from timbres.observability.metrics import metrics
from timbres.repositories.reports import ReportRepository
from timbres.schemas.errors import error_to_dict
from timbres.services.report_events import ReportPublisher
from timbres.services.report_writer import Loader, ReportWriter

logger = logging.getLogger("timbres")


class ReportGenerator:
    """Generates requested reports."""

    def __init__(
        self,
        report_repository: ReportRepository,
        report_store: ReportStore,
        report_writer: ReportWriter,
        publisher: ReportPublisher,
    ) -> None:
        self._report_repository = report_repository
        self._report_store = report_store
        self._report_writer = report_writer
        self._publisher = publisher

    def generate(
        self,
        account_name: str,
        report_ids: Iterable[str],
        is_last_attempt: bool,
        deadline: Deadline,
    ) -> None:
        """Generate pending reports, which share their data; others do not change.

        Raises a retryable or unexpected error, after the other reports, except in the last
        attempt. Other errors, and all errors of the last attempt, are stored: the report is failed.
        """
        errors: list[Exception] = []
        with self._report_writer.shared_data(
            deadline, skip_failed_accounts=is_last_attempt
        ) as load:
            for report_id in report_ids:
                try:
                    self._generate_one(account_name, report_id, is_last_attempt, deadline, load)
                except Exception as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def _generate_one(
        self,
        account_name: str,
        report_id: str,
        is_last_attempt: bool,
        deadline: Deadline,
        load: Loader,
    ) -> None:
        extra = {"account": account_name, "report": report_id}
        report = self._report_repository.get(account_name, report_id)
        if report is None or report.status != PENDING:
            logger.info("nothing to generate", extra=extra)
            # An earlier attempt settled it and ended before it published the event.
            if report is not None and report.is_unpublished:
                self._publisher.publish(report)
            return
        try:
            settled = self._write(report, deadline, load)
        except TimbresError as error:
            if error.problem_type.retryable and not is_last_attempt:
                raise
            settled = _failed(report, error)
        except Exception:
            if not is_last_attempt:
                raise
            logger.exception("a report failed", extra=extra)
            unexpected = TimbresError(INTERNAL_ERROR, "An unexpected error occurred.")
            settled = _failed(report, unexpected)
        self._finalize(settled)

    def _write(self, report: Report, deadline: Deadline, load: Loader) -> Report:
        started = time.monotonic()
        with self._report_store.upload(report.spec) as out:
            result = self._report_writer.write(report.spec, out, deadline, load)
        return replace(
            report,
            status=READY,
            settled_at=clock.now(),
            bytes=out.bytes,
            sha256=out.sha256,
            object_version=out.version_id,
            seconds=round(time.monotonic() - started, 1),
            **result,
        )

    def _finalize(self, report: Report) -> None:
        settled = self._report_repository.finalize(report)
        extra: dict[str, Any] = {"account": report.spec.account, "report": report.id}
        if settled is None:
            logger.info("another worker settled the report", extra=extra)
            return
        metrics.add_count("Reports", status=settled.status)
        metrics.add_count("StatementMismatches", 1 if settled.differences else 0)
        error = settled.error or {}
        codes = {"code": error.get("code"), "pac_code": error.get("pac", {}).get("code")}
        logger.info("report %s", settled.status, extra=extra | codes)
        self._publisher.publish(settled)


def _failed(report: Report, error: TimbresError) -> Report:
    return replace(report, status=FAILED, settled_at=clock.now(), error=error_to_dict(error))
