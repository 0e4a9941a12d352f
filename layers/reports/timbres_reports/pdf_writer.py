"""Writer of the report as a PDF: a page of charts, then tables of limited length.

The PDF stays short enough to read; the workbook has every issuer and every movement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing, Rect, String
from reportlab.lib.enums import TA_RIGHT
from reportlab.platypus import Flowable, PageBreak, Spacer

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.consumption import Consumption, IssuerLine, MovementLine, Source
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
    ReportDocument,
    columns,
    fit_text,
    grid,
    heading,
    paragraph,
    style,
    table,
)
from timbres_reports.summary import MAX_BARS, MAX_ROWS, Cell, Summary

_MAX_NOTICES = 4
_GAP = 28.0
_HALF = (WIDTH - _GAP) / 2


def write(report: Consumption, out: IO[bytes]) -> int:
    """Write ``report`` as a PDF into ``out`` and return the number of movements in it.

    It has only movements that are not consumption. Each table has the first 200 rows and a note
    with the number of the others. Characters outside of Windows-1252 become ``?``. The same report
    gives the same bytes.
    """
    others, other_count = summary.other_movements(report)
    ReportDocument(
        out,
        title=f"{fmt.TITLE}, {report.month.label_es}",
        subject=f"Cuenta {fmt.accounts(report)}",
        footer=_footer(report),
        created=fmt.to_local(report.generated_at),
    ).build(
        [
            *_first_page(report),
            PageBreak(),
            *_issuers(report),
            *_contracts(report),
            *_expiries(report),
            *_other_movements(others, other_count),
            *_sources(report),
            heading(fmt.MOVEMENTS),
            paragraph(
                "Los movimientos están en el libro de Excel y en el CSV del mismo reporte.", NOTE
            ),
        ]
    )
    return len(others)


def _footer(report: Consumption) -> str:
    scope = "todas las cuentas" if report.account == ALL_ACCOUNTS else f"cuenta {report.account}"
    sources = sorted({fmt.source_name(source) for source in report.sources})
    month = report.month.label_es
    return f"{fmt.TITLE}, {month}, {scope}. Fuente: {' y '.join(sources) or fmt.NO_DATA}."


# The first page ---------------------------------------------------------------------------


def _first_page(report: Consumption) -> list[Flowable]:
    """Return the page of key figures and charts; the days' chart fills the remaining height."""
    month_summary = summary.summarize(report)
    notices = summary.notices(report, month_summary)
    generated = (
        "Cifras en timbres",
        f"Generado el {fmt.date_time(report.generated_at)},",
        "hora de la Ciudad de México",
    )
    title = [paragraph(fmt.TITLE, TITLE), paragraph(fmt.subtitle(report), SUBTITLE)]
    head = grid([[title, [paragraph(text, RIGHT_NOTE) for text in generated]]], [WIDTH - 150, 150])
    head.section = "Resumen"
    above = [
        head,
        Spacer(0, 10),
        *([_notices(notices), Spacer(0, 12)] if notices else []),
        _tiles(summary.key_figures(report, month_summary)),
        Spacer(0, 20),
        _with_title(fmt.DAYS, summary.daily_remark(report), WIDTH),
    ]
    below = [
        Spacer(0, 14),
        grid([[_top_consumers(report), "", _by_days_left(report)]], [_HALF, _GAP, _HALF]),
    ]
    height = HEIGHT - sum(part.wrap(WIDTH, HEIGHT)[1] for part in (*above, *below))
    return [*above, _daily_chart(report.days, min(max(height, 120.0), 290.0)), *below]


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
        ("LEFTPADDING", (0, 0), (-1, -1), 12),
        ("RIGHTPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
    )


