"""The HTML report in a browser: mouse, keyboard and print; and the error pages of links."""

import io
import re
from decimal import Decimal
from functools import cache

import pytest
from pypdf import PdfReader
from tests.support import report_readers as read
from tests.support import report_samples as sample

from timbres.domain.consumption import IssuerLine
from timbres.handlers import download_pages
from timbres_reports import formatting_es

PAGE_SIZE = 50
RFC, AMOUNT, CHANGE, DAYS_LEFT, COST = 0, 2, 5, 8, 9


@cache
def large_page():
    report = sample.busy_month(2_100)
    return report, read.write("html", report)


@cache
def busy_page():
    return read.write("html", sample.busy_month())


def column(page, index):
    cells = page.locator(f"#emisores tbody tr > :nth-child({index + 1})").all_inner_texts()
    # A name is below its RFC.
    return [text.split("\n")[0] for text in cells]


def total_row(page):
    return page.locator("#emisores tfoot td").all_inner_texts()


def wait_for_rows(page, count):
    """Wait for a number of rows, because the browser reports a change of media late."""
    page.wait_for_function(
        "count => document.querySelectorAll('#emisores tbody tr').length === count", arg=count
    )


def heading_button(page, name):
    return page.locator("#emisores thead").get_by_role("button", name=name, exact=True)


def sorted_by(page):
    headings = page.locator("#emisores thead th").all()
    return [heading.get_attribute("aria-sort") for heading in headings]


def focused_text(page):
    return page.evaluate("document.activeElement.textContent")


def test_the_script_keeps_the_rows_of_the_file(open_page):
    served = open_page(busy_page(), java_script_enabled=False)
    scripted = open_page(busy_page())

    assert [column(scripted, n) for n in range(9)] == [column(served, n) for n in range(9)]
    assert [heading_button(page, "RFC").count() for page in (scripted, served)] == [1, 0]
    assert not served.locator("#buscar").is_visible()


def test_a_click_sorts_and_a_second_one_reverses_and_unknown_values_are_last(open_page):
    page = open_page(busy_page())
    states = sorted_by(page)
    assert (states.pop(AMOUNT), set(states)) == ("descending", {None})

    heading_button(page, "RFC").click()
    ascending = column(page, RFC)
    order = "rfcs => rfcs.sort(new Intl.Collator('es-MX').compare)"
    assert (sorted_by(page)[RFC], ascending) == ("ascending", page.evaluate(order, ascending))
    heading_button(page, "RFC").click()
    assert (sorted_by(page)[RFC], column(page, RFC)) == ("descending", ascending[::-1])

    for is_second in (False, True):
        heading_button(page, "Días restantes").click()
        texts = column(page, DAYS_LEFT)
        known = [float(days.replace(",", "")) for days in texts if days != formatting_es.NO_DATA]
        assert 0 < len(known) < len(texts)
        assert known == sorted(known, reverse=is_second)
        assert set(texts[len(known) :]) == {formatting_es.NO_DATA}


def test_keys_skip_to_the_content_and_sort(open_page):
    page = open_page(busy_page())
    page.keyboard.press("Tab")
    assert focused_text(page) == "Ir al contenido"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "contenido"
    page.locator("#buscar").focus()
    for _ in range(1 + 1 + 1 + AMOUNT):  # the filter, the frame that scrolls, then the columns
        page.keyboard.press("Tab")
    assert focused_text(page) == "Timbres"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    for key, is_descending in (("Enter", False), ("Space", True)):
        page.keyboard.press(key)

        amounts = [int(amount.replace(",", "")) for amount in column(page, AMOUNT)]
        assert amounts == sorted(amounts, reverse=is_descending)
        assert focused_text(page) == "Timbres"


def test_many_issuers_are_paginated_and_found_with_their_sums(open_page):
    report, content = large_page()
    page = open_page(content)
    search, status, place = (page.locator(f"#{name}") for name in ("buscar", "estado", "lugar"))
    wait_for_rows(page, PAGE_SIZE)
    assert status.inner_text() == f"2,100 RFC, {report.total:,} timbres"

    # The disabled button keeps the focus.
    back = page.get_by_role("button", name="Anterior", exact=True)
    assert back.get_attribute("aria-disabled") == "true"
    back.focus()
    page.keyboard.press("Enter")
    assert (focused_text(page), place.inner_text()) == ("Anterior", "Página 1 de 42")
    heading_button(page, "Timbres").click()
    least = sorted(issuer.amount for issuer in report.issuers)[:PAGE_SIZE]
    assert column(page, AMOUNT) == [f"{amount:,}" for amount in least]
    heading_button(page, "Timbres").click()
    page.get_by_role("button", name="Siguiente").click()
    assert place.inner_text() == "Página 2 de 42"
    assert page.locator("*").count() < 5_000

    target = report.rfcs[1_234]
    search.fill(f" {target.rfc.lower()} ")
    assert column(page, RFC) == [target.rfc]
    assert not page.locator(".pager").is_visible()
    search.fill("acme-retail")
    matches = [line for line in report.rfcs if "acme-retail-rc" in line.account]
    count, amount = f"{len(matches):,}", sum(line.amount for line in matches)
    assert status.inner_text() == f"{count} de 2,100 RFC, {amount:,} timbres"
    assert column(page, RFC) == [line.rfc for line in matches[:PAGE_SIZE]]
    assert total_row(page)[RFC::AMOUNT][:2] == [f"Filtrados: {count} RFC", f"{amount:,}"]
    search.fill("nobody")
    assert (column(page, RFC), status.inner_text()) == ([], "0 de 2,100 RFC, 0 timbres")


