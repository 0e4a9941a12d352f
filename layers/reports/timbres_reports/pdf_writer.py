"""Writer of the report as a PDF: a page of charts, then tables of limited length.

The PDF stays short enough to read; the workbook has every issuer and every movement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.enums import TA_RIGHT
from reportlab.platypus import Flowable, PageBreak, Spacer

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.consumption import Consumption, RfcLine, Source
from timbres.domain.highlights import severity
from timbres_reports import formatting_es as fmt
from timbres_reports import summary
from timbres_reports.pdf_layout import (
    ACCENT,
    AMBER,
    BOLD,
    COLORS,
    GRAY,
    HEIGHT,
    LINE,
    NOTE,
    NOTICE,
    PANEL,
    PLAIN,
    RIGHT_NOTE,
    SUBHEADING,
    SUBTITLE,
    TITLE,
    WARM,
    WIDTH,
    Figure,
    ReportDocument,
    fit_text,
    grid,
    heading,
    padding,
    paragraph,
    style,
    table,
)
from timbres_reports.summary import MAX_BARS, MAX_ROWS, Cell, Column, Section

_MAX_NOTICES = 4
# Rows of accounts below their RFC.
MAX_PARTS = 100
_GAP = 28.0
_HALF = (WIDTH - _GAP) / 2
# Relative widths; a column without one has 48.
_WIDTHS = {"rfc": 86, "account": 70, "amount": 46, "share": 42, "available": 55, "as_of": 55}


def write(report: Consumption, out: IO[bytes]) -> int:
    """Write ``report`` as a PDF into ``out`` and return the number of movements in it.

    It has only movements that are not consumption. Each table has the first 200 rows and a note
    with the number of the others. Characters outside of Windows-1252 become ``?``. The same report
    gives the same bytes.
    """
    others = summary.other_movements(report)
    story: list[Flowable] = [
        *_first_page(report),
        PageBreak(),
        *_issuers(report),
        *_sections(report, others),
        paragraph(
            "Los movimientos están en el libro de Excel y en el CSV del mismo reporte.", NOTE
        ),
    ]
    ReportDocument(
        title=fmt.full_title(report),
        subject=fmt.scope_label(report),
        footer=f"{fmt.full_title(report)}. Elaborado por Timbres",
        created=fmt.to_local(report.generated_at),
    ).write(story, out)
    return min(others.length, MAX_ROWS)


# The first page ---------------------------------------------------------------------------


def _first_page(report: Consumption) -> list[Flowable]:
    """Return the page of key figures and charts; the days' chart fills the remaining height."""
    notices = summary.notices(report)
    generated = (
        "Cifras en timbres",
        f"Generado el {fmt.date_time(report.generated_at)},",
        "hora de la Ciudad de México",
    )
    title = [paragraph(fmt.TITLE, TITLE), paragraph(fmt.subtitle(report), SUBTITLE)]
    head = grid([[title, [paragraph(text, RIGHT_NOTE) for text in generated]]], [WIDTH - 150, 150])
    head.section = "Resumen"
    figures = summary.key_figures(report)
    above = [
        head,
        Spacer(0, 12),
        *(part for n in range(0, len(figures), 3) for part in _tiles(figures[n : n + 3])),
        *([_notices(notices), Spacer(0, 4)] if notices else []),
        Spacer(0, 10),
        _with_title(fmt.DAYS, summary.daily_remark(report), WIDTH),
    ]
    below = [
        Spacer(0, 14),
        grid([[_top_consumers(report), "", _by_days_left(report)]], [_HALF, _GAP, _HALF]),
    ]
    height = HEIGHT - sum(part.wrap(WIDTH, HEIGHT)[1] for part in (*above, *below))
    chart = _daily_chart(report.days, min(max(height, 110.0), 250.0))
    text = f"{fmt.DAYS}, {report.month.label_es}. {summary.daily_remark(report)}"
    return [*above, Figure(chart, text), *below]


def _with_title(title: str, remark: str, width: float) -> Flowable:
    """Return the title of a chart with a remark on the right."""
    return grid(
        [[paragraph(title, SUBHEADING), paragraph(remark, RIGHT_NOTE)]],
        [width / 2, width / 2],
        ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
    )


def _notices(notices: Sequence[str]) -> Flowable:
    """Return the notices in a frame, at most four."""
    sentences = list(notices)
    if len(sentences) > _MAX_NOTICES:
        sentences[_MAX_NOTICES - 1 :] = [f"Hay más: véase «{fmt.SOURCES}»."]
    return grid(
        [[paragraph(sentence, NOTICE)] for sentence in sentences],
        [WIDTH],
        ("BACKGROUND", (0, 0), (-1, -1), WARM),
        ("LINEBEFORE", (0, 0), (0, -1), 3, AMBER),
        *padding(12, 8, 3, 4),
    )


