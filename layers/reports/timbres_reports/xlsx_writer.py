"""Writer of the report as an Excel workbook: typed cells, a chart, and all movements.

The sheets are ``Resumen``, ``Por RFC``, ``Contratos``, ``Vencimientos`` and ``Otros movimientos``
if there are any, ``Movimientos`` and, if it is full, ``Movimientos 2`` and so on. A figure that is
not known is an empty cell with a note in its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
EXPIRIES = "Vencimientos"
MOVEMENTS = "Movimientos"
NOTE = "Nota"
# Excel's limit of rows per sheet, including the heading.
SHEET_ROWS = 1_048_576

Value = str | int | float | date | None

# The ordinal of the day that Excel counts as 0.
_EPOCH = date(1899, 12, 30).toordinal()

_COUNT, _PERCENT, _DECIMAL = "#,##0", "0.0%", "0.0"
_DATE, _DATE_TIME = "dd/mm/yyyy", "dd/mm/yyyy hh:mm"
_ISSUER_FORMATS = (None, None, _COUNT, _PERCENT, _COUNT, _PERCENT, _COUNT, _DECIMAL, None)
_CONTRACT_FORMATS = (None, None, _COUNT, None, None, _DATE_TIME, None, None)
_EXPIRY_FORMATS = (None, None, _COUNT, _DATE)
_MOVEMENT_FORMATS = (None, None, _DATE, None, _COUNT)
_HEADING_FORMATS = {
    fmt.GENERATED: _DATE_TIME,
    fmt.TOTAL: _COUNT,
    fmt.PREVIOUS: _COUNT,
    fmt.CHANGE: _PERCENT,
}
_ISSUER_WIDTHS = (16, 18, 14, 16, 16, 12, 14, 16, 50)
_CONTRACT_WIDTHS = (16, 18, 14, 14, 30, 18, 30, 70)
_EXPIRY_WIDTHS = (16, 18, 14, 14)
_MOVEMENT_WIDTHS = (16, 18, 14, 36, 14)
_SUMMARY_WIDTHS = (26, 30, 26, 28, 18, 24, 60)
_CHART_SIZE = {"width": 760, "height": 380}


def write(report: Consumption, out: IO[bytes], *, sheet_rows: int = SHEET_ROWS) -> int:
    """Write ``report`` into ``out`` and return the number of its movements.

    ``sheet_rows`` is the maximum of rows in a sheet of movements, including the heading: 2 to
    1,048,576. Temporary files hold the rows until all movements are read; a movement takes about
    270 bytes there, twice that while its sheet is compressed. It raises the errors of reading the
    movements and of writing; ``out`` is then empty or incomplete.
    """
    if not 2 <= sheet_rows <= SHEET_ROWS:
        raise ValueError(f"a sheet cannot have {sheet_rows} rows")
    stream = _Stream(out)
    with TemporaryDirectory(prefix="timbres-xlsx-") as temporary:
        workbook = Workbook(
            stream,
            {
                "constant_memory": True,
                "tmpdir": temporary,
                "strings_to_formulas": False,
                "strings_to_urls": False,
            },
        )
        try:
            rows = _Sheets(workbook, report).write(sheet_rows)
            workbook.close()
        finally:
            stream.stop()
            # A deleted file uses disk space until it is closed.
            for sheet in workbook.worksheets():
                sheet.row_data_fh.close()
    return rows


class _Stream:
    """A stream for the zip into ``out`` that is not seekable and does not close it.

    ``stop`` discards all further writes: the garbage collector closes an incomplete zip, which
    would still write its end.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out: IO[bytes] | None = out

    def write(self, data: bytes) -> int:
        if self._out is not None:
            self._out.write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: zipfile calls it, but ``out`` may not have it."""

    def stop(self) -> None:
        self._out = None


class _Sheets:
    """The sheets of one workbook."""

    def __init__(self, workbook: Workbook, report: Consumption) -> None:
        self._workbook = workbook
        self._report = report
        # A workbook keeps every format that is added, so each number format is added once.
        self._number_format = cache(
            lambda code: workbook.add_format({"num_format": code} if code else {})
        )
        self._bold = workbook.add_format({"bold": True})
        self._title = workbook.add_format({"bold": True, "font_size": 16})
        self._head = workbook.add_format({"bold": True, "bg_color": "#DDE6F0", "bottom": 1})
        workbook.set_properties(
            {
                "title": f"{fmt.TITLE}, {report.month.label_es}",
                "created": fmt.to_local(report.generated_at).replace(tzinfo=None),
            }
        )

    def write(self, sheet_rows: int) -> int:
        """Write all sheets and return the number of movements."""
        self._summary()
        self._issuers()
        self._contracts()
        if self._report.expiries:
            self._expiries()
        rows = 0
        others = self._report.other_movements()
        if first := list(islice(others, 1)):
            rows += self._movements(fmt.OTHER_MOVEMENTS, chain(first, others), sheet_rows)
        return rows + self._movements(MOVEMENTS, self._report.movements(), sheet_rows)

    def _summary(self) -> None:
        sheet = self._sheet(SUMMARY, _SUMMARY_WIDTHS, (None,) * len(_SUMMARY_WIDTHS))
        _write_cell(sheet, 0, 0, fmt.TITLE, self._title)
        row = self._sources(sheet, self._heading(sheet, 2) + 1)
        self._days(sheet, row + 1)

    def _heading(self, sheet: Worksheet, row: int) -> int:
        """Write the report's heading and return the row below."""
        report = self._report
        values: dict[str, Value] = {
            fmt.GENERATED: fmt.to_local(report.generated_at),
            fmt.TOTAL: report.known_total,
            fmt.PREVIOUS: report.previous_total,
            fmt.CHANGE: change(report.known_total, report.previous_total),
        }
        for name, text in fmt.heading(report):
            value = values.get(name, text)
            _write_cell(sheet, row, 0, name, self._bold)
            _write_cell(sheet, row, 1, value, self._number_format(_HEADING_FORMATS.get(name)))
            if value is None:
                _write_cell(sheet, row, 2, text)
            row += 1
        return row

    def _sources(self, sheet: Worksheet, row: int) -> int:
        """Write the sources of the figures and return the row below."""
        _write_row(sheet, row, fmt.SOURCE_HEADING, self._head)
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
            _write_row(sheet, row, cells)
        return row + 1

    def _days(self, sheet: Worksheet, row: int) -> None:
        """Write the table of the days with its chart on the right."""
        report = self._report
        top = row + 1
        _write_row(sheet, row, (*fmt.DAY_HEADING, NOTE), self._head)
        for number, amount in enumerate(report.days, start=1):
            row += 1
            day = report.month.first_day.replace(day=number)
            _write_cell(sheet, row, 0, day, self._number_format(_DATE))
            _write_cell(sheet, row, 1, amount, self._number_format(_COUNT))
            if amount is None:
                _write_cell(sheet, row, 2, fmt.NO_DATA)
        chart = self._workbook.add_chart({"type": "column"})
        chart.add_series(
            {
                "name": fmt.DAY_HEADING[1],
                "categories": [SUMMARY, top, 0, row, 0],
                "values": [SUMMARY, top, 1, row, 1],
                # Excel reads the cells; preview applications show these values.
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
                fmt.rfc(issuer.rfc),
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
        self._table(ISSUERS, (*fmt.ISSUER_HEADING, NOTE), _ISSUER_WIDTHS, _ISSUER_FORMATS, rows)

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
        self._table(CONTRACTS, heading, _CONTRACT_WIDTHS, _CONTRACT_FORMATS, rows)

    def _expiries(self) -> None:
        rows = (
            (expiry.account, expiry.rfc, expiry.stamps, expiry.expires_on)
            for expiry in self._report.expiries
        )
        self._table(EXPIRIES, fmt.EXPIRY_HEADING, _EXPIRY_WIDTHS, _EXPIRY_FORMATS, rows)

    def _movements(self, title: str, movements: Iterator[MovementLine], sheet_rows: int) -> int:
        """Write movements, in several sheets if necessary, and return their number."""
        count, number = 0, 1
        # Reads one movement ahead, to start no empty sheet.
        next_movement = list(islice(movements, 1))
        while True:
            name = title if number == 1 else f"{title} {number}"
            others = islice(movements, sheet_rows - 1 - len(next_movement))
            count += self._movement_sheet(name, chain(next_movement, others))
            next_movement = list(islice(movements, 1))
            if not next_movement:
                return count
            number += 1

    def _movement_sheet(self, name: str, movements: Iterable[MovementLine]) -> int:
        """Write one sheet of movements and return their number.

        A large report spends its time here, so the columns have the formats and not the cells.
        """
        sheet = self._sheet(name, _MOVEMENT_WIDTHS, _MOVEMENT_FORMATS)
        _write_row(sheet, 0, fmt.MOVEMENT_HEADING, self._head)
        write_string, write_number = sheet.write_string, sheet.write_number
        # Accounts, RFCs and kinds repeat; the limit bounds the memory.
        text = lru_cache(maxsize=50_000)(_to_plain_text)
        row = 0
        for row, movement in enumerate(movements, start=1):
            write_string(row, 0, text(movement.account))
            write_string(row, 1, text(fmt.rfc(movement.rfc)))
            write_number(row, 2, movement.date.toordinal() - _EPOCH)
            write_string(row, 3, text(movement.kind))
            write_number(row, 4, movement.amount)
        _add_filter(sheet, row, len(fmt.MOVEMENT_HEADING))
        return row

    def _table(
        self,
        name: str,
        heading: Sequence[str],
        widths: Sequence[int],
        formats: Sequence[str | None],
        rows: Iterable[Sequence[Value]],
    ) -> None:
        """Write a sheet that is one table."""
        sheet = self._sheet(name, widths, formats)
        _write_row(sheet, 0, heading, self._head)
        number = 0
        for number, row in enumerate(rows, start=1):
            _write_row(sheet, number, row)
        _add_filter(sheet, number, len(heading))

    def _sheet(self, name: str, widths: Sequence[int], formats: Sequence[str | None]) -> Worksheet:
        sheet = self._workbook.add_worksheet(name)
        for column, (width, code) in enumerate(zip(widths, formats, strict=True)):
            sheet.set_column(column, column, width, self._number_format(code) if code else None)
        return sheet


def _add_filter(sheet: Worksheet, rows: int, columns: int) -> None:
    """Freeze the heading and add a filter to each column."""
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, rows, columns - 1)


def _write_row(
    sheet: Worksheet, row: int, values: Iterable[Value], cell_format: Format | None = None
) -> None:
    for column, value in enumerate(values):
        _write_cell(sheet, row, column, value, cell_format)


def _write_cell(
    sheet: Worksheet, row: int, column: int, value: Value, cell_format: Format | None = None
) -> None:
    """Write a text as a text, other values as a number, and nothing for None and ``""``."""
    if value == "":
        return
    if isinstance(value, str):
        sheet.write_string(row, column, _to_plain_text(value), cell_format)
    elif value is not None:
        sheet.write_number(row, column, _serial(value), cell_format)


def _serial(value: float | date) -> float:
    """Return a number unchanged, a date or a time as Excel's number of days."""
    if not isinstance(value, date):
        return value
    days = value.toordinal() - _EPOCH
    if isinstance(value, datetime):
        return days + (value.hour * 3600 + value.minute * 60 + value.second) / 86_400
    return days


def _to_plain_text(value: str) -> str:
    """Return ``value`` as plain text: xlsxwriter interprets ``<r>…</r>`` as rich text."""
    value = fmt.replace_unprintable(value)
    return f"{value} " if value.startswith("<r>") and value.endswith("</r>") else value
