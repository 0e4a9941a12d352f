"""What only one format of a report has: pages, sheets, a chart, a script."""

import base64
import gc
import hashlib
import io
import re
import zipfile
from dataclasses import replace
from datetime import date

import pytest
from lxml import html
from pypdf import PdfReader
from tests.support import report_readers as read
from tests.support import report_samples as sample

from timbres.domain.consumption import IssuerLine, MovementLine
from timbres_reports import html_writer
from timbres_reports.summary import MAX_ROWS

RC = sample.RC


def test_the_chart_of_the_workbook_shows_the_days_and_leaves_gaps():
    content = zipfile.ZipFile(io.BytesIO(read.write("xlsx", sample.small_month())))

    (path,) = (name for name in content.namelist() if "charts/chart" in name)
    chart = content.read(path).decode()
    ranges = ["Resumen!$I$5:$I$35", "Resumen!$J$5:$J$35"]
    assert re.findall(r"<c:f>(.*?)</c:f>", chart) == ranges
    # The cached values, for previews that do not calculate.
    values = chart.partition("<c:val>")[2]
    points = {int(n): int(v) for n, v in re.findall(r'<c:pt idx="(\d+)"><c:v>(\d+)<', values)}
    assert points == {n: day for n, day in enumerate(sample.small_month().days) if day is not None}


@pytest.mark.parametrize("sheets", [[], [3], [3, 1], [3, 3, 3, 1]])
def test_movements_continue_in_further_sheets(sheets):
    lines = sample.MOVEMENTS[: sum(sheets)]

    workbook = read.workbook_of(sample.small_month(movements=lambda: iter(lines)), sheet_rows=4)

    names = ["Movimientos", "Movimientos 2", "Movimientos 3", "Movimientos 4"][: len(sheets)]
    heading = ("Cuenta", "RFC", "Fecha", "Tipo de movimiento", "Timbres")
    assert workbook.sheetnames == ["Resumen", "Por RFC", "Por RFC y cuenta", "Contratos", *names]
    for name, count in zip(names, sheets, strict=True):
        sheet = workbook[name]
        assert len(read.rows_of(sheet)) == count
        assert next(sheet.iter_rows(values_only=True)) == heading
        assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", f"A1:E{count + 1}")
    rows = read.rows_of(*workbook.worksheets[4:])
    assert [row[4] for row in rows] == [line.amount for line in lines]


@pytest.mark.parametrize("report", [sample.small_month(), sample.year()])
def test_every_sheet_prints_on_letter_one_page_wide(report):
    for sheet in read.workbook_of(report):
        setup = sheet.page_setup
        assert (setup.orientation, setup.paperSize, setup.fitToHeight) == ("landscape", 1, 0)
        assert (setup.fitToWidth or 1, sheet.sheet_properties.pageSetUpPr.fitToPage) == (1, True)
        assert sheet.oddFooter.left.text.startswith("Consumo de timbres, ")
        assert sheet.oddFooter.right.text == "Página &P de &N"
        is_table = sheet.title not in ("Resumen", "Contratos")
        assert (sheet.print_title_rows == "$1:$1") is is_table


@pytest.mark.parametrize(
    ("movements", "room"), [(sample.failing_movements, 1e9), (lambda: iter(sample.MOVEMENTS), 3000)]
)
def test_a_failed_workbook_leaves_no_file_and_no_late_output(movements, room, tmp_path):
    out = read.Pipe(room)

    with pytest.raises(RuntimeError, match=r"ends here|broke"):
        read.write_into(out, "xlsx", sample.small_month(movements=movements), folder=tmp_path)

    before, out.room = out.content, 1e9
    gc.collect()
    assert (out.content, bool(before)) == (before, room == 3000)
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_one_file_and_its_policy_allows_only_its_own_style_and_script():
    page = read.write("html", sample.busy_month()).decode()
    tree = html.document_fromstring(page)

    links = r"https?:|//[a-z]|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")"
    assert not re.search(links, page)
    assert not re.findall(r"\s(?:src|srcset|action|data|style|on\w+)=", page)
    assert tree.xpath("//@href") == ["data:,", "#contenido"]
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for source in (tree.findtext(".//style"), tree.xpath("//script[not(@type)]")[0].text):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_page_is_spanish_and_describes_its_chart():
    tree = read.page_of(sample.small_month())
    (chart,) = tree.xpath("//svg[@role='img']")

    assert (tree.get("lang"), tree.xpath("//body/*[1]/@href")) == ("es-MX", ["#contenido"])
    assert chart.findtext("title") == "Consumo por día, octubre de 2026"
    assert chart.findtext("desc") == "Máximo: 1,237 el 02/10/2026. 6 días sin dato (?)."


