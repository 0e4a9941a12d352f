"""Parser of Reachcore's CSV statement: four sections, US dates, a blank after the RFC.

Another delimiter, charset or spelling of the headings does not matter.

Source: "Stamping Service Balance Consultation API", "Example of a download report
response (CSV or PDF)".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from itertools import chain
from typing import IO

from timbres.domain.balance import (
    IssuerCounts,
    Movement,
    Statement,
    is_consumption,
    sum_movements,
)
from timbres.domain.clock import from_local, local_date
from timbres.domain.month import Month
from timbres.domain.text import charset_of, parse_number
from timbres.errors import PacError
from timbres.pacs.errors import protocol_error
from timbres.pacs.reachcore.limits import ByteBudget, distinct_kinds, distinct_rfcs, is_short
from timbres.pacs.reading import fold, known_count

_PAC = "reachcore"
_MAX_LINE_CHARACTERS = 64 * 1024
_HEAD_BYTES = 16
_DELIMITERS = ",;\t|"
_ACCOUNT_HEADER = [
    "Cuenta",
    "TipoConsumo",
    "FechaInicioConsulta",
    "FechaFinConsulta",
    "FechaActual",
]
_MOVEMENTS_HEADER = ["RFC", "Fecha", "Tipo movimiento", "Monto"]
_SLASHES = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})( [0-9:]+( ?[ap]\.? ?m\.?)?)?", re.IGNORECASE
)


def read_statement(file: IO[bytes], month: Month, content_type: str = "") -> Statement:
    """Return the statement of ``month`` in the CSV ``file``, with the sums of its movements.

    Blank lines and blanks around a cell are ignored. ``month`` decides whether a date begins
    with the day or the month. The file stays open, at its end. Raises ``pac-protocol-error``,
    which names the section that is missing or invalid.
    """
    start = file.tell()
    charset = charset_of(file.read(_HEAD_BYTES), content_type) or "utf-8"
    file.seek(start)
    text = io.TextIOWrapper(file, encoding=charset, newline="")
    try:
        return _read(_rows(text), month)
    except (UnicodeError, csv.Error):
        raise protocol_error(_PAC, f"the statement is not a CSV in {charset}") from None
    finally:
        text.detach()


def _rows(text: io.TextIOWrapper) -> Iterator[list[str]]:
    """Yield the rows that are not blank. Raises ``pac-protocol-error`` for a line too long."""
    budget = ByteBudget(_PAC)

    def lines() -> Iterator[str]:
        while line := text.readline(_MAX_LINE_CHARACTERS):
            budget.consume(len(line))
            if len(line) == _MAX_LINE_CHARACTERS:
                raise _malformed("the end of a line")
            yield line

    first = next((line for line in lines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    if first.casefold().startswith("sep="):
        delimiter, first = first[4:5], ""
    if delimiter not in _DELIMITERS:
        raise _malformed("the delimiter")
    for row in csv.reader(chain([first], lines()), delimiter=delimiter):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            budget.reset()
            yield cells


def _read(rows: Iterator[list[str]], month: Month) -> Statement:
    _expect(rows, _ACCOUNT_HEADER)
    account = next(rows, [])
    if len(account) != 5 or not all(map(is_short, account)):
        raise _malformed("the account's line")
    _expect(rows, ["Estado de los RFC"])
    issuers = IssuerCounts(
        registered=_value_after(rows, "Registrados"),
        authorized=_value_after(rows, "Autorizados"),
        active=_value_after(rows, "Generaron Timbre"),
    )
    _expect(rows, ["Transacciones"])
    transactions = _value_after(rows, "Consumo de todos los RFC:")
    _expect(rows, _MOVEMENTS_HEADER)
    try:
        return Statement(
            account=account[0],
            plan=account[1],
            first_day=_date(account[2], month),
            last_day=_date(account[3], month),
            as_of=from_local(account[4]),
            issuers=issuers,
            transactions=transactions,
            totals=sum_movements(_movements(rows, month)),
        )
    except ValueError:
        raise _malformed("a date or a number") from None


def _movements(rows: Iterator[list[str]], month: Month) -> Iterator[Movement]:
    rfcs, kinds = distinct_rfcs(_PAC, str), distinct_kinds(_PAC, str)
    for row in rows:
        # Consumption is of an issuer; another movement may be of the account.
        if len(row) != 4 or not all(row[1:]) or not (row[0] or not is_consumption(row[2])):
            raise _malformed("a movement's line")
        yield Movement(rfcs[row[0]], _date(row[1], month), kinds[row[2]], parse_number(row[3]))


@lru_cache(maxsize=1024)
def _date(text: str, month: Month) -> date:
    slashes = _SLASHES.fullmatch(text)
    if slashes is None:
        return local_date(text)
    first, second, year = map(int, slashes.group(1, 2, 3))
    for number, day in ((first, second), (second, first)):
        if (year, number) == (month.year, month.month):
            return date(year, number, day)
    raise ValueError("not a date of the month")


def _expect(rows: Iterator[list[str]], header: list[str]) -> None:
    row = next(rows, [])
    if list(map(_heading, filter(None, row))) != list(map(_heading, header)):
        raise _malformed(f'the section "{header[0]}"')


def _value_after(rows: Iterator[list[str]], label: str) -> int | None:
    row = next(rows, [])
    if len(row) < 2 or _heading(row[0]) != _heading(label):
        raise _malformed(f'"{label}"')
    try:
        return known_count(parse_number(row[1]))
    except ValueError:
        raise _malformed(f'"{label}"') from None


def _heading(cell: str) -> str:
    return fold(" ".join(cell.split()).removesuffix(":"))


def _malformed(part: str) -> PacError:
    return protocol_error(_PAC, f"in the CSV statement, {part} is missing or invalid")