def _tiles(figures: Sequence[summary.KeyFigure]) -> Flowable:
    """Return the key figures side by side, each in a box."""
    gap, padding = 10.0, 12.0
    width = (WIDTH - gap * (len(figures) - 1)) / len(figures)
    text_width = width - 2 * padding
    tiles: list[Any] = []
    for figure in figures:
        tiles += [
            [
                fit_text(figure.label, text_width, style(8, color=GRAY)),
                fit_text(figure.value, text_width, style(18, BOLD)),
                fit_text(figure.remark, text_width, style(7.5, color=GRAY)),
            ],
            "",
        ]
    tiles.pop()
    return grid(
        [tiles],
        [gap if n % 2 else width for n in range(len(tiles))],
        *[("BACKGROUND", (n, 0), (n, 0), PANEL) for n in range(0, len(tiles), 2)],
        ("LEFTPADDING", (0, 0), (-1, -1), padding),
        ("RIGHTPADDING", (0, 0), (-1, -1), padding),
        ("TOPPADDING", (0, 0), (-1, -1), 7),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
    )


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
    issuers = summary.top_consumers(report)
    title = paragraph(summary.TOP_CONSUMERS_TITLE, SUBHEADING)
    if not issuers:
        return [title, paragraph(summary.NO_CONSUMPTION, NOTE)]
    widths = (98.0, _HALF - 98 - 44 - 36, 44.0, 36.0)
    max_amount = issuers[0].amount
    rows = [
        [
            _name(report, issuer, widths[0] - 4),
            _bar(issuer.amount / max_amount, widths[1]),
            fit_text(fmt.number(issuer.amount), widths[2] - 4, style(8, alignment=TA_RIGHT)),
            paragraph(fmt.share(issuer.amount, report.total), RIGHT_NOTE),
        ]
        for issuer in issuers
    ]
    return [title, Spacer(0, 6), grid(rows, widths, *_LIST_STYLE)]


def _by_days_left(report: Consumption) -> list[Flowable]:
    issuers = summary.by_days_left(report)
    title = _with_title(summary.BY_DAYS_LEFT_TITLE, summary.running_out_remark(issuers), _HALF)
    if not issuers:
        return [title, paragraph(summary.NO_DAYS_LEFT, NOTE)]
    widths = (98.0, _HALF - 98 - 62, 62.0)
    rows = [
        [
            _name(report, issuer, widths[0] - 4),
            fit_text(f"{fmt.number(issuer.available)} disponibles", widths[1] - 4, RIGHT_NOTE),
            fit_text(
                summary.time_left(issuer),
                widths[2] - 4,
                style(8.5, BOLD, COLORS[summary.severity_class(issuer)], alignment=TA_RIGHT),
            ),
        ]
        for issuer in issuers[:MAX_BARS]
    ]
    return [title, Spacer(0, 6), grid(rows, widths, *_LIST_STYLE)]


_LIST_STYLE = (
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
)


def _name(report: Consumption, issuer: IssuerLine, width: float) -> list[Flowable]:
    """Return an issuer's RFC and, in a report of all accounts, its account below."""
    name = [fit_text(fmt.rfc(issuer.rfc), width, style(8))]
    if report.account == ALL_ACCOUNTS:
        name.append(paragraph(issuer.account, style(6.5, color=GRAY)))
    return name


def _bar(fraction: float, width: float) -> Drawing:
    """Return a bar over a ``fraction`` of ``width``, 0 to 1."""
    return Drawing(
        *(width, 10),
        Rect(0, 0, max(width * fraction, 0.8), 9, fillColor=ACCENT, strokeColor=None),
    )


# The tables -------------------------------------------------------------------------------


def _issuers(report: Consumption) -> Iterator[Flowable]:
    yield heading(fmt.ISSUERS)
    if not report.issuers:
        yield paragraph(summary.NO_ISSUERS, NOTE)
        return
    headings = (*fmt.ISSUER_HEADING[:-1], "Días rest.")
    yield table(
        columns(headings, (118, 82, 54, 62, 60, 46, 50, 44), range(2, 8)),
        (
            (
                Cell(issuer.account),
                Cell(fmt.rfc(issuer.rfc)),
                *summary.issuer_figures(issuer, report.total),
            )
            for issuer in report.issuers[:MAX_ROWS]
        ),
        summary.issuer_totals(report),
    )
    yield from _others("Los demás emisores", len(report.issuers))