def _tiles(figures: Sequence[summary.KeyFigure]) -> list[Flowable]:
    """Return up to three key figures side by side, each in a box, and the space below."""
    gap, side = 10.0, 12.0
    width = (WIDTH - gap * 2) / 3
    text_width = width - 2 * side
    tiles: list[Any] = [""] * (2 * len(figures) - 1)
    tiles[::2] = [
        [
            fit_text(figure.label, text_width, style(8, color=GRAY)),
            fit_text(figure.text, text_width, style(18, BOLD, COLORS[figure.style])),
            paragraph(figure.remark, style(7.5, color=GRAY)),
        ]
        for figure in figures
    ]
    boxes = grid(
        [tiles],
        [gap if n % 2 else width for n in range(len(tiles))],
        *[("BACKGROUND", (n, 0), (n, 0), PANEL) for n in range(0, len(tiles), 2)],
        *[
            ("LINEBEFORE", (2 * n, 0), (2 * n, 0), 3, COLORS[figure.style])
            for n, figure in enumerate(figures)
            if figure.style
        ],
        *padding(side, side, 6, 7),
    )
    return [boxes, Spacer(0, 8)]


def _daily_chart(days: Sequence[int | None], height: float) -> Drawing:
    """Return a chart with a bar per day, ``height`` points high; unknown days have a ``?``."""
    marks = summary.ticks(tuple(days))
    chart = VerticalBarChart()
    chart.data = [list(days)]
    chart.bars[0].fillColor, chart.bars[0].strokeColor = ACCENT, None
    chart.barWidth, chart.groupSpacing = 0.68, 0.32
    chart.useAbsolute = 0
    axis = chart.valueAxis
    axis.valueMin, axis.valueMax, axis.valueSteps = marks[0], marks[-1], marks
    axis.labelTextFormat = lambda value: f"{value:,.0f}"
    axis.visibleAxis = axis.visibleTicks = 0
    axis.visibleGrid, axis.gridStrokeColor, axis.gridStrokeWidth = 1, LINE, 0.5
    category = chart.categoryAxis
    category.categoryNames = [str(n) for n in range(1, len(days) + 1)]
    category.visibleTicks = 0
    category.strokeColor, category.strokeWidth = GRAY, 0.5
    category.labelAxisMode = "low"
    for labels, size in ((axis.labels, 7.5), (category.labels, 7)):
        labels.fontName, labels.fontSize, labels.fillColor = PLAIN, size, GRAY
    chart.x = 12 + 4.2 * max(len(f"{mark:,}") for mark in marks)
    chart.y, chart.width, chart.height = 16, WIDTH - chart.x, height - 30
    drawing = Drawing(WIDTH, height)
    step = chart.width / len(days)
    for n, amount in enumerate(days):
        if amount is None:
            x = chart.x + n * step
            box = Rect(x + 1, chart.y, step - 2, chart.height, fillColor=PANEL, strokeColor=None)
            drawing.add(box)
            drawing.add(
                String(
                    *(x + step / 2, chart.y + 4, "?"),
                    fontName=PLAIN,
                    fontSize=7.5,
                    fillColor=GRAY,
                    textAnchor="middle",
                )
            )
    drawing.add(chart)
    return drawing


def _top_consumers(report: Consumption) -> list[Flowable]:
    lines = summary.top_consumers(report)
    title = paragraph(summary.TOP_CONSUMERS_TITLE, SUBHEADING)
    if not lines:
        return [title, paragraph(summary.NO_CONSUMPTION, NOTE)]
    widths = (98.0, _HALF - 98 - 44 - 40, 44.0, 40.0)
    rows = [
        [
            _name(report, line, widths[0] - 4),
            _bar(line.amount / lines[0].amount, widths[1]),
            fit_text(fmt.number(line.amount), widths[2] - 4, style(8, alignment=TA_RIGHT)),
            paragraph(summary.rfc_cells(report, line)["share"].text, RIGHT_NOTE),
        ]
        for line in lines
    ]
    return [title, Spacer(0, 6), grid(rows, widths, *_LIST_STYLE)]


def _by_days_left(report: Consumption) -> list[Flowable]:
    lines = summary.by_days_left(report)
    title = _with_title(summary.BY_DAYS_LEFT_TITLE, summary.running_out_remark(lines), _HALF)
    if not lines:
        return [title, paragraph(summary.NO_DAYS_LEFT, NOTE)]
    widths = (98.0, _HALF - 98 - 52, 52.0)
    rows = [
        [
            _name(report, line, widths[0] - 4),
            fit_text(fmt.stock(line.available, line.as_of), widths[1] - 4, RIGHT_NOTE),
            fit_text(
                summary.time_left(line),
                widths[2] - 4,
                style(8.5, BOLD, COLORS[severity(line)], alignment=TA_RIGHT),
            ),
        ]
        for line in lines[:MAX_BARS]
    ]
    return [title, Spacer(0, 6), grid(rows, widths, *_LIST_STYLE)]


