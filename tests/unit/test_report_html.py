"""The report as a page, parsed as a browser parses it, without running its script."""

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
from tests.unit.report_samples import (
    MOVEMENTS,
    NASTY,
    RC,
    SOURCES,
    busy_month,
    months,
    nothing_happened,
    small_month,
    with_problem,
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
    """Takes bytes, and nothing else."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def written(report: Consumption) -> tuple[int, str]:
    out = Pipe()
    rows = html_writer.write(report, out)
    return rows, out.content.decode("utf-8")


def tree_of(report: Consumption) -> html.HtmlElement:
    return html.document_fromstring(written(report)[1])


def words_of(element: html.HtmlElement) -> str:
    return " ".join(" ".join(element.itertext()).split())


def table_of(tree: html.HtmlElement, name: str) -> list[list[str]]:
    (table,) = tree.xpath("//table[@aria-label=$name]", name=name)
    return [[words_of(cell) for cell in row] for row in table.xpath(".//tr")]


def data_of(tree: html.HtmlElement) -> dict:
    return json.loads(tree.get_element_by_id("datos").text)


def content_of(report: Consumption) -> dict:
    tree = tree_of(report)
    return {
        "title": tree.findtext(".//title"),
        "headings": [words_of(each) for each in tree.xpath("//h1 | //h2")],
        "top": words_of(tree.find(".//header")),
        "notices": [words_of(each) for each in tree.xpath("//*[@class='notices']/li")],
        "figures": [words_of(each) for each in tree.xpath("//*[@class='figures']/div")],
        "tables": {
            name: [" | ".join(row) for row in table_of(tree, name)]
            for name in tree.xpath("//table/@aria-label")
        },
        "chart": [words_of(each) for each in tree.xpath("//svg[@role='img']//title")],
        "notes": [words_of(each) for each in tree.xpath("//p[@class='note']")],
        "data": [json.dumps(row) for row in data_of(tree)["rows"]],
    }


def test_the_small_month_reads_as_agreed():
    assert content_of(small_month()) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_it_is_one_file_that_asks_for_nothing():
    _, page = written(busy_month())
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", page
    )
    assert not re.findall(r"\s(?:src|srcset|action|data|style|on\w+)=", page)
    hrefs = html.document_fromstring(page).xpath("//@href")
    assert hrefs == ["data:,", "#contenido"]


def test_its_policy_lets_run_what_is_in_it_and_nothing_else():
    tree = tree_of(small_month())
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    style, script = tree.findtext(".//style"), tree.xpath("//script[not(@type)]")[0].text
    for source in (style, script):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_it_is_spanish_and_has_an_order_that_can_be_heard():
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


def test_a_missing_account_is_said_first_and_among_the_sources():
    found = content_of(with_problem())
    assert found["notices"][0] == (
        "Faltan las cifras de la cuenta acme-sf: =El usuario está bloqueado (602)"
    )
    assert found["tables"]["Fuentes"][2].endswith(" | =El usuario está bloqueado (602)")


def test_a_month_without_anything_is_a_page_too():
    found = content_of(nothing_happened())
    assert found["notices"] == []
    assert "No hay movimientos en el mes." in found["notes"]
    assert found["data"] == []


def test_every_issuer_is_in_the_data_and_the_largest_in_the_table():
    report = busy_month(summary.MAX_ROWS + 5)
    tree = tree_of(report)
    rows = data_of(tree)["rows"]
    assert [row[1:3] for row in rows] == [[each.rfc, each.amount] for each in report.issuers]
    table = table_of(tree, "Consumo por RFC")
    assert len(table) == summary.MAX_ROWS + 2
    assert table[-1][:3] == ["Total", f"{len(rows):,} RFC", f"{report.total:,}"]
    assert "Sin JavaScript se ven los 200 de mayor consumo, de 205." in words_of(
        tree.find(".//noscript")
    )


def test_of_many_movements_the_first_are_shown_and_the_rest_is_said():
    line = MovementLine(RC, "A&D061009TY8", date(2026, 10, 1), "Timbrado", 1)
    count = html_writer.MAX_MOVEMENTS + 7
    report = replace(small_month(), movements=lambda: (line for _ in range(count)))
    rows, page = written(report)
    tree = html.document_fromstring(page)
    assert rows == html_writer.MAX_MOVEMENTS
    assert len(table_of(tree, "Movimientos")) == rows + 1
    assert "Ver los primeros 500 de 507 movimientos" in page
    assert "Los otros 7 movimientos están en el CSV y el XLSX de este mes." in page


def test_movements_are_walked_once():
    walks = []
    report = replace(small_month(), movements=lambda: walks.append(1) or iter(MOVEMENTS))
    assert written(report)[0] == len(MOVEMENTS)
    assert len(walks) == 1


def test_what_is_dated_outside_of_the_month_stands_on_no_day():
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
def test_the_totals_are_the_reports(report):
    rows, page = written(report)
    tree = html.document_fromstring(page)
    assert rows == sum(1 for _ in report.movements())
    data = data_of(tree)
    assert sum(row[2] for row in data["rows"]) == report.total
    by_day = Counter[int]()
    for row in data["rows"]:
        assert sum(row[-1]) == row[2]
        by_day.update({day: amount for day, amount in enumerate(row[-1], 1) if amount})
    assert by_day == Counter({day: amount for day, amount in enumerate(report.days, 1) if amount})
    value = words_of(tree.xpath("//dd[@class='value']")[0])
    assert value == number(report.known_total)
    if report.issuers:
        assert table_of(tree, "Consumo por RFC")[-1][2] == value
    bought = [line.stamps for line in report.contracts if line.status == "confirmed"]
    assert words_of(tree.xpath("//dd[@class='value']")[3]) == f"{sum(bought):,}"


@pytest.mark.parametrize("words", HOSTILE)
def test_nothing_a_text_holds_is_markup(words):
    line = MovementLine(words, words, date(2026, 10, 1), words, 1)
    hostile = replace(
        small_month(),
        account=words,
        sources=(replace(SOURCES[0], account=words, pac=words, plan=words, problem=words),),
        issuers=(IssuerLine(words, words, 1),),
        contracts=tuple(
            replace(each, account=words, rfc=words, id=words, status=words, requested_by=words)
            for each in small_month().contracts
        ),
        movements=lambda: iter([line]),
    )
    tame = replace(
        hostile,
        account="x",
        sources=(replace(SOURCES[0], account="x", pac="x", plan="x", problem="x"),),
        issuers=(IssuerLine("x", "x", 1),),
        contracts=tuple(
            replace(each, account="x", rfc="x", id="x", status="x", requested_by="x")
            for each in small_month().contracts
        ),
        movements=lambda: iter([MovementLine("x", "x", date(2026, 10, 1), "x", 1)]),
    )
    tree = tree_of(hostile)
    assert [each.tag for each in tree.iter()] == [each.tag for each in tree_of(tame).iter()]
    row = data_of(tree)["rows"][0]
    assert (row[1], row[-1][0]) == (formatting_es.replace_unprintable(words), 1)
