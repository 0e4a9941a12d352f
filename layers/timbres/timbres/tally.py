"""Tally: what an invocation did, counted until its end, when it is told as metrics.

There is one a process, as there is one log; threads may count at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

COUNT = "Count"
SECONDS = "Seconds"
NONE = "None"

Dimensions = tuple[tuple[str, str], ...]


@dataclass
class Values:
    """One metric's values; ``unit`` is one of CloudWatch's."""

    unit: str
    values: list[float] = field(default_factory=list)


Taken = Mapping[Dimensions, Mapping[str, Values]]


class Tally:
    """Counts and measurements by name and dimensions, until they are taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[Dimensions, dict[str, Values]] = {}

    def count(self, name: str, amount: int = 1, **dimensions: str) -> None:
        """Add to a count; 0 makes it known as nothing."""
        with self._lock:
            values = self._of(name, COUNT, dimensions).values
            values[:] = [sum(values) + amount]

    def measure(self, name: str, value: float, unit: str = SECONDS, **dimensions: str) -> None:
        """Add a value of its own, such as how long a call took."""
        with self._lock:
            self._of(name, unit, dimensions).values.append(value)

    def take(self) -> Taken:
        """Return what was counted, by dimensions and then by name, and begin anew."""
        with self._lock:
            taken, self._metrics = self._metrics, {}
            return taken

    def _of(self, name: str, unit: str, dimensions: Mapping[str, str]) -> Values:
        metrics = self._metrics.setdefault(tuple(sorted(dimensions.items())), {})
        return metrics.setdefault(name, Values(unit))


tally = Tally()
