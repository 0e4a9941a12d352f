"""What stands in a report: the PAC's own statement, or Timbres' consumption."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from timbres.aws.issuers import Issuers
from timbres.deadline import Deadline
from timbres.domain import clock
from timbres.domain.account import Account
from timbres.domain.balance import total
from timbres.domain.month import Month
from timbres.domain.report import Wanted
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import PacError, TimbresError
from timbres.pacs.base import MonthReading
from timbres.pacs.codes import CREDENTIALS_REJECTED
from timbres.pacs.http import Download
from timbres.pacs.statement_csv import read_statement
from timbres.work.access import Access
from timbres.work.stamp_count import remember

log = logging.getLogger("timbres")

Row = list[Any]

_IN_MEMORY = 8 * 1024 * 1024
_CHUNK = 1024 * 1024
# What is kept of a worker's time to store what has been counted so far.
_RESERVE_SECONDS = 20.0
_PLANS = {"prepaid": "Prepago", "postpaid": "Postpago"}
# Spreadsheets run what begins so; a quote before it makes it text again.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Export:
    """A file to be stored, at its start. ``rows`` is None for a file of the PAC's."""

    file: IO[bytes]
    size: int
    sha256: str
    rows: int | None


class Exporter:
    """Writes the files of reports."""

    def __init__(self, access: Access, issuers: Issuers) -> None:
        self._access = access
        self._issuers = issuers

    @contextmanager
    def export(self, account: Account, wanted: Wanted, deadline: Deadline) -> Iterator[Export]:
        """Give the file of a report; leaving frees it. Raises what the PAC answers."""
        if wanted.kind == "statement":
            answer = self._access.read(
                account, lambda pac: pac.statement(wanted.month, wanted.format, deadline)
            )
            with answer.file as file:
                if wanted.format == "csv":
                    self._compare(account, wanted.month, answer, deadline)
                yield Export(file, answer.size, answer.sha256, None)
        elif "balance" in account.pac.can:
            with (
                self._access.read(
                    account, lambda pac: pac.balance(wanted.month, None, deadline)
                ) as reading,
                _written(*_of_movements(account, wanted.month, reading)) as export,
            ):
                yield export
        else:
            heading = _heading(account, wanted.month) + _STAMPS_HEADING
            with _written(heading, self._of_stamps(account, deadline)) as export:
                yield export

    def _compare(
        self, account: Account, month: Month, answer: Download, deadline: Deadline
    ) -> None:
        """Log where the PAC's CSV and JSON of a month disagree; the statement stays as it is."""
        extra: dict[str, Any] = {"account": account.name, "month": str(month)}
        try:
            statement = read_statement(answer.file)
            with self._access.read(
                account, lambda pac: pac.balance(month, None, deadline)
            ) as reading:
                summary, totals = reading.summary, total(reading.movements())
        except TimbresError as error:
            log.warning("the statement could not be compared: %s", error.detail, extra=extra)
            return
        finally:
            answer.file.seek(0)
        pairs = {
            "registered": (statement.issuers.registered, summary.issuers.registered),
            "authorized": (statement.issuers.authorized, summary.issuers.authorized),
            "stamping": (statement.issuers.stamping, summary.issuers.stamping),
            "transactions": (statement.transactions, summary.transactions),
            "amount": (statement.totals.amount, totals.amount),
            "movements": (statement.totals.movements, totals.movements),
        }
        differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if differing:
            log.warning(
                "the PAC's CSV and JSON of the same month disagree",
                extra=extra | {f"{name}_csv_json": pair for name, pair in differing.items()},
            )

    def _stamps(self, account: Account, rfc: Rfc, deadline: Deadline) -> Stamps:
        return self._access.read(account, lambda pac: pac.stamps(rfc, deadline))

    def _of_stamps(self, account: Account, deadline: Deadline) -> Iterator[Row]:
        """Yield contracted, used and available stamps of each known issuer, counted now."""
        for issuer in self._issuers.all(account.name):
            stamps, at, note = issuer.stamps, issuer.as_of, ""
            if deadline.left() < _RESERVE_SECONDS:
                yield _stamps_row(issuer.rfc, stamps, at, "No se alcanzó a contar de nuevo.")
                continue
            try:
                stamps = self._stamps(account, Rfc(issuer.rfc), deadline)
                at = clock.now()
                remember(self._issuers, account, Rfc(issuer.rfc), stamps)
            except PacError as error:
                # A rejected credential is every issuer's: asking on would lock the account.
                if error.kind is CREDENTIALS_REJECTED or error.kind.retry:
                    raise
                note = f"El PAC respondió {error.pac_code or error.kind.code}"
                if error.pac_message:
                    note += f": {error.pac_message}"
            yield _stamps_row(issuer.rfc, stamps, at, note)


def _stamps_row(rfc: str, stamps: Stamps, at: datetime | None, note: str) -> Row:
    counts = (stamps.contracted, stamps.used, stamps.available)
    return [
        rfc,
        *("sin dato" if count is None else count for count in counts),
        at.strftime("%d/%m/%Y %H:%M") if at else "nunca",
        note,
    ]


def _of_movements(
    account: Account, month: Month, reading: MonthReading
) -> tuple[list[Row], Iterator[Row]]:
    """Return the totals and the movements of a month as the PAC accounts for it."""
    summary, totals = reading.summary, total(reading.movements())
    heading: list[Row] = [
        *_heading(account, month),
        ["Plan", _PLANS.get(summary.plan, summary.plan)],
        ["Datos del PAC al", summary.as_of.strftime("%d/%m/%Y %H:%M:%S")],
        ["RFC registrados", summary.issuers.registered],
        ["RFC autorizados", summary.issuers.authorized],
        ["RFC que timbraron", summary.issuers.stamping],
        ["Total según el PAC (timbres)", summary.transactions],
        [],
        ["RFC", "Total (timbres)"],
        *([rfc, amount] for rfc, amount in sorted(totals.by_issuer.items())),
        ["Total", totals.amount],
        [],
        ["RFC", "Fecha", "Tipo de movimiento", "Timbres"],
    ]
    return heading, (
        [movement.rfc, movement.date.strftime("%d/%m/%Y"), movement.kind, movement.amount]
        for movement in reading.movements()
    )


_STAMPS_HEADING: list[Row] = [
    ["Los timbres se cuentan al generar el reporte, no al cierre del mes."],
    [],
    ["RFC", "Contratados", "Usados", "Disponibles", "Contados el", "Nota"],
]


def _heading(account: Account, month: Month) -> list[Row]:
    return [
        ["Consumo de timbres"],
        ["Cuenta", account.name],
        ["PAC", account.pac.name],
        ["Mes", str(month)],
        ["Generado el", clock.now().strftime("%d/%m/%Y %H:%M:%S")],
    ]


@contextmanager
def _written(heading: Iterable[Row], data: Iterable[Row]) -> Iterator[Export]:
    """Give rows as a CSV that Excel in Mexico opens: UTF-8 with BOM, commas, CRLF.

    ``Export.rows`` counts those of ``data``.
    """
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerows([_harmless(cell) for cell in row] for row in heading)
        rows = 0
        for row in data:
            writer.writerow([_harmless(cell) for cell in row])
            rows += 1
        text.detach()
        size = file.tell()
        file.seek(0)
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        file.seek(0)
        yield Export(file, size, digest.hexdigest(), rows)


def _harmless(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return cell
