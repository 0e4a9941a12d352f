"""Requests, gets and lists reports."""

from __future__ import annotations

from collections.abc import Sequence

from timbres.aws.queues import ReportQueue
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.month import Month, Year
from timbres.domain.report import (
    PENDING,
    STALE_AFTER,
    Report,
    ReportSpec,
    is_report_id,
)
from timbres.errors import OPERATION_UNSUPPORTED, REPORT_NOT_FOUND, TimbresError
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.reports import ReportRepository


class ReportService:
    """Requests, gets and lists reports. The reader of ``queue`` generates them."""

    def __init__(
        self,
        account_repository: AccountRepository,
        report_repository: ReportRepository,
        queue: ReportQueue,
    ) -> None:
        self._account_repository = account_repository
        self._report_repository = report_repository
        self._queue = queue

    def request(self, spec: ReportSpec, caller: str, run: str | None = None) -> Report:
        """Return the requested report; if it is pending, send a message to a worker.

        A repeated request returns the pending report. A report that is ready or failed is
        requested again as the next version, but not twice for the same ``run``. A pending
        report without a run is attached to ``run``; a report of another run stays there.
        """
        self._ensure_supported(spec)
        (report,) = self.request_all([spec], caller, run)
        return report

    def request_all(
        self, specs: Sequence[ReportSpec], caller: str, run: str | None = None
    ) -> list[Report]:
        """Request reports of one account and month, which must support them; see ``request``."""
        reports: list[Report] = []
        stored = self._list_stored(specs[0]) if specs else []
        for spec in specs:
            while (report := self._create(spec, caller, run, stored)) is None:
                # Another writer changed the report meanwhile: read it again.
                stored = self._list_stored(spec)
            reports.append(report)
        # Also for an existing report: its message may not have been sent.
        self._queue.send(report for report in reports if report.status == PENDING)
        return reports

    def _list_stored(self, spec: ReportSpec) -> list[Report]:
        return self._report_repository.list_month(spec.account, spec.month)

    def _create(
        self, spec: ReportSpec, caller: str, run: str | None, stored: Sequence[Report]
    ) -> Report | None:
        """Return the existing or new report for a request; None if another writer was first."""
        now = clock.now()
        versions = [report for report in stored if report.spec == spec]
        newest = versions[0] if versions else None
        if newest and newest.status == PENDING and now - newest.created_at < STALE_AFTER:
            if run is None or newest.run is not None:
                return newest
            return self._report_repository.attach_to_run(newest, run)
        for version in versions:
            if run is not None and version.run == run and version.status != PENDING:
                return version
        number = newest.version + 1 if newest else 1
        return self._report_repository.create(spec, number, caller, now, run)

    def _ensure_supported(self, spec: ReportSpec) -> None:
        if spec.account != ALL_ACCOUNTS:
            self._account_repository.get(spec.account).require(spec.kind)
        elif spec.kind != "consumption":
            raise TimbresError(
                OPERATION_UNSUPPORTED,
                f"{ALL_ACCOUNTS} supports consumption only: request a {spec.kind} of one account.",
                field="account",
            )

    def get(self, account_name: str, report_id: str) -> Report:
        """Return a report. Raises ``account-unknown`` or ``report-not-found``."""
        return self.get_any(self._ensure_account_exists(account_name), report_id)

    def get_any(self, name: str, report_id: str) -> Report:
        """Return a report, also of an account that no longer exists.

        Raises ``report-not-found``.
        """
        report = self._report_repository.get(name, report_id) if is_report_id(report_id) else None
        if report is None:
            raise TimbresError(REPORT_NOT_FOUND, f"Account {name} has no such report.", field="id")
        return report

    def list_page(
        self, account_name: str, period: Month | Year | None, after: str | None, limit: int
    ) -> tuple[list[Report], str | None]:
        """Return a page of reports, newest first, and the next page's cursor or None.

        ``period`` restricts it to the reports of a month, or to those of a whole year.
        """
        return self._report_repository.list_page(
            self._ensure_account_exists(account_name), period, after, limit
        )

    def _ensure_account_exists(self, account: str) -> str:
        return (
            ALL_ACCOUNTS if account == ALL_ACCOUNTS else self._account_repository.get(account).name
        )
