"""How measurements of the same thing are shown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def format_spread(values: Sequence[float], form: str = "8.2f") -> str:
    """Return the least, the median and the most of ``values``, each in ``form``."""
    shown = min(values), statistics.median(values), max(values)
    return "".join(format(value, form) for value in shown)
