"""Starts, closes and lists daily runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain, islice, zip_longest

from timbres.aws.queues import RunQueue, batch_to_json
from timbres.domain import clock
from timbres.domain.run import BATCH_SIZE, RUNNING, Failure, Rfcs, Run, is_run_id, run_id
from timbres.errors import ACCOUNT_NOT_FOUND, INTERNAL_ERROR, RUN_NOT_FOUND, TimbresError
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

        A repeated start plans the accounts without a plan, or whose plan failed because of Timbres
        or AWS, and enqueues the incomplete batches.
        """
        run = self._run_repository.begin(run_id(due), clock.now())
        failed = {one.account: one.plan for one in run.accounts if one.must_be_planned_again}
        planned = {one.account for one in run.accounts} - failed.keys()
        if not run.enqueued:
            for name in self._account_repository.list_names():
                if name not in planned:
                    self._plan(run, name, failed.get(name))
            self._enqueue(run, planned=None)
            metrics.add_count("RunsStarted")
        elif failed and run.finished_at is None:
            # If this start fails, the next one enqueues what is not complete.
            self._run_repository.mark_enqueued(run.id, enqueued=False)
            for name, plan in failed.items():
                self._plan(run, name, plan)
            self._enqueue(run, planned)
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

    def list_page(self, after: str | None, limit: int) -> tuple[list[Run], str | None]:
        """Return a page of runs, newest first, and the cursor of the next page or None."""
        return self._run_repository.list_page(after, limit)

    def list_failures(
        self, run_id: str, account: str | None, after: str | None
    ) -> tuple[list[Failure], str | None]:
        """Return a page of what a run did not count, and the cursor of the next page or None.

        ``account`` selects one account. Raises ``run-not-found``, and ``account-unknown`` if the
        run does not have it.
        """
        run = self.get(run_id)
        if account is not None and account not in {one.account for one in run.accounts}:
            raise TimbresError(
                ACCOUNT_NOT_FOUND, "The run does not have this account.", field="account"
            )
        return self._run_repository.list_failures(run, account, after)

    def _plan(self, run: Run, name: str, replaces: str | None) -> None:
        save = partial(self._run_repository.save_plan, run.id, name, at=clock.now())
        try:
            pac = self._account_repository.get(name).pac
            counts_account = pac.has_account_stamps
            batches: Iterable[Rfcs] = (None,)
            if "stamps" in pac.capabilities:
                rfcs = self._issuer_repository.list_rfcs(name)
                batches = _batches(rfcs, at_least_one=counts_account)
            save(batches, None, counts_account=counts_account, replaces=replaces)
        except Exception as error:
            # An invalid secret, or issuers that cannot be read, do not stop the other accounts.
            problem_type = error.problem_type if isinstance(error, TimbresError) else INTERNAL_ERROR
            logger.error("an account is skipped: %s", error, extra={"account": name})
            save((), problem_type.code, replaces=replaces)

    def _enqueue(self, run: Run, planned: set[str] | None) -> None:
        """Enqueue the incomplete batches, without those of accounts ``planned`` before."""
        accounts = (self._run_repository.get(run.id) or run).accounts
        new = [one for one in accounts if planned is None or one.account not in planned]
        batches = [self._run_repository.incomplete_batches(run.id, account) for account in new]
        # Round robin, so that a large account does not delay all others.
        turns = chain.from_iterable(zip_longest(*batches))
        self._queue.send(batch_to_json(batch) for batch in turns if batch is not None)
        self._run_repository.mark_enqueued(run.id)
        metrics.add_count("IssuersExpected", sum(account.expected for account in new))


def _batches(rfcs: Iterator[str], *, at_least_one: bool) -> Iterator[Rfcs]:
    batch = tuple(islice(rfcs, BATCH_SIZE))
    if at_least_one and not batch:
        yield batch
    while batch:
        yield batch
        batch = tuple(islice(rfcs, BATCH_SIZE))
