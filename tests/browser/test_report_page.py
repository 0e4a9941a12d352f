"""The HTML report in a browser: mouse, keyboard and print."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import pytest
from pypdf import PdfReader
from tests.support.report_samples import NASTY, busy_month, small_month

from timbres.domain.consumption import Consumption, IssuerLine
from timbres_reports import formatting_es, html_writer

ISSUER_COUNT = 10_000
PAGE_SIZE = 50
RFC, AMOUNT, DAYS_LEFT = 1, 2, 7


def page_of(report: Consumption) -> bytes:
    out = io.BytesIO()
    html_writer.write(report, out)
    return out.getvalue()


@cache
def large_page() -> tuple[Consumption, bytes]:
    report = busy_month(ISSUER_COUNT)
    return report, page_of(report)


def column(page, index: int) -> list[str]:
    cells = page.locator(f"#emisores tbody tr > :nth-child({index + 1})")
    return cells.all_inner_texts()


def rows(page) -> int:
    return page.locator("#emisores tbody tr").count()


def wait_for_rows(page, count: int) -> None:
    """Wait for a number of rows, because the browser reports a change of media late."""
    page.wait_for_function(
        "count => document.querySelectorAll('#emisores tbody tr').length === count", arg=count
    )


def heading_button(page, name: str):
    return page.locator("#emisores thead").get_by_role("button", name=name, exact=True)


def sorted_by(page) -> list[str | None]:
    return [
        heading.get_attribute("aria-sort") for heading in page.locator("#emisores thead th").all()
    ]


def test_the_script_keeps_the_rows_of_the_file(open_page):
    report = busy_month()
    served = open_page(page_of(report), java_script_enabled=False)
    scripted = open_page(page_of(report))
    for index in range(8):
        assert column(scripted, index) == column(served, index)
    assert heading_button(scripted, "RFC").count() == 1
    assert heading_button(served, "RFC").count() == 0
    assert not served.locator("#buscar").is_visible()


def test_a_click_sorts_and_a_second_one_reverses(open_page):
    page = open_page(page_of(busy_month()))
    assert sorted_by(page)[AMOUNT] == "descending"
    assert sum(state is not None for state in sorted_by(page)) == 1
    heading_button(page, "RFC").click()
    ascending = column(page, RFC)
    assert sorted_by(page)[RFC] == "ascending"
    assert ascending == page.evaluate(
        "rfcs => rfcs.sort(new Intl.Collator('es-MX').compare)", ascending
    )
    heading_button(page, "RFC").click()
    assert sorted_by(page)[RFC] == "descending"
    assert column(page, RFC) == ascending[::-1]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_sort(open_page, key):
    page = open_page(page_of(busy_month()))
    page.locator("#buscar").focus()
    for _ in range(1 + 1 + AMOUNT):  # the frame that scrolls, then the columns
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Timbres"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press(key)
    amounts = [int(amount.replace(",", "")) for amount in column(page, AMOUNT)]
    assert amounts == sorted(amounts)
    assert page.evaluate("document.activeElement.textContent") == "Timbres"


@pytest.mark.parametrize("clicks", [1, 2])
def test_unknown_values_are_sorted_last(open_page, clicks):
    page = open_page(page_of(busy_month()))
    for _ in range(clicks):
        heading_button(page, "Días restantes").click()
    texts = column(page, DAYS_LEFT)
    known = [float(days.replace(",", "")) for days in texts if days != formatting_es.NO_DATA]
    assert known == sorted(known, reverse=clicks == 2)
    assert known
    assert texts[len(known) :] == [formatting_es.NO_DATA] * (len(texts) - len(known))


def test_ten_thousand_issuers_are_paginated(open_page):
    report, content = large_page()
    page = open_page(content)
    assert rows(page) == PAGE_SIZE
    assert page.locator("#estado").inner_text() == f"10,000 RFC, {report.total:,} timbres"
    heading_button(page, "Timbres").click()
    assert column(page, AMOUNT) == [
        f"{issuer.amount:,}"
        for issuer in sorted(report.issuers, key=lambda issuer: issuer.amount)[:PAGE_SIZE]
    ]
    page.get_by_role("button", name="Siguiente").click()
    assert page.locator("#lugar").inner_text() == "Página 2 de 200"
    assert rows(page) == PAGE_SIZE
    assert page.locator("*").count() < 5_000


def test_a_search_finds_rfcs_and_accounts_and_adds_them_up(open_page):
    report, content = large_page()
    page = open_page(content)
    page.get_by_role("button", name="Siguiente").click()
    target = report.issuers[4_321]
    page.locator("#buscar").fill(f" {target.rfc.lower()} ")
    assert column(page, RFC) == [target.rfc]
    assert not page.locator(".pager").is_visible()
    page.locator("#buscar").fill("acme-retail")
    matches = [issuer for issuer in report.issuers if issuer.account == "acme-retail-rc"]
    amount = sum(issuer.amount for issuer in matches)
    assert page.locator("#estado").inner_text() == f"2,500 de 10,000 RFC, {amount:,} timbres"
    assert column(page, RFC) == [issuer.rfc for issuer in matches[:PAGE_SIZE]]
    page.locator("#buscar").fill("nobody")
    assert rows(page) == 0
    assert page.locator("#estado").inner_text() == "0 de 10,000 RFC, 0 timbres"
    page.locator("#buscar").fill("")
    assert rows(page) == PAGE_SIZE


def test_an_rfc_expands_to_its_days(open_page):
    page = open_page(page_of(small_month()))
    button = page.get_by_role("button", name="A&D061009TY8")
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    days = page.locator("#emisores .days li").all_inner_texts()
    assert days == ["01/10640", "02/10702", "15/103"]
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert rows(page) == len(small_month().issuers)


def test_the_disabled_page_button_keeps_the_focus(open_page):
    page = open_page(large_page()[1])
    back = page.get_by_role("button", name="Anterior", exact=True)
    assert back.get_attribute("aria-disabled") == "true"
    back.focus()
    page.keyboard.press("Enter")
    assert page.locator("#lugar").inner_text() == "Página 1 de 200"
    assert page.evaluate("document.activeElement.textContent") == "Anterior"


def test_the_first_tab_skips_to_the_content(open_page):
    page = open_page(page_of(small_month()))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Ir al contenido"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "contenido"


def test_hostile_texts_are_not_markup(open_page):
    texts = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", *NASTY]
    issuers = tuple(IssuerLine(text, text, 9, 3, 3, 3.0) for text in texts)
    page = open_page(page_of(replace(small_month(), issuers=issuers)))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    buttons = page.locator("#emisores tbody th button")
    assert buttons.evaluate_all("all => all.map(each => each.textContent)") == [
        formatting_es.replace_unprintable(text) for text in texts
    ]
    buttons.first.click()
    page.locator("#buscar").fill("<img")
    assert rows(page) == 1
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_axe_finds_nothing_serious(open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(
        page_of(busy_month(issuers=12)),
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
    )
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#emisores tbody button").first.click()
    violations = axe.Axe().run(page).response["violations"]
    assert [
        (violation["id"], [node["html"] for node in violation["nodes"][:3]])
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
    ] == []


@pytest.mark.parametrize("width", [1280, 768, 320])
def test_the_page_never_scrolls_sideways(open_page, width):
    page = open_page(page_of(busy_month()), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_has_all_rows_and_no_controls(open_page):
    report = busy_month(300)
    page = open_page(page_of(report))
    page.emulate_media(media="print")
    wait_for_rows(page, 300)
    for hidden in ("#buscar", ".pager", "summary", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    page.emulate_media(media="screen")
    wait_for_rows(page, PAGE_SIZE)
    page.emulate_media(media="null")
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    text = "\n".join(printed_page.extract_text() for printed_page in printed.pages)
    assert all(issuer.rfc in text for issuer in report.issuers)
    assert (printed.pages[0].mediabox.width, printed.pages[0].mediabox.height) == (612, 792)
    has_heading = [
        printed_page.extract_text().startswith("Cuenta RFC Timbres")
        for printed_page in printed.pages
    ]
    assert sum(has_heading) > 5
    assert rows(page) == PAGE_SIZE


def test_print_has_a_maximum_number_of_rows(open_page):
    page = open_page(large_page()[1])
    page.emulate_media(media="print")
    wait_for_rows(page, 2_000)
    assert page.locator("#impresos").is_visible()
    page.emulate_media(media="screen")
    wait_for_rows(page, PAGE_SIZE)
    assert not page.locator("#impresos").is_visible()
