"""Buffers metrics and writes them at the end of an invocation, in the embedded metric format.

The threads of a process share one buffer. The namespace is ``Timbres``; the dimension ``service``
is the stack, so that the metrics of two stacks in one AWS account stay apart.
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
    """The values of one metric; ``unit`` is a unit of CloudWatch."""

    unit: str
    values: list[float] = field(default_factory=list)


MetricsByDimension = Mapping[Dimensions, Mapping[str, Values]]


class MetricsBuffer:
    """Counts and measurements by name and dimensions, until they are drained."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[Dimensions, dict[str, Values]] = {}

    def add_count(self, name: str, amount: int = 1, **dimensions: str) -> None:
        """Add to a count; 0 publishes the metric without an event."""
        with self._lock:
            values = self._values(name, COUNT, dimensions).values
            values[:] = [sum(values) + amount]

    def add_metric(self, name: str, value: float, unit: str = SECONDS, **dimensions: str) -> None:
        """Add a single value, for example the duration of a call."""
        with self._lock:
            self._values(name, unit, dimensions).values.append(value)

    def drain(self) -> MetricsByDimension:
        """Return the buffered metrics by dimensions and then by name, and empty the buffer."""
        with self._lock:
            buffered, self._metrics = self._metrics, {}
            return buffered

    def _values(self, name: str, unit: str, dimensions: Mapping[str, str]) -> Values:
        metrics = self._metrics.setdefault(tuple(sorted(dimensions.items())), {})
        return metrics.setdefault(name, Values(unit))


metrics = MetricsBuffer()


def flush() -> None:
    """Write the buffered metrics to the log, and empty the buffer. Call it in every invocation."""
    for dimensions, values_by_name in metrics.drain().items():
        # Its service is POWERTOOLS_SERVICE_NAME, which the template sets to the stack's name.
        record = EphemeralMetrics(namespace=NAMESPACE)
        for name, value in dimensions:
            record.add_dimension(name=name, value=value)
        for name, values in values_by_name.items():
            for number in values.values:
                record.add_metric(name=name, unit=values.unit, value=number)
        # Powertools writes a record of 100 values immediately.
        if record.metric_set:
            record.flush_metrics()
