"""The XLSX report, parsed with another library."""

from __future__ import annotations

import gc
import io
import itertools
import json
import re
import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from openpyxl import load_workbook
from openpyxl.utils.escape import unescape
from tests.support.report_samples import (
    MOVEMENTS,
    NASTY,
    RC,
    empty_month,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import formatting_es as fmt
from timbres_reports import xlsx_writer

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.xlsx.json"


class Pipe:
    """A stream that only accepts bytes; it fails after ``room`` bytes."""

    def __init__(self, room: int | None = None) -> None:
        self.content = b""
        self.room = room

    def write(self, data: bytes) -> int:
        if self.room is not None and len(self.content) + len(data) > self.room:
            raise RuntimeError("the pipe broke")
        self.content += data
        return len(data)


def write_workbook(report: Consumption, **options: int) -> bytes:
    out = Pipe()
    assert xlsx_writer.write(report, out, **options) == len(list(report.movements()))
    return out.content


def book_of(report: Consumption, **options: int):
    return load_workbook(io.BytesIO(write_workbook(report, **options)))


def rows_of(sheet) -> list[tuple]:
    """Return the rows of a table, without the heading."""
    return list(sheet.iter_rows(min_row=2, values_only=True))


def movements_of(book) -> list[tuple]:
    return [row for name in book.sheetnames[3:] for row in rows_of(book[name])]


def facts_of(book) -> dict:
    """Return the values and notes of the summary by name."""
    return {row[0]: row[1:3] for row in book["Resumen"].iter_rows(3, 9, values_only=True)}


def days_of(book) -> list[tuple]:
    rows = list(book["Resumen"].iter_rows(values_only=True))
    start = next(n for n, row in enumerate(rows) if row[:2] == fmt.DAY_HEADING)
    return [row[:3] for row in rows[start + 1 :]]


def cell_content(cell) -> object:
    """Return a text, or another value with its number format."""
    if isinstance(cell.value, str):
        return cell.value
    value = cell.value.isoformat() if isinstance(cell.value, datetime) else cell.value
    return {"value": value, "form": cell.number_format}


def content_of(book) -> dict[str, dict]:
    return {
        sheet.title: {
            "freeze": sheet.freeze_panes,
            "filter": sheet.auto_filter.ref,
            "cells": {
                cell.coordinate: cell_content(cell)
                for row in sheet.iter_rows()
                for cell in row
                if cell.value is not None
            },
        }
        for sheet in book
    }


def test_the_small_month_matches_the_golden_file():
    assert content_of(book_of(small_month())) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_chart_shows_the_days_and_leaves_gaps():
    content = zipfile.ZipFile(io.BytesIO(write_workbook(small_month())))
    chart = content.read("xl/charts/chart1.xml").decode()
    assert re.findall(r"<c:f>(.*?)</c:f>", chart) == [
        "Resumen!$A$16:$A$46",
        "Resumen!$B$16:$B$46",
    ]
    # The cached values, for previews that do not calculate.
    values = chart.partition("<c:val>")[2]
    points = {int(n): int(v) for n, v in re.findall(r'<c:pt idx="(\d+)"><c:v>(\d+)<', values)}
    days = enumerate(small_month().days)
    assert points == {n: amount for n, amount in days if amount is not None}
    assert len(book_of(small_month())["Resumen"]._charts) == 1


@settings(max_examples=40)
@given(months())
def test_the_rows_add_up(report):
    book = book_of(report)
    movements = list(report.movements())
    rows = movements_of(book)
    assert [row[2].date() for row in rows] == [movement.date for movement in movements]
    assert sum(row[4] for row in rows) == report.total
    assert [row[:3] for row in rows_of(book["Por RFC"])] == [
        (issuer.account, issuer.rfc, issuer.amount) for issuer in report.issuers
    ]
    by_issuer = Counter()
    for account, rfc, _, _, amount in rows:
        by_issuer[account, rfc] += amount
    assert by_issuer == {(issuer.account, issuer.rfc): issuer.amount for issuer in report.issuers}
    assert facts_of(book)["Total (timbres)"][0] == report.known_total
    assert tuple(row[1] for row in days_of(book)) == report.days


@settings(max_examples=40)
@given(months())
def test_every_text_is_a_text(report):
    book = book_of(report)
    for cell in (cell for sheet in book for row in sheet.iter_rows() for cell in row):
        assert cell.data_type in {"s", "n", "d"}
        assert cell.hyperlink is None
    for row, movement in zip(movements_of(book), report.movements(), strict=True):
        assert as_excel_reads(row[3]) == plain(movement.kind)


def as_excel_reads(value: str | None) -> str:
    """Return a cell's text without Excel's escapes, which openpyxl keeps."""
    return plain(unescape(value or ""))


def plain(value: str) -> str:
    """Return a printable text with normalized line ends and without outer blanks."""
    return fmt.replace_unprintable(value).replace("\r\n", "\n").replace("\r", "\n").strip()


@pytest.mark.parametrize("nasty", NASTY)
def test_an_external_text_is_one_text_cell(nasty):
    line = MovementLine(nasty, nasty, date(2026, 10, 1), nasty, 5)
    content = write_workbook(replace(small_month(), movements=lambda: iter([line])))
    sheet = load_workbook(io.BytesIO(content))["Movimientos"]
    cells = next(sheet.iter_rows(min_row=2))
    assert [as_excel_reads(cells[n].value) for n in (0, 1, 3)] == [plain(nasty)] * 3
    assert {cells[n].data_type for n in (0, 1, 3) if cells[n].value} <= {"s"}
    assert cells[4].value == 5
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert not [name for name in names if "worksheets/_rels" in name and "sheet4" in name]


@pytest.mark.parametrize(
    ("rows", "sheets"),
    [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (9, [3, 3, 3]), (10, [3, 3, 3, 1])],
)
def test_movements_continue_in_further_sheets(rows, sheets):
    lines = MOVEMENTS[:rows]
    book = book_of(replace(small_month(), movements=lambda: iter(lines)), sheet_rows=4)
    names = ["Movimientos", "Movimientos 2", "Movimientos 3", "Movimientos 4"][: len(sheets)]
    assert book.sheetnames == ["Resumen", "Por RFC", "Contratos", *names]
    assert [len(rows_of(book[name])) for name in names] == sheets
    for name, count in zip(names, sheets, strict=True):
        assert next(book[name].iter_rows(values_only=True)) == fmt.MOVEMENT_HEADING
        assert book[name].freeze_panes == "A2"
        assert book[name].auto_filter.ref == f"A1:E{count + 1}"
    assert [row[4] for row in movements_of(book)] == [line.amount for line in lines]


@pytest.mark.parametrize("sheet_rows", [1, 0, xlsx_writer.SHEET_ROWS + 1])
def test_the_rows_of_a_sheet_are_limited(sheet_rows):
    with pytest.raises(ValueError, match="rows"):
        xlsx_writer.write(small_month(), Pipe(), sheet_rows=sheet_rows)


def test_an_unknown_value_is_empty_with_a_note_and_never_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7)
    report = replace(small_month(), issuers=(issuer,), days=(None,) * 31, previous_total=None)
    book = book_of(report)
    note = "sin dato: mes anterior, disponibles y días restantes"
    assert rows_of(book["Por RFC"]) == [
        (RC, "EKU9003173C9", 7, 1, None, None, None, None, note),
    ]
    assert {row[1:] for row in days_of(book)} == {(None, "sin dato")}
    assert facts_of(book)["Mes anterior (timbres)"] == (None, "sin dato")
    assert facts_of(book)["Cambio"] == (None, "sin dato")


