"""Writer of the report as an Excel workbook: typed cells, a chart, and all movements.

The sheets of a month are ``Resumen``, ``Por RFC``, ``Por RFC y cuenta`` if an RFC is in several
accounts, ``Contratos`` and ``Otros movimientos`` if there are any, ``Movimientos`` and, if it is
full, ``Movimientos 2`` and so on. Those of a year are ``Resumen`` and ``Por RFC``. Each prints on
Letter, landscape, one page wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import chain, count, islice, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.consumption import Consumption, MovementLine, YearConsumption
from timbres_reports import formatting_es as fmt
from timbres_reports import summary
from timbres_reports.summary import Cell, Column, KeyFigure, Section

SUMMARY = "Resumen"
ISSUERS = "Por RFC"
ISSUERS_BY_ACCOUNT = "Por RFC y cuenta"
CONTRACTS = "Contratos"
MOVEMENTS = "Movimientos"
# Excel's limit of rows per sheet, including the heading.
SHEET_ROWS = 1_048_576

# The ordinal of the day that Excel counts as 0.
_EPOCH = date(1899, 12, 30).toordinal()

_COUNT, _DATE, _DATE_TIME = "#,##0", "dd/mm/yyyy", "dd/mm/yyyy hh:mm"
_FORMATS = {
    "count": _COUNT,
    "percent": "0.0 %",
    "growth": "+#,##0.0 %;-#,##0.0 %;+0.0 %",
    "days": "#,##0.0",
    "days_text": '#,##0.0 "días"',
    "money": "$#,##0.00",
    "time": _DATE_TIME,
    "date": _DATE,
}
_COLORS: dict[str, dict[str, Any]] = {
    "": {},
    summary.MUTED: {"font_color": "#5B6770"},
    summary.SOON: {"font_color": "#7A4A00", "bg_color": "#FFF1CC", "bold": True},
    summary.URGENT: {"font_color": "#9C1B16", "bg_color": "#FBDEDC", "bold": True},
}
_PARTS: dict[str, dict[str, Any]] = {
    "": {},
    "head": {"bold": True, "bg_color": "#DDE6F0", "bottom": 1, "text_wrap": True},
    "total": {"bold": True, "top": 1},
    "key": {"bold": True},
}
_WIDTHS = {"rfc": 18, "name": 44, "account": 24, "as_of": 18, "cost": 16}
_WIDTH = 14
_CONTRACT_WIDTHS = (24, 18, 12, 16, 28, 18, 38)
_MOVEMENT_WIDTHS = (26, 20, 14, 58, 14)
_SUMMARY_WIDTHS = (30, 20, 14, 14, 30, 18, 16, 3, 12, 12)
_STAMPS = Column("", fmt.STAMPS, "count")
_CHART_SIZE = {"width": 880, "height": 300}


def write(
    report: Consumption | YearConsumption,
    out: IO[bytes],
    *,
    sheet_rows: int = SHEET_ROWS,
    folder: Path | None = None,
) -> int:
    """Write ``report`` into ``out`` and return the number of its movements, 0 for a year.

    ``sheet_rows`` is the maximum of rows in a sheet of movements, including the heading: 2 to
    1,048,576. Temporary files in ``folder``, by default the system's, hold the rows until all
    movements are read; a movement takes about 270 bytes there, twice that while its sheet is
    compressed. It raises the errors of reading the movements and of writing; ``out`` is then empty
    or incomplete.
    """
    stream = _Stream(out)
    with TemporaryDirectory(prefix="timbres-xlsx-", dir=folder) as temporary:
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
            if isinstance(report, YearConsumption):
                rows = _Book(workbook, report).write_year(report)
            else:
                rows = _Book(workbook, report).write_month(report, sheet_rows)
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


class _Book:
    """The sheets of one workbook."""

    def __init__(self, workbook: Workbook, report: Consumption | YearConsumption) -> None:
        self._workbook = workbook
        self._title = fmt.full_title(report)
        self._has_accounts = report.account == ALL_ACCOUNTS
        # A workbook keeps every format that is added, so each is added once.
        self._format = cache(self._add_format)
        self._bold = workbook.add_format({"bold": True})
        self._large = workbook.add_format({"bold": True, "font_size": 16})
        self._notice = workbook.add_format({"bold": True, "font_color": "#7A4A00"})
        created = fmt.to_local(report.generated_at).replace(tzinfo=None)
        workbook.set_properties({"title": self._title, "created": created})

    def _add_format(self, kind: str, style: str = "", part: str = "") -> Format:
        code = _FORMATS.get(kind)
        # A text after a number needs a blank between them.
        number: dict[str, Any] = {"num_format": code, "align": "right"} if code else {"indent": 1}
        return self._workbook.add_format({**number, **_COLORS[style], **_PARTS[part]})

    # ------------------------------------------------------------------------- a month

    def write_month(self, report: Consumption, sheet_rows: int) -> int:
        """Write all sheets and return the number of movements."""
        self._summary(report)
        columns = summary.rfc_columns(report)
        lines = (summary.rfc_cells(report, line) for line in report.rfcs)
        self._keyed_table(ISSUERS, columns, lines, summary.rfc_totals(report))
        if len(report.rfcs) < len(report.issuers):
            parts = (part for line in report.rfcs for part in line.parts)
            cells = (summary.rfc_cells(report, part) for part in parts)
            self._keyed_table(ISSUERS_BY_ACCOUNT, columns, cells)
        if report.contracts or report.expiries:
            self._contracts(report)
        others = self._movements(fmt.OTHER_MOVEMENTS, report.other_movements(), sheet_rows)
        return others + self._movements(MOVEMENTS, report.movements(), sheet_rows)

    def _summary(self, report: Consumption) -> None:
        """Write the key figures, the chart, the accounts, and the days on the right."""
        first_day = report.month.first_day
        days = [first_day.replace(day=n) for n in range(1, len(report.days) + 1)]
        rows = self._begin_summary(report, summary.key_figures(report), summary.notices(report))
        chart_row = len(rows) + 1
        rows += [[]] * 18
        if report.account_stamps:
            rows += self._section(summary.account_stamps(report))
        rows += self._section(summary.sources(report))
        sheet = self._write_summary(rows, Column("", "Día", "date"), days, report.days)
        serials = [int(_serial(day)) for day in days]
        chart = self._chart(f"{fmt.DAYS}, {report.month.label_es}", 4, serials, report.days)
        chart.set_x_axis({"date_axis": True, "num_format": "d", "major_unit": 1})
        sheet.insert_chart(chart_row, 0, chart)

    def _contracts(self, report: Consumption) -> None:
        """Write the contracts of the month and the next expiries."""
        sheet = self._sheet(CONTRACTS, _CONTRACT_WIDTHS)
        rows: list[_Row] = []
        for section in (summary.contracts(report), summary.expiries(report)):
            rows += self._section(section) if section.length else []
        for number, row in enumerate(rows):
            _write_row(sheet, number, row)

    def _movements(self, title: str, movements: Iterator[MovementLine], sheet_rows: int) -> int:
        """Write movements, in as many sheets as necessary, and return their number."""
        rows = 0
        for number in count(1):
            # Reads one movement ahead, to start no empty sheet.
            first = list(islice(movements, 1))
            if not first:
                return rows
            name = title if number == 1 else f"{title} {number}"
            others = islice(movements, sheet_rows - 2)
            rows += self._movement_sheet(name, chain(first, others))
        raise AssertionError("unreachable")

    def _movement_sheet(self, name: str, movements: Iterable[MovementLine]) -> int:
        """Write one sheet of movements and return their number.

        A large report spends its time here, so the columns have the formats and not the cells,
        and a report of one account does not repeat its name.
        """
        first = 0 if self._has_accounts else 1
        columns = summary.MOVEMENT_COLUMNS[first:]
        sheet = self._sheet(name, _MOVEMENT_WIDTHS[first:], [column.type for column in columns])
        _write_row(sheet, 0, self._heading(columns))
        write_string, write_number = sheet.write_string, sheet.write_number
        text = cache(_to_plain_text)
        serial = cache(_serial)
        row = 0
        for row, movement in enumerate(movements, start=1):
            # The limit bounds the memory.
            if not row % 50_000:
                text.cache_clear()
            if not first:
                write_string(row, 0, text(movement.account))
            rfc = movement.rfc
            write_string(row, 1 - first, text(fmt.NO_RFC if rfc is None else rfc))
            write_number(row, 2 - first, serial(movement.date))
            write_string(row, 3 - first, text(movement.kind))
            write_number(row, 4 - first, movement.amount)
        _freeze(sheet, row, len(columns))
        return row

    # -------------------------------------------------------------------------- a year

    def write_year(self, report: YearConsumption) -> int:
        """Write the sheets of a year; return 0."""
        names = [month.name_es for month in report.year.months(report.generated_at.date())]
        figures, notices = summary.year_figures(report), summary.year_notices(report)
        rows = self._begin_summary(report, figures, notices)
        chart_row = len(rows) + 1
        sheet = self._write_summary(rows, Column("", "Mes"), names, report.months)
        title = f"{fmt.MONTHS}, {report.year}"
        sheet.insert_chart(chart_row, 0, self._chart(title, 4, names, report.months))
        *lines, totals = summary.year_rows(report)
        self._keyed_table(ISSUERS, summary.year_columns(report), lines, totals, width=10)
        return 0

    # ---------------------------------------------------------------------------- both

    def _begin_summary(
        self,
        report: Consumption | YearConsumption,
        figures: Sequence[KeyFigure],
        notices: Sequence[str],
    ) -> list[_Row]:
        generated = f"{fmt.date_time(report.generated_at)} (hora de la Ciudad de México)"
        rows: list[_Row] = [
            [(fmt.TITLE, self._large)],
            [(f"{fmt.subtitle(report)}. Generado el {generated}", None)],
            [],
        ]
        for figure in figures:
            cell = Cell(figure.text, figure.style, figure.value)
            value = self._figure(cell, figure.type, "key")
            rows.append([(figure.label, self._bold), value, (figure.remark, self._format(""))])
        rows += [[], *([(notice, self._notice)] for notice in notices)]
        return rows

    def _write_summary(
        self,
        rows: Sequence[_Row],
        column: Column,
        labels: Sequence[summary.Value],
        amounts: Sequence[int | None],
    ) -> Worksheet:
        """Write the summary; its last columns have the stamps of each label, from row 3 on."""
        beside: list[_Row] = [[]] * 3 + [self._heading([column, _STAMPS])]
        for label, n in zip(labels, amounts, strict=True):
            figure = self._figure(summary.figure(fmt.number(n), n), "count")
            beside.append([(label, self._format(column.type)), figure])
        sheet = self._sheet(SUMMARY, _SUMMARY_WIDTHS)
        for number, (row, more) in enumerate(zip_longest(rows, beside, fillvalue=())):
            _write_row(sheet, number, row)
            _write_row(sheet, number, more, len(_SUMMARY_WIDTHS) - 2)
        return sheet

    def _chart(
        self, title: str, top: int, categories: Sequence[Any], values: Sequence[int | None]
    ) -> Any:
        """Return a column chart of the figures beside the summary, from the row ``top`` on."""
        column, last = len(_SUMMARY_WIDTHS) - 2, top + len(values) - 1
        chart = self._workbook.add_chart({"type": "column"})
        chart.add_series(
            {
                "name": fmt.STAMPS,
                "categories": [SUMMARY, top, column, last, column],
                "values": [SUMMARY, top, column + 1, last, column + 1],
                # Excel reads the cells; preview applications show these values.
                "categories_data": list(categories),
                "values_data": list(values),
                "gap": 40,
                "fill": {"color": "#125C7A"},
            }
        )
        chart.set_title({"name": title, "name_font": {"size": 12}})
        chart.set_y_axis({"num_format": _COUNT, "major_gridlines": {"visible": True}})
        chart.set_legend({"none": True})
        chart.set_size(_CHART_SIZE)
        return chart

    def _section(self, section: Section) -> list[_Row]:
        """Return a table with its title, and an empty row after it."""
        columns = section.columns
        title = ". ".join(filter(None, (section.title, section.remark)))
        rows: list[_Row] = [[(title, self._bold)], self._heading(columns)]
        for cells in section.rows:
            pairs = zip(cells, columns, strict=True)
            rows.append([self._figure(cell, column.type) for cell, column in pairs])
        return [*rows, []]

    def _keyed_table(
        self,
        name: str,
        columns: Sequence[Column],
        lines: Iterable[Mapping[str, Cell]],
        totals: Mapping[str, Cell] | None = None,
        width: int = _WIDTH,
    ) -> None:
        """Write a sheet that is one table; the filter leaves out the totals."""
        sheet = self._sheet(name, [_WIDTHS.get(column.key, width) for column in columns])
        _write_row(sheet, 0, self._heading(columns))
        number = 0
        for number, cells in enumerate(lines, start=1):
            row = [self._figure(cells[column.key], column.type) for column in columns]
            _write_row(sheet, number, row)
        if totals:
            row = [self._figure(totals[column.key], column.type, "total") for column in columns]
            _write_row(sheet, number + 1, row)
        _freeze(sheet, number, len(columns))

    def _heading(self, columns: Sequence[Column]) -> _Row:
        return [(column.heading, self._format(column.type, "", "head")) for column in columns]

    def _figure(self, cell: Cell, kind: str, part: str = "") -> _Item:
        """Return a cell's value, or its text, with its format."""
        value = cell.text if cell.value is None else cell.value
        if kind in ("percent", "growth") and isinstance(value, Decimal):
            value /= 100
        return value, self._format(kind, cell.style, part)

    def _sheet(self, name: str, widths: Sequence[int], kinds: Sequence[str] = ()) -> Worksheet:
        sheet = self._workbook.add_worksheet(name)
        for column, width in enumerate(widths):
            column_format = self._format(kinds[column]) if kinds else None
            sheet.set_column(column, column, width, column_format)
        sheet.set_landscape()
        sheet.set_paper(1)
        sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
        sheet.fit_to_pages(1, 0)
        # & begins a code of a footer.
        footer = _to_plain_text(self._title).replace("&", "&&")[:150]
        sheet.set_footer(f"&L{footer}&RPágina &P de &N")
        if name not in (SUMMARY, CONTRACTS):
            sheet.repeat_rows(0)
        return sheet


