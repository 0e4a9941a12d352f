"""Pages, tables and text styles of the PDF, in Letter, the paper size of Mexico."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from html import escape
from itertools import count
from typing import IO, Any

from reportlab.graphics.shapes import Drawing
from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
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
from timbres_reports.pdf_tags import Tag, Tags, end_page, number_pages
from timbres_reports.summary import MUTED, SOON, URGENT, Cell, Column

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
_PADDING = 3.0
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
HEADING = style(14, BOLD, spaceBefore=18, spaceAfter=6, keepWithNext=1)
SUBHEADING = style(11, BOLD)
NOTE = style(8, color=GRAY, spaceBefore=6)
RIGHT_NOTE = style(8, color=GRAY, alignment=TA_RIGHT)
NOTICE = style(8.5)
# Levels of headings, for tags.
_ROLES = {id(TITLE): "H1", id(HEADING): "H2", id(SUBHEADING): "H3"}


def to_printable(text: str) -> str:
    """Return ``text`` on one line, up to 240 characters, with ``?`` for unsupported characters.

    The standard fonts of PDF readers support only Windows-1252.
    """
    line = unicodedata.normalize("NFC", " ".join(fmt.replace_unprintable(text).split()))
    line = line.encode("cp1252", "replace").decode("cp1252")
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def _draw_tagged(flowable: Flowable, draw: Callable[[], None]) -> None:
    """Draw a flowable with its tag; a heading that a table repeats is an artifact."""
    if flowable.tag is None:
        draw()
        return
    with flowable.canv.tags.mark(flowable.canv, flowable.tag):
        draw()
    if flowable.tag.role == "TH":
        flowable.tag = None


class _Tagged(Paragraph):
    """A paragraph of plain text with a tag, None for a repeated one."""

    tag: Tag | None = Tag("P")

    def draw(self) -> None:
        """Draw the text with its tag."""
        _draw_tagged(self, super().draw)


class _Line(Flowable):
    """A text on one line with a tag: much faster than a paragraph."""

    def __init__(self, text: str, text_style: ParagraphStyle, tag: Tag | None) -> None:
        super().__init__()
        self._text = text
        self._style = text_style
        self.tag = tag

    def wrap(self, width: float, _: float) -> tuple[float, float]:
        """Return the available width and the height of the line."""
        self._width = width
        return width, self._style.leading

    def draw(self) -> None:
        """Draw the text with its tag."""
        _draw_tagged(self, self._draw)

    def _draw(self) -> None:
        text_style, y = self._style, self._style.leading - self._style.fontSize
        self.canv.setFont(text_style.fontName, text_style.fontSize)
        self.canv.setFillColor(text_style.textColor)
        if text_style.alignment == TA_RIGHT:
            self.canv.drawRightString(self._width, y, self._text)
        else:
            self.canv.drawString(0, y, self._text)


class Figure(Flowable):
    """A drawing with an alternative text."""

    def __init__(self, drawing: Drawing, alt: str) -> None:
        super().__init__()
        self._drawing = drawing
        self.tag = Tag("Figure", to_printable(alt))

    def wrap(self, *_: float) -> tuple[float, float]:
        """Return the size of the drawing."""
        return self._drawing.width, self._drawing.height

    def draw(self) -> None:
        """Draw the drawing with its tag."""
        _draw_tagged(self, lambda: self._drawing.drawOn(self.canv, 0, 0))


def paragraph(text: str, text_style: ParagraphStyle, tag: Tag | None = None) -> Paragraph:
    """Return a paragraph of plain text."""
    flowable = _Tagged(escape(to_printable(text), quote=False), text_style)
    flowable.tag = tag or Tag(_ROLES.get(id(text_style), "P"))
    return flowable


def fit_text(
    text: str, width: float, text_style: ParagraphStyle, tag: Tag | None = None
) -> Paragraph:
    """Return a line of text in a font size that fits into ``width`` points."""
    text_width = stringWidth(to_printable(text), text_style.fontName, text_style.fontSize)
    if text_width > width:
        size = text_style.fontSize * (width - 0.1) / text_width
        text_style = ParagraphStyle("", parent=text_style, fontSize=size)
    return paragraph(text, text_style, tag)


class ReportDocument(BaseDocTemplate):
    """A tagged document with numbered pages, a footer and an outline of its sections.

    The same flowables give the same bytes.
    """

    def __init__(self, *, title: str, subject: str, footer: str, created: datetime) -> None:
        frame = Frame(_MARGIN, _BOTTOM, WIDTH, HEIGHT, 0, 0, 0, 0)
        self._out = io.BytesIO()
        super().__init__(
            self._out,
            pagesize=letter,
            pageTemplates=[
                PageTemplate(None, [frame], self._begin_page, lambda canvas, _: end_page(canvas))
            ],
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
        self._tags = Tags()

    def write(self, story: list[Flowable], out: IO[bytes]) -> None:
        """Write the document to ``out``. The flowables cannot be used again."""
        self.build([*story, _PageCount()])
        number_pages(self._out.getvalue(), out)

    def beforeDocument(self) -> None:  # noqa: N802 (a hook of reportlab)
        """Set the date of the file; reportlab would use the current time."""
        created = f"{self._created[:-2]}'{self._created[-2:]}'"
        self.canv.setDateFormatter(lambda *_: created)
        self.canv.tags = self._tags

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802 (a hook of reportlab)
        """Add a section to the outline where its heading is drawn."""
        if title := getattr(flowable, "section", ""):
            self.canv.bookmarkPage(title)
            self.canv.addOutlineEntry(title, title)

    def _begin_page(self, canvas: Canvas, _: BaseDocTemplate) -> None:
        """Begin a page with its footer."""
        self._tags.begin_page(canvas)
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
    """At the end of the document, defines the number of pages for every footer, and the tags."""

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
        self.canv.tags.finish(self.canv)


def heading(text: str) -> Paragraph:
    """Return the heading of a section, which is also in the outline."""
    flowable = paragraph(text, HEADING)
    flowable.section = text
    return flowable


def padding(left: float, right: float, top: float, bottom: float) -> list[tuple[Any, ...]]:
    """Return the commands for the padding of all cells of a table, in points."""
    sides = {"LEFT": left, "RIGHT": right, "TOP": top, "BOTTOM": bottom}
    return [(f"{side}PADDING", (0, 0), (-1, -1), size) for side, size in sides.items()]


_tables = count(1)


def table(
    columns: Sequence[Column],
    widths: Sequence[float],
    rows: Iterable[Sequence[Cell]],
    totals: Iterable[Cell] = (),
    size: float = 8.0,
) -> LongTable:
    """Return a table over the page's width that repeats its heading on every page.

    ``widths`` are relative. A row of a single cell is a note on the row before it.
    """
    widths = [width * WIDTH / sum(widths) for width in widths]
    number = next(_tables)
    commands: list[tuple[Any, ...]] = [
        ("BACKGROUND", (0, 0), (-1, 0), PANEL),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        *padding(_PADDING, _PADDING, 2, 3),
        ("LINEBELOW", (0, -1), (-1, -1), 0.4, LINE),
    ]
    data: list[list[Any]] = []

    def add_row(cells: Iterable[Cell], role: str, font: str, font_size: float) -> None:
        tag = Tag(role, "", number, len(data) + 1)
        data.append(
            [
                _content(cell, column, width - 2 * _PADDING, font_size, font, tag)
                for cell, column, width in zip(cells, columns, widths, strict=True)
            ]
        )

    add_row((Cell(column.heading) for column in columns), "TH", BOLD, size - 0.5)
    for row in rows:
        index = len(data)
        if len(row) == 1:
            text_style = style(size, color=COLORS[row[0].style])
            data.append([paragraph(row[0].text, text_style, Tag("TD", "", number, index + 1))])
            commands.append(("SPAN", (0, index), (-1, index)))
            continue
        add_row(row, "TD", PLAIN, size)
        commands.append(("LINEABOVE", (0, index), (-1, index), 0.4, LINE))
    if totals:
        add_row(totals, "TD", BOLD, size)
        commands.append(("LINEABOVE", (0, -1), (-1, -1), 0.5, INK))
    return LongTable(data, colWidths=widths, repeatRows=1, style=commands, hAlign="LEFT")


def _content(
    cell: Cell, column: Column, width: float, size: float, font: str, tag: Tag
) -> Flowable:
    """Return a text that fits: unchanged, or a number in a smaller font, or a wrapped text."""
    text_style = _cell_style(size, font, cell.style, right=column.is_number)
    text = to_printable(cell.text)
    if stringWidth(text, text_style.fontName, size) <= width:
        return _Line(text, text_style, tag)
    if column.is_number and tag.role != "TH":
        return fit_text(text, width, text_style, tag)
    return paragraph(text, text_style, tag)


@cache
def _cell_style(size: float, font: str, cell_style: str, *, right: bool) -> ParagraphStyle:
    if cell_style == URGENT:
        font = BOLD
    return style(size, font, COLORS[cell_style], alignment=TA_RIGHT if right else TA_LEFT)


def grid(
    rows: list[list[Any]], widths: Sequence[float | None], *commands: tuple[Any, ...]
) -> Table:
    """Return flowables side by side, without lines or padding."""
    return Table(
        rows,
        colWidths=widths,
        hAlign="LEFT",
        style=[
            *padding(0, 0, 0, 0),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            *commands,
        ],
    )
