"""The same figures and texts in each format of a report."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from openpyxl.utils.escape import unescape
from tests.support.report_readers import (
    Pipe,
    csv_sections,
    page_content,
    page_of,
    pdf_pages,
    pdf_text,
    rows_of,
    script_rows,
    texts_of,
    workbook_content,
    workbook_of,
    write,
    write_into,
)
from tests.support.report_samples import (
    NASTY,
    RC,
    SOURCES,
    empty_month,
    failing_movements,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import formatting_es as fmt

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = ("csv", "html", "pdf", "xlsx")
MARKUP = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "]]>", "&lt;b&gt;",
    "\"'><svg onload=alert(1)>", "<!--<script>", "${alert(1)} $title", "a\u2028b\u2029c", "\x1b",
)  # fmt: skip
# A percentage of Timbres; other cells that start so would be formulas.
CHANGE = re.compile(r"[+-][\d,]+\.\d%")
NO_DATA = "sin dato"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("consumption.csv", lambda report: write("csv", report).decode()),
        ("consumption.xlsx.json", workbook_content),
        ("consumption.html.json", page_content),
        ("consumption.pdf.txt", pdf_text),
    ],
)
def test_the_small_month_matches_the_golden_file(name, content):
    text = (GOLDEN / name).read_bytes().decode()

    assert content(small_month()) == (json.loads(text) if name.endswith("json") else text)


def figures_of(workbook) -> dict:
    """Return the values and notes of the summary by name."""
    return {row[0]: row[1:3] for row in workbook["Resumen"].iter_rows(3, 9, values_only=True)}


def days_of(workbook) -> list[tuple]:
    """Return the amounts and notes of the days."""
    rows = list(workbook["Resumen"].iter_rows(values_only=True))
    start = next(n for n, row in enumerate(rows) if row[:2] == fmt.DAY_HEADING)
    return [row[1:3] for row in rows[start + 1 :]]


def as_excel_reads(value: str | None) -> str:
    """Return a cell's text without Excel's escapes, which openpyxl keeps."""
    return plain(unescape(value or ""))


def plain(value: str) -> str:
    """Return a printable text with normalized line ends and without outer blanks."""
    return fmt.replace_unprintable(value).replace("\r\n", "\n").replace("\r", "\n").strip()


def check_sums(report, issuers, movements):
    """Check that the movements of a file add up to its issuers, and these are the report's."""
    amounts = [((line.account, line.rfc), line.amount) for line in report.issuers]
    assert issuers == amounts
    by_issuer = Counter()
    for account, rfc, amount in movements:
        by_issuer[account, rfc] += amount
    assert by_issuer == dict(amounts)


@given(months())
def test_the_csv_adds_up_and_has_no_formulas(report):
    sections = csv_sections(report)
    rows = sections[fmt.MOVEMENTS]
    *issuers, total = sections[fmt.ISSUERS]

    check_sums(
        report,
        [((row[0], row[1]), int(row[2])) for row in issuers],
        [(row[0], row[1], int(row[4])) for row in rows],
    )
    assert [row[3] for row in rows] == [
        fmt.escape_formula(movement.kind) for movement in report.movements()
    ]
    known_total = report.known_total
    assert (total[0], total[2]) == ("Total", NO_DATA if known_total is None else str(known_total))
    days = [None if amount == NO_DATA else int(amount) for _, amount in sections[fmt.DAYS]]
    assert tuple(days) == report.days
    for cell in (cell for rows in sections.values() for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or CHANGE.fullmatch(cell)


@settings(max_examples=40)
@given(months())
def test_the_workbook_adds_up_and_has_only_values(report):
    workbook = workbook_of(report)
    rows = rows_of(*workbook.worksheets[3:])

    check_sums(
        report,
        [(row[:2], row[2]) for row in rows_of(workbook["Por RFC"])],
        [(row[0], row[1], row[4]) for row in rows],
    )
    assert [(row[2].date(), as_excel_reads(row[3])) for row in rows] == [
        (movement.date, plain(movement.kind)) for movement in report.movements()
    ]
    assert figures_of(workbook)["Total (timbres)"][0] == report.known_total
    assert tuple(amount for amount, _ in days_of(workbook)) == report.days
    for cell in (cell for sheet in workbook for row in sheet.iter_rows() for cell in row):
        assert cell.data_type in {"s", "n", "d"}
        assert cell.hyperlink is None


@settings(max_examples=25)
@given(months())
def test_page_and_pdf_add_up(report):
    tree, text = page_of(report), pdf_text(report)
    rows = script_rows(tree)

    assert sum(row[2] for row in rows) == report.total
    by_day = sum((Counter(dict(enumerate(row[-1], 1))) for row in rows), Counter())
    assert by_day == {day: amount for day, amount in enumerate(report.days, 1) if amount}
    figures = texts_of(tree, "//dd[@class='value']")
    confirmed = sum(line.stamps for line in report.contracts if line.status == "confirmed")
    assert (figures[0], figures[3]) == (fmt.number(report.known_total), f"{confirmed:,}")
    assert f"Timbres consumidos\n{figures[0]}\n" in text
    assert not report.issuers or f"Total\n{len(rows):,} RFC\n{report.total:,}\n" in text
    lines = set(text.splitlines())
    for issuer in report.issuers:
        assert {issuer.account, issuer.rfc, f"{issuer.amount:,}"} <= lines


def with_movement(text: str) -> Consumption:
    """Return a month whose only movement has ``text`` in place of its texts."""
    line = MovementLine(text, text, date(2026, 10, 1), text, 5)
    return replace(small_month(), movements=lambda: iter([line]))


@pytest.mark.parametrize("nasty", [*NASTY, "+1", "-1", "-5.0%", "@A1", "a=b"])
def test_an_external_text_is_a_text_in_a_spreadsheet(nasty):
    (row,) = csv_sections(with_movement(nasty))[fmt.MOVEMENTS]
    (cells,) = workbook_of(with_movement(nasty))["Movimientos"].iter_rows(min_row=2)

    mark = "'" if nasty.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) else ""
    text = mark + fmt.replace_unprintable(nasty)
    assert row == [text, text, "01/10/2026", text, "5"]
    assert not set(text) & set("\x00\x7f\u202e\u2066\ud83e")
    texts = [cells[n] for n in (0, 1, 3)]
    assert [as_excel_reads(cell.value) for cell in texts] == [plain(nasty)] * 3
    assert {cell.data_type for cell in texts if cell.value} <= {"s"}
    assert [cell.hyperlink for cell in cells] == [None] * 5


