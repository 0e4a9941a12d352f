"""Starts and closes daily runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain, islice, zip_longest

from timbres.aws.events import EventPublisher
from timbres.aws.queues import RunQueue, batch_to_json
from timbres.domain import clock
from timbres.domain.run import BATCH_SIZE, RUNNING, Rfcs, Run, run_id
from timbres.errors import INTERNAL_ERROR
from timbres.observability.metrics import metrics
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.repositories.runs import RunRepository
from timbres.services.daily_run.finalization import finish_run

logger = logging.getLogger("timbres")


@dataclass(frozen=True)
class DailyRunService:
    """Starts and closes daily runs."""

    accounts: AccountRepository
    issuers: IssuerRepository
    runs: RunRepository
    queue: RunQueue
    event_publisher: EventPublisher
    batch_size: int = BATCH_SIZE

    def start(self, due: datetime) -> Run:
        """Plan the batches of every account, then enqueue them.

        A repeated start plans the accounts without a plan, or whose plan failed because of Timbres
        or AWS, and enqueues the incomplete batches.
        """
        run = self.runs.begin(run_id(due), clock.now())
        failed = {one.account: one.plan for one in run.accounts if one.must_be_planned_again}
        planned = {one.account for one in run.accounts} - failed.keys()
        if not run.enqueued:
            for name in self.accounts.list_names():
                if name not in planned:
                    self._plan(run, name, failed.get(name))
            self._enqueue(run, planned=set())
            metrics.add_count("RunsStarted")
        elif failed and run.finished_at is None:
            # If this start fails, the next one enqueues what is not complete.
            self.runs.mark_enqueued(run.id, enqueued=False)
            for name, plan in failed.items():
                self._plan(run, name, plan)
            self._enqueue(run, planned)
        finished = finish_run(self.runs, self.event_publisher, run.id)
        return finished or self.runs.get(run.id) or run

    def close_overdue(self) -> list[Run]:
        """Finish the runs that are overdue, or complete but not finished; return them."""
        runs, _ = self.runs.list_page(None)
        closed = (
            finish_run(
                self.runs, self.event_publisher, run.id, overdue=clock.now() >= run.closes_at
            )
            for run in runs
            if run.status == RUNNING
        )
        return [run for run in closed if run is not None]

    def _plan(self, run: Run, name: str, replaces: str | None) -> None:
        save = partial(self.runs.save_plan, run.id, name, at=clock.now(), replaces=replaces)
        try:
            pac = self.accounts.get(name).pac
            batches: Iterable[Rfcs] = (None,)
            if "stamps" in pac.capabilities:
                rfcs = self.issuers.list_rfcs(name)
                batches = self._batches(rfcs, at_least_one=pac.has_account_stamps)
            save(batches, None, counts_account=pac.has_account_stamps)
        except Exception as error:
            # An invalid secret, or issuers that cannot be read, do not stop the other accounts.
            logger.error("an account is skipped: %s", error, extra={"account": name})
            save((), getattr(error, "problem_type", INTERNAL_ERROR).code)

    def _batches(self, rfcs: Iterator[str], *, at_least_one: bool) -> Iterator[Rfcs]:
        while (batch := tuple(islice(rfcs, self.batch_size))) or at_least_one:
            yield batch
            at_least_one = False

    def _enqueue(self, run: Run, planned: set[str]) -> None:
        """Enqueue the incomplete batches, without those of accounts ``planned`` before."""
        accounts = (self.runs.get(run.id) or run).accounts
        new = [one for one in accounts if one.account not in planned]
        batches = [self.runs.incomplete_batches(run.id, account) for account in new]
        # Round robin, so that a large account does not delay all others.
        turns = chain.from_iterable(zip_longest(*batches))
        self.queue.send(batch_to_json(batch) for batch in turns if batch is not None)
        self.runs.mark_enqueued(run.id)
        metrics.add_count("IssuersExpected", sum(account.expected for account in new))
