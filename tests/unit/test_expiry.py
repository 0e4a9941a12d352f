"""Contracts expire after 12 months; reports show the next expiry of each issuer."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from openpyxl import load_workbook
from pypdf import PdfReader
from tests.support.report_samples import SF, small_month

from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import Consumption, ExpiryLine
from timbres.domain.expiry import Expiry, expiry_day, next_expiry, oldest_creation
from timbres_reports import csv_writer, html_writer, pdf_writer, summary, xlsx_writer

TODAY = date(2026, 11, 19)


@pytest.mark.parametrize(
    ("created_at", "expected"),
    [
        (datetime(2025, 12, 12, 9, 0, tzinfo=MEXICO_CITY), date(2026, 12, 12)),
        (datetime(2025, 12, 12, 23, 59, tzinfo=MEXICO_CITY), date(2026, 12, 12)),
        # Already the next day in UTC.
        (datetime(2025, 12, 13, 5, 59, tzinfo=UTC), date(2026, 12, 12)),
        (datetime(2025, 12, 13, 6, 0, tzinfo=UTC), date(2026, 12, 13)),
        (datetime(2028, 2, 29, 12, 0, tzinfo=MEXICO_CITY), date(2029, 2, 28)),
        (datetime(2027, 2, 28, 12, 0, tzinfo=MEXICO_CITY), date(2028, 2, 28)),
        (datetime(2027, 3, 1, 12, 0, tzinfo=MEXICO_CITY), date(2028, 3, 1)),
    ],
)
def test_a_contract_expires_after_twelve_months(created_at: datetime, expected: date) -> None:
    assert expiry_day(created_at) == expected


@given(st.dates(date(2011, 1, 1), date(2099, 1, 1)), st.integers(0, 400))
def test_no_contract_that_has_not_expired_is_older_than_the_oldest(today: date, days: int) -> None:
    created_at = datetime(today.year, today.month, today.day, tzinfo=MEXICO_CITY)
    created_at -= timedelta(days=days)
    assert expiry_day(created_at) < today or created_at >= oldest_creation(today)


def coming(days: int, stamps: int) -> Expiry:
    return Expiry(TODAY + timedelta(days=days), stamps)


@pytest.mark.parametrize(
    ("expiries", "expected"),
    [
        ([], None),
        ([coming(-1, 500)], None),
        ([coming(0, 500)], coming(0, 500)),
        ([coming(9, 500), coming(-1, 7), coming(3, 20), coming(300, 1)], coming(3, 20)),
        ([coming(9, 500), coming(9, 20), coming(10, 1)], coming(9, 520)),
    ],
)
def test_the_next_expiry_has_the_stamps_of_its_day(
    expiries: list[Expiry], expected: Expiry | None
) -> None:
    assert next_expiry(expiries, TODAY) == expected


# ---------------------------------------------------------------------------------- reports

EXPIRIES = (
    ExpiryLine(SF, "ÑAN840101AB1", 2000, date(2026, 12, 12)),
    ExpiryLine(SF, "NUE200229AB3", 500, date(2027, 10, 28)),
)
HEADING = ("Cuenta", "RFC", "Timbres", "Vence el")
ROWS = [
    [SF, "ÑAN840101AB1", "2,000", "12/12/2026"],
    [SF, "NUE200229AB3", "500", "28/10/2027"],
]


class Pipe:
    """A stream that only accepts bytes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def written(writer, expiries: tuple[ExpiryLine, ...] = EXPIRIES) -> bytes:
    out = Pipe()
    report: Consumption = replace(small_month(), expiries=expiries)
    writer.write(report, out)
    return out.content


def pdf_text(content: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


def test_the_csv_lists_the_next_expiries() -> None:
    rows = list(csv.reader(io.StringIO(written(csv_writer).decode("utf-8-sig"), newline="")))
    begin = rows.index(["Próximos vencimientos"])
    expected = [[cell.replace(",", "") for cell in row] for row in ROWS]
    assert rows[begin + 1 : begin + 5] == [list(HEADING), *expected, []]


def test_the_workbook_lists_the_next_expiries() -> None:
    sheet = load_workbook(io.BytesIO(written(xlsx_writer)))["Vencimientos"]
    assert list(sheet.values) == [
        HEADING,
        *((line.account, line.rfc, line.stamps, at(line.expires_on)) for line in EXPIRIES),
    ]


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def test_the_page_lists_the_next_expiries() -> None:
    tree = html.document_fromstring(written(html_writer).decode())
    (table,) = tree.xpath("//table[@aria-label='Próximos vencimientos']")
    cells = [[cell.text_content() for cell in row] for row in table.xpath(".//tr")]
    assert cells == [list(HEADING), *ROWS]


def test_the_pdf_lists_the_next_expiries() -> None:
    text = pdf_text(written(pdf_writer))
    section = text[text.index("Próximos vencimientos") : text.index("Fuentes")]
    assert all(cell in section for row in ROWS for cell in row)


@pytest.mark.parametrize("writer", [html_writer, pdf_writer])
def test_a_short_format_states_how_many_expiries_it_leaves_out(writer) -> None:
    content = written(writer, EXPIRIES[:1] * (summary.MAX_ROWS + 4_321))
    text = content.decode() if writer is html_writer else pdf_text(content)
    assert "4,321" in text


@pytest.mark.parametrize("writer", [csv_writer, xlsx_writer, html_writer, pdf_writer])
def test_a_report_without_known_contracts_has_no_such_section(writer) -> None:
    content = written(writer, ())
    if writer is xlsx_writer:
        assert "Vencimientos" not in load_workbook(io.BytesIO(content)).sheetnames
    else:
        text = pdf_text(content) if writer is pdf_writer else content.decode()
        assert "vencimientos" not in text.casefold()
