"""Letter pages with footers, and tables that flow over them, for the report as a PDF.

reportlab keeps the document, its fonts and its pages. The rows of tables are written as PDF
operators, one text object a page, since a table of reportlab's own costs fifty times as much.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from reportlab import rl_config
from reportlab.lib.pagesizes import letter
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from timbres_reports import text
from timbres_reports.output import Output

# Seven-bit pages are a quarter larger, and cost more than all else that a page takes.
rl_config.useA85 = 0

_WIDTH, _HEIGHT = letter
_MARGIN = 48.0
LEFT, RIGHT, TOP, BOTTOM = _MARGIN, _WIDTH - _MARGIN, _HEIGHT - _MARGIN, 58.0
INNER = RIGHT - LEFT
PLAIN, BOLD = "Helvetica", "Helvetica-Bold"

_Color = tuple[float, float, float]
INK: _Color = (0.09, 0.13, 0.18)
MUTED: _Color = (0.36, 0.41, 0.47)
LINE: _Color = (0.86, 0.88, 0.91)
PANEL: _Color = (0.955, 0.965, 0.975)
ACCENT: _Color = (0.07, 0.36, 0.48)
_URGENT: _Color = (0.70, 0.13, 0.11)
WARNING: _Color = (0.60, 0.36, 0.0)
WARM: _Color = (1.0, 0.965, 0.88)
_TONES = {"": INK, "urgent": _URGENT, "soon": WARNING, "muted": MUTED}

MOST_LINES = 4
NOTE_SIZE = 8.0

_TOTAL_PAGES = "paginas"
_TAIL = 6


def _latin(words: str) -> str:
    """Return ``words`` on one line, with ``?`` for what the standard fonts do not have."""
    composed = unicodedata.normalize("NFC", " ".join(text.clean(words).split()))
    return composed.encode("cp1252", "replace").decode("cp1252")


def _fitting(words: str, width: float, size: float, font: str = PLAIN) -> str:
    """Return ``words`` fit for print, cut with an ellipsis to ``width`` points."""
    line = _latin(words)
    if stringWidth(line, font, size) <= width:
        return line
    # An account or an id differs from its neighbours at its end: it loses its middle.
    tail = "" if " " in line else line[-_TAIL:]
    head = line[: len(line) - len(tail)]
    while head and stringWidth(f"{head}…{tail}", font, size) > width:
        head = head[:-1]
    return f"{head.rstrip()}…{tail}"


def wrapped(words: str, width: float, size: float, most: int = MOST_LINES) -> list[str]:
    """Return ``words`` in lines of ``width`` points, ``most`` of them; the last says if cut."""
    lines = [_fitting(line, width, size) for line in simpleSplit(_latin(words), PLAIN, size, width)]
    if len(lines) > most:
        lines = [*lines[: most - 1], _fitting(f"{lines[most - 1]} …", width, size)]
    return lines


# What a PDF string escapes: brackets, backslashes and all that is not ASCII.
_ESCAPES = {code: f"\\{code:03o}" for code in (*range(32), *range(127, 256), *b"()\\")}


@lru_cache(maxsize=8192)
def _shown(words: str, width: float, size: float, right: bool, tone: str) -> tuple[float, str]:
    """Return how far into its column a cell begins, and the operators that show it.

    A column repeats its accounts, RFCs, kinds and days, and small amounts too.
    """
    line = _latin(words) if right else _fitting(words, width, size)
    natural = stringWidth(line, PLAIN, size)
    escaped = line.encode("cp1252").decode("latin-1").translate(_ESCAPES)
    shown = f"({escaped}) Tj"
    if natural > width:
        # A number is set narrower, never cut.
        shown = f"{100 * width / natural:.2f} Tz {shown} 100 Tz"
    if tone:
        shown = f"{_rgb(_TONES[tone])} {shown} {_rgb(INK)}"
    return (max(width - natural, 0.0) if right else 0.0), shown


def _rgb(color: _Color) -> str:
    return "{:.3g} {:.3g} {:.3g} rg".format(*color)


class Pages:
    """The document: pages with a footer, numbered, their total known at the end."""

    def __init__(
        self, out: Output, *, title: str, subject: str, footer: str, made_at: datetime
    ) -> None:
        self.canvas = Canvas(out, pagesize=letter, pageCompression=1, invariant=1, lang="es-MX")
        self._footer = footer
        self._number = 0
        self.y = TOP
        stamp = made_at.strftime("D:%Y%m%d%H%M%S%z")
        self.canvas.setDateFormatter(lambda *_: f"{stamp[:-2]}'{stamp[-2:]}'")
        self.canvas.setTitle(_latin(title))
        self.canvas.setSubject(_latin(subject))
        self.canvas.setAuthor("Timbres")
        self.canvas.setCreator("Timbres")

    def begin(self) -> None:
        """Begin a page, after the one before it, if any."""
        if self._number:
            self.canvas.showPage()
        self._number += 1
        self.rule(BOTTOM - 14)
        y = BOTTOM - 26
        before = f"Página {self._number} de "
        self.say(LEFT, y, before, 7.5, tone="muted")
        self._form(_TOTAL_PAGES, LEFT + stringWidth(before, PLAIN, 7.5), y)
        self.say(RIGHT, y, self._footer, 7.5, tone="muted", right=True, width=INNER - 90)
        self.y = TOP

    def section(self, title: str, room: float) -> None:
        """Head a section where ``room`` points beneath it are free, else on the next page."""
        if not self._number or self.y - 46 - room < BOTTOM:
            self.begin()
        else:
            self.y -= 26
        self.bookmark(title)
        self.say(LEFT, self.y - 12, title, 14, font=BOLD)
        self.y -= 20

    def bookmark(self, title: str) -> None:
        """Name this place in the outline that viewers show."""
        key = f"seccion-{title}"
        self.canvas.bookmarkHorizontal(key, 0, self.y + 4)
        self.canvas.addOutlineEntry(title, key)

    def remark(self, words: str) -> None:
        """Say something under a table, or instead of one."""
        if self.y - 16 < BOTTOM:
            self.begin()
        self.y -= 16
        self.say(LEFT, self.y, words, NOTE_SIZE, tone="muted")

    def open(self, name: str) -> None:
        """Leave a line open for what :meth:`later` says under that name."""
        self.y -= 14
        self._form(name, LEFT, self.y + 4)

    def _form(self, name: str, x: float, y: float) -> None:
        self.canvas.saveState()
        self.canvas.translate(x, y)
        self.canvas.doForm(name)
        self.canvas.restoreState()

    def say(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        *,
        font: str = PLAIN,
        tone: str = "",
        right: bool = False,
        width: float = INNER,
        whole: bool = False,
    ) -> None:
        """Put one line of text at a point, cut to ``width``; if ``whole``, smaller instead."""
        if whole:
            size = min(size, size * width / max(stringWidth(_latin(words), font, size), 1.0))
        blank = " " if words.endswith(" ") else ""
        line = (_latin(words) if whole else _fitting(words, width, size, font)) + blank
        self.canvas.setFont(font, size)
        self.canvas.setFillColorRGB(*_TONES[tone])
        (self.canvas.drawRightString if right else self.canvas.drawString)(x, y, line)

    def box(self, x: float, y: float, width: float, height: float, color: _Color) -> None:
        """Fill a rectangle."""
        self.canvas.setFillColorRGB(*color)
        self.canvas.rect(x, y, width, height, stroke=0, fill=1)

    def rule(self, y: float, x: float = LEFT, to: float = RIGHT, color: _Color = LINE) -> None:
        """Draw a thin line across."""
        self.canvas.setStrokeColorRGB(*color)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(x, y, to, y)

    def save(self) -> None:
        """End the last page and write the whole into the output."""
        self.later(_TOTAL_PAGES, str(self._number), 7.5)
        self.canvas.showPage()
        self.canvas.save()

    def later(self, name: str, words: str, size: float) -> None:
        """Say what pages before this point left open, as a form of that name."""
        self.canvas.beginForm(name, 0, -4, INNER, 20)
        self.say(0, 0, words, size, tone="muted")
        self.canvas.endForm()


class Column(NamedTuple):
    """A heading, a width in points, and whether numbers stand in it."""

    heading: str
    width: float
    right: bool = False


class Table:
    """Rows that flow over pages, each page under the same headings."""

    def __init__(
        self, pages: Pages, columns: Sequence[Column], size: float = 8.0, pitch: float = 12.0
    ) -> None:
        self._pages = pages
        self._columns = columns
        self._size = size
        self._pitch = pitch
        edges = [LEFT]
        for column in columns:
            edges.append(edges[-1] + column.width)
        # A gap of 8 points keeps neighbours apart.
        self._places = [
            (edge, column.width - 8, column.right)
            for edge, column in zip(edges, columns, strict=False)
        ]
        self._rows: list[str] = []
        self._rules: list[float] = []
        self._head()

    def row(self, cells: Iterable[str], tones: Sequence[str] = ()) -> None:
        """Add one row; ``tones`` colours its cells."""
        self._down(1)
        size, y = self._size, self._pages.y + 3.5
        shown = []
        for index, cell in enumerate(cells):
            x, width, right = self._places[index]
            tone = tones[index] if tones else ""
            into, operators = _shown(cell, width, size, right, tone)
            shown.append(f"1 0 0 1 {x + into:.2f} {y:.2f} Tm {operators}")
        self._rows.append("\n".join(shown))
        self._rules.append(self._pages.y)

    def remark(self, words: str, tone: str) -> None:
        """Add lines that span the table and belong to the row before them."""
        lines = wrapped(words, INNER - 16, self._size)
        self._down(len(lines))
        if self._rules:
            self._rules.pop()
        for index, line in enumerate(lines):
            _, operators = _shown(line, INNER, self._size, right=False, tone=tone)
            y = self._pages.y + 5 + self._pitch * (len(lines) - 1 - index)
            self._rows.append(f"1 0 0 1 {LEFT + 8:.2f} {y:.2f} Tm {operators}")
        self._rules.append(self._pages.y)

    def _down(self, lines: int) -> None:
        """Go down by ``lines``, onto the next page where they do not fit."""
        if self._pages.y - self._pitch * lines < BOTTOM:
            self._flush()
            self._pages.begin()
            self._head()
        self._pages.y -= self._pitch * lines

    def end(self, total: Sequence[str] = ()) -> None:
        """Put what is still to be shown onto the page, with a row of totals in bold."""
        self._flush()
        if not total:
            return
        pages = self._pages
        if pages.y - 18 < BOTTOM:
            pages.begin()
            self._head()
        pages.rule(pages.y, LEFT - 4, RIGHT + 4, color=INK)
        pages.y -= 14
        for (x, width, right), cell in zip(self._places, total, strict=True):
            at = x + width if right else x
            pages.say(
                at, pages.y, cell, self._size, font=BOLD, right=right, width=width, whole=right
            )

    def _head(self) -> None:
        pages = self._pages
        pages.y -= 16
        pages.box(LEFT - 4, pages.y, INNER + 8, 16, PANEL)
        for (x, width, right), column in zip(self._places, self._columns, strict=True):
            at = x + width if right else x
            pages.say(at, pages.y + 5, column.heading, 7.5, font=BOLD, right=right, width=width)
        pages.y -= 2

    def _flush(self) -> None:
        """Write a page's rows: the lines under them as one path, their texts as one object."""
        if not self._rows:
            return
        canvas = self._pages.canvas
        canvas.setFont(PLAIN, self._size)
        canvas.setFillColorRGB(*INK)
        canvas.setStrokeColorRGB(*LINE)
        canvas.setLineWidth(0.4)
        across = f"{LEFT - 4:g} {{0:.2f}} m {RIGHT + 4:g} {{0:.2f}} l".format
        canvas.addLiteral("\n".join([across(y) for y in self._rules] + ["S"]))
        canvas.addLiteral("BT\n" + "\n".join(self._rows) + "\nET")
        self._rows, self._rules = [], []


def columns(
    headings: Sequence[str], widths: Sequence[float], numbers: range | tuple[int, ...] = ()
) -> list[Column]:
    """Return columns, those whose places stand in ``numbers`` set to the right."""
    pairs = zip(headings, widths, strict=True)
    return [Column(heading, width, n in numbers) for n, (heading, width) in enumerate(pairs)]
