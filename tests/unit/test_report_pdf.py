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
    Pipe,
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


def write_report(report: Consumption) -> bytes:
    out = Pipe()
    # The movements are in the other formats.
    assert pdf_writer.write(report, out) == 0
    return out.content


def reader_of(report: Consumption) -> PdfReader:
    return PdfReader(io.BytesIO(write_report(report)))


def pages_of(report: Consumption) -> list[str]:
    """Return the lines of each page, without leading and trailing blanks."""
    pages = [page.extract_text().splitlines() for page in reader_of(report).pages]
    return ["\n".join(line.strip() for line in page) + "\n" for page in pages]


def text_of(report: Consumption) -> str:
    return "\n".join(pages_of(report))


def month_of(*issuers: IssuerLine, **changes) -> Consumption:
    return replace(small_month(), issuers=issuers, **changes)


def test_the_small_month_matches_the_golden_file():
    assert text_of(small_month()) == GOLDEN.read_text(encoding="utf-8")


def test_it_has_metadata_and_an_outline():
    reader = reader_of(small_month())

    assert reader.metadata.title == "Consumo de timbres, octubre de 2026"
    assert reader.metadata.author == "Timbres"
    assert reader.metadata.creation_date == small_month().generated_at
    assert reader.trailer["/Root"]["/Lang"] == "es-MX"
    assert [entry.title for entry in reader.outline] == [
        *("Resumen", "Consumo por RFC", "Contratos del mes", "Fuentes", "Movimientos")
    ]
    assert {(page.mediabox.width, page.mediabox.height) for page in reader.pages} == {LETTER}


def test_the_same_report_gives_the_same_bytes():
    assert write_report(small_month()) == write_report(small_month())


def test_a_missing_account_is_on_the_first_page_and_in_the_sources():
    first, *others = pages_of(month_with_problem())

    assert "Faltan las cifras de la cuenta acme-sf: =El usuario está bloqueado (602)" in first
    assert "Sin cifras: =El usuario está bloqueado (602)" in "".join(others)


def test_a_report_of_an_empty_month():
    text = text_of(empty_month())

    assert "Nadie consumió timbres." in text
    assert "No se contrataron timbres en el mes." in text


def with_rows(count: int) -> Consumption:
    """Return a month of ``count`` issuers, contracts and accounts, with no movements to read."""
    return month_of(
        *(IssuerLine(RC, f"EKU{n:06d}3C9", 1) for n in range(count)),
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
    assert "Los movimientos están en el libro de Excel y en el CSV del mismo reporte." in pages[-1]


@pytest.mark.parametrize("count", [MAX_ROWS, MAX_ROWS + 1, 20_000])
def test_a_long_table_is_cut_with_a_note(count):
    pages = pages_of(with_rows(count))

    text = "\n".join(pages)
    assert len(pages) < 40
    for row in ("EKU{:06d}3C9", "id-{}\n", "acme-{}\n"):
        assert row.format(MAX_ROWS - 1) in text
        assert row.format(MAX_ROWS) not in text
    for name in ("Los demás emisores", "Los demás contratos", "Las demás cuentas"):
        note = f"{name} ({count - MAX_ROWS:,}) están en el libro de Excel del mismo reporte."
        assert (note in text) == (count > MAX_ROWS)
    assert f"Total\n{count:,} RFC\n{count:,}\n" in text


@pytest.mark.parametrize("days", [(None,) * 31, (0,) * 31, (-5, 3, None, *(0,) * 28), (1,) * 12])
def test_a_chart_with_unknown_and_negative_days(days):
    first = pages_of(replace(small_month(), days=days))[0]

    assert first.count("?\n") >= days.count(None)
    assert f"\n{len(days)}\n" in first


@given(months())
@settings(max_examples=25)
def test_the_totals_match_the_report(report):
    text = text_of(report)

    assert f"Timbres consumidos\n{format_number(report.known_total)}\n" in text
    if report.issuers:
        assert f"Total\n{len(report.issuers):,} RFC\n{report.total:,}\n" in text
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
    issuer = IssuerLine("acme-logistica-del-noroeste-produccion-sf", "A&D061009TY8", 5)

    assert text_of(month_of(issuer)).count("\nacme-logistica-del-noroeste-\nproduccion-sf\n") == 2


def test_a_long_problem_is_wrapped_and_cut():
    source = replace(SOURCES[0], problem="El servicio no responde. " * 600)

    text = text_of(replace(month_with_problem(), sources=(source,)))

    assert 5 < text.count("El servicio no responde.") < 30
    assert text.count("…") == 2


def test_a_text_without_a_blank_fits_a_page():
    assert "W…\n" in text_of(month_of(IssuerLine("a" * 10_000, "W" * 10_000, 5)))


def test_a_number_is_never_cut():
    amount = 123_456_789_012_345
    issuer = IssuerLine(RC, "A&D061009TY8", amount, amount, amount, 12_345_678.9)

    text = text_of(month_of(issuer, previous_total=amount))

    assert text.count(f"{amount:,}") >= 7
    assert "12,345,678.9 días" in text


def test_a_busy_month_fits_its_pages():
    report = busy_month()

    text = text_of(report)

    for issuer in report.issuers:
        assert f"\n{issuer.rfc}\n{issuer.amount:,}\n" in text
    assert [contract.id for contract in report.contracts if contract.id not in text] == []


def test_it_has_no_actions_and_no_links():
    texts = [
        *NASTY,
        "</script><script>alert(1)</script>",
        ") /OpenAction << /S /JavaScript >> (",
        "<a href='javascript:alert(1)'>x</a>",
        '<link href="http://example.com">x</link>',
        "<img src='file:///etc/hostname'/>",
    ]

    reader = reader_of(
        month_of(
            *(IssuerLine(RC, text, 1) for text in texts),
            sources=(replace(SOURCES[0], problem=" ".join(texts), plan=texts[-1]),),
            contracts=tuple(replace(CONTRACTS[0], id=text, status=text) for text in texts),
        )
    )

    assert not reader.trailer["/Root"].keys() & {"/OpenAction", "/AA", "/AcroForm", "/Names"}
    for page in reader.pages:
        annotations = [annotation.get_object() for annotation in page.get("/Annots", [])]
        assert not [item for item in (page, *annotations) if "/AA" in item or "/A" in item]
    text = "".join(page.extract_text() for page in reader.pages)
    assert "OpenAction" in text
    assert not set(text) & set("\u202e\u2066\x00")
