"""Goals, their figures, and the table of a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """One figure of ours and its goal: ``figure`` must be at most ``limit``.

    ``ours`` and ``compared`` are the measured values, as text with their units.
    """

    name: str
    ours: str
    compared: str
    figure: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure <= self.limit


def measured(
    name: str,
    ours: Sequence[float],
    compared: Sequence[float],
    limit: float,
    unit: str,
    scale: float = 1.0,
) -> Goal:
    """Return the goal of the ratio of two medians; values times ``scale`` are in ``unit``."""
    own, other = statistics.median(ours), statistics.median(compared)
    texts = [f"{value * scale:,.3g} {unit}" for value in (own, other)]
    return Goal(name, texts[0], texts[1], own / other, limit)


def format_table(goals: Sequence[Goal]) -> str:
    """Return the goals as a table, one line each."""
    width = max(len(goal.name) for goal in goals)
    lines = [f"{'':{width}}{'ours':>13}{'compared':>13}{'figure':>9}{'goal':>8}"]
    lines += [
        f"{goal.name:{width}}{goal.ours:>13}{goal.compared:>13}{goal.figure:>9.2f}"
        f"{goal.limit:>8g}  {'met' if goal.is_met else 'MISSED'}"
        for goal in goals
    ]
    return "\n".join(lines)
