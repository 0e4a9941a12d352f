"""The PDF report, parsed with a PDF reader."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from pypdf import PdfReader
from tests.support.report_samples import (
    CONTRACTS,
    NASTY,
    RC,
    SOURCES,
    busy_month,
    empty_month,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine
from timbres_reports import pdf_writer
from timbres_reports.formatting_es import number as format_number
from timbres_reports.summary import MAX_ROWS

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.pdf.txt"
LETTER = (612, 792)


class Pipe:
    """A stream that only accepts bytes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def write_report(report: Consumption) -> tuple[int, PdfReader]:
    out = Pipe()
    rows = pdf_writer.write(report, out)
    return rows, PdfReader(io.BytesIO(out.content))


def pages_of(report: Consumption) -> list[str]:
    """Return the lines of each page, without leading and trailing blanks."""
    pages = [page.extract_text().splitlines() for page in write_report(report)[1].pages]
    return ["\n".join(line.strip() for line in page) + "\n" for page in pages]


def text_of(report: Consumption) -> str:
    return "\n".join(pages_of(report))


def test_the_small_month_matches_the_golden_file():
    assert text_of(small_month()) == GOLDEN.read_text(encoding="utf-8")


def test_it_has_metadata_and_an_outline():
    _, reader = write_report(small_month())
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
    pdf_writer.write(small_month(), first)
    pdf_writer.write(small_month(), second)
    assert first.content == second.content


def test_the_first_page_has_the_summary():
    first = pages_of(small_month())[0]
    for text in (
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
        assert text in first
    assert first.index("NUE200229AB3\nacme-sf\n0 disponibles") < first.index("1,214 disponibles")


def test_a_missing_account_is_on_the_first_page_and_in_the_sources():
    first, *others = pages_of(month_with_problem())
    assert "Faltan las cifras de la cuenta acme-sf: =El usuario está bloqueado (602)" in first
    assert "Sin cifras: =El usuario está bloqueado (602)" in "".join(others)


def test_a_report_of_an_empty_month():
    text = text_of(empty_month())
    for expected in ("Nadie consumió timbres.", "No se contrataron timbres en el mes."):
        assert expected in text


def with_rows(count: int) -> Consumption:
    """Return a month of ``count`` issuers, contracts and accounts, with no movements to read."""
    return replace(
        small_month(),
        issuers=tuple(IssuerLine(RC, f"EKU{n:06d}3C9", 1) for n in range(count)),
        contracts=tuple(replace(CONTRACTS[0], id=f"id-{n}") for n in range(count)),
        sources=tuple(replace(SOURCES[0], account=f"acme-{n}") for n in range(count)),
        movements=lambda: pytest.fail("the movements were read"),
    )


def test_pages_are_numbered_and_their_headings_repeated():
    pages = pages_of(with_rows(MAX_ROWS))
    for number, page in enumerate(pages, 1):
        assert re.match(rf"Página {number} de\s", page)
        assert re.search(rf"^{len(pages)}$", page, re.MULTILINE)
        assert "Fuente: el PAC." in page
    for page in pages[1:4]:
        assert "Cuenta\nRFC\nTimbres\nParticipación" in page


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1, 20_000])
def test_a_long_table_is_cut_with_a_note(count):
    text = text_of(with_rows(count))
    for row in ("EKU{:06d}3C9", "id-{}\n", "acme-{}\n"):
        assert row.format(MAX_ROWS - 1) in text
        assert row.format(MAX_ROWS) not in text
    for name in ("Los demás emisores", "Los demás contratos", "Las demás cuentas"):
        note = f"{name} ({count - MAX_ROWS:,}) están en el libro de Excel del mismo reporte."
        assert (note in text) == (count > MAX_ROWS)
    assert f"Total\n{count:,} RFC\n{count:,}\n" in text


def test_the_number_of_pages_is_limited():
    assert len(pages_of(with_rows(20_000))) == len(pages_of(with_rows(MAX_ROWS + 1)))


