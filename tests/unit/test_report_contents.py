"""The same figures and texts in each format of a report."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from openpyxl.utils.escape import unescape
from tests.support import report_readers as read
from tests.support import report_samples as sample

from timbres.domain.account_stamps import Allotment
from timbres.domain.consumption import (
    FROM_PAC,
    AccountStampsLine,
    Consumption,
    IssuerLine,
    MovementLine,
    cost_of,
    percent,
    percent_change,
)
from timbres_reports import formatting_es as fmt

RC, SF, counted = sample.RC, sample.SF, sample.counted
GOLDEN = Path(__file__).parents[1] / "golden"
MARKUP = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "]]>", "&lt;b&gt;",
    "\"'><svg onload=alert(1)>", "<!--<script>", "${alert(1)} $title", "a\u2028b\u2029c", "\x1b",
)  # fmt: skip
NO_DATA = "sin dato"
CASES = {
    "month": sample.one_account(),
    "month-priced": sample.with_prices(sample.one_account(), sf="0.955"),
    "all": sample.full_month(),
    "all-priced": sample.with_prices(sample.full_month(), rc="1.15"),
    "year": sample.year(),
    "year-priced": sample.year(with_names=True),
}


def month_of_texts(text):
    """Return a month with one movement, and with ``text`` in place of every text."""
    line = MovementLine(text, text, date(2026, 10, 1), text, 5)
    return sample.small_month(
        account=text,
        movements=lambda: iter([line]),
        sources=(replace(sample.SOURCES[0], account=text, pac=text, plan=text, problem=text),),
        issuers=(IssuerLine(text, text, 5, name=text or "x"),),
        contracts=tuple(
            replace(contract, account=text, rfc=text, id=text, status=text, requested_by=text)
            for contract in sample.CONTRACTS
        ),
    )


@pytest.mark.parametrize("name", CASES)
def test_the_workbook_and_the_csv_match_the_golden_file(name):
    report = CASES[name]
    text = read.workbook_text(report)
    if isinstance(report, Consumption):
        text += f"== CSV\n{read.write('csv', report).decode('utf-8-sig')}".replace("\r\n", "\n")

    assert text == (GOLDEN / f"consumption-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "report",
    [
        sample.busy_month(30),
        *(sample.with_prices(sample.small_month(), rc=price) for price in ("0.125", "1.0049")),
        sample.one_account(),
        sample.month_with_problem(),
        month_of_texts("¿ñ & <b>?"),
    ],
)
def test_every_format_has_the_same_rounded_figures(report):
    tree, workbook, pages = read.page_of(report), read.workbook_of(report), read.pdf_pages(report)
    heading, *rows, totals = read.table_of(tree, "Consumo por RFC")
    sheet_heading, *sheet = read.sheet_rows(workbook["Por RFC"])
    keep = [n for n, text in enumerate(sheet_heading) if text != "Razón social"]
    figures = [n for n, text in enumerate(heading) if text not in ("RFC", "Cuenta")]

    scripted = [[" ".join(text.split()) for text in row[1][1:]] for row in read.script_rows(tree)]
    assert [row[1:] for row in rows] == scripted
    for row, text in zip([*rows, totals], sheet, strict=True):
        padded = [*text, *[""] * len(sheet_heading)]
        assert [padded[keep[n]] for n in figures] == [row[n] for n in figures]
    lines = {" ".join(line.split()) for page in pages for line in page.splitlines()}
    assert {row[n] for row in [*rows, totals] for n in figures} - {""} <= lines
    key = [read.texts_of(div, "./dt | ./dd[1]") for div in tree.xpath("//*[@class='figures']/div")]
    assert [row[:2] for row in read.sheet_rows(workbook["Resumen"])[3 : 3 + len(key)]] == key
    first, labels = pages[0].splitlines(), {label for label, _ in key}
    assert [first[n : n + 2] for n, line in enumerate(first) if line in labels][: len(key)] == key
    csv_heading, *csv_lines = read.csv_rows(report)
    csv_amounts = Counter()
    for row in csv_lines:
        csv_amounts[row[2]] += int(row[csv_heading.index("Timbres")])
    assert csv_amounts == {line.rfc: line.amount for line in report.rfcs}
    sheets = [sheet for sheet in workbook if sheet.title.startswith("Movimientos")]
    assert sum(sheet.max_row - 1 for sheet in sheets) == len(csv_lines)
    cells = [cell for sheet in workbook for row in sheet.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} <= {"s", "n", "d"}
    assert not [cell for cell in cells if cell.hyperlink]


@pytest.mark.parametrize(
    ("current", "previous", "change"),
    [(1001, 2000, "-50.0"), (2001, 2000, "0.1"), (1999, 2000, "-0.1"), (9, 8, "12.5"),
     (20009, 20000, "0.0"), (20010, 20000, "0.1"), (5, 0, None), (5, None, None)],
)  # fmt: skip
def test_a_change_is_rounded_half_up(current, previous, change):
    assert percent_change(current, previous) == (change and Decimal(change))


def test_a_share_has_one_decimal_and_is_0_of_nothing():
    assert [percent(1, 3), percent(5, 5), percent(0, 0)] == [Decimal("33.3"), 100, 0]


def test_a_cost_is_rounded_half_up_and_the_total_is_the_sum_of_the_rounded_costs():
    report = sample.with_prices(sample.small_month(), rc="0.125", sf="0.125")

    assert (cost_of(1, Decimal("0.125")), cost_of(7, None)) == (Decimal("0.13"), None)
    assert (report.cost, report.without_price) == (sum(line.cost for line in report.rfcs), [])


def compared(**changes):
    """Return the month with changes to the source of acme-sf."""
    return sample.small_month(sources=(sample.SOURCES[0], replace(sample.SOURCES[1], **changes)))


def issuers(*lines):
    return sample.small_month(issuers=lines)


def unused_months():
    """Return a month without consumption, after another one."""
    return replace(sample.empty_month(), sources=(replace(sample.SOURCES[0], previous=0),))


def own_stamps(**changes):
    return sample.small_month(account_stamps=(replace(sample.ACCOUNT_STAMPS[0], **changes),))


OVER = {"available": 900, "allotment": Allotment(1214, 1), "is_over_allotted": True}
CHANGE, ALERT, OWN = "Contra septiembre", "RFC agotados o por agotarse", "Timbres de la cuenta"


@pytest.mark.parametrize(
    ("report", "label", "value", "remark", "style"),
    [
        (compared(), CHANGE, "-1.1 %", "septiembre de 2026: 2,308", ""),
        (compared(previous=None), CHANGE, "+12.5 %",
         "sin contar cuentas nuevas; septiembre de 2026: 1,256", ""),
        (compared(previous=None, source=FROM_PAC), CHANGE, "+12.5 %",
         "sin contar cuentas sin ese mes; septiembre de 2026: 1,256", ""),
        (unused_months(), CHANGE, NO_DATA, "septiembre de 2026: 0", ""),
        (issuers(IssuerLine(RC, "A", 1)), ALERT, NO_DATA,
         "el PAC no informa los disponibles por RFC", ""),
        (issuers(counted("A", 1, 1, 9, "30.0")), ALERT, "0", "0 agotados, 0 con menos", ""),
        (issuers(counted("A", 1, 1, 9, "29.9")), ALERT, "1", "0 agotados, 1 con menos", "soon"),
        (issuers(counted("A", 1, 1, 9, "6.9")), ALERT, "1", "0 agotados, 1 con menos", "urgent"),
        (issuers(counted("A", 1, 1, 0, "0.0"), IssuerLine(RC, "A", 1)), ALERT, "1",
         "1 agotado, 0 con menos de 30 días", "urgent"),
        (own_stamps(), OWN, "34.6 días", "acme-sf: 8,950 disponibles", ""),
        (own_stamps(days_left=Decimal("12.0")), OWN, "12.0 días", "acme-sf", "soon"),
        (own_stamps(days_left=Decimal("3.0")), OWN, "3.0 días", "acme-sf", "urgent"),
        (own_stamps(available=0), OWN, "agotados", "acme-sf", "urgent"),
        (own_stamps(**OVER), OWN, "34.6 días", "acme-sf: 900 disponibles", "soon"),
        (sample.small_month(account_stamps=(AccountStampsLine(SF),)), OWN, NO_DATA, "acme-sf", ""),
    ],
)  # fmt: skip
def test_a_key_figure_has_its_remark_and_its_severity(report, label, value, remark, style):
    (figure,) = (div for div in read.page_of(report).xpath("//dl/div") if div[0].text == label)

    text, more = read.texts_of(figure, "./dd")
    assert (text, more[: len(remark)]) == (value, remark)
    assert figure.get("class").split()[1:] == ([style] if style else [])
    assert [label, value] in (
        row[:2] for row in read.sheet_rows(read.workbook_of(report)["Resumen"])
    )


OVER_ALLOTMENT = (
    "Los emisores tienen al menos 1,214 timbres contratados sin usar; la cuenta acme-sf tiene 900 "
    "disponibles al 01/11 05:00. Falta el conteo de 1 emisor."
)
UNCOUNTED = "Cuenta acme-sf: no aparecen 2 emisores, que no tienen ningún conteo en el mes."
GAP = (
    "Cuenta acme-sf: falta el día 4; su consumo está en el último día anterior que tiene cifra, "
    "si lo hay."
)


@pytest.mark.parametrize(
    ("report", "notice"),
    [
        (own_stamps(**OVER), OVER_ALLOTMENT),
        (compared(missing_days=(date(2026, 10, 4),)), GAP),
        (compared(uncounted=2), UNCOUNTED),
    ],
)
def test_a_gap_or_an_over_allotment_is_a_notice(report, notice):
    assert notice in read.texts_of(read.page_of(report), "//*[@class='notices']/li")


def test_an_issuer_without_a_contract_does_not_run_out():
    tree = read.page_of(
        issuers(IssuerLine(SF, "BBB010101AAA", 30, previous=12, has_no_contract=True))
    )

    cells = ["30", "100.0 %", "12", "+150.0 %", "sin contrato", NO_DATA, "sin contrato"]
    assert read.table_of(tree, "Consumo por RFC")[1][2:] == cells
    assert not tree.xpath("//table[@aria-label='Se agotan primero']")


def plain(value):
    """Return a printable text with normalized line ends and without outer blanks."""
    return fmt.replace_unprintable(value).replace("\r\n", "\n").replace("\r", "\n").strip()


@pytest.mark.parametrize("text", [*sample.NASTY, *MARKUP, "+1", "-1", "-5.0%", "@A1", "a=b"])
def test_an_external_text_is_neither_a_formula_nor_markup(text):
    report = replace(month_of_texts(text), account="all")
    page, tame = read.page_of(month_of_texts(text)), read.page_of(month_of_texts("x"))
    (cells,) = read.workbook_of(report)["Movimientos"].iter_rows(min_row=2)
    row = read.csv_rows(report)[1]

    mark = "'" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) else ""
    safe = mark + fmt.replace_unprintable(text)
    assert [row[n] for n in (1, 2, -2)] == [safe] * 3
    assert not set(safe) & set("\x00\x7f\u202e\u2066\ud83e")
    # openpyxl keeps Excel's escapes.
    texts = [plain(unescape(cells[n].value or "")) for n in (0, 1, 3)]
    assert texts == [plain(text)] * 3
    assert {cell.data_type for cell in cells if isinstance(cell.value, str)} <= {"s"}
    assert [element.tag for element in page.iter()] == [element.tag for element in tame.iter()]
    data = read.script_rows(page)[0]
    assert (data[1][0], data[7][0]) == (fmt.replace_unprintable(text), 5)


def test_an_unknown_value_is_marked_and_never_0():
    report = sample.small_month(
        issuers=(IssuerLine(RC, "EKU9003173C9", 7),),
        sources=tuple(replace(source, previous=None) for source in sample.SOURCES),
        days=(None,) * 31,
    )

    tree = read.page_of(report)

    _, row, totals = read.table_of(tree, "Consumo por RFC")
    assert row[2:] == ["7", "100.0 %", *[NO_DATA] * 5]
    assert totals[4] == totals[5] == NO_DATA
    assert {row[1] for row in read.table_of(tree, "Consumo por día")[1:]} == {NO_DATA}
    assert read.sheet_rows(read.workbook_of(report)["Resumen"])[4][:2] == [CHANGE, NO_DATA]


def test_a_month_without_any_figures_has_no_0():
    report = sample.month_without_figures()
    tree, sheets = read.page_of(report), read.workbook_of(report)

    figures = [read.texts_of(div, "./dd")[0] for div in tree.xpath("//dl/div")]
    assert figures == [NO_DATA] * 4
    assert "0" not in {text for row in read.sheet_rows(sheets["Resumen"]) for text in row}
    assert read.sheet_rows(sheets["Por RFC"])[-1][2:6] == [NO_DATA] * 4


def test_equal_rfcs_are_sorted_and_new_only_with_consumption():
    tree = read.page_of(
        issuers(*(IssuerLine(SF, f"{rfc}010101AAA", n, previous=0)
                  for rfc, n in (("BBB", 0), ("AAA", 0), ("CCC", 5))))
    )  # fmt: skip

    rows = read.table_of(tree, "Consumo por RFC")[1:4]
    assert [(row[0][:3], row[5]) for row in rows] == [
        ("CCC", "nuevo"), ("AAA", NO_DATA), ("BBB", NO_DATA),
    ]  # fmt: skip


def test_a_missing_account_is_named_with_its_problem():
    problem, report = "=El usuario está bloqueado (602)", sample.month_with_problem()
    notice = f"Faltan las cifras de la cuenta acme-sf: {problem}"
    tree, pages = read.page_of(report), read.pdf_pages(report)

    assert read.texts_of(tree, "//*[@class='notices']/li")[0] == notice
    assert notice in read.workbook_text(report)
    assert notice in pages[0]
    assert f"Sin cifras: {problem}" in "".join(pages[1:])
    assert read.table_of(tree, "Cuentas y fuentes")[2][2] == NO_DATA


def test_a_report_of_an_empty_month():
    # An issuer without consumption is not among those that consume most.
    report = sample.empty_month(IssuerLine(RC, "EKU9003173C9", 0))
    tree, workbook = read.page_of(sample.empty_month()), read.workbook_of(sample.empty_month())
    pdf = "".join(read.pdf_pages(report))

    assert (len(read.csv_rows(report)), read.script_rows(tree)) == (1, [])
    assert workbook.sheetnames == ["Resumen", "Por RFC"]
    assert "No hay movimientos en el mes." in read.texts_of(tree, "//p[@class='note']")
    assert "Ningún RFC consumió timbres." in pdf
    assert "No se contrataron timbres en el mes." in pdf


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_movements_are_counted_and_not_held_in_memory(form):
    class Line:
        account, rfc = RC, "EKU9003173C9"
        date, kind, amount = date(2026, 10, 1), "Timbrado", 1

    alive, most = weakref.WeakSet(), 0

    def movements():
        nonlocal most
        for _ in range(5_000):
            alive.add(line := Line())
            most = max(most, len(alive))
            yield line

    assert read.write_into(read.Pipe(), form, sample.small_month(movements=movements)) == 5_000
    assert most < 10


@pytest.mark.parametrize("form", ["csv", "xlsx", "html"])
def test_an_error_in_the_movements_is_raised(form):
    with pytest.raises(RuntimeError, match="ends here"):
        read.write(form, sample.small_month(movements=sample.failing_movements))
