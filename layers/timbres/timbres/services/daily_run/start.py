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
    """Starts, closes, gets and lists daily runs."""

    def __init__(
        self,
        account_repository: AccountRepository,
        issuer_repository: IssuerRepository,
        run_repository: RunRepository,
        queue: RunQueue,
        finalizer: RunFinalizer,
    ) -> None:
        self._account_repository = account_repository
        self._issuer_repository = issuer_repository
        self._run_repository = run_repository
        self._queue = queue
        self._finalizer = finalizer

    def start(self, due: datetime) -> Run:
        """Plan the batches of every account, then enqueue them.

        A repeated start plans the accounts without a plan, and enqueues the incomplete batches.
        """
        run = self._run_repository.begin(run_id(due), clock.now())
        if not run.enqueued:
            planned = {account.account for account in run.accounts}
            for name in self._account_repository.list_names():
                if name not in planned:
                    self._plan(run, name)
            run = self._run_repository.get(run.id) or run
            self._enqueue(run)
            metrics.add_count("RunsStarted")
            metrics.add_count("IssuersExpected", sum(account.expected for account in run.accounts))
        return self._finalizer.finish(run.id) or self._run_repository.get(run.id) or run

    def close_overdue(self) -> list[Run]:
        """Finish the runs that are overdue, or complete but not finished; return them."""
        runs, _ = self._run_repository.list_page(None)
        closed = (
            self._finalizer.finish(run.id, overdue=clock.now() >= run.closes_at)
            for run in runs
            if run.status == RUNNING
        )
        return [run for run in closed if run is not None]

    def get(self, run_id: str) -> Run:
        """Return a run. Raises ``run-not-found``."""
        run = self._run_repository.get(run_id) if is_run_id(run_id) else None
        if run is None:
            raise TimbresError(RUN_NOT_FOUND, "Run not found.", field="id")
        return run

    def list_page(self, after: str | None) -> tuple[list[Run], str | None]:
        """Return a page of runs, newest first, and the cursor of the next page or None."""
        return self._run_repository.list_page(after)

    def _plan(self, run: Run, name: str) -> None:
        batches: Iterable[Rfcs] = ()
        problem = None
        counts_account = False
        try:
            pac = self._account_repository.get(name).pac
            counts_account = pac.has_account_stamps
            if "stamps" in pac.capabilities:
                rfcs = self._issuer_repository.list_rfcs(name)
                batches = _batches(rfcs, at_least_one=counts_account)
            else:
                batches = (None,)
        except Exception as error:
            # An invalid secret does not stop the other accounts.
            problem_type = error.problem_type if isinstance(error, TimbresError) else INTERNAL_ERROR
            problem = problem_type.code
            logger.error("an account is skipped: %s", error, extra={"account": name})
        self._run_repository.save_plan(
            run.id, name, batches, problem, clock.now(), counts_account=counts_account
        )

    def _enqueue(self, run: Run) -> None:
        planned = [
            self._run_repository.incomplete_batches(run.id, account) for account in run.accounts
        ]
        # Round robin, so that a large account does not delay all others.
        turns = chain.from_iterable(zip_longest(*planned))
        self._queue.send(batch_to_json(batch) for batch in turns if batch is not None)
        self._run_repository.mark_enqueued(run.id)


def _batches(rfcs: Iterator[str], *, at_least_one: bool) -> Iterator[Rfcs]:
    batch = tuple(islice(rfcs, BATCH_SIZE))
    if at_least_one and not batch:
        yield batch
    while batch:
        yield batch
        batch = tuple(islice(rfcs, BATCH_SIZE))