def _contracts(report: Consumption) -> Iterator[Flowable]:
    yield heading(fmt.CONTRACTS)
    if not report.contracts:
        yield paragraph(fmt.NO_CONTRACTS, NOTE)
        return
    month_summary: Summary = summary.summarize(report)
    yield table(
        columns(fmt.CONTRACT_HEADING[:-1], (66, 72, 42, 52, 76, 66, 142), (2,)),
        (
            (
                Cell(line.account),
                Cell(line.rfc),
                Cell(fmt.number(line.stamps)),
                Cell(fmt.status(line.status), summary.contract_class(line.status)),
                Cell(fmt.caller_name(line.requested_by)),
                Cell(fmt.date_time(line.created_at)),
                Cell(line.id, summary.MUTED),
            )
            for line in report.contracts[:MAX_ROWS]
        ),
        (
            *("Confirmados", f"{month_summary.confirmed:,}"),
            *(fmt.number(month_summary.confirmed_stamps), *[""] * 4),
        ),
        size=7.0,
    )
    yield from _others("Los demás contratos", len(report.contracts))


def _expiries(report: Consumption) -> Iterator[Flowable]:
    if not report.expiries:
        return
    yield heading(fmt.EXPIRIES)
    yield paragraph(fmt.FIRST_EXPIRIES, NOTE)
    yield Spacer(0, 4)
    yield table(
        columns(fmt.EXPIRY_HEADING, (208, 128, 90, 90), (2,)),
        (
            (
                Cell(expiry.account),
                Cell(expiry.rfc),
                Cell(fmt.number(expiry.stamps)),
                Cell(fmt.day(expiry.expires_on)),
            )
            for expiry in report.expiries[:MAX_ROWS]
        ),
    )
    yield from _others("Los demás vencimientos", len(report.expiries))


def _other_movements(movements: Sequence[MovementLine], count: int) -> Iterator[Flowable]:
    if not movements:
        return
    yield heading(fmt.OTHER_MOVEMENTS)
    yield paragraph(fmt.NO_CONSUMPTION, NOTE)
    yield Spacer(0, 4)
    yield table(
        columns(fmt.MOVEMENT_HEADING, (122, 88, 66, 180, 60), (4,)),
        (
            (
                Cell(movement.account),
                Cell(fmt.rfc(movement.rfc)),
                Cell(fmt.day(movement.date)),
                Cell(movement.kind),
                Cell(fmt.number(movement.amount)),
            )
            for movement in movements
        ),
    )
    yield from _others("Los demás movimientos", count)


def _sources(report: Consumption) -> Iterator[Flowable]:
    yield heading(fmt.SOURCES)
    yield table(
        columns(fmt.SOURCE_HEADING[:-1], (122, 88, 50, 118, 78, 60), (5,)),
        (row for source in report.sources[:MAX_ROWS] for row in _source_rows(source)),
    )
    yield from _others("Las demás cuentas", len(report.sources))


def _source_rows(source: Source) -> Iterator[list[Cell]]:
    """Yield an account's row, and a note about its problem or its missing days."""
    yield [
        Cell(source.account),
        Cell(fmt.pac(source.pac)),
        Cell(fmt.plan(source.plan)),
        Cell(fmt.source_name(source)),
        Cell(fmt.date_time(source.as_of)),
        Cell(str(len(source.missing_days))),
    ]
    if source.problem is not None:
        yield [Cell(f"Sin cifras: {source.problem}", summary.URGENT)]
    if source.missing_days:
        yield [Cell(summary.gap(source).capitalize(), summary.SOON)]


def _others(name: str, count: int) -> Iterator[Flowable]:
    """Yield a note about the rows that a table does not have, if any."""
    if count > MAX_ROWS:
        text = f"{name} ({count - MAX_ROWS:,}) están en el libro de Excel del mismo reporte."
        yield paragraph(text, NOTE)
