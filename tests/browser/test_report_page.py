"""The report's page in a browser: what finance does with it, by mouse, by keys and on paper."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import pytest
from pypdf import PdfReader
from tests.unit.report_samples import NASTY, busy_month, small_month

from timbres.domain.consumption import Consumption, IssuerLine
from timbres_reports import formatting_es, html_writer

MANY = 10_000
A_PAGE = 50
RFC, AMOUNT, DAYS_LEFT = 1, 2, 7


def page_of(report: Consumption) -> bytes:
    out = io.BytesIO()
    html_writer.write(report, out)
    return out.getvalue()


@cache
def many() -> tuple[Consumption, bytes]:
    report = busy_month(MANY)
    return report, page_of(report)


def column(page, index: int) -> list[str]:
    cells = page.locator(f"#emisores tbody tr > :nth-child({index + 1})")
    return cells.all_inner_texts()


def rows(page) -> int:
    return page.locator("#emisores tbody tr").count()


def shows(page, count: int) -> None:
    """Wait until the table has that many rows: the browser tells of a change of media later."""
    page.wait_for_function(
        "count => document.querySelectorAll('#emisores tbody tr').length === count", arg=count
    )


def head(page, name: str):
    return page.locator("#emisores thead").get_by_role("button", name=name, exact=True)


def sorted_by(page) -> list[str | None]:
    return [each.get_attribute("aria-sort") for each in page.locator("#emisores thead th").all()]


def test_the_script_shows_the_rows_that_are_in_the_file(opened):
    report = busy_month()
    served = opened(page_of(report), java_script_enabled=False)
    scripted = opened(page_of(report))
    for index in range(8):
        assert column(scripted, index) == column(served, index)
    assert head(scripted, "RFC").count() == 1
    assert head(served, "RFC").count() == 0
    assert not served.locator("#buscar").is_visible()


def test_a_click_sorts_and_another_turns_it(opened):
    page = opened(page_of(busy_month()))
    assert sorted_by(page)[AMOUNT] == "descending"
    assert sum(each is not None for each in sorted_by(page)) == 1
    head(page, "RFC").click()
    rising = column(page, RFC)
    assert sorted_by(page)[RFC] == "ascending"
    assert rising == page.evaluate("rfcs => rfcs.sort(new Intl.Collator('es-MX').compare)", rising)
    head(page, "RFC").click()
    assert sorted_by(page)[RFC] == "descending"
    assert column(page, RFC) == rising[::-1]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_sort_too(opened, key):
    page = opened(page_of(busy_month()))
    page.locator("#buscar").focus()
    for _ in range(1 + 1 + AMOUNT):  # the frame that scrolls, then the columns
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Timbres"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press(key)
    amounts = [int(amount.replace(",", "")) for amount in column(page, AMOUNT)]
    assert amounts == sorted(amounts)
    assert page.evaluate("document.activeElement.textContent") == "Timbres"


@pytest.mark.parametrize("turns", [1, 2])
def test_what_is_not_known_comes_last_either_way(opened, turns):
    page = opened(page_of(busy_month()))
    for _ in range(turns):
        head(page, "Días restantes").click()
    shown = column(page, DAYS_LEFT)
    known = [float(days.replace(",", "")) for days in shown if days != formatting_es.NO_DATA]
    assert known == sorted(known, reverse=turns == 2)
    assert known
    assert shown[len(known) :] == [formatting_es.NO_DATA] * (len(shown) - len(known))


def test_ten_thousand_issuers_stay_few_elements(opened):
    report, content = many()
    page = opened(content)
    assert rows(page) == A_PAGE
    assert page.locator("#estado").inner_text() == f"10,000 RFC, {report.total:,} timbres"
    head(page, "Timbres").click()
    assert column(page, AMOUNT) == [
        f"{each.amount:,}" for each in sorted(report.issuers, key=lambda each: each.amount)[:A_PAGE]
    ]
    page.get_by_role("button", name="Siguiente").click()
    assert page.locator("#lugar").inner_text() == "Página 2 de 200"
    assert rows(page) == A_PAGE
    assert page.locator("*").count() < 5_000


def test_a_search_finds_rfcs_and_accounts_and_adds_them_up(opened):
    report, content = many()
    page = opened(content)
    page.get_by_role("button", name="Siguiente").click()
    wanted = report.issuers[4_321]
    page.locator("#buscar").fill(f" {wanted.rfc.lower()} ")
    assert column(page, RFC) == [wanted.rfc]
    assert not page.locator(".pager").is_visible()
    page.locator("#buscar").fill("acme-retail")
    found = [each for each in report.issuers if each.account == "acme-retail-rc"]
    amount = sum(each.amount for each in found)
    assert page.locator("#estado").inner_text() == f"2,500 de 10,000 RFC, {amount:,} timbres"
    assert column(page, RFC) == [each.rfc for each in found[:A_PAGE]]
    page.locator("#buscar").fill("nobody")
    assert rows(page) == 0
    assert page.locator("#estado").inner_text() == "0 de 10,000 RFC, 0 timbres"
    page.locator("#buscar").fill("")
    assert rows(page) == A_PAGE


def test_an_rfc_opens_into_its_days(opened):
    page = opened(page_of(small_month()))
    button = page.get_by_role("button", name="A&D061009TY8")
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    days = page.locator("#emisores .days li").all_inner_texts()
    assert days == ["01/10640", "02/10702", "15/103"]
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert rows(page) == len(small_month().issuers)


def test_the_ends_of_the_pages_keep_the_focus(opened):
    page = opened(many()[1])
    back = page.get_by_role("button", name="Anterior", exact=True)
    assert back.get_attribute("aria-disabled") == "true"
    back.focus()
    page.keyboard.press("Enter")
    assert page.locator("#lugar").inner_text() == "Página 1 de 200"
    assert page.evaluate("document.activeElement.textContent") == "Anterior"


def test_the_first_tab_skips_to_the_content(opened):
    page = opened(page_of(small_month()))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Ir al contenido"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "contenido"


def test_hostile_texts_are_texts(opened):
    words = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", *NASTY]
    issuers = tuple(IssuerLine(word, word, 9, 3, 3, 3.0) for word in words)
    page = opened(page_of(replace(small_month(), issuers=issuers)))
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    shown = page.locator("#emisores tbody th button")
    assert shown.evaluate_all("all => all.map(each => each.textContent)") == [
        formatting_es.replace_unprintable(word) for word in words
    ]
    shown.first.click()
    page.locator("#buscar").fill("<img")
    assert rows(page) == 1
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_axe_finds_nothing_serious(opened, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(
        page_of(busy_month(issuers=12)),
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
    )
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#emisores tbody button").first.click()
    found = axe.Axe().run(page).response["violations"]
    assert [
        (each["id"], [node["html"] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ] == []


@pytest.mark.parametrize("width", [1280, 768, 320])
def test_no_width_makes_the_page_scroll_sideways(opened, width):
    page = opened(page_of(busy_month()), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_all_rows_show_and_what_is_for_the_screen_does_not(opened):
    report = busy_month(300)
    page = opened(page_of(report))
    page.emulate_media(media="print")
    shows(page, 300)
    for hidden in ("#buscar", ".pager", "summary", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    page.emulate_media(media="screen")
    shows(page, A_PAGE)
    page.emulate_media(media="null")
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True)))
    words = "\n".join(each.extract_text() for each in printed.pages)
    assert all(issuer.rfc in words for issuer in report.issuers)
    assert (printed.pages[0].mediabox.width, printed.pages[0].mediabox.height) == (612, 792)
    headed = [each.extract_text().startswith("Cuenta RFC Timbres") for each in printed.pages]
    assert sum(headed) > 5
    assert rows(page) == A_PAGE


def test_paper_has_an_end(opened):
    page = opened(many()[1])
    page.emulate_media(media="print")
    shows(page, 2_000)
    assert page.locator("#impresos").is_visible()
    page.emulate_media(media="screen")
    shows(page, A_PAGE)
    assert not page.locator("#impresos").is_visible()
