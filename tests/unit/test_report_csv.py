"""The CSV report, parsed like a spreadsheet does."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
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
from timbres_reports import csv_writer
from timbres_reports import formatting_es as fmt

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.csv"
# A percentage of Timbres; other cells that start so would be formulas.
CHANGE = re.compile(r"[+-][\d,]+\.\d%")
NO_DATA = "sin dato"


class Pipe:
    """A stream that only accepts bytes."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def write_report(report: Consumption) -> tuple[int, bytes]:
    out = Pipe()
    return csv_writer.write(report, out), out.content


def read(content: bytes) -> dict[str, list[list[str]]]:
    """Return the rows of each section by its title, without the heading."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    starts = [0]
    for title in (fmt.SOURCES, fmt.ISSUERS, fmt.DAYS, fmt.CONTRACTS, fmt.MOVEMENTS):
        starts.append(rows.index([title], starts[-1]))
    ends = [start - 1 for start in starts[1:]] + [len(rows)]
    sections = {}
    for start, end in zip(starts, ends, strict=True):
        title = rows[start][0]
        sections[title] = rows[start + (1 if start == 0 else 2) : end]
    return sections


def test_the_small_month_matches_the_golden_file():
    rows, content = write_report(small_month())
    assert rows == len(MOVEMENTS)
    assert content.decode() == GOLDEN.read_bytes().decode()


def test_excel_can_open_it():
    _, content = write_report(small_month())
    assert content.startswith(b"\xef\xbb\xbf")
    lines = content.decode("utf-8-sig").split("\r\n")
    assert lines[0] == "Consumo de timbres"
    assert not any("\n" in line or "\r" in line for line in lines)


@given(months())
def test_the_rows_add_up(report):
    rows, content = write_report(report)
    sections = read(content)
    movements = list(report.movements())
    assert rows == len(movements) == len(sections[fmt.MOVEMENTS])
    assert sum(int(row[4]) for row in sections[fmt.MOVEMENTS]) == report.total
    *issuers, last = sections[fmt.ISSUERS]
    assert [(row[0], row[1], int(row[2])) for row in issuers] == [
        (issuer.account, issuer.rfc, issuer.amount) for issuer in report.issuers
    ]
    assert (last[0], last[2]) == ("Total", in_csv(report.known_total))
    by_issuer = Counter()
    for account, rfc, _, _, amount in sections[fmt.MOVEMENTS]:
        by_issuer[account, rfc] += int(amount)
    assert by_issuer == {(issuer.account, issuer.rfc): issuer.amount for issuer in report.issuers}
    days = [None if amount == NO_DATA else int(amount) for _, amount in sections[fmt.DAYS]]
    assert tuple(days) == report.days


def in_csv(count):
    return NO_DATA if count is None else str(count)


@given(months())
def test_every_text_is_included_and_is_not_a_formula(report):
    _, content = write_report(report)
    sections = read(content)
    assert [row[3] for row in sections[fmt.MOVEMENTS]] == [
        fmt.escape_formula(movement.kind) for movement in report.movements()
    ]
    for row in (row for rows in sections.values() for row in rows):
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or CHANGE.fullmatch(cell)


@pytest.mark.parametrize("nasty", NASTY)
def test_an_external_text_is_one_escaped_cell(nasty):
    line = MovementLine(nasty, nasty, date(2026, 10, 1), nasty, 5)
    _, content = write_report(replace(small_month(), movements=lambda: iter([line])))
    cell = fmt.escape_formula(nasty)
    assert read(content)[fmt.MOVEMENTS] == [[cell, cell, "01/10/2026", cell, "5"]]
    assert cell[:1] == "'" or cell == fmt.replace_unprintable(nasty)


@pytest.mark.parametrize(
    ("nasty", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@A1", "'@A1"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5.0%", "'-5.0%"),
        ("Timbrado", "Timbrado"),
        ("a=b", "a=b"),
    ],
)
def test_formulas_are_escaped(nasty, cell):
    assert fmt.escape_formula(nasty) == cell


def test_an_unknown_value_is_marked_and_never_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7)
    report = replace(small_month(), issuers=(issuer,), days=(None,) * 31, previous_total=None)
    sections = read(write_report(report)[1])
    assert sections[fmt.ISSUERS] == [
        [RC, "EKU9003173C9", "7", "100.0%", NO_DATA, NO_DATA, NO_DATA, NO_DATA],
        ["Total", "", "7", "100.0%", NO_DATA, NO_DATA],
    ]
    assert {row[1] for row in sections[fmt.DAYS]} == {NO_DATA}
    assert ["Mes anterior (timbres)", NO_DATA] in sections[fmt.TITLE]
    assert ["Cambio", NO_DATA] in sections[fmt.TITLE]


def test_a_known_0_is_0_and_has_no_change():
    issuer = IssuerLine(RC, "EKU9003173C9", 7, previous=0, available=0, days_left=0.0)
    sections = read(write_report(replace(small_month(), issuers=(issuer,)))[1])
    assert sections[fmt.ISSUERS][0][4:] == ["0", "no aplica", "0", "0.0"]


def test_a_source_shows_its_problem():
    sections = read(write_report(month_with_problem())[1])
    assert sections[fmt.SOURCES][1] == [
        "acme-sf",
        "Solución Factible",
        NO_DATA,
        "conteos diarios de Timbres",
        "nunca",
        "",
        "'=El usuario está bloqueado (602)",
    ]


def test_a_report_of_an_empty_month():
    rows, content = write_report(empty_month())
    sections = read(content)
    assert rows == 0
    assert sections[fmt.MOVEMENTS] == []
    assert sections[fmt.ISSUERS] == [["Total", "", "0", "0.0%", NO_DATA, NO_DATA]]
    assert sections[fmt.CONTRACTS] == [[fmt.NO_CONTRACTS]]


def test_movements_are_read_once_and_not_held_in_memory():
    alive = 0

    class Line:
        account, rfc, date, kind, amount = RC, "EKU9003173C9", date(2026, 10, 1), "Timbrado", 1

        def __init__(self):
            nonlocal alive
            alive += 1
            assert alive < 10

        def __del__(self):
            nonlocal alive
            alive -= 1

    rows, content = write_report(
        replace(small_month(), movements=lambda: (Line() for _ in range(20_000)))
    )
    assert rows == len(read(content)[fmt.MOVEMENTS]) == 20_000


def test_an_error_in_the_movements_is_raised():
    def broken():
        yield MOVEMENTS[0]
        raise RuntimeError("the PAC's answer ends here")

    with pytest.raises(RuntimeError, match="ends here"):
        write_report(replace(small_month(), movements=broken))