_Item = tuple[summary.Value, Format | None]
_Row = Sequence[_Item]


def _freeze(sheet: Worksheet, rows: int, columns: int) -> None:
    """Freeze the heading and add a filter to each column."""
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, rows, columns - 1)


def _write_row(sheet: Worksheet, row: int, items: _Row, column: int = 0) -> None:
    """Write a text as a text, other values as a number, and nothing for an unformatted None."""
    for number, (value, cell_format) in enumerate(items, start=column):
        if isinstance(value, str) and value:
            sheet.write_string(row, number, _to_plain_text(value), cell_format)
        elif value is None or value == "":
            sheet.write_blank(row, number, None, cell_format)
        else:
            sheet.write_number(row, number, _serial(value), cell_format)


def _serial(value: float | Decimal | date) -> float:
    """Return a number unchanged, a date or a time as Excel's number of days."""
    if isinstance(value, Decimal):
        return float(value)
    if not isinstance(value, date):
        return value
    if isinstance(value, datetime):
        local = fmt.to_local(value)
        minutes = local.hour * 60 + local.minute
        return local.date().toordinal() - _EPOCH + minutes / 1440
    return value.toordinal() - _EPOCH


def _to_plain_text(value: str) -> str:
    """Return ``value`` as plain text: xlsxwriter interprets ``<r>…</r>`` as rich text."""
    value = fmt.replace_unprintable(value)
    return f"{value} " if value.startswith("<r>") and value.endswith("</r>") else value
