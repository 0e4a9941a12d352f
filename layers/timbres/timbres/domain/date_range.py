"""Date range: the days of a query."""

from __future__ import annotations

import re
from datetime import date, timedelta

from timbres.domain.text import invalid_value
from timbres.errors import PARAMETER_INVALID, TimbresError

MAX_DAYS = 400
_DEFAULT = timedelta(days=29)
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_date_range(first: str | None, last: str | None, today: date) -> tuple[date, date]:
    """Return the days ``from`` and ``to``, inclusive; the default is the last 30 days.

    Raises ``parameter-invalid`` for an invalid date, ``from`` after ``to``, or over 400 days.
    """
    begin, end = parse_open_range(first, str(today) if last is None else last)
    end = end or today
    begin = begin or end - _DEFAULT
    if (end - begin).days >= MAX_DAYS:
        raise TimbresError(PARAMETER_INVALID, f"Expected at most {MAX_DAYS} days.", field="from")
    return begin, end


def parse_open_range(first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """Return the days ``from`` and ``to``, inclusive, each None if it is missing.

    Raises ``parameter-invalid`` for an invalid date, or ``from`` after ``to``.
    """
    begin, end = _parse_day(first, "from"), _parse_day(last, "to")
    if begin and end and begin > end:
        raise TimbresError(PARAMETER_INVALID, f"from ({begin}) is after to ({end}).", field="from")
    return begin, end


def _parse_day(text: str | None, field: str) -> date | None:
    if text is None:
        return None
    try:
        # The default range before it must be a valid range, too.
        if _FORM.fullmatch(text) and (day := date.fromisoformat(text)).year >= 2011:
            return day
    except ValueError:
        pass
    expected = "YYYY-MM-DD, 2011 or later"
    raise invalid_value(PARAMETER_INVALID, text, "a valid date", expected, field)
