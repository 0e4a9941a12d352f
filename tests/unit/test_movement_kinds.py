"""Only `Consumo de timbre` is consumption; other movements are kept and shown by type."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from openpyxl import load_workbook
from pypdf import PdfReader
from tests.support.report_samples import RC, small_month

from timbres.domain.balance import (
    AccountBalance,
    IssuerCounts,
    Movement,
    Summary,
    Totals,
    is_consumption,
    sum_movements,
)
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres.domain.month import Month
from timbres.schemas.balances import balance_to_dict
from timbres_reports import csv_writer, html_writer, pdf_writer, summary, xlsx_writer

CONSUMPTION = "Consumo de timbre"
ADDED = "Compra de timbres"
RFC = "A&D061009TY8"
DAY = date(2026, 10, 2)
OTHERS = (
    MovementLine(RC, None, DAY, ADDED, 500),
    MovementLine(RC, RFC, date(2026, 10, 9), "Ajuste", -7),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (CONSUMPTION, True),
        ("consumo de timbre", True),
        ("CONSUMO DE TIMBRE", True),
        ("  Consumo \t de\n timbre ", True),
        (ADDED, False),
        ("Cancelación", False),
        ("Consumo de timbres", False),
        ("Consumo", False),
        ("No es consumo de timbre", False),
        ("", False),
    ],
)
def test_only_consumption_is_consumption(kind: str, expected: bool) -> None:
    assert is_consumption(kind) is expected


movement_lists = st.lists(
    st.builds(
        Movement,
        rfc=st.sampled_from([None, RFC, "ÑAN840101AB1", "a&d061009ty8", "no es un RFC"]),
        date=st.just(DAY),
        kind=st.sampled_from([CONSUMPTION, "CONSUMO  DE TIMBRE", ADDED, "Ajuste"]),
        amount=st.integers(-1000, 1000),
    )
)


@given(movement_lists)
def test_the_sums_keep_every_movement_and_separate_consumption(movements: list[Movement]) -> None:
    totals = sum_movements(movements)
    consumption = [movement for movement in movements if is_consumption(movement.kind)]
    assert totals.movements == len(movements)
    assert totals.consumed == sum(movement.amount for movement in consumption)
    assert sum(totals.by_issuer.values()) == totals.consumed
    assert sum(totals.by_kind.values()) == sum(movement.amount for movement in movements)
    assert set(totals.by_issuer) == {movement.rfc for movement in consumption}
    assert set(totals.rfcs) == {movement.rfc for movement in consumption} - {None}
    assert set(totals.other_kinds) == {
        movement.kind for movement in movements if not is_consumption(movement.kind)
    }


def balance(movements: Sequence[Movement], transactions: int | None) -> AccountBalance:
    at = datetime(2026, 11, 1, tzinfo=MEXICO_CITY)
    summary_of_pac = None
    if transactions is not None:
        summary_of_pac = Summary(None, at, IssuerCounts(1, 1, 1), transactions)
    return AccountBalance(
        account=RC,
        pac="reachcore",
        month=Month(2026, 10),
        totals=sum_movements(movements),
        movements=movements,
        summary=summary_of_pac,
        as_of=at,
    )


@pytest.mark.parametrize("transactions", [3, None])
def test_a_balance_shows_other_kinds_without_counting_them(transactions: int | None) -> None:
    movements = [
        Movement(RFC, DAY, CONSUMPTION, 2),
        Movement(None, DAY, CONSUMPTION, 1),
        Movement(None, DAY, ADDED, 500),
        Movement(RFC, DAY, "Ajuste", -7),
    ]
    body = balance_to_dict(balance(movements, transactions))
    assert (body["transactions"], body["movements_total"], body["plan"]) == (3, 3, None)
    assert body["issuers"]["stamping"] == 1
    assert body["by_issuer"] == [{"rfc": None, "amount": 1}, {"rfc": RFC, "amount": 2}]
    assert body["by_kind"] == [
        {"kind": "Ajuste", "amount": -7},
        {"kind": ADDED, "amount": 500},
        {"kind": CONSUMPTION, "amount": 3},
    ]
    assert [line["rfc"] for line in body["movements"]] == [RFC, None, None, RFC]


def test_a_balance_without_known_consumption_has_no_total() -> None:
    body = balance_to_dict(replace(balance([], None), totals=Totals(), known=False))
    assert (body["transactions"], body["movements_total"]) == (None, None)
    assert body["issuers"]["stamping"] is None


# ---------------------------------------------------------------------------------- reports


class Pipe:
    """A stream that only accepts bytes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def with_others(others: Sequence[MovementLine] = OTHERS) -> Consumption:
    return replace(small_month(), other_movements=lambda: iter(others))


def written(writer, report: Consumption) -> tuple[int, bytes]:
    out = Pipe()
    return writer.write(report, out), out.content


