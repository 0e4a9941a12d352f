"""Starts, closes and lists daily runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice, zip_longest

from timbres.aws.queues import RunQueue, batch_to_json
from timbres.domain import clock
from timbres.domain.run import BATCH_SIZE, RUNNING, Rfcs, Run, is_run_id, run_id
from timbres.errors import INTERNAL_ERROR, RUN_NOT_FOUND, TimbresError
from timbres.observability.metrics import metrics
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.runs import RunRepository
from timbres.services.daily_run.finalization import RunFinalizer

logger = logging.getLogger("timbres")


class DailyRunService:
    """The daily run from outside: its start, its end at the latest, its record."""

    def __init__(
        self,
        accounts: AccountRepository,
        issuers: IssuerRepository,
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
            for name in self._accounts.list_names():
                if name not in planned:
                    self._plan(run, name)
            run = self._runs.get(run.id) or run
            self._enqueue(run)
            metrics.add_count("RunsStarted")
            metrics.add_count("IssuersExpected", sum(account.expected for account in run.accounts))
        return self._finalizer.finish(run.id) or self._runs.get(run.id) or run

    def close_overdue(self) -> list[Run]:
        """Finish the runs that have taken too long, or that ended unnoticed; return them."""
        runs, _ = self._runs.list_page(None)
        closed = (
            self._finalizer.finish(run.id, overdue=clock.now() >= run.closes_at)
            for run in runs
            if run.status == RUNNING
        )
        return [run for run in closed if run is not None]

    def get(self, run_id: str) -> Run:
        """Return a run. Raises ``run-not-found``."""
        run = self._runs.get(run_id) if is_run_id(run_id) else None
        if run is None:
            raise TimbresError(RUN_NOT_FOUND, "There is no such run.", field="id")
        return run

    def list_page(self, after: str | None) -> tuple[list[Run], str | None]:
        """Return runs, newest first, and the cursor of the rest or None."""
        return self._runs.list_page(after)

    def _plan(self, run: Run, name: str) -> None:
        batches: Iterable[Rfcs] = ()
        problem = None
        try:
            counts_each = "stamps" in self._accounts.get(name).pac.capabilities
            batches = _batches(self._issuers.list_rfcs(name)) if counts_each else (None,)
        except Exception as error:
            # One account's secret stops no other account.
            kind = error.problem_type if isinstance(error, TimbresError) else INTERNAL_ERROR
            problem = kind.code
            logger.error("an account is left out: %s", error, extra={"account": name})
        self._runs.save_plan(run.id, name, batches, problem, clock.now())

    def _enqueue(self, run: Run) -> None:
        planned = [self._runs.incomplete_batches(run.id, account) for account in run.accounts]
        # By turns, so that a large account does not delay all others.
        turns = chain.from_iterable(zip_longest(*planned))
        self._queue.send(batch_to_json(batch) for batch in turns if batch is not None)
        self._runs.mark_enqueued(run.id)


def _batches(rfcs: Iterator[str]) -> Iterator[Rfcs]:
    while batch := tuple(islice(rfcs, BATCH_SIZE)):
        yield batch
