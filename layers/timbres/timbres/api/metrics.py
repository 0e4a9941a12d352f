"""Metrics: the tally as lines of the log that CloudWatch counts (embedded metric format).

Namespace ``Timbres``; the dimension ``service`` is the stack, so that two stacks in one AWS
account are not added up.
"""

from __future__ import annotations

from aws_lambda_powertools.metrics import EphemeralMetrics

from timbres.domain.run import Run
from timbres.tally import tally

NAMESPACE = "Timbres"


def run_started(run: Run) -> None:
    """Count ``RunsStarted`` and ``IssuersExpected``."""
    tally.count("RunsStarted")
    tally.count("IssuersExpected", sum(account.expected for account in run.accounts))


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
