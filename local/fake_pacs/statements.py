"""Write Reachcore's downloadable statement of an account's month, as CSV and as PDF.

Source: "Stamping Service Balance Consultation API", consume report downloading. Equal balances give
equal bytes.
"""

from __future__ import annotations

import csv
import io
from datetime import date
from functools import lru_cache
from itertools import islice

from reportlab.lib.pagesizes import letter
from reportlab.pdfgen.canvas import Canvas

from local.fake_pacs.fake_data import Balance, month_bounds

# --------------------------------------------------------------------------------- CSV


def csv_statement(balance: Balance) -> bytes:
    """Return the statement in the documented layout, UTF-8 with CRLF.

    As in the documentation, RFCs have a trailing blank and dates the US format.
    """
    first, last = month_bounds(balance.month)
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\r\n").writerows(
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
            *(
                [f"{row.rfc} ", f"{_day(row.date, '%m/%d/%Y')} 12:00:00 AM", row.kind, row.amount]
                for row in balance.movements
            ),
        ]
    )
    return lines.getvalue().encode()


@lru_cache(maxsize=1024)
def _day(day: date, pattern: str) -> str:
    return day.strftime(pattern)


# --------------------------------------------------------------------------------- PDF

_TOP, _LEFT, _LINE = 740, 48, 15
_LINES_PER_PAGE = 44
_MONTHS = (
    *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio"),
    *("agosto", "septiembre", "octubre", "noviembre", "diciembre"),
)


def pdf_statement(balance: Balance) -> bytes:
    """Return the statement as a PDF in Spanish: account, RFCs, total and movements."""
    first, last = month_bounds(balance.month)
    lines = [
        "Estado de cuenta",
        f"Cuenta: {balance.account}",
        f"Tipo de consumo: {balance.plan.value}",
        f"Periodo: {_MONTHS[first.month - 1]} de {first.year}",
        f"{first:%d/%m/%Y} al {last:%d/%m/%Y}",
        f"Fecha de consulta: {balance.as_of:%d/%m/%Y %H:%M:%S}",
        f"RFC registrados: {balance.registered:,}",
        f"RFC autorizados: {balance.authorized:,}",
        f"Generaron timbre: {balance.stamping:,}",
        f"Transacciones: {balance.transactions:,}",
        "Movimientos: RFC, fecha, tipo, monto"
        if balance.movements
        else "Sin movimientos en el periodo.",
        *(
            f"{row.rfc}   {_day(row.date, '%d/%m/%Y')}   {row.kind}   {row.amount:,}"
            for row in balance.movements
        ),
    ]
    pages = -(-len(lines) // _LINES_PER_PAGE)
    rest = iter(lines)
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=letter, pageCompression=1, invariant=1)
    for page in range(1, pages + 1):
        text = canvas.beginText(_LEFT, _TOP)
        text.setFont("Helvetica", 9, _LINE)
        for line in islice(rest, _LINES_PER_PAGE):
            text.textLine(line)
        text.textLine(f"Página {page} de {pages}. Documento de prueba, sin validez fiscal")
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()
