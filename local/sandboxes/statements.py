"""Reachcore's downloadable statement of one account's month, as CSV and as PDF.

Source: "Stamping Service Balance Consultation API", consume report downloading. Both
writers depend on nothing but the balance given, so equal balances make equal bytes.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from itertools import islice

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import letter
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from local.sandboxes.books import Balance, Movement, month_bounds

_CHUNK = 1 << 16
_ROWS_AT_ONCE = 1000


class Statement:
    """The bytes of one statement, kept on disk so that big ones stay out of memory."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Keep what the chunks say."""
        with tempfile.TemporaryFile() as file:
            file.writelines(chunks)
            self.size = file.tell()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def chunks(self) -> Iterator[bytes]:
        """The bytes from the beginning; readers do not disturb each other."""
        for offset in range(0, self.size, _CHUNK):
            yield os.pread(self._descriptor, min(_CHUNK, self.size - offset), offset)


# --------------------------------------------------------------------------------- CSV


def csv_statement(balance: Balance) -> Iterator[bytes]:
    """The statement in the documented layout, in pieces: UTF-8, lines ended by CRLF.

    RFCs carry the trailing blank and dates the US form that the documentation shows.
    """
    first, last = month_bounds(balance.month)
    yield _csv_lines(
        [
            ["Cuenta", "TipoConsumo", "FechaInicioConsulta", "FechaFinConsulta", "FechaActual"],
            [
                balance.account,
                balance.plan.value,
                f"{first.isoformat()}T00:00:00",
                f"{last.isoformat()}T00:00:00",
                balance.as_of.strftime("%Y-%m-%dT%H:%M:%S"),
            ],
            [],
            ["Estado de los RFC"],
            ["Registrados", balance.registered],
            ["Autorizados", balance.authorized],
            ["Generaron Timbre", balance.stamping],
            [],
            ["Transacciones"],
            ["Consumo de todos los RFC:", balance.transactions],
            [],
            ["RFC", "Fecha", "Tipo movimiento", "Monto"],
        ]
    )
    rows = balance.movements()
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        yield _csv_lines(
            [f"{row.rfc} ", f"{_day(row.date, '%m/%d/%Y')} 12:00:00 AM", row.kind, row.amount]
            for row in batch
        )


@lru_cache(maxsize=1024)
def _day(day: date, pattern: str) -> str:
    return day.strftime(pattern)


