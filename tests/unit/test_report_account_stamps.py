"""Reports: the stamps of accounts, over-allotment, and issuers without a contract."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from openpyxl import load_workbook
from pypdf import PdfReader
from tests.support.report_samples import ACCOUNT_STAMPS, ISSUERS, RC, SF, small_month

from timbres.domain.account_stamps import Allotment
from timbres.domain.consumption import AccountStampsLine, Consumption, IssuerLine
from timbres_reports import csv_writer, html_writer, pdf_writer, summary, xlsx_writer

TITLE = "Timbres de la cuenta"
WITHOUT_CONTRACT = IssuerLine(SF, "BBB010101AAA", 30, previous=12, has_no_contract=True)


def html(report: Consumption) -> str:
    out = io.BytesIO()
    html_writer.write(report, out)
    return out.getvalue().decode()


def pdf(report: Consumption) -> str:
    out = io.BytesIO()
    pdf_writer.write(report, out)
    return " ".join(" ".join(page.extract_text() for page in PdfReader(out).pages).split())


def xlsx(report: Consumption) -> str:
    out = io.BytesIO()
    xlsx_writer.write(report, out)
    book = load_workbook(out)
    return "\n".join(
        " | ".join("" if value is None else str(value) for value in row)
        for sheet in book
        for row in sheet.iter_rows(values_only=True)
    )


def csv(report: Consumption) -> str:
    out = io.BytesIO()
    csv_writer.write(report, out)
    return out.getvalue().decode("utf-8-sig")


WRITERS = {"page": html, "PDF": pdf, "workbook": xlsx}
AT_LEAST = "Los emisores tienen al menos 1,214 timbres contratados sin usar; la cuenta tiene 900."
every_writer = pytest.mark.parametrize("writer", WRITERS)


def over_allotted(unused: int, unknown: int = 0) -> Consumption:
    line = replace(
        ACCOUNT_STAMPS[0],
        available=900,
        days_left=None,
        allotment=Allotment(unused, unknown),
        is_over_allotted=True,
    )
    return replace(small_month(), account_stamps=(line,))


@every_writer
def test_a_report_has_the_stamps_of_the_account(writer: str) -> None:
    text = WRITERS[writer](small_month())
    assert TITLE in text
    figures = ("20000", "11050", "8950") if writer == "workbook" else ("20,000", "11,050", "8,950")
    assert all(figure in text for figure in (*figures, "34.6", "01/11/2026 05:00"))
    assert "contratados sin usar" not in text


@every_writer
def test_a_report_without_accounts_that_count_their_stamps_has_no_such_block(writer: str) -> None:
    assert TITLE not in WRITERS[writer](replace(small_month(), account_stamps=()))


@every_writer
def test_an_account_without_a_count_has_no_figures(writer: str) -> None:
    report = replace(small_month(), account_stamps=(AccountStampsLine(SF),))
    text = WRITERS[writer](report)
    assert TITLE in text
    assert "nunca" in text
    assert "8,950" not in text
    assert [cell.text for cell in summary.account_figures(AccountStampsLine(SF))] == [
        *["sin dato"] * 4,
        "nunca",
    ]


@pytest.mark.parametrize(
    ("account", "unknown", "sentence"),
    [
        (
            SF,
            0,
            "Los emisores tienen 1,214 timbres contratados sin usar; la cuenta tiene 900.",
        ),
        (
            "all",
            0,
            "Los emisores tienen 1,214 timbres contratados sin usar; la cuenta acme-sf tiene 900.",
        ),
        (
            SF,
            3,
            f"{AT_LEAST} Falta el conteo de 3 emisores.",
        ),
        (
            SF,
            1,
            f"{AT_LEAST} Falta el conteo de 1 emisor.",
        ),
    ],
)
@every_writer
def test_an_over_allotted_account_is_reported(
    writer: str, account: str, unknown: int, sentence: str
) -> None:
    report = replace(over_allotted(1214, unknown), account=account)
    assert sentence in WRITERS[writer](report)


def test_each_account_has_its_own_note_in_the_workbook() -> None:
    (line,) = over_allotted(1214).account_stamps
    lines = (ACCOUNT_STAMPS[0], line, replace(line, account=RC, allotment=Allotment(2000)))
    text = xlsx(replace(small_month(), account_stamps=lines))
    rows = [row for row in text.splitlines() if "sin usar" in row]
    assert [row.split(" | ")[0] for row in rows] == [SF, RC]
    assert ["1,214" in row for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("available", "days_left", "styles"),
    [
        (8950, 34.6, ("", "")),
        (8950, 12.0, ("", "soon")),
        (90, 3.0, ("", "urgent")),
        (0, 0.0, ("urgent", "urgent")),
    ],
)
def test_few_stamps_of_an_account_are_highlighted(
    available: int, days_left: float, styles: tuple[str, str]
) -> None:
    line = replace(ACCOUNT_STAMPS[0], available=available, days_left=days_left)
    assert tuple(cell.style for cell in summary.account_figures(line)[2:4]) == styles


# -------------------------------------------------------------- issuers without a contract


@pytest.mark.parametrize("writer", [*WRITERS, "CSV"])
def test_reports_name_an_issuer_without_a_contract(writer: str) -> None:
    report = replace(small_month(), issuers=(*ISSUERS, WITHOUT_CONTRACT))
    write = (WRITERS | {"CSV": csv})[writer]
    # The page's script has the text, too.
    assert write(report).count("sin contrato") > write(small_month()).count("sin contrato")


def test_an_issuer_without_a_contract_does_not_run_out() -> None:
    report = replace(small_month(), issuers=(WITHOUT_CONTRACT,))
    assert not summary.is_exhausted(WITHOUT_CONTRACT)
    assert summary.by_days_left(report) == []
    figures = [cell.text for cell in summary.issuer_figures(WITHOUT_CONTRACT, 30)]
    assert figures == ["30", "100.0%", "12", "+150.0%", "sin contrato", "no aplica"]
