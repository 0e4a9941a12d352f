"""Writer of the report as an HTML page that makes no requests.

It opens from a mail or a disk. The script shows 50 issuers at a time from data in the page:
10,000 rows of elements would make sorting and searching slow. The largest issuers are also rows
of the page, for readers without JavaScript.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import IO, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.consumption import Consumption, MovementLine
from timbres_reports import formatting_es as fmt
from timbres_reports import summary

MAX_MOVEMENTS = 500

_Key = tuple[str, str | None]


def write(report: Consumption, out: IO[bytes]) -> int:
    """Write ``report`` as an HTML file into ``out`` and return the number of movements in it.

    It has every issuer, with its stamps per day, the first 500 movements, and the first 200 that
    are not consumption. The movements are read once.
    """
    by_issuer, movements, count = _group_by_issuer(report)
    others, other_count = summary.other_movements(report)
    page = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            month_summary=summary.summarize(report),
            several_accounts=report.account == ALL_ACCOUNTS,
            days=[report.month.first_day + timedelta(days=n) for n in range(len(report.days))],
            chart=_Chart.from_report(report),
            top=summary.top_consumers(report),
            by_days_left=summary.by_days_left(report),
            movements=movements,
            movement_count=count,
            others=others,
            other_count=other_count,
            data=_data(report, by_issuer),
        )
    )
    out.write(page.encode())
    return len(movements) + len(others)


def _group_by_issuer(
    report: Consumption,
) -> tuple[dict[_Key, list[int]], list[MovementLine], int]:
    """Return each issuer's stamps per day, the first movements, and the number of movements.

    A movement dated outside of the month is not in any day.
    """
    by_issuer: dict[_Key, list[int]] = {}
    first_movements: list[MovementLine] = []
    count = 0
    month_days = report.month.last_day.day
    year, month = report.month.year, report.month.month
    for movement in report.movements():
        count += 1
        if count <= MAX_MOVEMENTS:
            first_movements.append(movement)
        if movement.date.month == month and movement.date.year == year:
            key = (movement.account, movement.rfc)
            days = by_issuer.get(key)
            if days is None:
                days = by_issuer[key] = [0] * month_days
            days[movement.date.day - 1] += movement.amount
    return by_issuer, first_movements, count


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


class _Bar(NamedTuple):
    """A day of the chart: ``x`` in percent of the width, ``y`` and ``height`` in pixels."""

    number: int
    amount: int | None
    x: float
    y: float
    height: float


class _Chart(NamedTuple):
    """The chart of the days, with widths in percent to fill the screen.

    ``axis`` is the width of the labels of ``marks``, in pixels.
    """

    axis: int
    height: int
    top: int
    bottom: int
    zero: float
    step: float
    marks: list[tuple[int, float]]
    bars: list[_Bar]

    @classmethod
    def from_report(cls, report: Consumption) -> _Chart:
        height, top, bottom = 260, 10, 26
        marks = summary.ticks(report.days)
        scale = (height - top - bottom) / (marks[-1] - marks[0])
        zero = top + marks[-1] * scale
        step = 100 / len(report.days)

        def bars() -> Iterator[_Bar]:
            for index, amount in enumerate(report.days):
                size = max(abs(amount) * scale, 1.0) if amount else 0.0
                y = zero if (amount or 0) < 0 else zero - size
                yield _Bar(index + 1, amount, index * step, y, size)

        lines = [(mark, zero - mark * scale) for mark in marks]
        axis = 10 + 7 * max(len(fmt.number(mark)) for mark in marks)
        return cls(axis, height, top, bottom, zero, step, lines, list(bars()))


def _data(report: Consumption, by_issuer: dict[_Key, list[int]]) -> dict[str, Any]:
    """Return the issuers for the script, with their fields in the order that it expects.

    Rounded numbers are texts, the same as in the other formats.
    """
    accounts = list(dict.fromkeys(issuer.account for issuer in report.issuers))
    account_indexes = {account: index for index, account in enumerate(accounts)}
    total = report.total
    rows = [
        [
            account_indexes[issuer.account],
            fmt.replace_unprintable(fmt.rfc(issuer.rfc)),
            issuer.amount,
            issuer.previous,
            issuer.available,
            issuer.days_left,
            fmt.share(issuer.amount, total),
            fmt.growth(issuer.amount, issuer.previous),
            fmt.days_left(issuer.days_left),
            summary.severity_class(issuer),
            by_issuer.get((issuer.account, issuer.rfc), []),
        ]
        for issuer in report.issuers
    ]
    return {
        "accounts": [fmt.replace_unprintable(account) for account in accounts],
        "month": f"{report.month.month:02d}",
        "none": fmt.NO_DATA,
        "rows": rows,
    }
