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
    Pipe,
    empty_month,
    failing_movements,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import formatting_es as fmt
from timbres_reports import xlsx_writer

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.xlsx.json"


def write_workbook(report: Consumption, **options: int) -> bytes:
    out = Pipe()
    assert xlsx_writer.write(report, out, **options) == len(list(report.movements()))
    return out.content


def workbook_of(report: Consumption, **options: int):
    return load_workbook(io.BytesIO(write_workbook(report, **options)))


def rows_of(sheet) -> list[tuple]:
    """Return the rows of a table, without the heading."""
    return list(sheet.iter_rows(min_row=2, values_only=True))


def movements_of(workbook) -> list[tuple]:
    return [row for name in workbook.sheetnames[3:] for row in rows_of(workbook[name])]


def figures_of(workbook) -> dict:
    """Return the values and notes of the summary by name."""
    return {row[0]: row[1:3] for row in workbook["Resumen"].iter_rows(3, 9, values_only=True)}


def days_of(workbook) -> list[tuple]:
    """Return the amounts and notes of the days."""
    rows = list(workbook["Resumen"].iter_rows(values_only=True))
    start = next(n for n, row in enumerate(rows) if row[:2] == fmt.DAY_HEADING)
    return [row[1:3] for row in rows[start + 1 :]]


def cell_content(cell) -> object:
    """Return a text, or another value with its number format."""
    if isinstance(cell.value, str):
        return cell.value
    value = cell.value.isoformat() if isinstance(cell.value, datetime) else cell.value
    return {"value": value, "form": cell.number_format}


def content_of(workbook) -> dict[str, dict]:
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
        for sheet in workbook
    }


def test_the_small_month_matches_the_golden_file():
    content = content_of(workbook_of(small_month()))

    assert content == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_chart_shows_the_days_and_leaves_gaps():
    content = zipfile.ZipFile(io.BytesIO(write_workbook(small_month())))

    (path,) = (name for name in content.namelist() if "/charts/" in name)
    chart = content.read(path).decode()
    ranges = ["Resumen!$A$16:$A$46", "Resumen!$B$16:$B$46"]
    assert re.findall(r"<c:f>(.*?)</c:f>", chart) == ranges
    # The cached values, for previews that do not calculate.
    values = chart.partition("<c:val>")[2]
    points = {int(n): int(v) for n, v in re.findall(r'<c:pt idx="(\d+)"><c:v>(\d+)<', values)}
    days = enumerate(small_month().days)
    assert points == {n: amount for n, amount in days if amount is not None}


def as_excel_reads(value: str | None) -> str:
    """Return a cell's text without Excel's escapes, which openpyxl keeps."""
    return plain(unescape(value or ""))


def plain(value: str) -> str:
    """Return a printable text with normalized line ends and without outer blanks."""
    return fmt.replace_unprintable(value).replace("\r\n", "\n").replace("\r", "\n").strip()


@settings(max_examples=60)
@given(months())
def test_the_rows_add_up_and_every_text_is_a_text(report):
    workbook = workbook_of(report)
    rows = movements_of(workbook)

    assert [(row[2].date(), as_excel_reads(row[3]), row[4]) for row in rows] == [
        (movement.date, plain(movement.kind), movement.amount) for movement in report.movements()
    ]
    amounts = [((issuer.account, issuer.rfc), issuer.amount) for issuer in report.issuers]
    assert [(row[:2], row[2]) for row in rows_of(workbook["Por RFC"])] == amounts
    by_issuer = Counter()
    for account, rfc, _, _, amount in rows:
        by_issuer[account, rfc] += amount
    assert by_issuer == dict(amounts)
    assert figures_of(workbook)["Total (timbres)"][0] == report.known_total
    assert tuple(amount for amount, _ in days_of(workbook)) == report.days
    for cell in (cell for sheet in workbook for row in sheet.iter_rows() for cell in row):
        assert cell.data_type in {"s", "n", "d"}
        assert cell.hyperlink is None


