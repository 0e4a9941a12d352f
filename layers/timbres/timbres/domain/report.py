"""Report: a file for finance; its kinds, formats, keys and states."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.month import Month, Year
from timbres.domain.text import quote_input
from timbres.errors import INTERNAL_ERROR, PARAMETER_INVALID, TimbresError


class ReportStatus(StrEnum):
    """The states of a report."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


PENDING, READY, FAILED = ReportStatus

FILE_FORMATS = ("csv", "xlsx", "pdf", "html")
# An account has the kinds that are among its capabilities.
FORMATS: dict[str, tuple[str, ...]] = {
    "statement": ("csv", "pdf"),
    "consumption": FILE_FORMATS,
}
# Of a year, the days and movements of a month are left out.
YEAR_FORMATS = ("xlsx", "html")
INLINE_FORMATS = ("pdf", "html")
# A message is retried for a shorter time: a report that is pending longer has lost its message.
STALE_AFTER = timedelta(hours=5)

_ID = re.compile(r"[0-9]{4}(-[0-9]{2}-statement|(-[0-9]{2})?-consumption)-[a-z]{3,4}-[0-9]{4}")
_FILE_NAMES = {"statement": "estado-de-cuenta", "consumption": "consumo"}


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """Subject and format of a report; ``month`` may be a year."""

    account: str
    month: Month | Year
    kind: str
    format: str

    @property
    def id_prefix(self) -> str:
        """Prefix of the ids of all versions: ``2026-10-statement-csv``."""
        return f"{self.month}-{self.kind}-{self.format}"

    @property
    def key(self) -> str:
        """The key in the bucket, which all versions share."""
        return f"reports/{self.account}/{self.month}/{self.kind}.{self.format}"

    @property
    def download_name(self) -> str:
        """The file name for browsers: ``consumo-2026-10-todas.xlsx``."""
        account = "todas" if self.account == ALL_ACCOUNTS else self.account
        return f"{_FILE_NAMES[self.kind]}-{self.month}-{account}.{self.format}"


@dataclass(frozen=True, slots=True)
class Report:
    """The record of one report.

    ``id`` is the spec's id prefix and the version number, four digits. ``bytes``, ``sha256``
    and ``object_version`` describe the object once ready. ``rows`` is the number of movements
    in a file that Timbres wrote, None for a PAC's own file. ``seconds`` is the duration of the
    generation. ``differences`` are the totals in which a statement and the balance of the same
    month differ, each as [statement's, balance's]. ``summary`` has the highlights of a month's
    consumption for mails. ``run`` is the monthly run that requested
    the report, None for a person. ``error`` has code, detail and the PAC's code and message,
    once failed. ``is_unpublished``: it is ready or failed, and its event may not be published.
    """

    id: str
    spec: ReportSpec
    status: ReportStatus
    requested_by: str
    created_at: datetime
    run: str | None = None
    settled_at: datetime | None = None
    bytes: int | None = None
    sha256: str | None = None
    rows: int | None = None
    object_version: str | None = None
    seconds: float | None = None
    differences: dict[str, list[int]] | None = None
    summary: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    is_unpublished: bool = False

    @property
    def version(self) -> int:
        """The version number, from 1."""
        return int(self.id[-4:])


ReportKey = tuple[str, str]
"""A report's account and id."""


