"""The report as a CSV that Excel in Mexico opens: UTF-8 with BOM, commas, CRLF.

Sections follow each other, an empty line between them: heading, sources, totals per RFC,
totals per day, contracts, and all movements last.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice

from timbres.domain.consumption import Consumption, IssuerLine
from timbres_reports import text
from timbres_reports.output import Output
from timbres_reports.remembered import Remembered

Row = list[str | int]

# Rows that go out at once: few enough to hold, enough to make one write cheap.
_BATCH = 4096


def write(report: Consumption, out: Output) -> int:
    """Write ``report`` into ``out``; return how many movements it holds.

    Raises whatever walking the movements or writing raises; ``out`` then holds a part.
    """
    out.write(codecs.BOM_UTF8)
    out.write(_lines(_sections(report)).encode())
    lines = _movements(report)
    rows = 0
    while batch := list(islice(lines, _BATCH)):
        out.write("".join(batch).encode())
        rows += len(batch)
    return rows


def _sections(report: Consumption) -> Iterator[Row]:
    """Yield all rows above the movements."""
    yield [text.TITLE]
    for name, value in text.heading(report):
        # A change begins with its sign; it is ours, and a number.
        yield [name, value if name == text.CHANGE else text.harmless(value)]
    yield from _section(text.SOURCES, text.SOURCE_HEADING, _sources(report))
    yield from _section(text.ISSUERS, text.ISSUER_HEADING, _issuers(report))
    yield from _section(text.DAYS, text.DAY_HEADING, _days(report))
    yield from _section(text.CONTRACTS, text.CONTRACT_HEADING, _contracts(report))
    yield from _section(text.MOVEMENTS, text.MOVEMENT_HEADING, ())


def _section(title: str, heading: Iterable[str], rows: Iterable[Row]) -> Iterator[Row]:
    yield []
    yield [title]
    yield [*heading]
    yield from rows


def _sources(report: Consumption) -> Iterator[Row]:
    for source in report.sources:
        yield _texts(
            source.account,
            text.pac(source.pac),
            text.plan(source.plan),
            text.source_name(source),
            text.moment(source.as_of),
            text.missing_days(source.missing_days),
            source.problem or "",
        )


def _issuers(report: Consumption) -> Iterator[Row]:
    total = report.total
    for issuer in report.issuers:
        yield [*_texts(issuer.account, issuer.rfc), *_figures(issuer, total)]
    previous = report.previous_total
    yield [
        "Total",
        "",
        _count(report.known_total),
        text.percent(1.0 if total else 0.0),
        _count(previous),
        text.growth(report.known_total, previous),
    ]


def _figures(issuer: IssuerLine, total: int) -> Row:
    left = issuer.days_left
    return [
        issuer.amount,
        text.percent(issuer.amount / total if total else 0.0),
        _count(issuer.previous),
        text.growth(issuer.amount, issuer.previous),
        _count(issuer.available),
        text.NO_DATA if left is None else f"{left:.1f}",
    ]


def _days(report: Consumption) -> Iterator[Row]:
    first = report.month.first_day
    for number, amount in enumerate(report.days, start=1):
        yield [text.day(first.replace(day=number)), _count(amount)]


def _contracts(report: Consumption) -> Iterator[Row]:
    if not report.contracts:
        yield [text.NO_CONTRACTS]
    for contract in report.contracts:
        yield [
            *_texts(contract.account, contract.rfc),
            contract.stamps,
            *_texts(
                text.status(contract.status),
                text.person(contract.requested_by),
                text.moment(contract.created_at),
                contract.id,
                contract.requested_by,
            ),
        ]


def _movements(report: Consumption) -> Iterator[str]:
    """Yield each movement as a line; what recurs in them is quoted once and remembered."""
    cell = Remembered(_quoted)
    day = Remembered(text.day)
    for movement in report.movements():
        yield (
            f"{cell[movement.account]},{cell[movement.rfc]},{day[movement.date]},"
            f"{cell[movement.kind]},{movement.amount}\r\n"
        )


def _quoted(value: str) -> str:
    return _lines([[text.harmless(value)]]).removesuffix("\r\n")


def _lines(rows: Iterable[Row]) -> str:
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def _texts(*values: str) -> Row:
    return [text.harmless(value) for value in values]


def _count(value: int | None) -> str | int:
    return text.NO_DATA if value is None else value
