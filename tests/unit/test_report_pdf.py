"""The PDF report, read back as a reader of PDFs does."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from pypdf import PdfReader
from tests.unit.report_samples import (
    MOVEMENTS,
    NASTY,
    RC,
    SOURCES,
    busy_month,
    months,
    nothing_happened,
    small_month,
    with_problem,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import pdf_file
from timbres_reports.text import number as shown_number

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.pdf.txt"
LETTER = (612, 792)


class Pipe:
    """Takes bytes, and nothing else."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def written(report: Consumption, **options: int) -> tuple[int, PdfReader]:
    out = Pipe()
    rows = pdf_file.write(report, out, **options)
    return rows, PdfReader(io.BytesIO(out.content))


def pages_of(report: Consumption, **options: int) -> list[str]:
    return [page.extract_text() for page in written(report, **options)[1].pages]


def text_of(report: Consumption, **options: int) -> str:
    return "\n".join(pages_of(report, **options))


def with_movements(count: int) -> Consumption:
    line = MovementLine(RC, "A&D061009TY8", date(2026, 10, 1), "Timbrado", 1)
    return replace(small_month(), movements=lambda: (line for _ in range(count)))


def test_the_small_month_reads_as_agreed():
    assert text_of(small_month()) == GOLDEN.read_text(encoding="utf-8")


def test_it_says_what_it_is():
    _, reader = written(small_month())
    assert reader.metadata.title == "Consumo de timbres, octubre de 2026"
    assert reader.metadata.author == "Timbres"
    assert reader.metadata.creation_date == small_month().generated_at
    assert reader.trailer["/Root"]["/Lang"] == "es-MX"
    assert [entry.title for entry in reader.outline] == [
        "Resumen",
        "Consumo por RFC",
        "Contratos del mes",
        "Fuentes",
        "Movimientos",
    ]
    for page in reader.pages:
        assert (page.mediabox.width, page.mediabox.height) == LETTER


def test_the_same_report_gives_the_same_bytes():
    first, second = Pipe(), Pipe()
    pdf_file.write(small_month(), first)
    pdf_file.write(small_month(), second)
    assert first.content == second.content


def test_the_first_page_shows_what_matters():
    first = pages_of(small_month())[0]
    for words in (
        "Todas las cuentas",
        "2,203",
        "-2.2%",
        "septiembre de 2026: 2,252",
        "Consumo por día",
        "Máximo: 1,237 el 02/10/2026. 6 días sin dato (?)",
        "Los diez RFC que más consumen",
        "Se agotan primero",
        "agotado",
        "47.9 días",
        "hora de la Ciudad de México",
        "Cuenta acme-sf: faltan los días 3, 4, 9 y 20 a 22",
    ):
        assert words in first
    assert first.index("NUE200229AB3\nacme-sf\n0 disponibles") < first.index("1,214 disponibles")


def test_a_missing_account_is_said_on_the_first_page_and_among_the_sources():
    first, *others = pages_of(with_problem())
    assert "Faltan las cifras de la cuenta acme-sf: =El usuario está bloqueado (602)" in first
    assert "Sin cifras: =El usuario está bloqueado (602)" in "".join(others)


def test_a_month_without_anything_is_a_report_too():
    text = text_of(nothing_happened())
    for words in ("Nadie consumió timbres.", "No se contrataron timbres", "0 movimientos"):
        assert words in text


def test_pages_are_numbered_and_their_headings_repeated():
    pages = pages_of(with_movements(300))
    for number, page in enumerate(pages, 1):
        assert re.match(rf"Página {number} de\s+{len(pages)}\n", page)
        assert "Fuente: conteos diarios de Timbres y el PAC." in page
    for page in pages[2:]:
        assert "Cuenta\nRFC\nFecha\nTipo de movimiento\nTimbres" in page


def test_pages_grow_with_the_rows():
    few, many, more = (len(pages_of(with_movements(count))) for count in (600, 1200, 1800))
    assert more - many == many - few


def test_what_is_left_out_is_said_where_movements_begin_and_end():
    rows, reader = written(with_movements(300), most_rows=120)
    text = "\n".join(page.extract_text() for page in reader.pages)
    note = (
        "Se muestran 120 de 300 movimientos, 300 timbres. "
        "Los otros 180 están en el CSV y el XLSX de este mes."
    )
    assert rows == 120
    assert text.count(note) == 2
    assert text.count("01/10/2026 Timbrado 1") == 120
    assert "Total\n300 movimientos\n300" in text