def test_a_filter_shows_alerts_and_the_totals_are_those_of_its_rows(open_page):
    report = sample.with_prices(sample.small_month(), rc="1.15", sf="0.955")
    page = open_page(read.write("html", report))
    every = total_row(page)
    note = page.locator("#filtrado")

    alerts = (["A&D061009TY8", "NUE200229AB3"], "1,429", "+12.0 %", "$1,626.97")
    exhausted = (["NUE200229AB3"], "4", "+0.0 %", "$3.82")
    for value, (rfcs, *figures) in (("0", exhausted), ("7", alerts), ("30", alerts)):
        page.locator("#filtro").select_option(value)
        assert column(page, RFC) == rfcs
        assert [total_row(page)[n] for n in (AMOUNT, CHANGE, COST)] == figures
    assert note.inner_text() == (
        "Tabla filtrada (menos de 30 días): 2 de 5 RFC. Los totales son los de estos RFC."
    )
    page.emulate_media(media="print")
    assert note.is_visible()
    page.emulate_media(media="screen")
    page.locator("#filtro").select_option("")
    page.locator("#buscar").fill("ñandú")
    assert column(page, RFC) == ["ÑAN840101AB1"]
    page.locator("#buscar").fill("")
    assert (total_row(page), note.is_visible()) == (every, False)


def test_a_phone_shows_rfcs_and_stamps_without_scrolling(open_page):
    page = open_page(busy_page(), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for index in (RFC, AMOUNT, DAYS_LEFT):
        cell = page.locator(f"#emisores tbody tr:first-child > :nth-child({index + 1})")
        box = cell.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    assert not page.locator("#emisores tbody .c-share").first.is_visible()
    page.locator("#emisores tbody button").first.click()

    assert "% del total" in page.locator("#emisores .phone").inner_text()


def test_an_rfc_expands_to_its_days(open_page):
    page = open_page(read.write("html", sample.small_month()))
    button = page.get_by_role("button", name="A&D061009TY8")

    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    days = page.locator("#emisores .days li").all_inner_texts()
    assert days == ["01/10640", "02/10702", "15/1083"]
    first, second = page.locator("#emisores .details:not(.phone)").all_inner_texts()
    assert ("acme-rc" in first, "1,345" in first, "acme-rc" in second) == (True, True, False)
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    wait_for_rows(page, len(sample.small_month().rfcs))


def test_hostile_texts_are_not_markup(open_page):
    texts = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", *sample.NASTY]
    issuers = tuple(IssuerLine(text, text, 9, 3, 3, Decimal("3.0"), name=text) for text in texts)
    page = open_page(read.write("html", sample.small_month(issuers=issuers)))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))

    buttons = page.locator("#emisores tbody th button")
    printable = [formatting_es.replace_unprintable(text) for text in sorted(texts)]
    assert buttons.evaluate_all("all => all.map(each => each.textContent)") == printable
    buttons.first.click()
    page.locator("#buscar").fill("<img")
    assert (len(column(page, RFC)), page.locator("img").count()) == (1, 0)


@pytest.mark.parametrize(
    ("report", "width", "scheme"),
    [
        (sample.with_prices(sample.full_month(), rc="1.15"), 1280, "light"),
        (sample.with_prices(sample.full_month(), rc="1.15"), 320, "dark"),
        (sample.year(with_names=True), 320, "light"),
    ],
    ids=["wide", "phone", "year on a phone"],
)
def test_axe_finds_nothing_and_the_page_never_scrolls_sideways(open_page, report, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(read.write("html", report), color_scheme=scheme)
    for size in (1280, 768, 320, width):
        page.set_viewport_size({"width": size, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= size
    for item in page.locator("summary, #emisores tbody tr:first-child button").all():
        item.click()

    assert axe.Axe().run(page).response["violations"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_of_an_invalid_link(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(download_pages.not_found_page(30).encode(), color_scheme=scheme)

    background = page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert axe.Axe().run(page).response["violations"] == []
    assert (max(map(int, re.findall(r"\d+", background))) < 128) == (scheme == "dark")


def test_print_has_all_rows_and_no_controls(open_page):
    report = sample.busy_month(120)
    page = open_page(read.write("html", report))
    page.emulate_media(media="print")
    wait_for_rows(page, 120)
    for hidden in ("#buscar", ".pager", "summary", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    page.emulate_media(media="screen")
    wait_for_rows(page, PAGE_SIZE)
    page.emulate_media(media="null")

    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))

    texts = [printed_page.extract_text() for printed_page in printed.pages]
    assert [issuer.rfc for issuer in report.issuers if issuer.rfc not in "\n".join(texts)] == []
    assert (printed.pages[0].mediabox.width, printed.pages[0].mediabox.height) == (612, 792)
    # Each page repeats the heading.
    assert sum(text.startswith("RFC Cuenta") for text in texts) > 1
    wait_for_rows(page, PAGE_SIZE)


def test_print_has_a_maximum_number_of_rows(open_page):
    page = open_page(large_page()[1])

    for media, count in (("print", 2_000), ("screen", PAGE_SIZE)):
        page.emulate_media(media=media)
        wait_for_rows(page, count)
        assert page.locator("#impresos").is_visible() is (media == "print")
