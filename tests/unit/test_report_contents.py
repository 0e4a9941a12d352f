"""The same figures and texts in each format of a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from openpyxl.utils.escape import unescape
from tests.support.report_readers import (
    Pipe,
    csv_rows,
    key_figures,
    page_of,
    pdf_pages,
    pdf_text,
    script_rows,
    sheet_rows,
    table_of,
    texts_of,
    workbook_of,
    workbook_text,
    write,
    write_into,
)
from tests.support.report_samples import (
    NASTY,
    RC,
    SF,
    SOURCES,
    counted,
    empty_month,
    failing_movements,
    full_month,
    month_with_problem,
    months,
    one_account,
    small_month,
    with_prices,
    year,
)

from timbres.domain.account_stamps import Allotment
from timbres.domain.consumption import (
    FROM_PAC,
    AccountStampsLine,
    Consumption,
    IssuerLine,
    MovementLine,
    cost_of,
    percent_change,
)
from timbres_reports import formatting_es as fmt

GOLDEN = Path(__file__).parents[1] / "golden"
MARKUP = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "]]>", "&lt;b&gt;",
    "\"'><svg onload=alert(1)>", "<!--<script>", "${alert(1)} $title", "a\u2028b\u2029c", "\x1b",
)  # fmt: skip
NO_DATA = "sin dato"
CASES = {
    "month": one_account(),
    "month-priced": with_prices(one_account(), sf="0.955"),
    "all": full_month(),
    "all-priced": with_prices(full_month(), rc="1.15"),
    "year": year(),
    "year-priced": year(with_names=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_workbook_and_the_csv_match_the_golden_file(name):
    report = CASES[name]
    text = workbook_text(report)
    if isinstance(report, Consumption):
        text += f"== CSV\n{write('csv', report).decode('utf-8-sig')}".replace("\r\n", "\n")

    assert text == (GOLDEN / f"consumption-{name}.txt").read_text(encoding="utf-8")


@settings(max_examples=40)
@given(months().filter(lambda report: report.rfcs))
def test_every_format_has_the_same_rounded_figures(report):
    tree, workbook, pdf = page_of(report), workbook_of(report), pdf_text(report)
    heading, *rows, totals = table_of(tree, "Consumo por RFC")
    sheet_heading, *sheet = sheet_rows(workbook["Por RFC"])
    names = "Razón social" in sheet_heading
    keep = [n for n, text in enumerate(sheet_heading) if text != "Razón social"]
    figures = [n for n, text in enumerate(heading) if text not in ("RFC", "Cuenta")]

    scripted = [row[1] for row in script_rows(tree)]
    assert [row[1:] for row in rows] == [[plain_line(text) for text in row[1:]] for row in scripted]
    for row, text in zip([*rows, totals], sheet, strict=True):
        padded = [*text, *[""] * len(sheet_heading)]
        assert [padded[keep[n]] for n in figures] == [row[n] for n in figures]
    lines = {" ".join(line.split()) for line in pdf.splitlines()}
    assert {row[n] for row in [*rows, totals] for n in figures} - {""} <= lines
    by_format = key_figures(report)
    assert by_format["page"] == by_format["xlsx"] == by_format["pdf"]
    csv_amounts, kinds = Counter(), 5 if names else 4
    for row in csv_rows(report)[1:]:
        csv_amounts[row[2]] += int(row[kinds])
    assert csv_amounts == {line.rfc: line.amount for line in report.rfcs}
    sheets = [sheet for sheet in workbook if sheet.title.startswith("Movimientos")]
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert sum(sheet.max_row - 1 for sheet in sheets) == len(csv_rows(report)) - 1
    assert {cell.data_type for cell in cells} <= {"s", "n", "d"}
    assert not [cell for cell in cells if cell.hyperlink]


@pytest.mark.parametrize(
    ("current", "previous", "change"),
    [(1001, 2000, "-50.0"), (2001, 2000, "0.1"), (1999, 2000, "-0.1"), (9, 8, "12.5"),
     (20009, 20000, "0.0"), (20010, 20000, "0.1"), (5, 0, None), (5, None, None)],
)  # fmt: skip
def test_a_change_is_rounded_half_up(current, previous, change):
    assert percent_change(current, previous) == (change and Decimal(change))


def test_a_cost_is_rounded_half_up_and_the_total_is_the_sum_of_the_rounded_costs():
    assert (cost_of(1, Decimal("0.125")), cost_of(7, None)) == (Decimal("0.13"), None)
    report = with_prices(small_month(), rc="0.125", sf="0.125")

    assert report.cost == sum(line.cost for line in report.rfcs)
    assert report.without_price == []


def test_an_rfc_is_listed_once_with_the_sum_of_its_accounts():
    (line, *_) = small_month().rfcs

    assert (line.rfc, line.amount, line.previous, line.available) == (
        "A&D061009TY8",
        1425,
        1200,
        20,
    )
    # The account without a previous month is not compared.
    assert (line.change, line.available, line.days_left) == (Decimal("12.1"), 20, Decimal("6.5"))
    assert [part.account for part in line.parts] == [RC, SF]
    assert len(small_month().rfcs) == 5


@pytest.mark.parametrize(
    ("changes", "text", "remark"),
    [
        ({}, "-1.1 %", "septiembre de 2026: 2,308"),
        ({"previous": None}, "+12.5 %", "sin contar cuentas nuevas; septiembre de 2026: 1,256"),
        ({"previous": None, "source": FROM_PAC}, "+12.5 %",
         "sin contar cuentas sin ese mes; septiembre de 2026: 1,256"),
    ],
)  # fmt: skip
def test_accounts_without_a_previous_month_are_not_compared(changes, text, remark):
    sources = (SOURCES[0], replace(SOURCES[1], **changes))
    figures = page_of(replace(small_month(), sources=sources)).xpath("//dl/div[2]")

    assert texts_of(figures[0], "./dd") == [text, remark]


@pytest.mark.parametrize(
    ("issuers", "value", "remark", "style"),
    [
        ([IssuerLine(RC, "A", 1)], NO_DATA, "el PAC no informa los disponibles por RFC", ""),
        ([counted("A", 1, 1, 9, "30.0")], "0", "0 agotados, 0 con menos de 30 días", ""),
        ([counted("A", 1, 1, 9, "29.9")], "1", "0 agotados, 1 con menos de 30 días", "soon"),
        ([counted("A", 1, 1, 9, "6.9")], "1", "0 agotados, 1 con menos de 30 días", "urgent"),
        ([counted("A", 1, 1, 0, "0.0"), IssuerLine(RC, "A", 1)], "1",
         "1 agotado, 0 con menos de 30 días", "urgent"),
    ],
)  # fmt: skip
def test_the_alert_is_a_key_figure(issuers, value, remark, style):
    tree = page_of(replace(small_month(), issuers=tuple(issuers)))
    (figure,) = (div for div in tree.xpath("//dl/div") if "agotarse" in div[0].text)

    assert texts_of(figure, "./dd") == [value, remark]
    assert style in figure.get("class").split() or not style


def account_stamps(**changes) -> Consumption:
    return replace(
        small_month(), account_stamps=(replace(small_month().account_stamps[0], **changes),)
    )


AT_LEAST = "Los emisores tienen al menos 1,214 timbres contratados sin usar; la cuenta acme-sf"
AT_LEAST += " tiene 900 disponibles al 01/11 05:00. Falta el conteo de 1 emisor."


@pytest.mark.parametrize(
    ("report", "value", "style", "notice"),
    [
        (account_stamps(), "34.6 días", "", None),
        (account_stamps(days_left=Decimal("12.0")), "12.0 días", "soon", None),
        (account_stamps(days_left=Decimal("3.0")), "3.0 días", "urgent", None),
        (account_stamps(available=0), "agotados", "urgent", None),
        (account_stamps(available=900, allotment=Allotment(1214, 1), is_over_allotted=True),
         "34.6 días", "soon", AT_LEAST),
        (replace(small_month(), account_stamps=(AccountStampsLine(SF),)), NO_DATA, "", None),
    ],
)  # fmt: skip
def test_the_stamps_of_the_account_are_a_key_figure(report, value, style, notice):
    tree = page_of(report)
    (figure,) = (div for div in tree.xpath("//dl/div") if div[0].text == "Timbres de la cuenta")

    assert texts_of(figure, "./dd[1]") == [value]
    assert style in figure.get("class").split()[1:] or not style
    assert (notice in texts_of(tree, "//*[@class='notices']/li")) is (notice is not None)
    assert {text[1] for text in key_figures(report)["xlsx"]} >= {value}


def test_figures_without_a_price_a_name_or_own_stamps_are_left_out():
    report = replace(small_month(), account_stamps=())

    for text in (page_of(report).text_content(), pdf_text(report), workbook_text(report)):
        assert "Costo" not in text
        assert "Razón social" not in text
        assert "Timbres de la cuenta" not in text


def test_an_issuer_without_a_contract_does_not_run_out():
    issuer = IssuerLine(SF, "BBB010101AAA", 30, previous=12, has_no_contract=True)
    tree = page_of(replace(small_month(), issuers=(issuer,)))

    cells = ["30", "100.0 %", "12", "+150.0 %", "sin contrato", NO_DATA, "sin contrato"]
    assert table_of(tree, "Consumo por RFC")[1][2:] == cells
    assert not tree.xpath("//table[@aria-label='Se agotan primero']")


def as_excel_reads(value: str | None) -> str:
    """Return a cell's text without Excel's escapes, which openpyxl keeps."""
    return plain(unescape(value or ""))


def plain(value: str) -> str:
    """Return a printable text with normalized line ends and without outer blanks."""
    return fmt.replace_unprintable(value).replace("\r\n", "\n").replace("\r", "\n").strip()


def plain_line(text: str) -> str:
    return " ".join(text.split())


def with_movement(text: str) -> Consumption:
    """Return a month whose only movement has ``text`` in place of its texts."""
    line = MovementLine(text, text, date(2026, 10, 1), text, 5)
    return replace(small_month(), movements=lambda: iter([line]))


@pytest.mark.parametrize("nasty", [*NASTY, "+1", "-1", "-5.0%", "@A1", "a=b"])
def test_an_external_text_is_a_text_in_a_spreadsheet(nasty):
    row = csv_rows(with_movement(nasty))[1]
    (cells,) = workbook_of(with_movement(nasty))["Movimientos"].iter_rows(min_row=2)

    mark = "'" if nasty.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) else ""
    text = mark + fmt.replace_unprintable(nasty)
    assert row == ["2026-10-01", text, text, text, "5"]
    assert not set(text) & set("\x00\x7f\u202e\u2066\ud83e")
    texts = [cells[n] for n in (0, 1, 3)]
    assert [as_excel_reads(cell.value) for cell in texts] == [plain(nasty)] * 3
    assert {cell.data_type for cell in texts if cell.value} <= {"s"}


def month_of_texts(text: str) -> Consumption:
    """Return a month with ``text`` in place of every text."""
    return replace(
        with_movement(text),
        account=text,
        sources=(replace(SOURCES[0], account=text, pac=text, plan=text, problem=text),),
        issuers=(IssuerLine(text, text, 5, name=text or "x"),),
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
    assert (row[1][0], row[7][0]) == (fmt.replace_unprintable(text), 5)


def test_an_unknown_value_is_marked_and_never_0():
    issuers = (IssuerLine(RC, "EKU9003173C9", 7),)
    sources = tuple(replace(source, previous=None) for source in SOURCES)
    report = replace(small_month(), issuers=issuers, sources=sources, days=(None,) * 31)

    tree = page_of(report)

    _, row, totals = table_of(tree, "Consumo por RFC")
    assert row[2:] == ["7", "100.0 %", *[NO_DATA] * 5]
    assert totals[4] == totals[5] == NO_DATA
    assert {row[1] for row in table_of(tree, "Consumo por día")[1:]} == {NO_DATA}
    assert key_figures(report)["xlsx"][1] == ["Contra septiembre", NO_DATA]


def test_a_missing_account_is_named_with_its_problem():
    problem, report = "=El usuario está bloqueado (602)", month_with_problem()
    notice = f"Faltan las cifras de la cuenta acme-sf: {problem}"
    tree, pages = page_of(report), pdf_pages(report)

    assert texts_of(tree, "//*[@class='notices']/li")[0] == notice
    assert notice in workbook_text(report)
    assert notice in pages[0]
    assert f"Sin cifras: {problem}" in "".join(pages[1:])
    assert table_of(tree, "Cuentas y fuentes")[2][2] == NO_DATA


def test_a_report_of_an_empty_month():
    tree = page_of(empty_month())
    # An issuer without consumption is not among those that consume most.
    text = pdf_text(replace(empty_month(), issuers=(IssuerLine(RC, "EKU9003173C9", 0),)))

    assert (len(csv_rows(empty_month())), script_rows(tree)) == (1, [])
    assert workbook_of(empty_month()).sheetnames == ["Resumen", "Por RFC"]
    assert sheet_rows(workbook_of(empty_month())["Por RFC"])[1][:2] == ["Total: 0 RFC", "0"]
    assert "No hay movimientos en el mes." in texts_of(tree, "//p[@class='note']")
    assert "Ningún RFC consumió timbres." in text
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
