"""Metrics of the runs: lines of the log that CloudWatch counts (embedded metric format)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit, single_metric

from timbres.domain.outlook import EXHAUSTED, LOW
from timbres.domain.run import Run

if TYPE_CHECKING:
    # The function that starts runs has no need of the PACs' clients.
    from timbres.work.watch import Report

NAMESPACE = "Timbres"
SERVICE = "timbres"


def run_started(run: Run) -> None:
    """Emit ``RunsStarted`` and ``IssuersExpected``."""
    expected = sum(account.expected for account in run.accounts)
    _emit({"RunsStarted": 1, "IssuersExpected": expected})


def issuers_counted(report: Report) -> None:
    """Emit what an invocation of the worker did.

    ``IssuersCounted``, ``StampsLow``, ``StampsExhausted``, ``PartsBroken``; ``IssuersFailed``
    by its dimension ``reason``; and for runs that it finished :func:`run_finished`.
    """
    _emit(
        {
            "IssuersCounted": report.done,
            "StampsLow": report.alerts[LOW],
            "StampsExhausted": report.alerts[EXHAUSTED],
            "PartsBroken": len(report.broken),
        }
    )
    for reason, count in report.failed.items():
        with single_metric(
            name="IssuersFailed",
            unit=MetricUnit.Count,
            value=count,
            namespace=NAMESPACE,
            default_dimensions={"service": SERVICE, "reason": reason},
        ):
            pass
    for run in report.finished:
        run_finished(run)


def run_finished(run: Run) -> None:
    """Emit ``RunsFinished`` and ``RunSeconds``, from its start to its end."""
    if run.finished_at is None:
        return
    seconds = (run.finished_at - run.started_at).total_seconds()
    _emit({"RunsFinished": 1}, {"RunSeconds": seconds})


def _emit(counts: dict[str, int], seconds: dict[str, float] | None = None) -> None:
    metrics = EphemeralMetrics(service=SERVICE, namespace=NAMESPACE)
    for name, count in counts.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    for name, value in (seconds or {}).items():
        metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=value)
    metrics.flush_metrics()
