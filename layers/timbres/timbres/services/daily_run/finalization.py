"""Finalizes daily runs: seals the results, publishes them, and marks the run as finished."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from timbres.aws.events import EventPublisher
from timbres.domain import clock
from timbres.domain.forecast import EXHAUSTED
from timbres.domain.run import FINISHED, NOT_REACHED, AlertChange, Run
from timbres.observability.metrics import metrics
from timbres.repositories.runs import RunRepository
from timbres.schemas.runs import run_to_event

logger = logging.getLogger("timbres")

# Longer than any function that finalizes a run.
_LEASE = timedelta(minutes=10)


class RunFinalizer:
    """Finalizes runs. Every step can be repeated, because events contain stored results."""

    def __init__(self, run_repository: RunRepository, event_publisher: EventPublisher) -> None:
        self._run_repository = run_repository
        self._event_publisher = event_publisher

    def finish(self, run_id: str, *, overdue: bool = False) -> Run | None:
        """Finish a run that is complete or ``overdue``; return it, None if not finished here."""
        run = self._run_repository.get(run_id)
        if run is None or run.status == FINISHED or not (run.is_complete or overdue):
            return None
        if not self._run_repository.acquire_finalization(run_id, clock.now(), _LEASE):
            return None
        # Read again: no account can be planned from now on.
        run = replace(self._seal(self._run_repository.get(run_id) or run), status=FINISHED)
        changes = sorted(self._run_repository.list_alert_changes(run_id), key=_urgency)
        failures, _ = self._run_repository.list_failures(run, None, None)
        self._event_publisher.publish("Daily Run Completed", run_to_event(run, changes, failures))
        self._run_repository.finish(run_id)
        metrics.add_count("RunsFinished")
        metrics.add_count(
            "IssuersNotReached", sum(account.failed.get(NOT_REACHED, 0) for account in run.accounts)
        )
        metrics.add_count(
            "AccountsNotCounted", sum(not account.is_counted for account in run.accounts)
        )
        metrics.add_metric("RunDuration", (clock.now() - run.started_at).total_seconds())
        logger.info(
            "run finished", extra={"run": run_id, "low": run.low, "exhausted": run.exhausted}
        )
        return run

    def _seal(self, run: Run) -> Run:
        """Return the run with final results, which its workers no longer change."""
        while run.finished_at is None:
            self._run_repository.close(run)
            late = self._run_repository.list_late_alert_changes()
            changes = [change for entry in late.values() for change in entry]
            changes += self._run_repository.list_alert_changes(run.id)
            alerts = Counter(change.alert for change in changes if change.rfc is not None)
            self._run_repository.seal(run, clock.now(), alerts, list(late))
            run = self._run_repository.get(run.id) or run
        return run


def _urgency(change: AlertChange) -> tuple[bool, bool, float, int, str]:
    """Return a sort key: accounts first, because they affect all of their issuers."""
    days = float("inf") if change.days_left is None else change.days_left
    is_issuer = change.rfc is not None
    return is_issuer, change.alert != EXHAUSTED, days, change.available, change.rfc or ""
