"""Writer of the report as an HTML page that makes no requests.

It opens from a mail or a disk. The script shows 50 RFCs at a time from data in the page: 10,000
rows of elements would make sorting and searching slow. The largest RFCs are also rows of the page,
for readers without JavaScript. The page of a year has no script.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import IO, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from timbres.domain.consumption import (
    Consumption,
    IssuerLine,
    MovementLine,
    RfcLine,
    YearConsumption,
)
from timbres.domain.highlights import SOON_DAYS, URGENT_DAYS, severity
from timbres_reports import formatting_es as fmt
from timbres_reports import summary

MAX_MOVEMENTS = 500
# A year's rows are all elements of the page.
MAX_YEAR_ROWS = 1_000


def write(report: Consumption | YearConsumption, out: IO[bytes]) -> int:
    """Write ``report`` as an HTML file into ``out`` and return the number of movements in it.

    A month has every RFC, with its stamps per day, the first 500 movements, and the first 200 that
    are not consumption. The movements are read once. A year has the largest 1,000 RFCs.
    """
    if isinstance(report, YearConsumption):
        out.write(_render_year(report).encode())
        return 0
    by_rfc, movements, count = _group_by_rfc(report)
    others = summary.other_movements(report)
    columns = summary.rfc_columns(report)
    page = _render(
        "report.html",
        report,
        columns=[column for column in columns if column.key != "name"],
        days=[report.month.first_day + timedelta(days=n) for n in range(len(report.days))],
        chart=_chart(report.days),
        top=summary.top_consumers(report),
        by_days_left=summary.by_days_left(report),
        movements=movements,
        movement_count=count,
        others=others,
        data=_data(report, by_rfc),
    )
    out.write(page.encode())
    return len(movements) + min(others.length, summary.MAX_ROWS)


def _render_year(report: YearConsumption) -> str:
    *rows, totals = summary.year_rows(report)
    columns = summary.year_columns(report)
    return _render(
        "year.html",
        report,
        columns=[column for column in columns if column.key != "name"],
        chart=_chart(report.months),
        months=report.year.months(report.generated_at.date()),
        rows=rows[:MAX_YEAR_ROWS],
        hidden=max(len(rows) - MAX_YEAR_ROWS, 0),
        totals=totals,
    )


def _render(template: str, report: Consumption | YearConsumption, **variables: Any) -> str:
    return _environment().get_template(template).render(report=report, **variables)


def _group_by_rfc(
    report: Consumption,
) -> tuple[dict[str | None, list[int]], list[MovementLine], int]:
    """Return each RFC's stamps per day, the first movements, and the number of movements.

    A movement dated outside of the month is not in any day.
    """
    month_days = report.month.last_day.day
    by_rfc: dict[str | None, list[int]] = defaultdict(lambda: [0] * month_days)
    first_movements: list[MovementLine] = []
    count = 0
    year, month = report.month.year, report.month.month
    for movement in report.movements():
        count += 1
        if count <= MAX_MOVEMENTS:
            first_movements.append(movement)
        if movement.date.month == month and movement.date.year == year:
            by_rfc[movement.rfc][movement.date.day - 1] += movement.amount
    return by_rfc, first_movements, count


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("timbres_reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        # Replaces unsupported characters of every text before it is escaped.
        finalize=lambda value: fmt.replace_unprintable(value) if type(value) is str else value,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    templates = files("timbres_reports") / "templates"
    style, script = (
        (templates / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    environment.globals.update(
        fmt=fmt,
        summary=summary,
        islice=islice,
        severity=severity,
        soon_days=SOON_DAYS,
        urgent_days=URGENT_DAYS,
        style=style,
        script=script,
        # Allows only this style and this script, and no requests.
        policy=(
            f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
    )
    return environment


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _chart(amounts: Sequence[int | None]) -> dict[str, Any]:
    """Return a chart of days or months, with widths in percent to fill the screen.

    Heights are in pixels, as is ``axis``, the width of the labels of ``marks``.
    """
    height, top, bottom = 260, 10, 26
    marks = summary.ticks(amounts)
    scale = (height - top - bottom) / (marks[-1] - marks[0])
    zero, step = top + marks[-1] * scale, 100 / len(amounts)
    bars = []
    for index, amount in enumerate(amounts):
        size = max(abs(amount) * scale, 1.0) if amount else 0.0
        y = zero if (amount or 0) < 0 else zero - size
        bar = {"number": index + 1, "amount": amount, "x": index * step, "y": y, "height": size}
        bars.append(bar)
    sizes = {"height": height, "top": top, "bottom": bottom, "zero": zero, "step": step}
    return sizes | {
        "axis": 10 + 7 * max(len(fmt.number(mark)) for mark in marks),
        "marks": [(mark, zero - mark * scale) for mark in marks],
        "bars": bars,
    }


def _data(report: Consumption, by_rfc: dict[str | None, list[int]]) -> dict[str, Any]:
    """Return the RFCs for the script, with their fields in the order that it expects.

    Figures are texts, the same as in the other formats, and numbers to sort by. Numbers that the
    script adds up are whole: stamps, and cents.
    """
    columns = [column for column in summary.rfc_columns(report) if column.key != "name"]
    keys = [column.key for column in columns]
    printable = fmt.replace_unprintable

    def texts(line: IssuerLine) -> list[str]:
        cells = summary.rfc_cells(report, line)
        return [printable(cells[key].text) for key in keys]

    def row(line: RfcLine) -> list[Any]:
        cells = summary.rfc_cells(report, line)
        cents = None if line.cost is None else int(line.cost * 100)
        return [
            printable(line.name or ""),
            [printable(cells[key].text) for key in keys],
            [_sortable(cells[key].value) for key in keys],
            severity(line),
            int(line.is_exhausted),
            [texts(part) for part in line.parts] if len(line.parts) > 1 else [],
            [line.amount, line.compared, line.previous, cents],
            by_rfc.get(line.rfc, []),
            printable(line.account),
        ]

    return {
        "keys": keys,
        "headings": [column.heading for column in columns],
        "types": [column.type for column in columns],
        "month": f"{report.month.month:02d}",
        "empty": fmt.EMPTY,
        "none": fmt.NO_DATA,
        "new": fmt.NEW,
        "total": report.total,
        "rows": list(map(row, report.rfcs)),
    }


def _sortable(value: summary.Value) -> float | str | None:
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, int | str) else value.isoformat()
