"""Read reports back, with other libraries than those that wrote them."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
import math
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from lxml import html
from openpyxl import load_workbook
from pypdf import PdfReader

from timbres.domain.consumption import Consumption, YearConsumption

Report = Consumption | YearConsumption


class Pipe:
    """A stream that only accepts bytes; it fails after ``room`` bytes."""

    def __init__(self, room: float = math.inf) -> None:
        self.content = b""
        self.room = room

    def write(self, data: bytes) -> int:
        """Append ``data``. Raises RuntimeError without room."""
        if len(self.content) + len(data) > self.room:
            raise RuntimeError("the pipe broke")
        self.content += data
        return len(data)


def write_into(out: Pipe, form: str, report: Report, **options: Any) -> int:
    """Write a report in a format; return the number of its movements."""
    writer = importlib.import_module(f"timbres_reports.{form}_writer")
    rows: int = writer.write(report, out, **options)
    return rows


def write(form: str, report: Report, **options: Any) -> bytes:
    """Return the file of a report."""
    out = Pipe()
    write_into(out, form, report, **options)
    return out.content


def csv_rows(report: Consumption) -> list[list[str]]:
    """Return the rows of the CSV of a report, with its heading, as a spreadsheet opens it."""
    content = write("csv", report)
    assert content.startswith(codecs.BOM_UTF8)
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def workbook_of(report: Report, **options: Any) -> Any:
    """Return the workbook of a report."""
    return load_workbook(io.BytesIO(write("xlsx", report, **options)))


def rows_of(*sheets: Any) -> list[tuple[Any, ...]]:
    """Return the rows of the tables in sheets, without the headings."""
    return [row for sheet in sheets for row in sheet.iter_rows(min_row=2, values_only=True)]


def page_of(report: Report) -> Any:
    """Return the tree of the page of a report."""
    return html.document_fromstring(write("html", report).decode())


def texts_of(tree: Any, path: str) -> list[str]:
    """Return the texts of elements, with single blanks."""
    return [" ".join(" ".join(element.itertext()).split()) for element in tree.xpath(path)]


def table_of(tree: Any, name: str) -> list[list[str]]:
    """Return the cells of a table of the page, with its heading."""
    rows = tree.xpath("//table[@aria-label=$name]//tr", name=name)
    return [texts_of(row, "./*") for row in rows]


def script_rows(tree: Any) -> list[Any]:
    """Return the data of the page's script: a row for each issuer."""
    rows: list[Any] = json.loads(tree.get_element_by_id("datos").text)["rows"]
    return rows


def pdf_pages(report: Consumption) -> list[str]:
    """Return the lines of each page of the PDF, without leading and trailing blanks."""
    reader = PdfReader(io.BytesIO(write("pdf", report)))
    pages = [page.extract_text().splitlines() for page in reader.pages]
    return ["\n".join(line.strip() for line in page) + "\n" for page in pages]


def displayed(cell: Any) -> str:
    """Return the text of a cell of the workbook as a spreadsheet shows it."""
    value, code = cell.value, cell.number_format
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        return f"{value:%d/%m %H:%M}" if "hh" in code else f"{value:%d/%m/%Y}"
    if code == "General":
        return str(value)
    places = 1 if "%" in code else code.partition(".")[2].count("0")
    number = Decimal(str(value)) * (100 if "%" in code else 1)
    number = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    unit = "%" if "%" in code else code.partition('"')[2].strip('"')
    sign = "+" if code.startswith("+") else "-"
    return f"{'$' if code.startswith('$') else ''}{number:{sign},} {unit}".strip()


def sheet_rows(sheet: Any) -> list[list[str]]:
    """Return the texts of a sheet, without empty cells at the end of a row."""
    rows = [[displayed(cell) for cell in row] for row in sheet.iter_rows()]
    for row in rows:
        while row and not row[-1]:
            row.pop()
    return rows


def sheets_of(content: bytes) -> dict[str, list[list[str]]]:
    """Return the texts of each sheet of a workbook by its title."""
    return {sheet.title: sheet_rows(sheet) for sheet in load_workbook(io.BytesIO(content))}


def workbook_text(report: Report) -> str:
    """Return all sheets as text, a line per row."""
    lines = []
    for title, rows in sheets_of(write("xlsx", report)).items():
        lines += [f"== {title}", *map(" | ".join, rows)]
    return "\n".join(lines) + "\n"
