"""Deadline: a point in time after which work is abandoned."""

from __future__ import annotations

import time


class Deadline:
    """A point in time on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds; 0.0 once the deadline has passed."""
        return max(0.0, self._at - time.monotonic())

    def before(self, seconds: float) -> Deadline:
        """Return a deadline that is ``seconds`` earlier."""
        return Deadline(self.remaining() - seconds)