def csv_rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_the_csv_lists_other_movements_in_a_section_of_their_own() -> None:
    plain_count, plain = written(csv_writer, small_month())
    count, content = written(csv_writer, with_others())
    rows = csv_rows(content)
    begin = next(n for n, row in enumerate(rows) if row[:1] and row[0].startswith("Otros mov"))
    assert "no cuentan en los totales" in rows[begin][0]
    assert rows[begin + 1 : begin + 4] == [
        ["Cuenta", "RFC", "Fecha", "Tipo de movimiento", "Timbres"],
        [RC, "sin RFC", "02/10/2026", ADDED, "500"],
        [RC, RFC, "09/10/2026", "Ajuste", "-7"],
    ]
    assert rows[begin + 4] == []
    assert rows[: begin - 1] + rows[begin + 4 :] == csv_rows(plain)
    assert count == plain_count + 2


def test_the_workbook_lists_other_movements_in_a_sheet_of_their_own() -> None:
    plain_count, plain = written(xlsx_writer, small_month())
    count, content = written(xlsx_writer, with_others())
    book, plain_book = load_workbook(io.BytesIO(content)), load_workbook(io.BytesIO(plain))
    assert book.sheetnames == [*plain_book.sheetnames[:3], "Otros movimientos", "Movimientos"]
    assert list(book["Otros movimientos"].iter_rows(min_row=2, values_only=True)) == [
        (RC, "sin RFC", datetime(2026, 10, 2), ADDED, 500),
        (RC, RFC, datetime(2026, 10, 9), "Ajuste", -7),
    ]
    for name in plain_book.sheetnames:
        assert list(book[name].values) == list(plain_book[name].values)
    assert count == plain_count + 2


def test_the_page_lists_other_movements_in_a_section_of_their_own() -> None:
    plain_count, plain = written(html_writer, small_month())
    count, content = written(html_writer, with_others())
    tree = html.document_fromstring(content.decode())
    (table,) = tree.xpath("//table[@aria-label='Otros movimientos']")
    cells = [[cell.text_content() for cell in row] for row in table.xpath(".//tbody/tr")]
    assert cells == [
        [RC, "sin RFC", "02/10/2026", ADDED, "500"],
        [RC, RFC, "09/10/2026", "Ajuste", "-7"],
    ]
    (section,) = table.xpath("ancestor::section")
    assert "no cuentan en los totales" in section.text_content()
    section.getparent().remove(section)
    plain_tree = html.document_fromstring(plain.decode())
    assert "".join(tree.text_content().split()) == "".join(plain_tree.text_content().split())
    assert count == plain_count + 2


def pdf_text(content: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


def test_the_pdf_lists_other_movements_in_a_section_of_their_own() -> None:
    count, content = written(pdf_writer, with_others())
    text, plain = pdf_text(content), pdf_text(written(pdf_writer, small_month())[1])
    others = text[text.index("Otros movimientos") : text.index("Fuentes")]
    assert "no cuentan en los totales" in others
    assert ADDED in others
    assert "500" in others
    assert "sin RFC" in others
    assert "Otros movimientos" not in plain
    # The first page has the totals, the chart and the ranking.
    first_page = PdfReader(io.BytesIO(content)).pages[0].extract_text()
    assert first_page == PdfReader(
        io.BytesIO(written(pdf_writer, small_month())[1])
    ).pages[0].extract_text()  # fmt: skip
    assert count == 2


@pytest.mark.parametrize("writer", [html_writer, pdf_writer])
def test_a_short_format_states_how_many_other_movements_it_leaves_out(writer) -> None:
    many = [MovementLine(RC, None, DAY, ADDED, n) for n in range(summary.MAX_ROWS + 1_234)]
    content = written(writer, with_others(many))[1]
    text = content.decode() if writer is html_writer else pdf_text(content)
    assert "1,234" in text


@pytest.mark.parametrize("writer", [csv_writer, xlsx_writer])
def test_a_complete_format_has_every_other_movement(writer) -> None:
    many = [MovementLine(RC, None, DAY, ADDED, n) for n in range(5_000)]
    count, _ = written(writer, with_others(many))
    assert count == 5_000 + len(list(small_month().movements()))


@pytest.mark.parametrize("writer", [csv_writer, xlsx_writer, html_writer, pdf_writer])
def test_consumption_without_an_rfc_is_part_of_the_total_and_no_issuer(writer) -> None:
    report = small_month()
    line = IssuerLine(RC, None, 10_000)
    report = replace(report, issuers=(line, *report.issuers))
    content = written(writer, report)[1]
    if writer is xlsx_writer:
        rows = list(load_workbook(io.BytesIO(content))["Por RFC"].iter_rows(values_only=True))
        assert rows[1][:3] == (RC, "sin RFC", 10_000)
        return
    text = pdf_text(content) if writer is pdf_writer else content.decode()
    assert "sin RFC" in text
    assert "12,203" in text
    figures = summary.summarize(report)
    assert (figures.total, figures.issuers, figures.active_issuers) == (12_203, 5, 5)


@pytest.mark.parametrize("nobody", [None, ""])
def test_consumption_of_nobody_is_no_issuer(nobody: str | None) -> None:
    movements = [Movement(nobody, DAY, CONSUMPTION, 2), Movement(RFC, DAY, CONSUMPTION, 1)]
    result = balance(movements, 3)
    assert result.totals.rfcs == [RFC]
    body = balance_to_dict(result)
    assert [line["rfc"] for line in body["by_issuer"]] == [None, RFC]
    assert [line["rfc"] for line in body["movements"]] == [None, RFC]
