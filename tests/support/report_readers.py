"""Read reports back, with other libraries than those that wrote them."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
from datetime import datetime
from typing import Any

from lxml import html
from openpyxl import load_workbook
from pypdf import PdfReader

from timbres.domain.consumption import Consumption
from timbres_reports import formatting_es as fmt

_CSV_SECTIONS = (fmt.SOURCES, fmt.ISSUERS, fmt.DAYS, fmt.CONTRACTS, fmt.MOVEMENTS)


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


def write_into(out: Pipe, form: str, report: Consumption, **options: int) -> int:
    """Write a report in a format; return the number of its movements."""
    writer = importlib.import_module(f"timbres_reports.{form}_writer")
    rows: int = writer.write(report, out, **options)
    return rows


def write(form: str, report: Consumption, **options: int) -> bytes:
    """Return the file of a report."""
    out = Pipe()
    write_into(out, form, report, **options)
    return out.content


def csv_sections(report: Consumption) -> dict[str, list[list[str]]]:
    """Return the rows of each section of the CSV by its title, without the heading."""
    text = write("csv", report).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    starts = [0]
    for title in _CSV_SECTIONS:
        starts.append(rows.index([title], starts[-1]))
    ends = [start - 1 for start in starts[1:]] + [len(rows)]
    return {
        rows[start][0]: rows[start + (2 if start else 1) : end]
        for start, end in zip(starts, ends, strict=True)
    }


def workbook_of(report: Consumption, **options: int) -> Any:
    """Return the workbook of a report."""
    return load_workbook(io.BytesIO(write("xlsx", report, **options)))


def rows_of(*sheets: Any) -> list[tuple[Any, ...]]:
    """Return the rows of the tables in sheets, without the headings."""
    return [row for sheet in sheets for row in sheet.iter_rows(min_row=2, values_only=True)]


def page_of(report: Consumption) -> Any:
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


def pdf_text(report: Consumption) -> str:
    """Return the text of the PDF."""
    return "\n".join(pdf_pages(report))


def workbook_content(report: Consumption) -> dict[str, Any]:
    """Return the cells of a workbook: texts, and other values with their number format."""

    def content(cell: Any) -> Any:
        if isinstance(cell.value, str):
            return cell.value
        value = cell.value.isoformat() if isinstance(cell.value, datetime) else cell.value
        return {"value": value, "form": cell.number_format}

    return {
        sheet.title: {
            "freeze": sheet.freeze_panes,
            "filter": sheet.auto_filter.ref,
            "cells": {
                cell.coordinate: content(cell)
                for row in sheet.iter_rows()
                for cell in row
                if cell.value is not None
            },
        }
        for sheet in workbook_of(report)
    }


def page_content(report: Consumption) -> dict[str, Any]:
    """Return the texts of the page."""
    tree = page_of(report)
    return {
        "title": tree.findtext(".//title"),
        "headings": texts_of(tree, "//h1 | //h2"),
        "top": texts_of(tree, "//header")[0],
        "notices": texts_of(tree, "//*[@class='notices']/li"),
        "figures": texts_of(tree, "//*[@class='figures']/div"),
        "tables": {
            name: [" | ".join(row) for row in table_of(tree, name)]
            for name in tree.xpath("//table/@aria-label")
        },
        "chart": texts_of(tree, "//svg[@role='img']//title"),
        "notes": texts_of(tree, "//p[@class='note']"),
        "data": [json.dumps(row) for row in script_rows(tree)],
    }
