"""Clocks that a test moves."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

from timbres.domain.clock import MEXICO_CITY

START = datetime(2026, 11, 19, 13, 53, 41, tzinfo=MEXICO_CITY)


class Clock:
    """The time in Mexico City. It stands still until a test moves it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        """Move the clock forward, with the arguments of ``timedelta``."""
        self.at = (self.at + timedelta(**by)).astimezone(MEXICO_CITY)


class FakeTime:
    """Replaces the module ``time``: a pause ends at once, and the clock includes it.

    If ``stopped`` is set, only pauses move the clock. ``sleeps`` are the pauses in seconds.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.sleeps: list[float] = []
        self._start = time.time()
        self._ahead = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        """Return the seconds since the epoch, pauses included."""
        return (self._start if self.stopped else time.time()) + self._ahead

    def sleep(self, seconds: float) -> None:
        """Add a pause."""
        with self._lock:
            self.sleeps.append(seconds)
            self._ahead += seconds
