"""Run: one day's count of every known issuer, in parts that may come twice, late, or never."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

RUNNING = "running"
FINISHED = "finished"

# A message of the queue; with ten messages an invocation has 2,000 issuers at most.
ISSUERS_A_PART = 200
# A run that takes longer is closed with what it has: the next one is near.
LASTS = timedelta(hours=6)
# An issuer that fails in a way that may pass is asked again in a later message.
TRIES = 3
# Of issuers that were never reached: a message was lost, or the run had to end.
NOT_REACHED = "not-reached"

_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}")


@dataclass(frozen=True, slots=True)
class Part:
    """Some issuers of one account, to be counted in a run.

    ``number`` is unique within run and account; what is left of a part goes on as another,
    ``0007.1``. ``rfcs`` None asks for the account's balance, which tells of all its issuers.
    """

    run: str
    account: str
    number: str
    rfcs: tuple[str, ...] | None
    tries: int = 0
    pauses: int = 0

    def rest(self, rfcs: tuple[str, ...] | None, *, failed: bool) -> Part:
        """Return what is left of this part; ``failed`` when it counts as a try."""
        stem, _, follow = self.number.partition(".")
        return replace(
            self,
            number=f"{stem}.{int(follow or 0) + 1}",
            rfcs=rfcs,
            tries=self.tries + (1 if failed else 0),
            pauses=0 if failed else self.pauses + 1,
        )


@dataclass(frozen=True, slots=True)
class Crossing:
    """An issuer that has newly become ``low`` or ``exhausted``."""

    account: str
    rfc: str
    alert: str
    available: int
    days_left: float | None
    burn: float | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one part. ``failed`` counts issuers by code; ``rest`` goes on later."""

    part: Part
    expected: int
    done: int
    failed: Mapping[str, int]
    crossings: tuple[Crossing, ...] = ()
    rest: Part | None = None


@dataclass(frozen=True, slots=True)
class AccountRun:
    """How far a run has come with one account.

    ``spread`` once all of its parts are in the queue. ``problem`` is the code that kept the
    account out of the run altogether.
    """

    account: str
    expected: int
    done: int
    failed: Mapping[str, int]
    spread: bool
    problem: str | None = None

    @property
    def over(self) -> bool:
        """Tell whether nothing more is to come."""
        return self.spread and self.done + sum(self.failed.values()) >= self.expected


@dataclass(frozen=True, slots=True)
class Run:
    """The record of a run; ``id`` tells when it was due, in Mexico City."""

    id: str
    status: str
    started_at: datetime
    finished_at: datetime | None = None
    spread: bool = False
    low: int = 0
    exhausted: int = 0
    accounts: tuple[AccountRun, ...] = field(default=())

    @property
    def day(self) -> date:
        """The day whose snapshots it writes."""
        return date.fromisoformat(self.id[:10])

    @property
    def until(self) -> datetime:
        """When it is closed at the latest."""
        return self.started_at + LASTS

    @property
    def over(self) -> bool:
        """Tell whether every issuer expected was counted or has failed."""
        return self.spread and all(account.over for account in self.accounts)


def run_id(due: datetime) -> str:
    """Return the id of the run due at ``due``, a time of Mexico City: ``2026-11-21-050000``."""
    return f"{due:%Y-%m-%d-%H%M%S}"


def is_run_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a run's id."""
    return _ID.fullmatch(text) is not None