def test_a_known_0_is_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7, previous=0, available=0, days_left=0.0)
    book = book_of(replace(small_month(), issuers=(issuer,)))
    assert rows_of(book["Por RFC"]) == [(RC, "EKU9003173C9", 7, 1, 0, None, 0, 0, None)]


def test_a_source_shows_its_problem():
    rows = list(book_of(month_with_problem())["Resumen"].iter_rows(values_only=True))
    assert (
        "acme-sf",
        "Solución Factible",
        "sin dato",
        "conteos diarios de Timbres",
        "nunca",
        None,
        "=El usuario está bloqueado (602)",
    ) in rows


def test_a_report_of_an_empty_month():
    book = book_of(empty_month())
    assert [rows_of(book[name]) for name in book.sheetnames[1:]] == [[], [], []]


def failing_movements():
    yield from MOVEMENTS
    raise RuntimeError("the PAC's answer ends here")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_temporary_files_are_removed(temporary):
    write_workbook(small_month())
    assert list(temporary.iterdir()) == []


def test_failed_movements_leave_no_file_and_no_output(temporary):
    out = Pipe()
    with pytest.raises(RuntimeError, match="ends here"):
        xlsx_writer.write(replace(small_month(), movements=failing_movements), out)
    gc.collect()
    assert out.content == b""
    assert list(temporary.iterdir()) == []


def test_a_failed_stream_gets_no_further_output(temporary):
    out = Pipe(room=3000)
    with pytest.raises(RuntimeError, match="broke"):
        xlsx_writer.write(small_month(), out)
    before, out.room = out.content, None
    gc.collect()
    assert out.content == before
    assert list(temporary.iterdir()) == []


def test_movements_are_not_held_in_memory():
    movements = itertools.chain.from_iterable(itertools.repeat(MOVEMENTS))
    lines = (replace(line) for line in itertools.islice(movements, 5000))
    held = []

    def yield_and_count():
        for number, line in enumerate(lines):
            if number in (0, 4000):
                held.append(sum(isinstance(item, MovementLine) for item in gc.get_objects()))
            yield line

    assert xlsx_writer.write(replace(small_month(), movements=yield_and_count), Pipe()) == 5000
    assert held[1] - held[0] < 100