def test_movements_are_walked_once():
    walks = []
    report = replace(small_month(), movements=lambda: walks.append(1) or iter(MOVEMENTS))
    assert written(report)[0] == len(MOVEMENTS)
    assert len(walks) == 1


@given(months())
@settings(max_examples=25)
def test_the_totals_are_the_reports(report):
    rows, reader = written(report)
    text = "\n".join(page.extract_text() for page in reader.pages)
    assert rows == sum(1 for _ in report.movements())
    amounts = [movement.amount for movement in report.movements()]
    assert f"\n{sum(amounts):,}\n" in text[text.rindex("\nTotal\n") :] + "\n"
    assert re.search(rf"Timbres consumidos\n{shown_number(report.known_total)}\n", text)
    if report.issuers:
        total = f"Total\n{len(report.issuers):,} RFC\n{report.total:,}\n"
        assert total in text
    for issuer in report.issuers:
        assert f"{issuer.account} {issuer.rfc} {issuer.amount:,} " in text


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("Cancelación (con aceptación) \\ ñÑüÜ¿¡", "Cancelación (con aceptación) \\ ñÑüÜ¿¡"),
        ("N\u0303andu\u0301", "Ñandú"),
        ("Ωmega ✓", "?mega ?"),
        ("uno\r\ndos\ttres", "uno dos tres"),
        ("\x00\x07nulo\ud800", "??nulo?"),
    ],
)
def test_every_character_shows_or_is_visibly_replaced(kind, shown):
    line = MovementLine(RC, "Ñ&A840101AB1", date(2026, 10, 1), kind, 1)
    report = replace(small_month(), movements=lambda: iter([line]))
    assert f"acme-rc Ñ&A840101AB1 01/10/2026 {shown} 1\n" in text_of(report)


def test_a_long_account_keeps_its_beginning_and_its_end():
    account = "acme-logistica-del-noroeste-produccion-sf"
    issuer = IssuerLine(account, "A&D061009TY8", 5)
    text = text_of(replace(small_month(), issuers=(issuer,)))
    assert re.search(r"\nacme-logistica-del\S+…ion-sf A&D061009TY8 5 ", text)


def test_a_long_problem_is_wrapped_and_cut():
    problem = "El servicio no responde. " * 60
    sources = (replace(SOURCES[0], problem=problem),)
    text = text_of(replace(with_problem(), sources=sources))
    assert text.count("El servicio no responde.") < 60
    assert re.search(r"responde. …|…\n", text)


def test_a_number_is_never_cut():
    amount = 123_456_789_012_345
    issuer = IssuerLine(RC, "A&D061009TY8", amount, amount, amount, 12_345_678.9)
    text = text_of(replace(small_month(), issuers=(issuer,), previous_total=amount))
    assert text.count(f"{amount:,}") >= 7
    assert "12,345,678.9 días" in text


def test_a_busy_month_fits_its_pages():
    report = busy_month()
    text = text_of(report)
    for issuer in report.issuers:
        assert f" {issuer.rfc} {issuer.amount:,} " in text
    for contract in report.contracts:
        assert contract.id in text


def test_nothing_in_it_is_run_or_leads_elsewhere_whatever_its_texts_hold():
    words = [*NASTY, "</script><script>alert(1)</script>", ") /OpenAction << /S /JavaScript >> (",
             "<a href='javascript:alert(1)'>x</a>", '<link href="http://example.com">x</link>',
             "<img src='file:///etc/hostname'/>"]  # fmt: skip
    lines = [MovementLine(RC, "AAA010101AAA", date(2026, 10, 1), word, 1) for word in words]
    report = replace(
        small_month(),
        sources=(replace(SOURCES[0], problem=" ".join(words), plan=words[-1]),),
        issuers=tuple(IssuerLine(RC, word, 1) for word in words),
        movements=lambda: iter(lines),
    )
    _, reader = written(report)
    assert not reader.trailer["/Root"].keys() & {"/OpenAction", "/AA", "/AcroForm", "/Names"}
    for page in reader.pages:
        annotations = [one.get_object() for one in page.get("/Annots", [])]
        assert not [one for one in annotations if "/A" in one or "/AA" in one]
        assert "/AA" not in page
    text = "".join(page.extract_text() for page in reader.pages)
    assert "OpenAction" in text
    assert not set(text) & set("\u202e\u2066\x00")