@pytest.mark.parametrize("nasty", NASTY)
def test_an_external_text_is_one_text_cell(nasty):
    line = MovementLine(nasty, nasty, date(2026, 10, 1), nasty, 5)

    content = write_workbook(replace(small_month(), movements=lambda: iter([line])))

    cells = next(load_workbook(io.BytesIO(content))["Movimientos"].iter_rows(min_row=2))
    texts = [cells[n] for n in (0, 1, 3)]
    assert [as_excel_reads(cell.value) for cell in texts] == [plain(nasty)] * 3
    assert {cell.data_type for cell in texts if cell.value} <= {"s"}
    assert cells[4].value == 5
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert not [name for name in names if "worksheets/_rels" in name and "sheet4" in name]


@pytest.mark.parametrize("sheets", [[0], [1], [3], [3, 1], [3, 3, 3], [3, 3, 3, 1]])
def test_movements_continue_in_further_sheets(sheets):
    lines = MOVEMENTS[: sum(sheets)]

    workbook = workbook_of(replace(small_month(), movements=lambda: iter(lines)), sheet_rows=4)

    names = ["Movimientos", "Movimientos 2", "Movimientos 3", "Movimientos 4"][: len(sheets)]
    assert workbook.sheetnames == ["Resumen", "Por RFC", "Contratos", *names]
    assert [len(rows_of(workbook[name])) for name in names] == sheets
    for name, count in zip(names, sheets, strict=True):
        assert next(workbook[name].iter_rows(values_only=True)) == fmt.MOVEMENT_HEADING
        assert workbook[name].freeze_panes == "A2"
        assert workbook[name].auto_filter.ref == f"A1:E{count + 1}"
    assert [row[4] for row in movements_of(workbook)] == [line.amount for line in lines]


@pytest.mark.parametrize("sheet_rows", [1, 0, xlsx_writer.SHEET_ROWS + 1])
def test_the_rows_of_a_sheet_are_limited(sheet_rows):
    with pytest.raises(ValueError, match="rows"):
        xlsx_writer.write(small_month(), Pipe(), sheet_rows=sheet_rows)


def test_an_unknown_value_is_empty_with_a_note_and_never_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7)

    workbook = workbook_of(
        replace(small_month(), issuers=(issuer,), days=(None,) * 31, previous_total=None)
    )

    note = "sin dato: mes anterior, disponibles y días restantes"
    assert rows_of(workbook["Por RFC"]) == [
        (RC, "EKU9003173C9", 7, 1, None, None, None, None, note)
    ]
    figures = figures_of(workbook)
    assert {*days_of(workbook), figures["Mes anterior (timbres)"], figures["Cambio"]} == {
        (None, "sin dato")
    }


def test_a_known_0_is_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7, previous=0, available=0, days_left=0.0)

    workbook = workbook_of(replace(small_month(), issuers=(issuer,)))

    assert rows_of(workbook["Por RFC"]) == [(RC, "EKU9003173C9", 7, 1, 0, None, 0, 0, None)]


def test_a_source_shows_its_problem():
    workbook = workbook_of(month_with_problem())

    (source,) = (
        row for row in workbook["Resumen"].iter_rows(values_only=True) if row[0] == "acme-sf"
    )
    assert source[1:3] == ("Solución Factible", "sin dato")
    assert source[3:6] == ("conteos diarios de Timbres", "nunca", None)
    assert source[6] == "=El usuario está bloqueado (602)"


def test_a_report_of_an_empty_month():
    workbook = workbook_of(empty_month())

    assert [rows_of(workbook[name]) for name in workbook.sheetnames[1:]] == [[], [], []]


@pytest.mark.parametrize("failure", [None, "ends here", "broke"])
def test_no_temporary_file_and_no_late_output_remain(failure, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = Pipe(room=3000 if failure == "broke" else 1e9)
    report = small_month()
    if failure == "ends here":
        report = replace(report, movements=failing_movements)

    if failure:
        with pytest.raises(RuntimeError, match=failure):
            xlsx_writer.write(report, out)
    else:
        xlsx_writer.write(report, out)

    before, out.room = out.content, 1e9
    gc.collect()
    assert out.content == before
    assert bool(before) is (failure != "ends here")
    assert list(tmp_path.iterdir()) == []


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
