"""The time that counts: Mexico City's, in which the PACs write and months begin and end."""

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
    """Return the present in Mexico City, with its offset, to the second."""
    return datetime.now(MEXICO_CITY).replace(microsecond=0)


def from_local(text: str) -> datetime:
    """Read a PAC's ``yyyy-mm-ddThh:MM:ss``, a time of Mexico City without an offset.

    A time that carries an offset keeps its instant; fractions of a second may stand in it.
    Raises ValueError on anything else.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("no time yyyy-mm-ddThh:MM:ss")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=MEXICO_CITY)
    try:
        return moment.astimezone(MEXICO_CITY)
    except OverflowError:
        raise ValueError("beyond the years 1 to 9999") from None
