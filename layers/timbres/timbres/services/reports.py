"""Reports: asked for and listed."""

from __future__ import annotations

from timbres.aws.queues import ReportQueue
from timbres.domain import clock
from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.month import Month
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
    """What a caller may do with reports: ask for them, list them, look one up.

    They are made elsewhere, by who reads ``queue``; ``records`` say how far they are.
    """

    def __init__(
        self, accounts: AccountRepository, records: ReportRepository, queue: ReportQueue
    ) -> None:
        self._accounts = accounts
        self._records = records
        self._queue = queue

    def request(self, spec: ReportSpec, caller: str, run: str | None = None) -> Report:
        """Return the report asked for, pending, with a message on its way to a worker.

        While it is being made, asking again gives the same one. One that is ready or
        failed is made anew as the next version, but never twice for the same ``run``. A
        pending report of no run becomes one of ``run``; one of another run stays that run's,
        which mails it.
        """
        self._ensure_supported(spec)
        while (report := self._create(spec, caller, run)) is None:
            # Another request, or the worker, changed the report meanwhile: look again.
            pass
        if report.status == PENDING:
            # For a report that was there before too: its message may never have been sent.
            self._queue.send(report)
        return report

    def _create(self, spec: ReportSpec, caller: str, run: str | None) -> Report | None:
        """Return the report that stands for a request; None if another writer was first."""
        now = clock.now()
        versions = self._records.list_versions(spec)
        newest = versions[0] if versions else None
        if newest and newest.status == PENDING and now - newest.created_at < STALE_AFTER:
            if run is None or newest.run is not None:
                return newest
            return self._records.attach_to_run(newest, run)
        for version in versions:
            if run is not None and version.run == run and version.status != PENDING:
                return version
        number = newest.version + 1 if newest else 1
        return self._records.create(spec, number, caller, now, run)

    def _ensure_supported(self, spec: ReportSpec) -> None:
        if spec.account != ALL_ACCOUNTS:
            self._accounts.get(spec.account).require(spec.kind)
        elif spec.kind != "consumption":
            raise TimbresError(
                OPERATION_UNSUPPORTED,
                f"{ALL_ACCOUNTS} has consumption only: a {spec.kind} is one account's.",
                field="account",
            )

    def get(self, account_name: str, report_id: str) -> Report:
        """Return a report. Raises ``account-unknown`` or ``report-not-found``."""
        return self.get_any(self._ensure_account_exists(account_name), report_id)

    def get_any(self, name: str, report_id: str) -> Report:
        """Return a report, of an account that is no more, too. Raises ``report-not-found``."""
        report = self._records.get(name, report_id) if is_report_id(report_id) else None
        if report is None:
            raise TimbresError(REPORT_NOT_FOUND, f"Account {name} has no such report.", field="id")
        return report

    def list_page(
        self, account_name: str, month: Month | None, after: str | None
    ) -> tuple[list[Report], str | None]:
        """Return reports of an account, newest month first, and the cursor of the rest or None."""
        return self._records.list_page(self._ensure_account_exists(account_name), month, after)

    def _ensure_account_exists(self, account: str) -> str:
        return ALL_ACCOUNTS if account == ALL_ACCOUNTS else self._accounts.get(account).name
