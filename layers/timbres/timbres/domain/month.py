"""Month: ``YYYY-MM`` in Mexico City, the unit of a PAC's balance; and year, ``YYYY``."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

from timbres.domain.text import quote_input
from timbres.errors import MONTH_INVALID, TimbresError

_FORM = re.compile(r"([0-9]{4})-([0-9]{2})")
_YEAR_FORM = re.compile(r"[0-9]{4}")
# CFDI and the PACs exist since 2011.
_FIRST_YEAR = 2011
MAX_MONTHS = 13
_SPANISH = (
    *("enero", "febrero", "marzo", "abril", "mayo", "junio"),
    *("julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One calendar month in Mexico City, ``month`` from 1 to 12; its text form is ``YYYY-MM``."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @classmethod
    def from_text(cls, text: str) -> Month:
        """Return the month of a text form. Raises ValueError; for input, use parse_month."""
        year, _, month = text.partition("-")
        return cls(int(year), int(month))

    @property
    def first_day(self) -> date:
        """The first day of the month."""
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        """The last day of the month."""
        return date(self.year, self.month, monthrange(self.year, self.month)[1])

    @property
    def name_es(self) -> str:
        """The name of the month in Spanish: ``octubre``."""
        return _SPANISH[self.month - 1]

    @property
    def label_es(self) -> str:
        """The month in Spanish: ``octubre de 2026``."""
        return f"{self.name_es} de {self.year}"

    def previous(self) -> Month:
        """Return the month before."""
        return Month(self.year - 1, 12) if self.month == 1 else Month(self.year, self.month - 1)


@dataclass(frozen=True, slots=True, order=True)
class Year:
    """One calendar year in Mexico City; its text form is ``YYYY``."""

    year: int

    def __str__(self) -> str:
        return f"{self.year:04d}"

    @property
    def label_es(self) -> str:
        """The year in Spanish: ``2026``."""
        return str(self)

    def months(self, today: date) -> list[Month]:
        """Return the months that have begun on ``today``."""
        months = [Month(self.year, number) for number in range(1, 13)]
        return [month for month in months if month.first_day <= today]


def period_from_text(text: str) -> Month | Year:
    """Return the month or the year of a text form. Raises ValueError; for input, parse_period."""
    return Month.from_text(text) if "-" in text else Year(int(text))


def month_of(day: date) -> Month:
    """Return the month of ``day``, a date or a time in Mexico City."""
    return Month(day.year, day.month)


def parse_months(first: object, last: object, today: date) -> list[Month]:
    """Return the months from ``first`` to ``last``, at most 13. Raises ``month-invalid``."""
    begin, month = parse_month(first, today, "from"), parse_month(last, today, "to")
    months = [month]
    while month > begin and len(months) <= MAX_MONTHS:
        month = month.previous()
        months.append(month)
    if month != begin or len(months) > MAX_MONTHS:
        problem = f"From {begin} to {months[0]}: expected 1 to {MAX_MONTHS} months."
        raise TimbresError(MONTH_INVALID, problem, field="from")
    return months[::-1]


def parse_month(text: object, today: date, field: str = "month") -> Month:
    """Return the month in ``text``, past or current on ``today`` in Mexico City.

    Raises ``month-invalid`` for an invalid text, a month before 2011 or a future month.
    """
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    current = month_of(today)
    if match is None or not 1 <= int(match[2]) <= 12:
        expected = f"expected YYYY-MM, for example {current}."
        problem = f"{quote_input(text)} is not a valid month: {expected}"
    elif (month := Month(int(match[1]), int(match[2]))).year < _FIRST_YEAR:
        problem = f"{month} is before {_FIRST_YEAR}, the first year of CFDI."
    elif month > current:
        problem = f"{month} is in the future: the current month is {current}."
    else:
        return month
    raise TimbresError(MONTH_INVALID, problem, field=field)


def parse_period(text: object, today: date) -> Month | Year:
    """Return the month or the year in ``text``, which has begun on ``today`` in Mexico City.

    Raises ``month-invalid`` like parse_month.
    """
    if not isinstance(text, str) or not _YEAR_FORM.fullmatch(text):
        return parse_month(text, today)
    if not _FIRST_YEAR <= int(text) <= today.year:
        problem = f"{text} is not a valid year: expected {_FIRST_YEAR} to {today.year}."
        raise TimbresError(MONTH_INVALID, problem, field="month")
    return Year(int(text))
