"""Period: some days up to one, as a caller names them."""

from __future__ import annotations

import re
from datetime import date, timedelta

from timbres.domain.text import quote_input
from timbres.errors import PARAMETER_INVALID, TimbresError

MAX_DAYS = 400
_DEFAULT = timedelta(days=29)
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_date_range(first: str | None, last: str | None, today: date) -> tuple[date, date]:
    """Return the days ``from`` and ``to``, both counted in: the last 30 unless they are said.

    Raises ``parameter-invalid`` for no date, an end before its beginning, or over 400 days.
    """
    end = today if last is None else _parse_day(last, "to")
    begin = end - _DEFAULT if first is None else _parse_day(first, "from")
    if begin > end:
        raise TimbresError(
            PARAMETER_INVALID, f"from ({begin}) lies after to ({end}).", field="from"
        )
    if (end - begin).days >= MAX_DAYS:
        raise TimbresError(
            PARAMETER_INVALID, f"Expected {MAX_DAYS} days at most, which are kept.", field="from"
        )
    return begin, end


def _parse_day(text: str, field: str) -> date:
    try:
        if not _FORM.fullmatch(text):
            raise ValueError
        day = date.fromisoformat(text)
        # Room for the usual period before it.
        if day.year < 2011:
            raise ValueError
    except ValueError:
        raise TimbresError(
            PARAMETER_INVALID,
            f"{quote_input(text)} is no day: expected YYYY-MM-DD, from 2011 on.",
            field=field,
        ) from None
    return day