@dataclass(frozen=True, slots=True)
class MonthlyRun:
    """A month's reports of every account, requested by the schedule, and the events about them.

    Event 1 names the reports that are ready or failed at the run's end. Each later event, a
    supplement, names reports that were settled afterwards. The reports of an event are stored
    before it is published, so that a repeated event names the same reports.

    ``reports`` are the reports of event 1 and of published supplements; None until the start
    has requested all of them. ``late`` are the reports that no event has named as ready or
    failed. ``supplement`` are the reports of event ``number``, unless that is event 1.
    ``failed`` has the error code of each account whose reports could not be requested, for
    event ``number``; ``late_failed`` has those for the next event. ``number`` is the number of
    stored events, ``published`` the number of published ones. ``published_at`` is the time of
    event 1. ``revision`` changes with each write.
    """

    id: str
    month: str
    started_at: datetime
    reports: Sequence[ReportKey] | None = None
    late: Sequence[ReportKey] = ()
    supplement: Sequence[ReportKey] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    late_failed: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    published: int = 0
    published_at: datetime | None = None
    revision: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether an event is due, now or once further reports are settled."""
        return not self.number or self.published < self.number or self.has_late

    @property
    def has_late(self) -> bool:
        """Whether there are reports or accounts that no event has named."""
        return bool(self.late or self.late_failed)

    @property
    def requested(self) -> set[ReportKey]:
        """The reports that all starts so far have requested."""
        return {*(self.reports or ()), *self.late, *self.supplement}

    def with_requested(self, reports: Sequence[ReportKey], failed: Mapping[str, str]) -> MonthlyRun:
        """Return the run with the reports that a start requested; a start may be repeated."""
        known = self.requested
        new = [report for report in reports if report not in known]
        if not self.number:
            return replace(self, reports=[*(self.reports or ()), *new], failed=dict(failed))
        unnamed = {name: code for name, code in failed.items() if self.failed.get(name) != code}
        return replace(
            self, reports=self.reports or [], late=[*self.late, *new], late_failed=unnamed
        )

    def with_next_event(self, settled: Sequence[ReportKey]) -> MonthlyRun:
        """Return the run with its next event, which names ``settled``."""
        named = set(settled)
        if self.number:
            return replace(
                self,
                number=self.number + 1,
                supplement=[report for report in self.late if report in named],
                late=[report for report in self.late if report not in named],
                failed=self.late_failed,
                late_failed={},
            )
        if self.reports is None:
            # The start did not complete: no account is known to be complete.
            return replace(self, number=1, failed={ALL_ACCOUNTS: INTERNAL_ERROR.code})
        return replace(
            self,
            number=1,
            reports=[report for report in self.reports if report in named],
            late=[report for report in self.reports if report not in named],
        )

    def with_published(self, at: datetime) -> MonthlyRun:
        """Return the run with its last event published."""
        reports = None if self.reports is None else [*self.reports, *self.supplement]
        changed = replace(self, reports=reports, supplement=[], published=self.number)
        return replace(changed, published_at=self.published_at or at)


def version_id(id_prefix: str, version: int) -> str:
    """Return the id of a report's version, 1 to 9999."""
    return f"{id_prefix}-{version:04d}"


def id_prefix_of(report_id: str) -> str:
    """Return the prefix of the ids of all versions of a report."""
    return report_id.rpartition("-")[0]


def is_report_id(text: str) -> bool:
    """Return whether ``text`` has the format of a report's id."""
    return _ID.fullmatch(text) is not None


def parse_kind(value: object) -> str:
    """Return a kind of report. Raises ``parameter-invalid``."""
    return _parse(value, FORMATS, "report kind", "kind")


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats of the monthly run, for example ``csv, pdf``. Raises ValueError."""
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(formats) <= set(FILE_FORMATS):
        raise ValueError(f"{text!r}: expected a comma-separated list of {', '.join(FILE_FORMATS)}")
    return formats


def parse_format(value: object, kind: str, period: Month | Year) -> str:
    """Return a format of reports of ``kind`` for ``period``. Raises ``parameter-invalid``."""
    if isinstance(period, Year) and kind != "consumption":
        raise TimbresError(
            PARAMETER_INVALID,
            f"A {kind} is of one month: expected YYYY-MM, or the kind consumption for a year.",
            field="month",
        )
    formats, of = FORMATS[kind], kind
    if isinstance(period, Year):
        formats, of = YEAR_FORMATS, f"{kind} for a year"
    return _parse(value, formats, f"format of {of}", "format")


def _parse(value: object, allowed: Collection[str], what: str, field: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)} is not a {what}: expected one of {', '.join(allowed)}.",
            field=field,
        )
    return value
