"""Clock: the time of Mexico City, which the PACs and months use."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

MEXICO_CITY = ZoneInfo("America/Mexico_City")

_FORM = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
)


def now() -> datetime:
    """Return the current time in Mexico City, with its offset, to the second."""
    return datetime.now(MEXICO_CITY).replace(microsecond=0)


def from_local(text: str) -> datetime:
    """Return the time in a PAC's ``yyyy-mm-ddThh:MM:ss``, in Mexico City if it has no offset.

    An offset and fractions of a second are accepted. Raises ValueError for any other text.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("not a time yyyy-mm-ddThh:MM:ss")
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        return time.replace(tzinfo=MEXICO_CITY)
    try:
        return time.astimezone(MEXICO_CITY)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None