_LIST_STYLE = (
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
)


def _name(report: Consumption, line: RfcLine, width: float) -> list[Flowable]:
    """Return an RFC and, below it, its name or its account in a report of all accounts."""
    texts = [line.name, fmt.account_names(line) if report.account == ALL_ACCOUNTS else None]
    below = [fit_text(text, width, style(6.5, color=GRAY)) for text in texts if text]
    return [fit_text(fmt.rfc(line.rfc), width, style(8)), *below[:1]]


def _bar(fraction: float, width: float) -> Drawing:
    """Return a bar over a ``fraction`` of ``width``, 0 to 1."""
    return Drawing(
        *(width, 10),
        Rect(0, 0, max(width * fraction, 0.8), 9, fillColor=ACCENT, strokeColor=None),
    )


# The tables -------------------------------------------------------------------------------


def _others(name: str, count: int) -> Iterator[Flowable]:
    """Yield a note about the rows that a table does not have, if any."""
    if count > MAX_ROWS:
        text = f"{name} ({count - MAX_ROWS:,}) están en el libro de Excel del mismo reporte."
        yield paragraph(text, NOTE)


def _section(
    section: Section, widths: Sequence[float], rows: Iterable[list[Cell]], size: float = 8.0
) -> Iterator[Flowable]:
    """Yield a section with a table of ``rows``."""
    if not section.length and not section.empty:
        return
    yield heading(section.title)
    if not section.length:
        yield paragraph(section.empty, NOTE)
        return
    if section.remark:
        yield from (paragraph(section.remark, NOTE), Spacer(0, 4))
    yield table(section.columns, widths, rows, section.totals, size)
    if section.note:
        yield paragraph(section.note, NOTE)
    yield from _others(section.others, section.length)


def _sections(report: Consumption, others: Section) -> Iterator[Flowable]:
    """Yield the sections after that of the RFCs."""
    for section, widths, size in (
        (summary.account_stamps(report), (140, 76, 76, 76, 76, 72), 8.0),
        (summary.contracts(report), (66, 72, 42, 56, 76, 66, 138), 7.0),
        (summary.expiries(report), (208, 128, 90, 90), 8.0),
        (others, (122, 88, 66, 180, 60), 8.0),
    ):
        yield from _section(section, widths, islice(section.rows, MAX_ROWS), size)
    rows = (row for source in report.sources[:MAX_ROWS] for row in _source_rows(report, source))
    yield from _section(summary.sources(report), (110, 94, 46, 54, 108, 50, 54), rows)


def _issuers(report: Consumption) -> Iterator[Flowable]:
    columns = [column for column in summary.rfc_columns(report) if column.key != "name"]
    totals = summary.rfc_totals(report)
    yield heading(fmt.ISSUERS)
    if not report.rfcs:
        yield paragraph(summary.NO_ISSUERS, NOTE)
        return
    yield table(
        columns,
        [_WIDTHS.get(column.key, 48) for column in columns],
        _rfc_rows(report, columns),
        [totals[column.key] for column in columns],
        size=7.5,
    )
    yield from _others("Los demás RFC", len(report.rfcs))
    if len(report.issuers) - len(report.rfcs) > MAX_PARTS:
        yield paragraph("Las cifras de cada cuenta están en el libro de Excel.", NOTE)


def _rfc_rows(report: Consumption, columns: Sequence[Column]) -> Iterator[list[Cell]]:
    """Yield the row of each RFC, its name, and rows of its accounts if it is in several."""
    parts_left = MAX_PARTS
    for line in report.rfcs[:MAX_ROWS]:
        cells = summary.rfc_cells(report, line)
        yield [cells[column.key] for column in columns]
        if line.name:
            yield [Cell(line.name, summary.MUTED)]
        if len(line.parts) == 1 or parts_left < len(line.parts):
            continue
        parts_left -= len(line.parts)
        for part in line.parts:
            detail = summary.rfc_cells(report, part) | {"rfc": Cell("")}
            yield [
                cell._replace(style=cell.style or summary.MUTED)
                for cell in (detail[column.key] for column in columns)
            ]


def _source_rows(report: Consumption, source: Source) -> Iterator[list[Cell]]:
    """Yield an account's row, and a note about its problem or its missing days."""
    yield summary.source_cells(report, source)
    if source.problem is not None:
        yield [Cell(f"Sin cifras: {source.problem}", summary.URGENT)]
    elif source.missing_days:
        yield [Cell(fmt.upper_first(summary.gap(source)), summary.SOON)]
