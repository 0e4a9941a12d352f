"""Clock: the time of Mexico City, which the PACs and months use."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from zoneinfo import ZoneInfo

MEXICO_CITY = ZoneInfo("America/Mexico_City")

_FORM = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)(?: ?(Z|[+-][0-9]{2}:?[0-9]{2}))?)?"
)
# Milliseconds since 1970, as .NET serializes a time; the offset is that of its clock.
_MILLISECONDS = re.compile(r"/Date\((-?[0-9]{1,15})([+-][0-9]{4})?\)/")


def now() -> datetime:
    """Return the current time in Mexico City, with its offset, to the second."""
    return datetime.now(MEXICO_CITY).replace(microsecond=0)


def from_local(text: str) -> datetime:
    """Return the time in a PAC's ``yyyy-mm-ddThh:MM:ss``, in Mexico City if it has no offset.

    The time, its seconds and the T may be missing; an offset, fractions of a second and .NET's
    ``/Date(ms)/`` are accepted. Raises ValueError for any other text.
    """
    try:
        return _parse(text).astimezone(MEXICO_CITY)
    except OverflowError:
        raise ValueError("outside of the years 1 to 9999") from None


@lru_cache(maxsize=1024)
def local_date(text: str) -> date:
    """Return the date in a PAC's ``yyyy-mm-ddThh:MM:ss``, as it is written.

    Time and offset do not change it. ``/Date(ms)/`` is a time in Mexico City. Raises ValueError
    for any other text, and for ``/Date(ms)/`` at midnight of UTC, which may mean two dates.
    """
    time = _parse(text)
    if time.tzinfo is UTC and text.startswith("/"):
        if time == datetime.combine(time.date(), time_of_day(), UTC):
            raise ValueError("a date of UTC or of Mexico City")
        time = time.astimezone(MEXICO_CITY)
    return time.date()


def _parse(text: str) -> datetime:
    if milliseconds := _MILLISECONDS.fullmatch(text):
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds[1]))
        offset = milliseconds[2]
        zone = datetime.strptime(offset, "%z").tzinfo if offset else UTC
        return time.astimezone(zone)
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError("not a time yyyy-mm-ddThh:MM:ss")
    day, time_text, zone_text = form.groups()
    time = datetime.fromisoformat(f"{day}T{time_text or '00:00'}{zone_text or ''}")
    return time if time.tzinfo else time.replace(tzinfo=MEXICO_CITY)
