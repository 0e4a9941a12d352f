"""Deadline: the moment after which an answer helps nobody."""

from __future__ import annotations

import time


class Deadline:
    """A moment on the monotonic clock, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left; 0.0 once it has passed."""
        return max(0.0, self._at - time.monotonic())

    def before(self, seconds: float) -> Deadline:
        """Return a deadline that lies ``seconds`` before this one."""
        return Deadline(self.remaining() - seconds)