def month_of_texts(text: str) -> Consumption:
    """Return a month with ``text`` in place of every text."""
    return replace(
        with_movement(text),
        account=text,
        sources=(replace(SOURCES[0], account=text, pac=text, plan=text, problem=text),),
        issuers=(IssuerLine(text, text, 5),),
        contracts=tuple(
            replace(contract, account=text, rfc=text, id=text, status=text, requested_by=text)
            for contract in small_month().contracts
        ),
    )


@pytest.mark.parametrize("text", [*NASTY, *MARKUP])
def test_a_text_is_never_markup_of_the_page(text):
    hostile, tame = page_of(month_of_texts(text)), page_of(month_of_texts("x"))

    assert [element.tag for element in hostile.iter()] == [element.tag for element in tame.iter()]
    row = script_rows(hostile)[0]
    assert (row[1], row[-1][0]) == (fmt.replace_unprintable(text), 5)


def test_an_unknown_value_is_marked_and_never_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7)
    report = replace(small_month(), issuers=(issuer,), days=(None,) * 31, previous_total=None)

    sections, workbook = csv_sections(report), workbook_of(report)

    assert sections[fmt.ISSUERS] == [
        [RC, "EKU9003173C9", "7", "100.0%", *[NO_DATA] * 4],
        ["Total", "", "7", "100.0%", NO_DATA, NO_DATA],
    ]
    assert {row[1] for row in sections[fmt.DAYS]} == {NO_DATA}
    note = "sin dato: mes anterior, disponibles y días restantes"
    assert rows_of(workbook["Por RFC"]) == [(RC, "EKU9003173C9", 7, 1, *[None] * 4, note)]
    assert set(days_of(workbook)) == {(None, NO_DATA)}
    for label in ("Mes anterior (timbres)", "Cambio"):
        assert [label, NO_DATA] in sections[fmt.TITLE]
        assert figures_of(workbook)[label] == (None, NO_DATA)


def test_a_missing_account_is_named_with_its_problem():
    problem, report = "=El usuario está bloqueado (602)", month_with_problem()
    notice = f"Faltan las cifras de la cuenta acme-sf: {problem}"
    source = ["acme-sf", "Solución Factible", NO_DATA, "conteos diarios de Timbres", "nunca"]

    content, pages = page_content(report), pdf_pages(report)

    assert csv_sections(report)[fmt.SOURCES][1] == [*source, "", f"'{problem}"]
    summary = list(workbook_of(report)["Resumen"].iter_rows(values_only=True))
    assert (*source, None, problem) in summary
    assert content["notices"][0] == notice
    assert content["tables"]["Fuentes"][2].endswith(f" | {problem}")
    assert notice in pages[0]
    assert f"Sin cifras: {problem}" in "".join(pages[1:])


def test_a_report_of_an_empty_month():
    sections, workbook = csv_sections(empty_month()), workbook_of(empty_month())
    content = page_content(empty_month())
    # An issuer without consumption is not among those that consume most.
    text = pdf_text(replace(empty_month(), issuers=(IssuerLine(RC, "EKU9003173C9", 0),)))

    assert sections[fmt.MOVEMENTS] == rows_of(*workbook.worksheets[1:]) == []
    assert sections[fmt.ISSUERS] == [["Total", "", "0", "0.0%", NO_DATA, NO_DATA]]
    assert sections[fmt.CONTRACTS] == [[fmt.NO_CONTRACTS]]
    assert (content["notices"], content["data"]) == ([], [])
    assert "No hay movimientos en el mes." in content["notes"]
    assert "Nadie consumió timbres." in text
    assert "No se contrataron timbres en el mes." in text


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_movements_are_counted_and_not_held_in_memory(form):
    alive, most = 0, 0

    class Line:
        account, rfc, date, kind, amount = RC, "EKU9003173C9", date(2026, 10, 1), "Timbrado", 1

        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(alive, most)

        def __del__(self):
            nonlocal alive
            alive -= 1

    report = replace(small_month(), movements=lambda: (Line() for _ in range(5_000)))

    assert write_into(Pipe(), form, report) == 5_000
    assert most < 10


@pytest.mark.parametrize("form", ["csv", "xlsx", "html"])
def test_an_error_in_the_movements_is_raised(form):
    with pytest.raises(RuntimeError, match="ends here"):
        write(form, replace(small_month(), movements=failing_movements))
