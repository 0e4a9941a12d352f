"""Monthly: a month's reports of every account, asked for together and told of in one event."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from timbres.aws.accounts import Accounts
from timbres.aws.bus import Bus
from timbres.aws.reports import MonthlyRuns, Records
from timbres.domain import clock
from timbres.domain.account import ALL
from timbres.domain.month import Month, month_of
from timbres.domain.report import (
    FORMATS,
    LOST_AFTER,
    PENDING,
    READY,
    MonthlyRun,
    Report,
    Wanted,
)
from timbres.errors import INTERNAL_ERROR, TimbresError
from timbres.work.report import Reports

log = logging.getLogger("timbres")

# An event takes 256 KB, and nobody reads a mail with more links.
_MOST_NAMED = 200


class Monthly:
    """The runs of the 1st: what each asked for, and its end."""

    def __init__(self, runs: MonthlyRuns, records: Records, bus: Bus) -> None:
        self._runs = runs
        self._records = records
        self._bus = bus

    def start(
        self,
        accounts: Accounts,
        reports: Reports,
        month: Month,
        run: str,
        formats: Sequence[str],
    ) -> dict[str, Any]:
        """Ask for a month's reports of every account, and of all together, in ``formats``.

        An account that fails stops no other. Returns ``{"month", "asked": [account and id],
        "failed": [account and code]}``. Starting the same ``run`` again asks for nothing twice.
        """
        self._runs.begin(run, month, clock.now())
        asked: list[tuple[str, str]] = []
        failed: dict[str, str] = {}
        for name in [*accounts.names(), ALL]:
            try:
                kinds = ("consumption",) if name == ALL else accounts.get(name).pac.can
                for wanted in _all_of(name, kinds, month, formats):
                    report = reports.ask(wanted, "schedule", run)
                    asked.append((name, report.id))
            except Exception as error:
                code = error.kind.code if isinstance(error, TimbresError) else INTERNAL_ERROR.code
                log.error(
                    "an account's monthly reports were not asked for: %s",
                    type(error).__name__,
                    extra={"account": name, "code": code},
                )
                failed[name] = code
        self._runs.asked(run, asked, failed)
        # The workers may have been faster.
        self.finish(run)
        return {
            "month": str(month),
            "asked": [{"account": name, "id": report} for name, report in asked],
            "failed": [{"account": name, "code": code} for name, code in failed.items()],
        }

    def finish(self, run_id: str, *, overdue: bool = False) -> bool:
        """Tell of a run's end once every report is settled, or with what there is if overdue.

        Returns whether it was told. Two workers that settle the last two reports at the same
        time may both tell it; whoever listens knows it by its id.
        """
        run = self._runs.get(run_id)
        if run is None or run.told_at is not None or (run.reports is None and not overdue):
            return False
        found: list[Report] = []
        # Those asked for last are made last.
        for report in self._records.many((run.reports or [])[::-1]):
            if report.status == PENDING and not overdue:
                return False
            found.append(report)
        self._bus.publish("Monthly Reports", _told(run, found))
        self._runs.told(run_id, clock.now())
        log.info("monthly run told", extra={"run": run_id, "reports": len(found)})
        return True

    def close_overdue(self) -> list[str]:
        """Tell of the runs that wait for a report that will not come; return their ids."""
        now = clock.now()
        return [
            run.id
            for run in self._runs.open()
            if now - run.started_at > LOST_AFTER and self.finish(run.id, overdue=True)
        ]

    def missing(self) -> bool:
        """Tell whether it is the 2nd or later and no run has told of last month's reports."""
        now = clock.now()
        last = str(month_of(now).previous())
        told = any(run.month == last and run.told_at for run in self._runs.newest())
        return now.day > 1 and not told


def _all_of(name: str, kinds: Sequence[str], month: Month, formats: Sequence[str]) -> list[Wanted]:
    return [
        Wanted(name, month, kind, form)
        for kind in FORMATS
        if kind in kinds
        for form in FORMATS[kind]
        if form in formats
    ]


def _told(run: MonthlyRun, reports: Sequence[Report]) -> dict[str, Any]:
    order = {name: place for place, name in enumerate([*FORMATS, *FORMATS["consumption"]])}
    reports = sorted(
        reports,
        key=lambda one: (
            one.wanted.account != ALL,
            one.wanted.account,
            order[one.wanted.kind],
            order[one.wanted.format],
        ),
    )
    ready = sum(report.status == READY for report in reports)
    return {
        "id": run.id,
        "month": run.month,
        "ready": ready,
        "failed": len(reports) - ready,
        "reports": [_line(report) for report in reports[:_MOST_NAMED]],
        # Broken off before it had asked for all: no account is known to be complete.
        "accounts_failed": run.failed if run.reports is not None else {ALL: INTERNAL_ERROR.code},
    }


def _line(report: Report) -> dict[str, Any]:
    error = report.error
    return {
        "account": report.wanted.account,
        "id": report.id,
        "month": str(report.wanted.month),
        "kind": report.wanted.kind,
        "format": report.wanted.format,
        "status": report.status,
        "object_version": report.object_version,
        "differences": report.differences,
        # The PAC's words are short; a detail repeats them.
        "error": error and {"code": error["code"], "pac": error.get("pac")},
    }
