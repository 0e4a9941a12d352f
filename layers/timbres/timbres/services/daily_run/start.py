"""Starts, closes and lists daily runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice, zip_longest
from typing import Any

from timbres.aws.queues import RunQueue, write_message
from timbres.domain import clock
from timbres.domain.run import BATCH_SIZE, RUNNING, AccountRun, Rfcs, Run, is_run_id, run_id
from timbres.errors import INTERNAL_ERROR, RUN_NOT_FOUND, TimbresError
from timbres.observability.metrics import tally
from timbres.repositories.accounts import Accounts
from timbres.repositories.issuers import Issuers
from timbres.repositories.runs import RunRepository
from timbres.services.daily_run.finalization import RunFinalizer, run_head_to_dict, run_to_dict

log = logging.getLogger("timbres")


class DailyRunService:
    """The daily run from outside: its start, its end at the latest, its record."""

    def __init__(
        self,
        accounts: Accounts,
        issuers: Issuers,
        runs: RunRepository,
        queue: RunQueue,
        finalizer: RunFinalizer,
    ) -> None:
        self._accounts = accounts
        self._issuers = issuers
        self._runs = runs
        self._queue = queue
        self._finalizer = finalizer

    def start(self, due: datetime) -> Run:
        """Plan the batches of every account, then put them into the queue.

        A repeated start plans only accounts without a plan, and sends what was planned.
        """
        run = self._runs.begin(run_id(due), clock.now())
        if not run.enqueued:
            planned = {account.account for account in run.accounts}
            for name in self._accounts.names():
                if name not in planned:
                    self._plan(run, name)
            run = self._runs.get(run.id) or run
            self._enqueue(run)
            tally.count("RunsStarted")
            tally.count("IssuersExpected", sum(account.expected for account in run.accounts))
        return self._finalizer.finish(run.id) or self._runs.get(run.id) or run

    def close_overdue(self) -> list[Run]:
        """Finish the runs that have taken too long, or that ended unnoticed; return them."""
        runs, _ = self._runs.page(None)
        closed = (
            self._finalizer.finish(run.id, overdue=clock.now() >= run.closes_at)
            for run in runs
            if run.status == RUNNING
        )
        return [run for run in closed if run is not None]

    def get(self, run_id: str) -> dict[str, Any]:
        """Return a run as the API shows it. Raises ``run-not-found``."""
        run = self._runs.get(run_id) if is_run_id(run_id) else None
        if run is None:
            raise TimbresError(RUN_NOT_FOUND, "There is no such run.", field="id")
        return run_to_dict(run) | {"accounts": [_account_to_dict(one) for one in run.accounts]}

    def page(self, after: str | None) -> dict[str, Any]:
        """Return the runs, newest first, as the API lists them."""
        runs, rest = self._runs.page(after)
        return {"runs": [run_head_to_dict(run) for run in runs], "next": rest}

    def _plan(self, run: Run, name: str) -> None:
        batches: Iterable[Rfcs] = ()
        problem = None
        try:
            counts_each = "stamps" in self._accounts.get(name).pac.can
            batches = _batches(self._issuers.rfcs(name)) if counts_each else (None,)
        except Exception as error:
            # One account's secret stops no other account.
            kind = error.problem_type if isinstance(error, TimbresError) else INTERNAL_ERROR
            problem = kind.code
            log.error("an account is left out: %s", error, extra={"account": name})
        self._runs.save_plan(run.id, name, batches, problem, clock.now())

    def _enqueue(self, run: Run) -> None:
        planned = [self._runs.incomplete_batches(run.id, account) for account in run.accounts]
        # By turns, so that a large account does not delay all others.
        turns = chain.from_iterable(zip_longest(*planned))
        self._queue.send(write_message(batch) for batch in turns if batch is not None)
        self._runs.mark_enqueued(run.id)


def _batches(rfcs: Iterator[str]) -> Iterator[Rfcs]:
    while batch := tuple(islice(rfcs, BATCH_SIZE)):
        yield batch


def _account_to_dict(account: AccountRun) -> dict[str, Any]:
    return {
        "account": account.account,
        "expected": account.expected,
        "done": account.done,
        "failed": dict(account.failed),
        "problem": account.problem,
    }