def test_every_issuer_is_in_the_data_of_the_page_and_the_largest_in_its_table():
    report = sample.busy_month(MAX_ROWS + 5)
    tree = read.page_of(report)
    table = read.table_of(tree, "Consumo por RFC")

    rows = [(row[1][0], row[6][0]) for row in read.script_rows(tree)]
    assert rows == [(line.rfc, line.amount) for line in report.rfcs]
    assert (len(table), table[-1][:2]) == (MAX_ROWS + 2, ["Total: 205 RFC", ""])
    note = "Sin JavaScript se ven los 200 de mayor consumo, de 205."
    assert note in read.texts_of(tree, "//noscript")[0]


def test_a_long_list_of_movements_on_the_page_is_cut_with_a_note_and_read_once():
    reads, out = [], read.Pipe()
    lines = [sample.MOVEMENTS[0]] * (html_writer.MAX_MOVEMENTS + 7)
    report = sample.small_month(movements=lambda: reads.append(1) or iter(lines))

    rows = read.write_into(out, "html", report)

    page = out.content.decode()
    assert (rows, len(reads)) == (html_writer.MAX_MOVEMENTS, 1)
    assert len(read.table_of(html.document_fromstring(page), "Movimientos")) == rows + 1
    assert "Ver los primeros 500 de 507 movimientos" in page
    assert "Los otros 7 movimientos están en el CSV y en el libro de Excel" in page


def test_a_movement_outside_the_month_is_on_no_day_of_the_page():
    issuer = IssuerLine(RC, "A&D061009TY8", 12)
    days = (date(2026, 10, 3), date(2026, 11, 3), date(2025, 10, 3))
    lines = [MovementLine(RC, issuer.rfc, day, "Timbrado", 5 - n) for n, day in enumerate(days)]

    tree = read.page_of(sample.small_month(issuers=(issuer,), movements=lambda: iter(lines)))

    assert [row[7] for row in read.script_rows(tree)] == [[0, 0, 5] + [0] * 28]


def test_the_pdf_has_metadata_and_an_outline_and_does_not_vary():
    content = read.write("pdf", sample.full_month())
    reader = PdfReader(io.BytesIO(content))

    assert (reader.metadata.author, reader.trailer["/Root"]["/Lang"]) == ("Timbres", "es-MX")
    assert reader.metadata.title == "Consumo de timbres, octubre de 2026. Todas las cuentas"
    assert reader.metadata.creation_date == sample.full_month().generated_at
    assert [entry.title for entry in reader.outline] == [
        *("Resumen", "Consumo por RFC", "Timbres de la cuenta", "Contratos del mes"),
        *("Próximos vencimientos", "Otros movimientos", "Cuentas y fuentes"),
    ]
    # Letter, the paper of Mexico.
    assert {(page.mediabox.width, page.mediabox.height) for page in reader.pages} == {(612, 792)}
    assert read.write("pdf", sample.full_month()) == content


def test_the_pdf_is_tagged():
    reader = PdfReader(io.BytesIO(read.write("pdf", sample.small_month())))
    root = reader.trailer["/Root"]
    tree = root["/StructTreeRoot"]
    elements = [item.get_object() for item in tree["/K"]["/K"]]
    roles = [element["/S"] for element in elements]
    rows = [row.get_object() for row in elements[roles.index("/Table")]["/K"]]
    cells = [[cell.get_object()["/S"] for cell in row["/K"]] for row in rows]

    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert [roles.count(role) for role in ("/H1", "/H2", "/Figure")] == [1, 4, 1]
    alt = elements[roles.index("/Figure")]["/Alt"]
    assert alt.startswith("Consumo por día, octubre de 2026. Máximo: 1,237")
    assert cells[0] == ["/TH"] * 9
    assert {role for row in cells[1:] for role in row} == {"/TD"}
    # The marks of a page are those of its entry in the tree of parents, each closed.
    for n, page in enumerate(reader.pages):
        content = page.get_contents().get_data()
        begun = re.findall(rb"<</MCID (\d+)>> BDC", content)
        assert [int(mark) for mark in begun] == list(range(len(begun)))
        assert len(tree["/ParentTree"]["/Nums"][2 * n + 1]) == len(begun)
        assert page["/StructParents"] == n
        assert content.count(b"EMC") == len(re.findall(rb"B[DM]C\b", content))


