"""Daily run: the count of every known issuer, in batches that may arrive twice, late or never."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum


class RunStatus(StrEnum):
    """The states of a daily run."""

    RUNNING = "running"
    FINISHED = "finished"


RUNNING, FINISHED = RunStatus

# Issuers in one message: few enough for one invocation at 1 call per second.
BATCH_SIZE = 200
# A run that takes longer is closed with its results so far.
MAX_DURATION = timedelta(hours=6)
# Upper limit of the backoff, so that the end of an outage is noticed soon.
MAX_RETRY_SECONDS = 900.0
# Code of issuers without a result when the run was closed.
NOT_REACHED = "not-reached"

_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}")

Rfcs = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class BatchId:
    """Key of a batch; ``number`` is unique within run and account."""

    run: str
    account: str
    number: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some issuers of one account, to be counted in a run.

    ``rfcs`` are the issuers without a result: empty if the batch is complete, None for a batch
    that reads the account's balance, which has all of its issuers. ``version`` is the number of
    stored results. ``closed``: the run's totals no longer change.
    """

    id: BatchId
    rfcs: Rfcs
    version: int = 0
    closed: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every issuer has a result."""
        return self.rfcs == ()


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An issuer that became ``low`` or ``exhausted``."""

    account: str
    rfc: str
    alert: str
    available: int
    days_left: float | None
    burn: float | None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Result of one attempt at a batch.

    ``done``: number of issuers with a count of the run's day. ``unexpected``: number of
    issuers that were not planned. ``failed``: error code by RFC, for issuers that are not
    retried. ``remaining``: issuers for the next attempt, as ``Batch.rfcs``.
    """

    done: int = 0
    unexpected: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    alert_changes: tuple[AlertChange, ...] = ()
    remaining: Rfcs = ()


@dataclass(frozen=True, slots=True)
class AccountRun:
    """State of a run for one account.

    ``failed`` has the number of issuers per error code. ``plan`` is the id of the account's
    stored batches, None before they are stored. ``problem`` is the error code if the account
    could not take part in the run.
    """

    account: str
    expected: int
    done: int
    failed: Mapping[str, int]
    plan: str | None = None
    problem: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every planned issuer has a result."""
        return self.plan is not None and self.missing <= 0

    @property
    def missing(self) -> int:
        """Number of planned issuers without a result."""
        return self.expected - self.done - sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Run:
    """The record of a run; ``id`` is its scheduled time in Mexico City.

    ``enqueued``: the batches of every account are in the queue. ``finished_at`` is the time
    from which its results no longer change; it is ``finished`` once they are published.
    """

    id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    enqueued: bool = False
    low: int = 0
    exhausted: int = 0
    accounts: tuple[AccountRun, ...] = ()

    @property
    def day(self) -> date:
        """The day of its snapshots."""
        return date.fromisoformat(self.id[:10])

    @property
    def closes_at(self) -> datetime:
        """The latest time at which it is closed."""
        return self.started_at + MAX_DURATION

    @property
    def is_complete(self) -> bool:
        """Whether every planned issuer has a result."""
        return self.enqueued and all(account.is_complete for account in self.accounts)


def retry_delay(attempt: int, base_seconds: float) -> float:
    """Return the seconds to wait after attempt number ``attempt``, from 1."""
    return min(base_seconds * 2.0 ** (attempt - 1), MAX_RETRY_SECONDS)


def run_id(due: datetime) -> str:
    """Return the id of the run due at ``due`` in Mexico City: ``2026-11-21-050000``."""
    return f"{due:%Y-%m-%d-%H%M%S}"


def is_run_id(text: str) -> bool:
    """Return whether ``text`` has the format of a run's id."""
    return _ID.fullmatch(text) is not None