def _csv_lines(rows: Iterable[list[str | int]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\r\n").writerows(rows)
    return lines.getvalue().encode()


# --------------------------------------------------------------------------------- PDF

_WIDTH, _HEIGHT = letter
_MARGIN = 48.0
_ROW = 15.0
_TABLE_TOP = _HEIGHT - 300.0
_NEXT_TOP = _HEIGHT - 80.0
_BOTTOM = 60.0
_INK = HexColor("#1f2937")
_ACCENT = HexColor("#0f5c63")
_PALE = HexColor("#eef4f4")
_GREY = HexColor("#6b7280")
_MONTHS = (
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
)
_COLUMNS = ((_MARGIN + 6, "RFC"), (_MARGIN + 126, "Fecha"), (_MARGIN + 226, "Tipo de movimiento"))
_AMOUNT_EDGE = _WIDTH - _MARGIN - 6


def pdf_statement(balance: Balance) -> Iterator[bytes]:
    """The statement as a PDF in Spanish: account, state of the RFCs, total and movements."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=letter, pageCompression=1, invariant=1)
    canvas.setTitle(f"Estado de cuenta {balance.month}")
    canvas.setAuthor(balance.account)
    on_first = int((_TABLE_TOP - _ROW - _BOTTOM) // _ROW)
    on_next = int((_NEXT_TOP - _ROW - _BOTTOM) // _ROW)
    pages = 1 + -(-max(0, balance.rows - on_first) // on_next)
    rows = balance.movements()
    for page in range(1, pages + 1):
        if page == 1:
            _summary(canvas, balance)
            _table(canvas, _TABLE_TOP, list(islice(rows, on_first)))
        else:
            _text(canvas, _MARGIN, _HEIGHT - 52, "Estado de cuenta (continúa)", 12, bold=True)
            _table(canvas, _NEXT_TOP, list(islice(rows, on_next)))
        if balance.rows == 0:
            _text(canvas, _MARGIN + 6, _TABLE_TOP - _ROW - 18, "Sin movimientos en el periodo.")
        _footer(canvas, page, pages)
        canvas.showPage()
    canvas.save()
    yield out.getvalue()


def _summary(canvas: Canvas, balance: Balance) -> None:
    first, last = month_bounds(balance.month)
    canvas.setFillColor(_ACCENT)
    canvas.rect(0, _HEIGHT - 84, _WIDTH, 84, stroke=0, fill=1)
    white = HexColor("#ffffff")
    _text(canvas, _MARGIN, _HEIGHT - 46, "Estado de cuenta", 20, bold=True, color=white)
    _text(canvas, _MARGIN, _HEIGHT - 66, "Servicio de Timbrado de CFDI", 10, color=white)
    period = f"{_MONTHS[first.month - 1]} de {first.year}"
    canvas.setFont("Helvetica-Bold", 12)
    canvas.drawRightString(_WIDTH - _MARGIN, _HEIGHT - 46, period)
    facts = (
        ("Cuenta", balance.account),
        ("Tipo de consumo", balance.plan.value),
        ("Periodo", f"{first:%d/%m/%Y} al {last:%d/%m/%Y}"),
        ("Fecha de consulta", balance.as_of.strftime("%d/%m/%Y %H:%M:%S")),
    )
    for line, (label, value) in enumerate(facts):
        height = _HEIGHT - 110 - line * 16
        _text(canvas, _MARGIN, height, label, color=_GREY)
        _text(canvas, _MARGIN + 120, height, _fit(value, _WIDTH - 2 * _MARGIN - 120), bold=True)
    boxes = (
        ("RFC registrados", balance.registered),
        ("RFC autorizados", balance.authorized),
        ("Generaron timbre", balance.stamping),
        ("Transacciones", balance.transactions),
    )
    gap = 10.0
    width = (_WIDTH - 2 * _MARGIN - gap * (len(boxes) - 1)) / len(boxes)
    for place, (label, number) in enumerate(boxes):
        left = _MARGIN + place * (width + gap)
        canvas.setFillColor(_PALE)
        canvas.roundRect(left, _HEIGHT - 244, width, 58, 5, stroke=0, fill=1)
        _text(canvas, left + 10, _HEIGHT - 204, label, 8, color=_GREY)
        _text(canvas, left + 10, _HEIGHT - 230, f"{number:,}", 17, bold=True, color=_ACCENT)
    _text(canvas, _MARGIN, _TABLE_TOP + 12, "Detalle de movimientos", 11, bold=True)


def _table(canvas: Canvas, top: float, rows: list[Movement]) -> None:
    canvas.setFillColor(_ACCENT)
    canvas.rect(_MARGIN, top - _ROW, _WIDTH - 2 * _MARGIN, _ROW, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.setFont("Helvetica-Bold", 8.5)
    for left, title in _COLUMNS:
        canvas.drawString(left, top - _ROW + 4.5, title)
    canvas.drawRightString(_AMOUNT_EDGE, top - _ROW + 4.5, "Monto")
    canvas.setFillColor(_PALE)
    for line in range(1, len(rows), 2):
        bottom = top - _ROW * (line + 2)
        canvas.rect(_MARGIN, bottom, _WIDTH - 2 * _MARGIN, _ROW, stroke=0, fill=1)
    canvas.setFillColor(_INK)
    canvas.setFont("Helvetica", 8.5)
    kind_width = _AMOUNT_EDGE - _COLUMNS[2][0] - 70
    for line, row in enumerate(rows):
        height = top - _ROW * (line + 2) + 4.5
        values = (row.rfc, _day(row.date, "%d/%m/%Y"), _fit(row.kind, kind_width, 8.5))
        for (left, _), value in zip(_COLUMNS, values, strict=True):
            canvas.drawString(left, height, value)
        canvas.drawRightString(_AMOUNT_EDGE, height, f"{row.amount:,}")


def _footer(canvas: Canvas, page: int, pages: int) -> None:
    canvas.setStrokeColor(_GREY)
    canvas.setLineWidth(0.5)
    canvas.line(_MARGIN, 44, _WIDTH - _MARGIN, 44)
    _text(canvas, _MARGIN, 32, "Documento de prueba, sin validez fiscal", 7.5, color=_GREY)
    canvas.setFont("Helvetica", 7.5)
    canvas.drawRightString(_WIDTH - _MARGIN, 32, f"Página {page} de {pages}")


def _text(
    canvas: Canvas,
    left: float,
    height: float,
    text: str,
    size: float = 9.5,
    *,
    bold: bool = False,
    color: Color = _INK,
) -> None:
    canvas.setFillColor(color)
    canvas.setFont("Helvetica-Bold" if bold else "Helvetica", size)
    canvas.drawString(left, height, text)


@lru_cache(maxsize=1024)
def _fit(text: str, width: float, size: float = 9.5) -> str:
    """The text, shortened with an ellipsis where it would run out of its column."""
    if stringWidth(text, "Helvetica-Bold", size) <= width:
        return text
    while text and stringWidth(text + "…", "Helvetica-Bold", size) > width:
        text = text[:-1]
    return text + "…"