def test_a_long_table_of_the_pdf_is_cut_with_a_note_and_repeats_its_heading():
    more, most = MAX_ROWS + 1, 3 * MAX_ROWS
    report = sample.small_month(
        issuers=tuple(IssuerLine(RC, f"EKU{n:06d}3C9", 1) for n in range(most)),
        contracts=tuple(replace(sample.CONTRACTS[0], id=f"id-{n}") for n in range(more)),
        sources=tuple(replace(sample.SOURCES[0], account=f"acme-{n}") for n in range(MAX_ROWS)),
        movements=lambda: pytest.fail("the movements were read"),
    )

    pages = read.pdf_pages(report)

    text = "\n".join(pages)
    for number, page in enumerate(pages, 1):
        assert re.match(rf"Página {number} de\s", page)
        assert re.search(rf"^{len(pages)}$", page, re.MULTILINE)
        assert "Elaborado por Timbres" in page
    assert all("RFC\nCuenta\nTimbres\n% del total" in page for page in pages[1:4])
    for row in ("EKU{:06d}3C9", "id-{}\n", "acme-{}\n"):
        assert row.format(MAX_ROWS - 1) in text
        assert row.format(MAX_ROWS) not in text
    for name, count in (("Los demás RFC", 400), ("Los demás contratos", 1)):
        assert f"{name} ({count}) están en el libro de Excel del mismo reporte." in text
    assert "Las demás cuentas" not in text
    assert "Total: 600 RFC\n" in text
    assert "Los movimientos están en el libro de Excel y en el CSV del mismo reporte." in pages[-1]


@pytest.mark.parametrize("days", [(None,) * 31, (0,) * 31, (-5, 3, None, *(0,) * 28)])
def test_a_chart_of_the_pdf_with_unknown_and_negative_days(days):
    first = read.pdf_pages(sample.small_month(days=days))[0]

    assert first.count("?\n") >= days.count(None)
    assert "\n31\n" in first


def test_unsupported_characters_of_the_pdf_become_question_marks():
    texts = {
        "Cancelación (con) \\ ñÑüÜ¿¡": "Cancelación (con) \\ ñÑüÜ¿¡",
        "N\u0303andu\u0301": "Ñandú",
        "Ωmega ✓": "?mega ?",
        "uno\r\ndos\ttres": "uno dos tres",
        "\x00\x07nulo\ud800": "??nulo?",
    }
    contracts = tuple(replace(sample.CONTRACTS[0], id=text) for text in texts)

    pages = "\n".join(read.pdf_pages(sample.small_month(contracts=contracts)))

    assert [text for text in texts.values() if f"\n{text}\n" not in pages] == []


def with_issuer(account, rfc, *figures):
    return sample.small_month(issuers=(IssuerLine(account, rfc, *figures),))


AMOUNT = 123_456_789_012_345
PROBLEM = "El servicio no responde."


@pytest.mark.parametrize(
    ("report", "text", "least"),
    [
        # A problem is wrapped and cut. An account is wrapped and keeps its end.
        (sample.month_with_problem(f"{PROBLEM} " * 600), PROBLEM, 5),
        (with_issuer("acme-logistica-del-noroeste-produccion-sf", "A", 5), "-\nproduccion-sf\n", 1),
        # A text without a blank fits a page, and a number is never cut.
        (with_issuer("a" * 10_000, "W" * 10_000, 5), "W…\n", 1),
        (with_issuer(RC, "A", *[AMOUNT] * 3), f"{AMOUNT:,}", 7),
    ],
)
def test_a_long_text_of_the_pdf_is_visible(report, text, least):
    assert least <= "\n".join(read.pdf_pages(report)).count(text) < 30


def test_the_pdf_has_no_actions_and_no_links():
    texts = [
        *sample.NASTY,
        ") /OpenAction << /S /JavaScript >> (",
        "<img src='file:///etc/hostname'/>",
        '<link href="http://example.com">x</link>',
    ]
    report = sample.small_month(
        issuers=tuple(IssuerLine(RC, text, 1) for text in texts),
        sources=(replace(sample.SOURCES[0], problem=" ".join(texts), plan=texts[-1]),),
        contracts=tuple(replace(sample.CONTRACTS[0], id=text, status=text) for text in texts),
    )

    reader = PdfReader(io.BytesIO(read.write("pdf", report)))

    assert not reader.trailer["/Root"].keys() & {"/OpenAction", "/AA", "/AcroForm", "/Names"}
    for page in reader.pages:
        annotations = [annotation.get_object() for annotation in page.get("/Annots", [])]
        assert not [item for item in (page, *annotations) if "/AA" in item or "/A" in item]
    text = "".join(page.extract_text() for page in reader.pages)
    assert ("OpenAction" in text, set(text) & set("\u202e\u2066\x00")) == (True, set())
