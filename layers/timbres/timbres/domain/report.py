"""Report: a file for finance, its kinds and formats, its place and its states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.month import Month
from timbres.domain.text import quote_input
from timbres.errors import INTERNAL_ERROR, PARAMETER_INVALID, TimbresError


class ReportStatus(StrEnum):
    """The states of a report."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


PENDING, READY, FAILED = ReportStatus

FILE_FORMATS = ("csv", "xlsx", "pdf", "html")
# The account's capability of the same name says which accounts have which kind.
FORMATS: dict[str, tuple[str, ...]] = {
    "statement": ("csv", "pdf"),
    "consumption": FILE_FORMATS,
}
# A message is tried for less than this; a report pending longer has lost its message.
STALE_AFTER = timedelta(hours=5)

_ID = re.compile(r"[0-9]{4}-[0-9]{2}-(statement|consumption)-[a-z]{3,4}-[0-9]{4}")


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """What a report is about; its ``stem`` begins the ids of all its versions."""

    account: str
    month: Month
    kind: str
    format: str

    @property
    def id_prefix(self) -> str:
        """``2026-10-statement-csv``."""
        return f"{self.month}-{self.kind}-{self.format}"

    @property
    def key(self) -> str:
        """The key in the bucket, the same for every version."""
        return f"reports/{self.account}/{self.month}/{self.kind}.{self.format}"

    @property
    def download_name(self) -> str:
        """The name a browser saves it under."""
        return f"{self.account}-{self.month}-{self.kind}.{self.format}"


@dataclass(frozen=True, slots=True)
class Report:
    """The record of one report.

    ``id`` is its stem and the number of its version, four digits. ``bytes``, ``sha256``
    and ``object_version`` describe the object once ready; ``rows`` counts the movements in
    what Timbres wrote, None for a file of the PAC's; ``seconds`` is how long the making took.
    ``differences`` are the totals in which a statement and the balance of the same month
    disagree, each as (statement's, balance's). ``run`` names the monthly run that asked,
    None for a person. ``error`` holds code and detail, and the PAC's words, once failed.
    ``unannounced``: it is ready or failed, and its event may not have been published yet.
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
    error: dict[str, Any] | None = None
    is_unpublished: bool = False

    @property
    def version(self) -> int:
        """1 for the first of its month, kind and format."""
        return int(self.id[-4:])


ReportKey = tuple[str, str]
"""A report's account and id."""


@dataclass(frozen=True, slots=True)
class MonthlyRun:
    """A month's reports of every account, requested by the schedule, and the events about them.

    Event 1 names the reports that are ready or failed at the run's end. Each later one, a
    supplement, names reports that were settled afterwards. Which reports an event names is
    decided and stored before it is published: published again, it names the same.

    ``reports`` are those that event 1 names, and those of published supplements; None until
    the start has requested all of them. ``late`` are those that no event has named as ready
    or failed. ``supplement`` are those of event ``number``, unless that is the first.
    ``failed`` has the error code of each account whose reports could not be requested, as
    event ``number`` names them; ``late_failed`` has those that the next event names.
    ``number`` counts the events decided, ``published`` those published. ``published_at`` is
    when event 1 was. ``revision`` differs after each write.
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
        """Whether there is something that no event has named."""
        return bool(self.late or self.late_failed)

    def with_requested(self, reports: Sequence[ReportKey], failed: Mapping[str, str]) -> MonthlyRun:
        """Return the run with what a start requested; a start may be repeated at any time."""
        known = {*(self.reports or ()), *self.late, *self.supplement}
        new = [report for report in reports if report not in known]
        if not self.number:
            return replace(self, reports=[*(self.reports or ()), *new], failed=dict(failed))
        unnamed = {name: code for name, code in failed.items() if self.failed.get(name) != code}
        return replace(
            self, reports=self.reports or [], late=[*self.late, *new], late_failed=unnamed
        )

    def with_next_event(self, settled: Sequence[ReportKey]) -> MonthlyRun:
        """Return the run with its next event decided, which names ``settled``."""
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
            # The start broke off: no account is known to be complete.
            return replace(self, number=1, failed={ALL_ACCOUNTS: INTERNAL_ERROR.code})
        return replace(
            self,
            number=1,
            reports=[report for report in self.reports if report in named],
            late=[report for report in self.reports if report not in named],
        )

    def with_published(self, at: datetime) -> MonthlyRun:
        """Return the run with the event that was decided last published."""
        reports = self.reports
        if reports is not None:
            reports = [*reports, *self.supplement]
        return replace(
            self,
            reports=reports,
            supplement=[],
            published=self.number,
            published_at=self.published_at or at,
        )


def version_id(stem: str, version: int) -> str:
    """Return the id of a version, 1 to 9999."""
    return f"{stem}-{version:04d}"


def version_stem(report_id: str) -> str:
    """Return what the ids of all versions of a report begin with."""
    return report_id.rpartition("-")[0]


def is_report_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a report's id."""
    return _ID.fullmatch(text) is not None


def parse_kind(value: object) -> str:
    """Return a kind of report. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in FORMATS:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)} is no kind of report: expected one of {', '.join(FORMATS)}.",
            field="kind",
        )
    return value


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats of the monthly run, ``csv, pdf`` for instance. Raises ValueError."""
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(formats) <= set(FILE_FORMATS):
        raise ValueError(f"{text!r}: expected some of {', '.join(FILE_FORMATS)}, with commas")
    return formats


def parse_format(value: object, kind: str) -> str:
    """Return a format that reports of ``kind`` have. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in FORMATS[kind]:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(value)} is not a format of {kind}: "
            f"expected one of {', '.join(FORMATS[kind])}.",
            field="format",
        )
    return value
