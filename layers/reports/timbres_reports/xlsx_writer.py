"""The report as an Excel workbook: typed cells, a chart, and all movements.

The sheets are ``Resumen``, ``Por RFC``, ``Contratos`` and ``Movimientos``; what is beyond
a sheet's last row goes on in ``Movimientos 2`` and so on. A figure that is not known is an
empty cell, and a note in its row says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import cache, lru_cache
from itertools import chain, islice
from tempfile import TemporaryDirectory
from typing import IO

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from timbres.domain.consumption import Consumption, MovementLine, change
from timbres_reports import formatting_es as fmt

SUMMARY = "Resumen"
ISSUERS = "Por RFC"
CONTRACTS = "Contratos"
MOVEMENTS = "Movimientos"
NOTE = "Nota"
# The most rows that a sheet of Excel has, its heading among them.
SHEET_ROWS = 1_048_576

Value = str | int | float | date | None

# Of a date's ordinal, what Excel does not count.
_EPOCH = date(1899, 12, 30).toordinal()

_COUNT, _PERCENT, _DAY, _MOMENT, _DECIMAL = "#,##0", "0.0%", "dd/mm/yyyy", "dd/mm/yyyy hh:mm", "0.0"
_ISSUER_FORMS = (None, None, _COUNT, _PERCENT, _COUNT, _PERCENT, _COUNT, _DECIMAL, None)
_CONTRACT_FORMS = (None, None, _COUNT, None, None, _MOMENT, None, None)
_MOVEMENT_FORMS = (None, None, _DAY, None, _COUNT)
_FACT_FORMS = {
    fmt.GENERATED: _MOMENT,
    fmt.TOTAL: _COUNT,
    fmt.PREVIOUS: _COUNT,
    fmt.CHANGE: _PERCENT,
}
_ISSUER_WIDTHS = (16, 18, 14, 16, 16, 12, 14, 16, 50)
_CONTRACT_WIDTHS = (16, 18, 14, 14, 30, 18, 30, 70)
_MOVEMENT_WIDTHS = (16, 18, 14, 36, 14)
_SUMMARY_WIDTHS = (26, 30, 26, 28, 18, 24, 60)
_CHART_SIZE = {"width": 760, "height": 380}


def write(report: Consumption, out: IO[bytes], *, sheet_rows: int = SHEET_ROWS) -> int:
    """Write ``report`` into ``out``; return how many movements it holds.

    ``sheet_rows`` is how many rows a sheet of movements may have, its heading among them:
    2 to 1,048,576. The rows wait in temporary files until all are known; only then is
    anything written. A movement takes about 270 bytes there, twice that while its sheet is
    packed. Raises whatever walking the movements or writing raises; ``out`` then holds
    nothing or a part.
    """
    if not 2 <= sheet_rows <= SHEET_ROWS:
        raise ValueError(f"a sheet cannot have {sheet_rows} rows")
    stream = _Stream(out)
    with TemporaryDirectory(prefix="timbres-xlsx-") as temporary:
        book = Workbook(
            stream,
            {
                "constant_memory": True,
                "tmpdir": temporary,
                "strings_to_formulas": False,
                "strings_to_urls": False,
            },
        )
        try:
            rows = _Sheets(book, report).write(sheet_rows)
            book.close()
        finally:
            stream.stop()
            # A file that is open keeps its room on the disk, even deleted.
            for sheet in book.worksheets():
                sheet.row_data_fh.close()
    return rows


class _Stream:
    """The zip's way into ``out``, which it finds neither seekable nor closable.

    A zip that broke off would still write its end whenever it is collected: not once this
    is stopped.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out: IO[bytes] | None = out

    def write(self, data: bytes) -> int:
        if self._out is not None:
            self._out.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: zipfile asks for it, ``out`` has no such thing."""

    def stop(self) -> None:
        self._out = None


class _Sheets:
    """The sheets of one workbook."""

    def __init__(self, book: Workbook, report: Consumption) -> None:
        self._book = book
        self._report = report
        # A workbook keeps every format that is added, so each number format is added once.
        self._number_format = cache(
            lambda code: book.add_format({"num_format": code} if code else {})
        )
        self._bold = book.add_format({"bold": True})
        self._title = book.add_format({"bold": True, "font_size": 16})
        self._head = book.add_format({"bold": True, "bg_color": "#DDE6F0", "bottom": 1})
        book.set_properties(
            {
                "title": f"{fmt.TITLE}, {report.month.label_es}",
                "created": fmt.to_local(report.generated_at).replace(tzinfo=None),
            }
        )

    def write(self, sheet_rows: int) -> int:
        """Write all sheets; return the number of movements."""
        self._summary()
        self._issuers()
        self._contracts()
        return self._movements(sheet_rows)

    def _summary(self) -> None:
        sheet = self._sheet(SUMMARY, _SUMMARY_WIDTHS, (None,) * len(_SUMMARY_WIDTHS))
        _put(sheet, 0, 0, fmt.TITLE, self._title)
        row = self._sources(sheet, self._facts(sheet, 2) + 1)
        self._days(sheet, row + 1)

    def _facts(self, sheet: Worksheet, row: int) -> int:
        """Write what stands at the report's head; return the row below it."""
        report = self._report
        figures: dict[str, Value] = {
            fmt.GENERATED: fmt.to_local(report.generated_at),
            fmt.TOTAL: report.known_total,
            fmt.PREVIOUS: report.previous_total,
            fmt.CHANGE: change(report.known_total, report.previous_total),
        }
        for name, shown in fmt.heading(report):
            value = figures.get(name, shown)
            _put(sheet, row, 0, name, self._bold)
            _put(sheet, row, 1, value, self._number_format(_FACT_FORMS.get(name)))
            if value is None:
                _put(sheet, row, 2, shown)
            row += 1
        return row

    def _sources(self, sheet: Worksheet, row: int) -> int:
        """Write where the figures come from; return the row below."""
        _row(sheet, row, fmt.SOURCE_HEADING, self._head)
        for source in self._report.sources:
            row += 1
            cells = (
                source.account,
                fmt.pac(source.pac),
                fmt.plan(source.plan),
                fmt.source_name(source),
                fmt.date_time(source.as_of),
                fmt.missing_days(source.missing_days),
                source.problem,
            )
            _row(sheet, row, cells)
        return row + 1

    def _days(self, sheet: Worksheet, row: int) -> None:
        """Write the days' table, and beside it the chart of it."""
        report = self._report
        top = row + 1
        _row(sheet, row, (*fmt.DAY_HEADING, NOTE), self._head)
        for number, amount in enumerate(report.days, start=1):
            row += 1
            day = report.month.first_day.replace(day=number)
            _put(sheet, row, 0, day, self._number_format(_DAY))
            _put(sheet, row, 1, amount, self._number_format(_COUNT))
            if amount is None:
                _put(sheet, row, 2, fmt.NO_DATA)
        chart = self._book.add_chart({"type": "column"})
        chart.add_series(
            {
                "name": fmt.DAY_HEADING[1],
                "categories": [SUMMARY, top, 0, row, 0],
                "values": [SUMMARY, top, 1, row, 1],
                # Excel reads the cells; what previews a file shows these.
                "categories_data": [
                    _serial(report.month.first_day) + n for n in range(row - top + 1)
                ],
                "values_data": list(report.days),
                "gap": 40,
            }
        )
        chart.set_title({"name": f"{fmt.DAYS}, {report.month.label_es}"})
        chart.set_x_axis({"date_axis": True, "num_format": "d", "major_unit": 1})
        chart.set_y_axis({"num_format": _COUNT})
        chart.set_legend({"none": True})
        chart.set_size(_CHART_SIZE)
        sheet.insert_chart(top - 1, 3, chart)

    def _issuers(self) -> None:
        report, total = self._report, self._report.total
        rows = (
            (
                issuer.account,
                issuer.rfc,
                issuer.amount,
                issuer.amount / total if total else 0.0,
                issuer.previous,
                change(issuer.amount, issuer.previous),
                issuer.available,
                issuer.days_left,
                fmt.missing_facts(issuer),
            )
            for issuer in report.issuers
        )
        self._table(ISSUERS, (*fmt.ISSUER_HEADING, NOTE), _ISSUER_WIDTHS, _ISSUER_FORMS, rows)

    def _contracts(self) -> None:
        rows = (
            (
                contract.account,
                contract.rfc,
                contract.stamps,
                fmt.status(contract.status),
                fmt.caller_name(contract.requested_by),
                fmt.to_local(contract.created_at),
                contract.id,
                contract.requested_by,
            )
            for contract in self._report.contracts
        )
        heading = fmt.CONTRACT_HEADING
        self._table(CONTRACTS, heading, _CONTRACT_WIDTHS, _CONTRACT_FORMS, rows)

    def _movements(self, sheet_rows: int) -> int:
        movements = self._report.movements()
        written, number = 0, 1
        # One is read ahead: where none follows, no further sheet begins.
        ahead = list(islice(movements, 1))
        while True:
            name = MOVEMENTS if number == 1 else f"{MOVEMENTS} {number}"
            rest = islice(movements, sheet_rows - 1 - len(ahead))
            written += self._movement_sheet(name, chain(ahead, rest))
            ahead = list(islice(movements, 1))
            if not ahead:
                return written
            number += 1

    def _movement_sheet(self, name: str, movements: Iterable[MovementLine]) -> int:
        """Write one sheet of movements; return how many.

        Cells are written one by one and formatted by their columns: this is where a report
        of a million rows spends its time.
        """
        sheet = self._sheet(name, _MOVEMENT_WIDTHS, _MOVEMENT_FORMS)
        _row(sheet, 0, fmt.MOVEMENT_HEADING, self._head)
        string, number = sheet.write_string, sheet.write_number
        # Accounts, RFCs and kinds repeat; the limit bounds the memory whatever a PAC sends.
        text = lru_cache(maxsize=50_000)(_text)
        row = 0
        for row, movement in enumerate(movements, start=1):
            string(row, 0, text(movement.account))
            string(row, 1, text(movement.rfc))
            number(row, 2, movement.date.toordinal() - _EPOCH)
            string(row, 3, text(movement.kind))
            number(row, 4, movement.amount)
        _add_filter(sheet, row, len(fmt.MOVEMENT_HEADING))
        return row

    def _table(
        self,
        name: str,
        heading: Sequence[str],
        widths: Sequence[int],
        forms: Sequence[str | None],
        rows: Iterable[Sequence[Value]],
    ) -> None:
        """Write a sheet that is one table."""
        sheet = self._sheet(name, widths, forms)
        _row(sheet, 0, heading, self._head)
        number = 0
        for number, row in enumerate(rows, start=1):
            _row(sheet, number, row)
        _add_filter(sheet, number, len(heading))

    def _sheet(self, name: str, widths: Sequence[int], forms: Sequence[str | None]) -> Worksheet:
        sheet = self._book.add_worksheet(name)
        for column, (width, form) in enumerate(zip(widths, forms, strict=True)):
            sheet.set_column(column, column, width, self._number_format(form) if form else None)
        return sheet


