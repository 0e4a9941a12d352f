"""Metrics: the tally as lines of the log that CloudWatch counts (embedded metric format).

Namespace ``Timbres``; the dimension ``service`` is the stack, so that two stacks in one AWS
account are not added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import EphemeralMetrics

from timbres.domain.outlook import EXHAUSTED, LOW
from timbres.domain.run import Run
from timbres.tally import tally

if TYPE_CHECKING:
    # The function that starts runs has no need of the PACs' clients.
    from timbres.work.watch import Report

NAMESPACE = "Timbres"


def run_started(run: Run) -> None:
    """Count ``RunsStarted`` and ``IssuersExpected``."""
    tally.count("RunsStarted")
    tally.count("IssuersExpected", sum(account.expected for account in run.accounts))


def issuers_counted(report: Report) -> None:
    """Count what an invocation of the worker did.

    ``IssuersCounted``, ``StampsLow``, ``StampsExhausted``, ``PartsBroken``; ``IssuersFailed``
    by its dimension ``reason``.
    """
    tally.count("IssuersCounted", report.done)
    tally.count("StampsLow", report.alerts[LOW])
    tally.count("StampsExhausted", report.alerts[EXHAUSTED])
    tally.count("PartsBroken", len(report.broken))
    for reason, count in report.failed.items():
        tally.count("IssuersFailed", count, reason=reason)


def tell() -> None:
    """Write what the tally has to the log, and empty it: the end of every invocation."""
    for dimensions, metrics in tally.take().items():
        # Its service is POWERTOOLS_SERVICE_NAME, which the template sets to the stack's name.
        line = EphemeralMetrics(namespace=NAMESPACE)
        for name, value in dimensions:
            line.add_dimension(name=name, value=value)
        for name, found in metrics.items():
            for one in found.values:
                line.add_metric(name=name, unit=found.unit, value=one)
        # A hundred values are a full line, written already.
        if line.metric_set:
            line.flush_metrics()
