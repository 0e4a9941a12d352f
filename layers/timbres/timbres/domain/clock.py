"""The time that counts: Mexico City's, in which the PACs write and months begin and end."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

MEXICO_CITY = ZoneInfo("America/Mexico_City")


def now() -> datetime:
    """Return the present in Mexico City, with its offset, to the second."""
    return datetime.now(MEXICO_CITY).replace(microsecond=0)


def from_local(text: str) -> datetime:
    """Read a PAC's ``yyyy-mm-ddThh:MM:ss``, a time of Mexico City without an offset.

    A time that carries an offset keeps its instant. Raises ValueError on anything else.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=MEXICO_CITY)
    return moment.astimezone(MEXICO_CITY)
