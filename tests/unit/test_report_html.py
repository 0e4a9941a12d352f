"""The HTML report, parsed without running its script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from lxml import html
from tests.support.report_samples import (
    MOVEMENTS,
    NASTY,
    RC,
    SOURCES,
    busy_month,
    empty_month,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import formatting_es, html_writer, summary
from timbres_reports.formatting_es import number

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.html.json"
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "<!--<script>",
    "]]>",
    "&lt;b&gt;",
    "${alert(1)} $title",
    "a\u2028b\u2029c",
    "\x00\x1b\ud800",
    *NASTY,
)


class Pipe:
    """A stream that only accepts bytes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def write_report(report: Consumption) -> tuple[int, str]:
    out = Pipe()
    rows = html_writer.write(report, out)
    return rows, out.content.decode("utf-8")


def tree_of(report: Consumption) -> html.HtmlElement:
    return html.document_fromstring(write_report(report)[1])


def text_of(element: html.HtmlElement) -> str:
    return " ".join(" ".join(element.itertext()).split())


def table_of(tree: html.HtmlElement, name: str) -> list[list[str]]:
    (table,) = tree.xpath("//table[@aria-label=$name]", name=name)
    return [[text_of(cell) for cell in row] for row in table.xpath(".//tr")]


def data_of(tree: html.HtmlElement) -> dict:
    return json.loads(tree.get_element_by_id("datos").text)


def content_of(report: Consumption) -> dict:
    tree = tree_of(report)
    return {
        "title": tree.findtext(".//title"),
        "headings": [text_of(element) for element in tree.xpath("//h1 | //h2")],
        "top": text_of(tree.find(".//header")),
        "notices": [text_of(element) for element in tree.xpath("//*[@class='notices']/li")],
        "figures": [text_of(element) for element in tree.xpath("//*[@class='figures']/div")],
        "tables": {
            name: [" | ".join(row) for row in table_of(tree, name)]
            for name in tree.xpath("//table/@aria-label")
        },
        "chart": [text_of(element) for element in tree.xpath("//svg[@role='img']//title")],
        "notes": [text_of(element) for element in tree.xpath("//p[@class='note']")],
        "data": [json.dumps(row) for row in data_of(tree)["rows"]],
    }


def test_the_small_month_matches_the_golden_file():
    assert content_of(small_month()) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_it_is_one_file_that_loads_nothing():
    _, page = write_report(busy_month())
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", page
    )
    assert not re.findall(r"\s(?:src|srcset|action|data|style|on\w+)=", page)
    hrefs = html.document_fromstring(page).xpath("//@href")
    assert hrefs == ["data:,", "#contenido"]


def test_its_policy_allows_only_its_own_style_and_script():
    tree = tree_of(small_month())
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    style, script = tree.findtext(".//style"), tree.xpath("//script[not(@type)]")[0].text
    for source in (style, script):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_it_is_spanish_and_accessible():
    tree = tree_of(small_month())
    assert tree.get("lang") == "es-MX"
    assert len(tree.xpath("//h1")) == 1
    assert tree.xpath("//body/*[1]/@href") == ["#contenido"]
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    for names in tree.xpath("//@aria-labelledby"):
        assert set(names.split()) <= set(ids)
    (chart,) = tree.xpath("//svg[@role='img']")
    assert chart.findtext("title") == "Consumo por día, octubre de 2026"
    assert chart.findtext("desc") == "Máximo: 1,237 el 02/10/2026. 6 días sin dato (?)."


def test_a_missing_account_comes_first_and_in_the_sources():
    content = content_of(month_with_problem())
    assert content["notices"][0] == (
        "Faltan las cifras de la cuenta acme-sf: =El usuario está bloqueado (602)"
    )
    assert content["tables"]["Fuentes"][2].endswith(" | =El usuario está bloqueado (602)")


def test_a_page_of_an_empty_month():
    content = content_of(empty_month())
    assert content["notices"] == []
    assert "No hay movimientos en el mes." in content["notes"]
    assert content["data"] == []


