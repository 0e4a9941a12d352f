"""Format repeated measurements of one case."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def format_spread(values: Sequence[float], form: str = "8.2f") -> str:
    """Return the minimum, the median and the maximum of ``values``, each in ``form``."""
    summary = min(values), statistics.median(values), max(values)
    return "".join(format(value, form) for value in summary)
