"""Report: a file for finance, its kinds and formats, its place and its states."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from timbres.domain.month import Month
from timbres.domain.rfc import shown
from timbres.errors import PARAMETER_INVALID, TimbresError

PENDING = "pending"
READY = "ready"
FAILED = "failed"

# The account's capability of the same name says which accounts have which kind.
FORMATS: dict[str, tuple[str, ...]] = {
    "statement": ("csv", "pdf"),
    "consumption": ("csv", "xlsx", "pdf", "html"),
}
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
}
# A message is tried for less than this; a report pending longer has lost its message.
LOST_AFTER = timedelta(hours=5)

_ID = re.compile(r"[0-9]{4}-[0-9]{2}-(statement|consumption)-[a-z]{3,4}-[0-9]{4}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a report is about; its ``stem`` begins the ids of all its versions."""

    account: str
    month: Month
    kind: str
    format: str

    @property
    def stem(self) -> str:
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
    """

    id: str
    wanted: Wanted
    status: str
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

    @property
    def version(self) -> int:
        """1 for the first of its month, kind and format."""
        return int(self.id[-4:])


@dataclass(frozen=True, slots=True)
class MonthlyRun:
    """A month's reports of every account, asked for by the schedule.

    ``reports`` are (account, id), None while they are being asked for; ``failed`` holds the
    code of each account of which none could be. ``told_at`` is when its end was published.
    """

    id: str
    month: str
    started_at: datetime
    reports: list[tuple[str, str]] | None
    failed: dict[str, str]
    told_at: datetime | None


def version_id(stem: str, version: int) -> str:
    """Return the id of a version, 1 to 9999."""
    return f"{stem}-{version:04d}"


def is_report_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a report's id."""
    return _ID.fullmatch(text) is not None


def parse_kind(value: object) -> str:
    """Return a kind of report. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in FORMATS:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(value)} is no kind of report: expected one of {', '.join(FORMATS)}.",
            field="kind",
        )
    return value


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats of the monthly run, ``csv, pdf`` for instance. Raises ValueError."""
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(formats) <= MEDIA_TYPES.keys():
        raise ValueError(f"{text!r}: expected some of {', '.join(MEDIA_TYPES)}, with commas")
    return formats


def parse_format(value: object, kind: str) -> str:
    """Return a format that reports of ``kind`` have. Raises ``parameter-invalid``."""
    if not isinstance(value, str) or value not in FORMATS[kind]:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(value)} is no format of {kind}: expected one of {', '.join(FORMATS[kind])}.",
            field="format",
        )
    return value
