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


def finish_run(
    runs: RunRepository, event_publisher: EventPublisher, run_id: str, *, overdue: bool = False
) -> Run | None:
    """Finish a run that is complete or ``overdue``; return it, None if not finished here.

    Every step can be repeated, because events contain stored results.
    """
    run = runs.get(run_id)
    if run is None or run.status == FINISHED or not (run.is_complete or overdue):
        return None
    if not runs.acquire_finalization(run_id, clock.now(), _LEASE):
        return None
    # Read again: no account can be planned from now on.
    run = replace(_seal(runs, runs.get(run_id) or run), status=FINISHED)
    changes = sorted(runs.list_alert_changes(run_id), key=_urgency)
    failures, _ = runs.list_failures(run, None, None)
    event_publisher.publish("Daily Run Completed", run_to_event(run, changes, failures))
    runs.finish(run_id)
    for name, value in {
        "RunsFinished": 1,
        "IssuersNotReached": sum(one.failed.get(NOT_REACHED, 0) for one in run.accounts),
        "AccountsNotCounted": sum(not one.is_counted for one in run.accounts),
    }.items():
        metrics.add_count(name, value)
    metrics.add_metric("RunDuration", (clock.now() - run.started_at).total_seconds())
    logger.info("run finished", extra={"run": run_id, "low": run.low, "exhausted": run.exhausted})
    return run


def _seal(runs: RunRepository, run: Run) -> Run:
    """Return the run with final results, which its workers no longer change."""
    while run.finished_at is None:
        runs.close(run)
        late = runs.list_late_alert_changes()
        changes = [change for entry in late.values() for change in entry]
        changes += runs.list_alert_changes(run.id)
        alerts = Counter(change.alert for change in changes if change.rfc is not None)
        runs.seal(run, clock.now(), alerts, list(late))
        run = runs.get(run.id) or run
    return run


def _urgency(change: AlertChange) -> tuple[bool, bool, float, int, str]:
    """Return a sort key: accounts first, because they affect all of their issuers."""
    days = float("inf") if change.days_left is None else change.days_left
    is_issuer = change.rfc is not None
    return is_issuer, change.alert != EXHAUSTED, days, change.available, change.rfc or ""