def test_every_issuer_is_in_the_data_and_the_largest_in_the_table():
    report = busy_month(summary.MAX_ROWS + 5)
    tree = tree_of(report)
    rows = data_of(tree)["rows"]
    assert [row[1:3] for row in rows] == [[issuer.rfc, issuer.amount] for issuer in report.issuers]
    table = table_of(tree, "Consumo por RFC")
    assert len(table) == summary.MAX_ROWS + 2
    assert table[-1][:3] == ["Total", f"{len(rows):,} RFC", f"{report.total:,}"]
    assert "Sin JavaScript se ven los 200 de mayor consumo, de 205." in text_of(
        tree.find(".//noscript")
    )


def test_a_long_list_of_movements_is_cut_with_a_note():
    line = MovementLine(RC, "A&D061009TY8", date(2026, 10, 1), "Timbrado", 1)
    count = html_writer.MAX_MOVEMENTS + 7
    report = replace(small_month(), movements=lambda: (line for _ in range(count)))
    rows, page = write_report(report)
    tree = html.document_fromstring(page)
    assert rows == html_writer.MAX_MOVEMENTS
    assert len(table_of(tree, "Movimientos")) == rows + 1
    assert "Ver los primeros 500 de 507 movimientos" in page
    assert "Los otros 7 movimientos están en el CSV y el XLSX de este mes." in page


def test_movements_are_read_once():
    calls = []
    report = replace(small_month(), movements=lambda: calls.append(1) or iter(MOVEMENTS))
    assert write_report(report)[0] == len(MOVEMENTS)
    assert len(calls) == 1


def test_a_movement_outside_the_month_is_on_no_day():
    issuer = IssuerLine(RC, "A&D061009TY8", 12)
    outside = [
        MovementLine(RC, "A&D061009TY8", date(2026, 10, 3), "Timbrado", 5),
        MovementLine(RC, "A&D061009TY8", date(2026, 11, 3), "Timbrado", 4),
        MovementLine(RC, "A&D061009TY8", date(2025, 10, 3), "Timbrado", 3),
    ]
    report = replace(small_month(), issuers=(issuer,), movements=lambda: iter(outside))
    (row,) = data_of(tree_of(report))["rows"]
    assert row[-1] == [0, 0, 5] + [0] * 28


@given(months())
@settings(max_examples=40)
def test_the_totals_match_the_report(report):
    rows, page = write_report(report)
    tree = html.document_fromstring(page)
    assert rows == sum(1 for _ in report.movements())
    data = data_of(tree)
    assert sum(row[2] for row in data["rows"]) == report.total
    by_day = Counter[int]()
    for row in data["rows"]:
        assert sum(row[-1]) == row[2]
        by_day.update({day: amount for day, amount in enumerate(row[-1], 1) if amount})
    assert by_day == Counter({day: amount for day, amount in enumerate(report.days, 1) if amount})
    value = text_of(tree.xpath("//dd[@class='value']")[0])
    assert value == number(report.known_total)
    if report.issuers:
        assert table_of(tree, "Consumo por RFC")[-1][2] == value
    contracted = [line.stamps for line in report.contracts if line.status == "confirmed"]
    assert text_of(tree.xpath("//dd[@class='value']")[3]) == f"{sum(contracted):,}"


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_never_markup(text):
    line = MovementLine(text, text, date(2026, 10, 1), text, 1)
    hostile = replace(
        small_month(),
        account=text,
        sources=(replace(SOURCES[0], account=text, pac=text, plan=text, problem=text),),
        issuers=(IssuerLine(text, text, 1),),
        contracts=tuple(
            replace(contract, account=text, rfc=text, id=text, status=text, requested_by=text)
            for contract in small_month().contracts
        ),
        movements=lambda: iter([line]),
    )
    tame = replace(
        hostile,
        account="x",
        sources=(replace(SOURCES[0], account="x", pac="x", plan="x", problem="x"),),
        issuers=(IssuerLine("x", "x", 1),),
        contracts=tuple(
            replace(contract, account="x", rfc="x", id="x", status="x", requested_by="x")
            for contract in small_month().contracts
        ),
        movements=lambda: iter([MovementLine("x", "x", date(2026, 10, 1), "x", 1)]),
    )
    tree = tree_of(hostile)
    assert [element.tag for element in tree.iter()] == [
        element.tag for element in tree_of(tame).iter()
    ]
    row = data_of(tree)["rows"][0]
    assert (row[1], row[-1][0]) == (formatting_es.replace_unprintable(text), 1)
