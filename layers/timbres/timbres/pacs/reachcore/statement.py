"""Parser of Reachcore's CSV statement: four sections, US dates, a blank after the RFC.

Source: "Stamping Service Balance Consultation API", "Example of a download report
response (CSV or PDF)".
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import IO

from timbres.domain.balance import IssuerCounts, Movement, Statement, sum_movements
from timbres.domain.clock import from_local
from timbres.errors import PacError
from timbres.pacs.errors import protocol_error
from timbres.pacs.reachcore.limits import ByteBudget, enforce_limits, is_short

_PAC = "reachcore"
_MAX_LINE_CHARACTERS = 64 * 1024
_US_TIME = "%m/%d/%Y %I:%M:%S %p"
_ACCOUNT_HEADER = [
    "Cuenta",
    "TipoConsumo",
    "FechaInicioConsulta",
    "FechaFinConsulta",
    "FechaActual",
]
_NUMBER = re.compile(r"-?[0-9]{1,12}")
_MOVEMENTS_HEADER = ["RFC", "Fecha", "Tipo movimiento", "Monto"]


def read_statement(file: IO[bytes]) -> Statement:
    """Return the statement in the CSV ``file``, with the sums of its movements.

    Blank lines and blanks around a cell are ignored. The file stays open, at its end.
    Raises ``pac-protocol-error``, which names the section that is missing or invalid.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        return _read(_rows(text))
    except (UnicodeDecodeError, csv.Error):
        raise protocol_error(_PAC, "the statement is not a CSV in UTF-8") from None
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

    for row in csv.reader(lines()):
        cells = [cell.strip() for cell in row]
        if any(cells):
            budget.reset()
            yield cells


def _read(rows: Iterator[list[str]]) -> Statement:
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
            first_day=from_local(account[2]).date(),
            last_day=from_local(account[3]).date(),
            as_of=from_local(account[4]),
            issuers=issuers,
            transactions=transactions,
            totals=sum_movements(enforce_limits(_PAC, (_movement(row) for row in rows))),
        )
    except ValueError:
        raise _malformed("a date or a number") from None


def _movement(row: list[str]) -> Movement:
    if len(row) != 4 or not all(row):
        raise _malformed("a movement's line")
    return Movement(
        rfc=row[0],
        date=datetime.strptime(row[1], _US_TIME).date(),
        kind=row[2],
        amount=_number(row[3]),
    )


def _expect(rows: Iterator[list[str]], header: list[str]) -> None:
    row = next(rows, [])
    if [cell for cell in row if cell] != header:
        raise _malformed(f'the section "{header[0]}"')


def _value_after(rows: Iterator[list[str]], label: str) -> int:
    row = next(rows, [])
    if len(row) < 2 or row[0] != label:
        raise _malformed(f'"{label}"')
    try:
        return _number(row[1])
    except ValueError:
        raise _malformed(f'"{label}"') from None


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a whole number")
    return int(text)


def _malformed(part: str) -> PacError:
    return protocol_error(_PAC, f"in the CSV statement, {part} is missing or invalid")
