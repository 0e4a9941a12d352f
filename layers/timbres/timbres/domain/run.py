"""Daily run: the count of every known issuer, in batches that may arrive twice, late or never."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from timbres.domain.account_stamps import NOTHING_ALLOTTED, Allotment
from timbres.domain.forecast import OK, Alert
from timbres.domain.stamps import Stamps
from timbres.errors import INTERNAL_ERROR


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
# An account is not counted if more than this share of its issuers is not.
MAX_SHARE_FAILED = 0.05

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
    that reads the account's balance, which has all of its issuers. ``counts_account``: the stamps
    of the account itself are to be counted, too. ``version`` is the number of stored results.
    ``closed``: the run's totals no longer change; ``not_reached`` are the issuers that had no
    result then, None for the whole account.
    """

    id: BatchId
    rfcs: Rfcs
    counts_account: bool = False
    version: int = 0
    closed: bool = False
    not_reached: tuple[str | None, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every issuer, and the account if it is to be counted, has a result."""
        return self.rfcs == () and not self.counts_account


@dataclass(frozen=True, slots=True)
class AlertChange:
    """An issuer, or the account itself (``rfc`` is None), that became ``low`` or ``exhausted``."""

    account: str
    rfc: str | None
    alert: str
    available: int
    days_left: float | None
    burn: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an issuer, or the whole account (``rfc`` is None), was not counted.

    ``code`` is an error code, ``detail`` a sentence, ``pac_code`` the PAC's own code; the last two
    are None if unknown.
    """

    account: str
    rfc: str | None
    code: str
    detail: str | None = None
    pac_code: str | None = None


@dataclass(frozen=True, slots=True)
class AccountCount:
    """The count of an account's own stamps in a run.

    ``problem`` is the error code if they could not be read; the other values are then unknown.
    """

    stamps: Stamps = field(default_factory=lambda: Stamps(None, None, None))
    as_of: datetime | None = None
    days_left: float | None = None
    alert: Alert = OK
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Result of one attempt at a batch.

    ``done``: number of issuers with a count of the run's day. ``unexpected``: number of
    issuers that were not planned. ``failed``: the issuers that are not retried. ``allotment`` has
    the unused stamps of the ``done`` issuers; ``exhausted`` of them have none. ``remaining``:
    issuers for the next attempt, as ``Batch.rfcs``. ``account_count`` is the account's, None if
    the PAC does not return it or the batch does not count it. ``account_due``: the next attempt
    counts the account.
    """

    done: int = 0
    unexpected: int = 0
    failed: tuple[Failure, ...] = ()
    alert_changes: tuple[AlertChange, ...] = ()
    allotment: Allotment = NOTHING_ALLOTTED
    exhausted: int = 0
    remaining: Rfcs = ()
    account_count: AccountCount | None = None
    account_due: bool = False


@dataclass(frozen=True, slots=True)
class AccountRun:
    """State of a run for one account.

    ``failed`` has the number of issuers per error code. ``plan`` is the id of the account's
    stored batches, None before they are stored. ``plan_problem`` is the error code if the account
    could not take part in the run. ``count`` has the account's own stamps, None if the PAC does
    not return them; ``count_due``: they have no result yet. The rest is as in BatchResult.
    """

    account: str
    expected: int
    done: int
    failed: Mapping[str, int]
    plan: str | None = None
    plan_problem: str | None = None
    count: AccountCount | None = None
    count_due: bool = False
    allotment: Allotment = NOTHING_ALLOTTED
    exhausted: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every planned issuer, and the account itself, has a result."""
        return not (self.plan is None or self.must_be_planned_again) and (
            self.missing <= 0 and not self.count_due
        )

    @property
    def must_be_planned_again(self) -> bool:
        """Whether an error of Timbres or AWS, not of the account, prevented its plan."""
        return self.plan_problem == INTERNAL_ERROR.code

    @property
    def problem(self) -> str | None:
        """Why the account, or more than 5 % of its issuers, was not counted.

        The error code of the account or of most issuers; None if the account was counted.
        """
        if self.plan_problem or sum(self.failed.values()) <= MAX_SHARE_FAILED * self.expected:
            return self.plan_problem
        return max(self.failed, key=lambda code: (self.failed[code], code))

    @property
    def is_counted(self) -> bool:
        """Whether the account itself and at least 95 % of its issuers were counted."""
        return self.problem is None and not (self.count and self.count.problem)

    @property
    def total_allotment(self) -> Allotment:
        """The unused stamps of all planned issuers; those without a count are unknown."""
        without_count = max(self.expected - self.done, 0)
        return Allotment(self.allotment.unused, self.allotment.unknown + without_count)

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

    def per_minute(self, now: datetime) -> float | None:
        """Return the issuers with a result per minute so far, None in the first seconds."""
        seconds = ((self.finished_at or now) - self.started_at).total_seconds()
        results = sum(account.expected - account.missing for account in self.accounts)
        return results / seconds * 60 if seconds >= 1 and results else None

    def expected_end(self, now: datetime) -> datetime | None:
        """Return when a running run ends at its rate so far, at the latest when it is closed."""
        rate = self.per_minute(now)
        if self.finished_at or rate is None:
            return None
        left = sum(max(account.missing, 0) for account in self.accounts)
        return min(now + timedelta(minutes=left / rate), self.closes_at)


def retry_delay(attempt: int, base_seconds: float) -> float:
    """Return the seconds to wait after attempt number ``attempt``, from 1."""
    return min(base_seconds * 2.0 ** (attempt - 1), MAX_RETRY_SECONDS)


def run_id(due: datetime) -> str:
    """Return the id of the run due at ``due`` in Mexico City: ``2026-11-21-050000``."""
    return f"{due:%Y-%m-%d-%H%M%S}"


def is_run_id(text: str) -> bool:
    """Return whether ``text`` has the format of a run's id."""
    return _ID.fullmatch(text) is not None