def _add_filter(sheet: Worksheet, rows: int, columns: int) -> None:
    """Keep the heading in sight and let each column be filtered."""
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, rows, columns - 1)


def _row(sheet: Worksheet, row: int, values: Iterable[Value], form: Format | None = None) -> None:
    for column, value in enumerate(values):
        _put(sheet, row, column, value, form)


def _put(sheet: Worksheet, row: int, column: int, value: Value, form: Format | None = None) -> None:
    """Write a text as a text, and all else as a number; nothing for None and no text."""
    if value == "":
        return
    if isinstance(value, str):
        sheet.write_string(row, column, _text(value), form)
    elif value is not None:
        sheet.write_number(row, column, _serial(value), form)


def _serial(value: float | date) -> float:
    """Return a number as it is, a date as Excel counts its days, a time their fraction."""
    if not isinstance(value, date):
        return value
    days = value.toordinal() - _EPOCH
    if isinstance(value, datetime):
        return days + (value.hour * 3600 + value.minute * 60 + value.second) / 86_400
    return days


def _text(value: str) -> str:
    """Return ``value`` as plain text: xlsxwriter reads ``<r>…</r>`` as rich text."""
    value = fmt.replace_unprintable(value)
    return f"{value} " if value.startswith("<r>") and value.endswith("</r>") else value
