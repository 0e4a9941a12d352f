"""Metrics: buffered during an invocation, and written at its end in the embedded metric format.

One buffer per process, which threads share. Namespace ``Timbres``; the dimension ``service`` is
the stack, so that two stacks in one AWS account are not added up.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from aws_lambda_powertools.metrics import EphemeralMetrics

NAMESPACE = "Timbres"
COUNT = "Count"
SECONDS = "Seconds"
NONE = "None"

Dimensions = tuple[tuple[str, str], ...]


@dataclass
class Values:
    """One metric's values; ``unit`` is one of CloudWatch's."""

    unit: str
    values: list[float] = field(default_factory=list)


MetricsByDimension = Mapping[Dimensions, Mapping[str, Values]]


class MetricsBuffer:
    """Counts and measurements by name and dimensions, until they are drained."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[Dimensions, dict[str, Values]] = {}

    def add_count(self, name: str, amount: int = 1, **dimensions: str) -> None:
        """Add to a count; 0 makes it known as nothing."""
        with self._lock:
            values = self._values(name, COUNT, dimensions).values
            values[:] = [sum(values) + amount]

    def add_metric(self, name: str, value: float, unit: str = SECONDS, **dimensions: str) -> None:
        """Add a value of its own, such as how long a call took."""
        with self._lock:
            self._values(name, unit, dimensions).values.append(value)

    def drain(self) -> MetricsByDimension:
        """Return what was counted, by dimensions and then by name, and begin anew."""
        with self._lock:
            buffered, self._metrics = self._metrics, {}
            return buffered

    def _values(self, name: str, unit: str, dimensions: Mapping[str, str]) -> Values:
        metrics = self._metrics.setdefault(tuple(sorted(dimensions.items())), {})
        return metrics.setdefault(name, Values(unit))


metrics = MetricsBuffer()


def flush() -> None:
    """Write the buffered metrics to the log and empty the buffer: the end of every invocation."""
    for dimensions, values_by_name in metrics.drain().items():
        # Its service is POWERTOOLS_SERVICE_NAME, which the template sets to the stack's name.
        line = EphemeralMetrics(namespace=NAMESPACE)
        for name, value in dimensions:
            line.add_dimension(name=name, value=value)
        for name, values in values_by_name.items():
            for number in values.values:
                line.add_metric(name=name, unit=values.unit, value=number)
        # A hundred values are a full line, written already.
        if line.metric_set:
            line.flush_metrics()
