"""Runs: begun by the schedule, spread over the queue, finished once, and looked at."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from timbres.aws.accounts import Accounts
from timbres.aws.bus import Bus
from timbres.aws.issuers import Issuers
from timbres.aws.runs import Queue, Runs
from timbres.domain import clock
from timbres.domain.outlook import EXHAUSTED, LOW, rounded
from timbres.domain.run import (
    FINISHED,
    ISSUERS_A_PART,
    NOT_REACHED,
    RUNNING,
    AccountRun,
    Crossing,
    Part,
    Run,
    is_run_id,
    run_id,
)
from timbres.errors import INTERNAL_ERROR, RUN_UNKNOWN, TimbresError
from timbres.tally import tally

log = logging.getLogger("timbres")

# Longer than any function that finishes a run; after it, another one tries.
_FINISHING = timedelta(minutes=10)
# An event holds 256 KB, and a person reads less.
_MOST_NAMED = 200
_PARTS_A_CALL = 10


class Finisher:
    """Finishes runs: one event for all that a run found."""

    def __init__(self, runs: Runs, bus: Bus) -> None:
        self._runs = runs
        self._bus = bus

    def finish(self, run_id: str, *, overdue: bool = False) -> Run | None:
        """Finish a run that is over, or that is to end as it is; return it if it was this one."""
        run = self._runs.get(run_id)
        if run is None or run.status == FINISHED or not (run.over or overdue):
            return None
        now = clock.now()
        if not self._runs.take_finish(run_id, now, _FINISHING):
            return None
        crossings = sorted(self._runs.crossings(run_id), key=_by_urgency)
        alerts = Counter(crossing.alert for crossing in crossings)
        missing = {
            account.account: account.expected - account.done - sum(account.failed.values())
            for account in run.accounts
            if not account.over
        }
        not_reached = {account: count for account, count in missing.items() if count > 0}
        self._bus.publish("Stamps Counted", _told(run, now, crossings, alerts, not_reached))
        self._runs.finish(run, now, not_reached, alerts[LOW], alerts[EXHAUSTED])
        finished = self._runs.get(run_id)
        tally.count("RunsFinished")
        tally.count("IssuersNotReached", sum(not_reached.values()))
        tally.measure("RunSeconds", (now - run.started_at).total_seconds())
        log.info("run finished", extra={"run": run_id, "alerts": dict(alerts)})
        return finished


class Watch:
    """The daily run from outside: its start, its end at the latest, its record."""

    def __init__(
        self, accounts: Accounts, issuers: Issuers, runs: Runs, queue: Queue, finisher: Finisher
    ) -> None:
        self._accounts = accounts
        self._issuers = issuers
        self._runs = runs
        self._queue = queue
        self._finisher = finisher

    def start(self, due: datetime) -> Run:
        """Put every known issuer of every account into the queue, in parts, account by turns.

        A start that comes again goes on where the first one ended, and repeats no account.
        """
        run = self._runs.begin(run_id(due), clock.now())
        if run.spread:
            # Unless the start before this one broke off just then.
            return self._finisher.finish(run.id) or run
        spread = {account.account for account in run.accounts if account.spread}
        names = [name for name in self._accounts.names() if name not in spread]
        self._send(run, names)
        self._runs.all_spread(run.id)
        self._finisher.finish(run.id)
        return self._runs.get(run.id) or run

    def close_overdue(self) -> list[Run]:
        """Finish the runs that have taken too long, or that ended unnoticed; return them."""
        runs, _ = self._runs.page(None)
        closed = (
            self._finisher.finish(run.id, overdue=clock.now() >= run.until)
            for run in runs
            if run.status == RUNNING
        )
        return [run for run in closed if run is not None]

    def get(self, run_id: str) -> dict[str, Any]:
        """Return a run as the API shows it. Raises ``run-not-found``."""
        run = self._runs.get(run_id) if is_run_id(run_id) else None
        if run is None:
            raise TimbresError(RUN_UNKNOWN, "There is no such run.", field="id")
        return shown(run) | {"accounts": [_account_line(account) for account in run.accounts]}

    def page(self, after: str | None) -> dict[str, Any]:
        """Return the runs, newest first, as the API lists them."""
        runs, rest = self._runs.page(after)
        return {"runs": [_head(run) for run in runs], "next": rest}

    def _send(self, run: Run, names: list[str]) -> None:
        problems: dict[str, str | None] = dict.fromkeys(names)
        expected: Counter[str] = Counter()
        lines: deque[Iterator[Part]] = deque()
        for name in names:
            try:
                account = self._accounts.get(name)
                lines.append(self._parts(run, name, asks_each="stamps" in account.pac.can))
            except Exception as error:
                # One account's secret stops no other account.
                kind = error.kind if isinstance(error, TimbresError) else INTERNAL_ERROR
                problems[name] = kind.code
                log.error("an account is left out: %s", error, extra={"account": name})
        waiting: list[Part] = []
        # By turns, so that a slow account does not stand before all others.
        while lines:
            line = lines.popleft()
            part = next(line, None)
            if part is not None:
                expected[part.account] += 1 if part.rfcs is None else len(part.rfcs)
                waiting.append(part)
                lines.append(line)
            if len(waiting) == _PARTS_A_CALL or not lines:
                self._queue.send(waiting)
                waiting = []
        for name in names:
            self._runs.spread(run.id, name, expected[name], problems[name], clock.now())

    def _parts(self, run: Run, account: str, *, asks_each: bool) -> Iterator[Part]:
        if not asks_each:
            yield Part(run.id, account, "0001", None)
            return
        rfcs = self._issuers.rfcs(account)
        number = 1
        while some := tuple(islice(rfcs, ISSUERS_A_PART)):
            yield Part(run.id, account, f"{number:04d}", some)
            number += 1


def shown(run: Run) -> dict[str, Any]:
    """Return a run with the sums over its accounts."""
    failed: Counter[str] = Counter()
    for account in run.accounts:
        failed.update(account.failed)
    return _head(run) | {
        "expected": sum(account.expected for account in run.accounts),
        "done": sum(account.done for account in run.accounts),
        "failed": dict(sorted(failed.items())),
    }


def _head(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "status": run.status,
        "day": run.day.isoformat(),
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "low": run.low,
        "exhausted": run.exhausted,
    }


def _account_line(account: AccountRun) -> dict[str, Any]:
    return {
        "account": account.account,
        "expected": account.expected,
        "done": account.done,
        "failed": dict(account.failed),
        "problem": account.problem,
    }


def _by_urgency(crossing: Crossing) -> tuple[bool, float, int, str]:
    days = float("inf") if crossing.days_left is None else crossing.days_left
    return crossing.alert != EXHAUSTED, days, crossing.available, crossing.rfc


def _told(
    run: Run,
    at: datetime,
    crossings: list[Crossing],
    alerts: Counter[str],
    not_reached: dict[str, int],
) -> dict[str, Any]:
    told = shown(run)
    failed = Counter(told["failed"])
    failed[NOT_REACHED] += sum(not_reached.values())
    return told | {
        "status": FINISHED,
        "finished_at": at.isoformat(),
        "failed": {code: count for code, count in sorted(failed.items()) if count},
        "low": alerts[LOW],
        "exhausted": alerts[EXHAUSTED],
        "accounts": [account.account for account in run.accounts],
        "problems": {
            account.account: account.problem for account in run.accounts if account.problem
        },
        "issuers": [crossing_line(crossing) for crossing in crossings[:_MOST_NAMED]],
    }


def crossing_line(crossing: Crossing) -> dict[str, Any]:
    """Return an issuer that has become low or exhausted as events tell of it."""
    return {
        "account": crossing.account,
        "rfc": crossing.rfc,
        "alert": crossing.alert,
        "available": crossing.available,
        "days_left": rounded(crossing.days_left),
        "burn": rounded(crossing.burn),
    }