def test_movements_are_not_read():
    rows, _ = write_report(with_rows(1))
    assert rows == 0
    text = text_of(with_rows(1))
    assert "Los movimientos están en el libro de Excel y en el CSV del mismo reporte." in text


@pytest.mark.parametrize("days", [(None,) * 31, (0,) * 31, (-5, 3, None, *(0,) * 28), (1,) * 12])
def test_a_chart_with_unknown_and_negative_days(days):
    first = pages_of(replace(small_month(), days=days))[0]
    assert first.count("?\n") >= days.count(None)
    assert f"\n{len(days)}\n" in first


@given(months())
@settings(max_examples=25)
def test_the_totals_match_the_report(report):
    text = text_of(report)
    assert re.search(rf"Timbres consumidos\n{format_number(report.known_total)}\n", text)
    if report.issuers:
        total = f"Total\n{len(report.issuers):,} RFC\n{report.total:,}\n"
        assert total in text
    lines = set(text.splitlines())
    for issuer in report.issuers:
        assert {issuer.account, issuer.rfc, f"{issuer.amount:,}"} <= lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cancelación (con aceptación) \\ ñÑüÜ¿¡", "Cancelación (con aceptación) \\ ñÑüÜ¿¡"),
        ("N\u0303andu\u0301", "Ñandú"),
        ("Ωmega ✓", "?mega ?"),
        ("uno\r\ndos\ttres", "uno dos tres"),
        ("\x00\x07nulo\ud800", "??nulo?"),
    ],
)
def test_every_character_is_rendered_or_visibly_replaced(text, expected):
    contract = replace(CONTRACTS[0], id=text)
    assert f"\n{expected}\n" in text_of(replace(small_month(), contracts=(contract,)))


def test_a_long_account_is_wrapped_and_keeps_its_end():
    account = "acme-logistica-del-noroeste-produccion-sf"
    issuer = IssuerLine(account, "A&D061009TY8", 5)
    text = text_of(replace(small_month(), issuers=(issuer,)))
    assert text.count("\nacme-logistica-del-noroeste-\nproduccion-sf\n") == 2


def test_a_long_problem_is_wrapped_and_cut():
    problem = "El servicio no responde. " * 600
    sources = (replace(SOURCES[0], problem=problem),)
    text = text_of(replace(month_with_problem(), sources=sources))
    assert 5 < text.count("El servicio no responde.") < 30
    assert text.count("…") == 2


def test_a_text_without_a_blank_fits_a_page():
    issuer = IssuerLine("a" * 10_000, "W" * 10_000, 5)
    text = text_of(replace(small_month(), issuers=(issuer,)))
    assert "W…\n" in text


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
        assert f"\n{issuer.rfc}\n{issuer.amount:,}\n" in text
    for contract in report.contracts:
        assert contract.id in text


def test_it_has_no_actions_and_no_links():
    texts = [*NASTY, "</script><script>alert(1)</script>", ") /OpenAction << /S /JavaScript >> (",
             "<a href='javascript:alert(1)'>x</a>", '<link href="http://example.com">x</link>',
             "<img src='file:///etc/hostname'/>"]  # fmt: skip
    report = replace(
        small_month(),
        sources=(replace(SOURCES[0], problem=" ".join(texts), plan=texts[-1]),),
        issuers=tuple(IssuerLine(RC, word, 1) for word in texts),
        contracts=tuple(replace(CONTRACTS[0], id=word, status=word) for word in texts),
    )
    _, reader = write_report(report)
    assert not reader.trailer["/Root"].keys() & {"/OpenAction", "/AA", "/AcroForm", "/Names"}
    for page in reader.pages:
        annotations = [annotation.get_object() for annotation in page.get("/Annots", [])]
        assert not [
            annotation for annotation in annotations if "/A" in annotation or "/AA" in annotation
        ]
        assert "/AA" not in page
    text = "".join(page.extract_text() for page in reader.pages)
    assert "OpenAction" in text
    assert not set(text) & set("\u202e\u2066\x00")
