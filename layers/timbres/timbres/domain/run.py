"""Run: one day's count of every known issuer, in batches that may arrive twice, late or never."""

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

# One message of the queue: small enough for one invocation at 1 call per second.
BATCH_SIZE = 200
# A run that takes longer is closed with what it has: the next one is near.
MAX_DURATION = timedelta(hours=6)
# Longest pause between two attempts, so that a PAC that is back is noticed soon.
MAX_RETRY_SECONDS = 900.0
# Code of issuers without a result when the run was closed.
NOT_REACHED = "not-reached"

_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}")

Rfcs = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class BatchId:
    """Names a batch; ``number`` is unique within run and account."""

    run: str
    account: str
    number: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some issuers of one account, to be counted in a run.

    ``rfcs`` are those without a result yet: empty when the batch is complete, None for a
    batch that reads the account's balance, which has all of its issuers. ``version`` counts
    the results stored so far. ``closed``: the run's totals no longer change.
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
    """An issuer that has newly become ``low`` or ``exhausted``."""

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
    issuers beyond those planned. ``failed``: error code by RFC, for issuers that are given
    up. ``remaining``: what the next attempt has to do, as ``Batch.rfcs``.
    """

    done: int = 0
    unexpected: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    alert_changes: tuple[AlertChange, ...] = ()
    remaining: Rfcs = ()


@dataclass(frozen=True, slots=True)
class AccountRun:
    """State of a run for one account.

    ``failed`` counts issuers by error code. ``plan`` names the account's stored batches,
    None before they are stored. ``problem`` is the code that kept the account out of the run.
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
    """The record of a run; ``id`` is when it was due, in Mexico City.

    ``enqueued``: the batches of every account are in the queue. ``finished_at`` is when its
    results were fixed; the run is ``finished`` once they are published.
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
        """The day whose snapshots it writes."""
        return date.fromisoformat(self.id[:10])

    @property
    def closes_at(self) -> datetime:
        """When it is closed at the latest."""
        return self.started_at + MAX_DURATION

    @property
    def is_complete(self) -> bool:
        """Whether every planned issuer has a result."""
        return self.enqueued and all(account.is_complete for account in self.accounts)


def retry_delay(attempt: int, base_seconds: float) -> float:
    """Return the seconds to wait after the ``attempt``-th attempt, the first being 1."""
    return min(base_seconds * 2.0 ** (attempt - 1), MAX_RETRY_SECONDS)


def run_id(due: datetime) -> str:
    """Return the id of the run due at ``due``, a time of Mexico City: ``2026-11-21-050000``."""
    return f"{due:%Y-%m-%d-%H%M%S}"


def is_run_id(text: str) -> bool:
    """Whether ``text`` has the form of a run's id."""
    return _ID.fullmatch(text) is not None
