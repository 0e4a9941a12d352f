"""Pages, tables and text styles of the PDF, in Letter, the paper size of Mexico."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import IO, Any, NamedTuple

from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import letter
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    LongTable,
    PageTemplate,
    Paragraph,
    Table,
)

from timbres_reports import formatting_es as fmt
from timbres_reports.summary import MUTED, SOON, URGENT, Cell

PLAIN, BOLD = "Helvetica", "Helvetica-Bold"
INK = Color(0.09, 0.13, 0.18)
GRAY = Color(0.36, 0.41, 0.47)
LINE = Color(0.86, 0.88, 0.91)
PANEL = Color(0.955, 0.965, 0.975)
ACCENT = Color(0.07, 0.36, 0.48)
WARM = Color(1.0, 0.965, 0.88)
AMBER = Color(0.60, 0.36, 0.0)
COLORS = {"": INK, MUTED: GRAY, SOON: AMBER, URGENT: Color(0.70, 0.13, 0.11)}

_PAGE_WIDTH, _PAGE_HEIGHT = letter
_MARGIN, _BOTTOM = 48.0, 58.0
WIDTH, HEIGHT = _PAGE_WIDTH - 2 * _MARGIN, _PAGE_HEIGHT - _MARGIN - _BOTTOM
_PADDING = 4.0
# A text of a PAC must not fill a page.
_MAX_CHARACTERS = 240
_PAGE_COUNT = "page-count"


def style(size: float, font: str = PLAIN, color: Color = INK, **options: Any) -> ParagraphStyle:
    """Return a text style, ``size`` in points."""
    return ParagraphStyle(
        "",
        fontName=font,
        fontSize=size,
        leading=size * 1.25,
        textColor=color,
        # Breaks long accounts and ids after a hyphen.
        embeddedHyphenation=1,
        **options,
    )


TITLE = style(22, BOLD)
SUBTITLE = style(12)
HEADING = style(14, BOLD, spaceBefore=22, spaceAfter=8, keepWithNext=1)
SUBHEADING = style(11, BOLD)
NOTE = style(8, color=GRAY, spaceBefore=6)
RIGHT_NOTE = style(8, color=GRAY, alignment=TA_RIGHT)
NOTICE = style(8.5)


def to_printable(text: str) -> str:
    """Return ``text`` on one line, up to 240 characters, with ``?`` for unsupported characters.

    The standard fonts of PDF readers support only Windows-1252.
    """
    line = unicodedata.normalize("NFC", " ".join(fmt.replace_unprintable(text).split()))
    line = line.encode("cp1252", "replace").decode("cp1252")
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def paragraph(text: str, text_style: ParagraphStyle) -> Paragraph:
    """Return a paragraph of plain text."""
    return Paragraph(escape(to_printable(text), quote=False), text_style)


def fit_text(text: str, width: float, text_style: ParagraphStyle) -> Paragraph:
    """Return a line of text in a font size that fits into ``width`` points."""
    text_width = stringWidth(to_printable(text), text_style.fontName, text_style.fontSize)
    if text_width > width:
        size = text_style.fontSize * (width - 0.1) / text_width
        text_style = ParagraphStyle("", parent=text_style, fontSize=size)
    return paragraph(text, text_style)


class ReportDocument(BaseDocTemplate):
    """A document with numbered pages, a footer and an outline of its sections.

    The same flowables give the same bytes.
    """

    def __init__(
        self, out: IO[bytes], *, title: str, subject: str, footer: str, created: datetime
    ) -> None:
        frame = Frame(
            *(_MARGIN, _BOTTOM, WIDTH, HEIGHT),
            leftPadding=0,
            rightPadding=0,
            topPadding=0,
            bottomPadding=0,
        )
        super().__init__(
            out,
            pagesize=letter,
            pageTemplates=[PageTemplate(frames=[frame], onPage=self._draw_footer)],
            title=to_printable(title),
            subject=to_printable(subject),
            author="Timbres",
            creator="Timbres",
            lang="es-MX",
            pageCompression=1,
            invariant=1,
        )
        self._footer = to_printable(footer)
        self._created = created.strftime("D:%Y%m%d%H%M%S%z")

    def build(self, story: list[Flowable]) -> None:
        """Write the document. The flowables cannot be used again."""
        super().build([*story, _PageCount()])

    def beforeDocument(self) -> None:  # noqa: N802 (a hook of reportlab)
        """Set the date of the file; reportlab would use the current time."""
        created = f"{self._created[:-2]}'{self._created[-2:]}'"
        self.canv.setDateFormatter(lambda *_: created)

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 (a hook of reportlab)
        """Add a section to the outline where its heading is drawn."""
        if title := getattr(flowable, "section", ""):
            self.canv.bookmarkPage(title)
            self.canv.addOutlineEntry(title, title)

    def _draw_footer(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        y = _BOTTOM - 26
        page = f"Página {canvas.getPageNumber()} de "
        size = min(7.5, 7.5 * (WIDTH - 90) / stringWidth(self._footer, PLAIN, 7.5))
        canvas.saveState()
        canvas.setStrokeColor(LINE)
        canvas.setLineWidth(0.5)
        canvas.line(_MARGIN, y + 12, _MARGIN + WIDTH, y + 12)
        canvas.setFillColor(GRAY)
        canvas.setFont(PLAIN, 7.5)
        canvas.drawString(_MARGIN, y, page)
        canvas.setFont(PLAIN, size)
        canvas.drawRightString(_MARGIN + WIDTH, y, self._footer)
        canvas.translate(_MARGIN + stringWidth(page, PLAIN, 7.5), y)
        # The last page defines this form.
        canvas.doForm(_PAGE_COUNT)
        canvas.restoreState()


class _PageCount(Flowable):
    """At the end of the document, defines the number of pages for every footer."""

    def wrap(self, *_: float) -> tuple[float, float]:
        """Return a size of 0."""
        return 0, 0

    def draw(self) -> None:
        """Define the form that the footers include."""
        self.canv.beginForm(_PAGE_COUNT, 0, -4, WIDTH, 20)
        self.canv.setFillColor(GRAY)
        self.canv.setFont(PLAIN, 7.5)
        self.canv.drawString(0, 0, str(self.canv.getPageNumber()))
        self.canv.endForm()


def heading(text: str) -> Paragraph:
    """Return the heading of a section, which is also in the outline."""
    flowable = paragraph(text, HEADING)
    flowable.section = text
    return flowable


class Column(NamedTuple):
    """A column of a table: its heading, its width in points, and whether it has numbers."""

    heading: str
    width: float
    is_number: bool = False


def columns(
    headings: Sequence[str], widths: Sequence[float], numbers: Iterable[int] = ()
) -> list[Column]:
    """Return columns; ``numbers`` are the indexes of those with numbers."""
    pairs = zip(headings, widths, strict=True)
    return [Column(text, width, n in numbers) for n, (text, width) in enumerate(pairs)]


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    totals: Sequence[str] = (),
    size: float = 8.0,
) -> LongTable:
    """Return a table that repeats its heading on every page.

    A row of a single cell is a note on the row before it.
    """
    commands: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), PLAIN, size),
        ("FONT", (0, 0), (-1, 0), BOLD, 7.5),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("BACKGROUND", (0, 0), (-1, 0), PANEL),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LEFTPADDING", (0, 0), (-1, -1), _PADDING),
        ("RIGHTPADDING", (0, 0), (-1, -1), _PADDING),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("LINEBELOW", (0, -1), (-1, -1), 0.4, LINE),
        *[
            ("ALIGN", (n, 0), (n, -1), "RIGHT")
            for n, column in enumerate(columns)
            if column.is_number
        ],
    ]
    data: list[list[Any]] = [[column.heading for column in columns]]
    for row in rows:
        index = len(data)
        if len(row) == 1:
            data.append([paragraph(row[0].text, style(size, color=COLORS[row[0].style]))])
            commands.append(("SPAN", (0, index), (-1, index)))
            continue
        data.append([_content(*pair, size) for pair in zip(row, columns, strict=True)])
        commands.append(("LINEABOVE", (0, index), (-1, index), 0.4, LINE))
        commands += [
            ("TEXTCOLOR", (n, index), (n, index), COLORS[cell.style])
            for n, cell in enumerate(row)
            if cell.style
        ]
    if totals:
        cells = zip(map(Cell, totals), columns, strict=True)
        data.append([_content(*pair, size, BOLD) for pair in cells])
        commands.append(("FONTNAME", (0, -1), (-1, -1), BOLD))
        commands.append(("LINEABOVE", (0, -1), (-1, -1), 0.5, INK))
    return LongTable(
        data,
        colWidths=[column.width for column in columns],
        repeatRows=1,
        style=commands,
        hAlign="LEFT",
    )


def _content(cell: Cell, column: Column, size: float, font: str = PLAIN) -> str | Paragraph:
    """Return a text that fits: unchanged, or a number in a smaller font, or a wrapped text."""
    text, width = to_printable(cell.text), column.width - 2 * _PADDING
    if stringWidth(text, font, size) <= width:
        return text
    if column.is_number:
        return fit_text(text, width, style(size, font, COLORS[cell.style], alignment=TA_RIGHT))
    return paragraph(text, style(size, font, COLORS[cell.style]))


def grid(
    rows: list[list[Any]], widths: Sequence[float | None], *commands: tuple[Any, ...]
) -> Table:
    """Return flowables side by side, without lines or padding."""
    return Table(
        rows,
        colWidths=widths,
        hAlign="LEFT",
        style=[
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *commands,
        ],
    )
