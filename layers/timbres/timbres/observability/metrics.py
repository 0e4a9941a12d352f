"""Buffers metrics and writes them at the end of an invocation, in the embedded metric format.

The threads of a process share one buffer. The namespace is ``Timbres``; the dimension ``service``
is the stack, so that the metrics of two stacks in one AWS account stay apart.
"""

from __future__ import annotations

import threading
from collections import defaultdict

from aws_lambda_powertools.metrics import EphemeralMetrics

COUNT = "Count"
SECONDS = "Seconds"
NONE = "None"


_Dimensions = tuple[tuple[str, str], ...]
_Metric = tuple[str, str]  # name and unit of CloudWatch


class MetricsBuffer:
    """Counts and measurements by name and dimensions, until they are written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: defaultdict[_Dimensions, dict[_Metric, list[float]]] = defaultdict(dict)

    def add_count(self, name: str, amount: int = 1, **dimensions: str) -> None:
        """Add to a count; 0 publishes the metric without an event."""
        with self._lock:
            metrics = self._values[tuple(sorted(dimensions.items()))]
            metrics[name, COUNT] = [sum(metrics.get((name, COUNT), ())) + amount]

    def add_metric(self, name: str, value: float, unit: str = SECONDS, **dimensions: str) -> None:
        """Add a single value, for example the duration of a call."""
        with self._lock:
            metrics = self._values[tuple(sorted(dimensions.items()))]
            metrics.setdefault((name, unit), []).append(value)

    def flush(self) -> None:
        """Write the metrics to the log, and empty the buffer. Call it in every invocation."""
        with self._lock:
            buffered, self._values = self._values, defaultdict(dict)
        for dimensions, metrics in buffered.items():
            # Its service is POWERTOOLS_SERVICE_NAME, which the template sets to the stack's name.
            record = EphemeralMetrics(namespace="Timbres")
            for name, value in dimensions:
                record.add_dimension(name=name, value=value)
            for (name, unit), values in metrics.items():
                for number in values:
                    record.add_metric(name=name, unit=unit, value=number)
            # Powertools writes a record of 100 values immediately.
            if record.metric_set:
                record.flush_metrics()


metrics = MetricsBuffer()
