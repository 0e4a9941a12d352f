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
    Pipe,
    empty_month,
    failing_movements,
    month_with_problem,
    months,
    small_month,
)

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import csv_writer
from timbres_reports import formatting_es as fmt

GOLDEN = Path(__file__).parents[1] / "golden" / "consumption.csv"
SECTIONS = (fmt.SOURCES, fmt.ISSUERS, fmt.DAYS, fmt.CONTRACTS, fmt.MOVEMENTS)
# A percentage of Timbres; other cells that start so would be formulas.
CHANGE = re.compile(r"[+-][\d,]+\.\d%")
NO_DATA = "sin dato"


def write_report(report: Consumption) -> tuple[int, bytes]:
    out = Pipe()
    return csv_writer.write(report, out), out.content


def sections_of(report: Consumption) -> dict[str, list[list[str]]]:
    """Return the rows of each section by its title, without the heading."""
    content = write_report(report)[1].decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(content, newline="")))
    starts = [0]
    for title in SECTIONS:
        starts.append(rows.index([title], starts[-1]))
    ends = [start - 1 for start in starts[1:]] + [len(rows)]
    return {
        rows[start][0]: rows[start + (2 if start else 1) : end]
        for start, end in zip(starts, ends, strict=True)
    }


def test_the_small_month_matches_the_golden_file():
    rows, content = write_report(small_month())

    assert rows == len(MOVEMENTS)
    assert content.decode() == GOLDEN.read_bytes().decode()
    # As Excel opens it.
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")


@given(months())
def test_the_rows_add_up_and_every_text_is_included(report):
    rows, _ = write_report(report)
    sections = sections_of(report)
    movements = list(report.movements())

    assert rows == len(movements)
    assert [(row[3], int(row[4])) for row in sections[fmt.MOVEMENTS]] == [
        (fmt.escape_formula(movement.kind), movement.amount) for movement in movements
    ]
    *issuers, total = sections[fmt.ISSUERS]
    amounts = [((row[0], row[1]), int(row[2])) for row in issuers]
    assert amounts == [((line.account, line.rfc), line.amount) for line in report.issuers]
    by_issuer = Counter()
    for account, rfc, _, _, amount in sections[fmt.MOVEMENTS]:
        by_issuer[account, rfc] += int(amount)
    assert by_issuer == dict(amounts)
    known_total = report.known_total
    assert (total[0], total[2]) == ("Total", NO_DATA if known_total is None else str(known_total))
    days = [None if amount == NO_DATA else int(amount) for _, amount in sections[fmt.DAYS]]
    assert tuple(days) == report.days
    for cell in (cell for rows in sections.values() for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or CHANGE.fullmatch(cell)


@pytest.mark.parametrize("nasty", [*NASTY, "+1", "-1", "-5.0%", "@A1", "a=b"])
def test_an_external_text_is_one_cell_and_no_formula(nasty):
    line = MovementLine(nasty, nasty, date(2026, 10, 1), nasty, 5)

    sections = sections_of(replace(small_month(), movements=lambda: iter([line])))

    mark = "'" if nasty.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")) else ""
    cell = mark + fmt.replace_unprintable(nasty)
    assert sections[fmt.MOVEMENTS] == [[cell, cell, "01/10/2026", cell, "5"]]


def test_an_unknown_value_is_marked_and_never_0():
    issuer = IssuerLine(RC, "EKU9003173C9", 7)

    sections = sections_of(
        replace(small_month(), issuers=(issuer,), days=(None,) * 31, previous_total=None)
    )

    assert sections[fmt.ISSUERS] == [
        [RC, "EKU9003173C9", "7", "100.0%", NO_DATA, NO_DATA, NO_DATA, NO_DATA],
        ["Total", "", "7", "100.0%", NO_DATA, NO_DATA],
    ]
    assert {row[1] for row in sections[fmt.DAYS]} == {NO_DATA}
    for label in ("Mes anterior (timbres)", "Cambio"):
        assert [label, NO_DATA] in sections[fmt.TITLE]


def test_a_known_0_is_0_and_has_no_change():
    issuer = IssuerLine(RC, "EKU9003173C9", 7, previous=0, available=0, days_left=0.0)

    sections = sections_of(replace(small_month(), issuers=(issuer,)))

    assert sections[fmt.ISSUERS][0][4:] == ["0", "no aplica", "0", "0.0"]


def test_a_source_shows_its_problem():
    _, source = sections_of(month_with_problem())[fmt.SOURCES]

    assert source[:3] == ["acme-sf", "Solución Factible", NO_DATA]
    assert source[3:6] == ["conteos diarios de Timbres", "nunca", ""]
    assert source[6] == "'=El usuario está bloqueado (602)"


def test_a_report_of_an_empty_month():
    sections = sections_of(empty_month())

    assert sections[fmt.MOVEMENTS] == []
    assert sections[fmt.ISSUERS] == [["Total", "", "0", "0.0%", NO_DATA, NO_DATA]]
    assert sections[fmt.CONTRACTS] == [[fmt.NO_CONTRACTS]]


def test_movements_are_not_held_in_memory():
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

    rows, _ = write_report(
        replace(small_month(), movements=lambda: (Line() for _ in range(20_000)))
    )

    assert rows == 20_000


def test_an_error_in_the_movements_is_raised():
    with pytest.raises(RuntimeError, match="ends here"):
        write_report(replace(small_month(), movements=failing_movements))
