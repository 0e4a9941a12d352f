"""Date range: the days of a query."""

from __future__ import annotations

import re
from datetime import date, timedelta

from timbres.domain.text import quote_input
from timbres.errors import PARAMETER_INVALID, TimbresError

MAX_DAYS = 400
_DEFAULT = timedelta(days=29)
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_date_range(first: str | None, last: str | None, today: date) -> tuple[date, date]:
    """Return the days ``from`` and ``to``, inclusive; the default is the last 30 days.

    Raises ``parameter-invalid`` for an invalid date, ``from`` after ``to``, or over 400 days.
    """
    end = today if last is None else _parse_day(last, "to")
    begin = end - _DEFAULT if first is None else _parse_day(first, "from")
    if begin > end:
        raise TimbresError(PARAMETER_INVALID, f"from ({begin}) is after to ({end}).", field="from")
    if (end - begin).days >= MAX_DAYS:
        raise TimbresError(PARAMETER_INVALID, f"Expected at most {MAX_DAYS} days.", field="from")
    return begin, end


def parse_open_range(first: str | None, last: str | None) -> tuple[date | None, date | None]:
    """Return the days ``from`` and ``to``, inclusive, each None if it is missing.

    Raises ``parameter-invalid`` for an invalid date, or ``from`` after ``to``.
    """
    begin = None if first is None else _parse_day(first, "from")
    end = None if last is None else _parse_day(last, "to")
    if begin and end and begin > end:
        raise TimbresError(PARAMETER_INVALID, f"from ({begin}) is after to ({end}).", field="from")
    return begin, end


def _parse_day(text: str, field: str) -> date:
    try:
        if not _FORM.fullmatch(text):
            raise ValueError
        day = date.fromisoformat(text)
        # The default range before it must be a valid range, too.
        if day.year < 2011:
            raise ValueError
    except ValueError:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(text)} is not a valid date: expected YYYY-MM-DD, 2011 or later.",
            field=field,
        ) from None
    return day
