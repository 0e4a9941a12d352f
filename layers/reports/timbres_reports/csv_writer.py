"""Writer of the report as a CSV for Excel in Mexico: UTF-8 with BOM, commas, CRLF.

An empty line separates the sections: heading, sources, totals per RFC, totals per day,
contracts, their next expiries and movements that are not consumption if there are any, and all
consumption.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import IO

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine
from timbres_reports import formatting_es as fmt

Row = list[str | int]

# Rows per write: they fit in memory, and writes are few.
_BATCH_ROWS = 4096


def write(report: Consumption, out: IO[bytes]) -> int:
    """Write ``report`` into ``out`` and return the number of its movements.

    It raises the errors of reading the movements and of writing; ``out`` is then incomplete.
    """
    out.write(codecs.BOM_UTF8)
    out.write(_lines(_sections(report)).encode())
    rows = 0
    others = report.other_movements()
    if first := list(islice(others, 1)):
        title = f"{fmt.OTHER_MOVEMENTS}. {fmt.NO_CONSUMPTION}"
        rows += _write_movements(out, title, chain(first, others))
    return rows + _write_movements(out, fmt.MOVEMENTS, report.movements())


def _write_movements(out: IO[bytes], title: str, movements: Iterable[MovementLine]) -> int:
    """Write a section of movements and return their number."""
    out.write(_lines(_section(title, fmt.MOVEMENT_HEADING, ())).encode())
    lines = _movements(movements)
    rows = 0
    while batch := list(islice(lines, _BATCH_ROWS)):
        out.write("".join(batch).encode())
        rows += len(batch)
    return rows


def _sections(report: Consumption) -> Iterator[Row]:
    """Yield all rows before the movements."""
    yield [fmt.TITLE]
    for name, value in fmt.heading(report):
        # A change starts with a sign, but it is a number and not a formula.
        yield [name, value if name == fmt.CHANGE else fmt.escape_formula(value)]
    yield from _section(fmt.SOURCES, fmt.SOURCE_HEADING, _sources(report))
    yield from _section(fmt.ISSUERS, fmt.ISSUER_HEADING, _issuers(report))
    yield from _section(fmt.DAYS, fmt.DAY_HEADING, _days(report))
    yield from _section(fmt.CONTRACTS, fmt.CONTRACT_HEADING, _contracts(report))
    if report.expiries:
        yield from _section(fmt.EXPIRIES, fmt.EXPIRY_HEADING, _expiries(report))


def _section(title: str, heading: Iterable[str], rows: Iterable[Row]) -> Iterator[Row]:
    yield []
    yield [title]
    yield [*heading]
    yield from rows


def _sources(report: Consumption) -> Iterator[Row]:
    for source in report.sources:
        yield _texts(
            source.account,
            fmt.pac(source.pac),
            fmt.plan(source.plan),
            fmt.source_name(source),
            fmt.date_time(source.as_of),
            fmt.missing_days(source.missing_days),
            source.problem or "",
        )


def _issuers(report: Consumption) -> Iterator[Row]:
    total = report.total
    for issuer in report.issuers:
        yield [*_texts(issuer.account, fmt.rfc(issuer.rfc)), *_issuer_cells(issuer, total)]
    previous = report.previous_total
    yield [
        "Total",
        "",
        _count(report.known_total),
        fmt.share(total, total),
        _count(previous),
        fmt.growth(report.known_total, previous),
    ]


def _issuer_cells(issuer: IssuerLine, total: int) -> Row:
    days_left = issuer.days_left
    return [
        issuer.amount,
        fmt.share(issuer.amount, total),
        _count(issuer.previous),
        fmt.growth(issuer.amount, issuer.previous),
        _count(issuer.available),
        fmt.NO_DATA if days_left is None else f"{days_left:.1f}",
    ]


def _days(report: Consumption) -> Iterator[Row]:
    first = report.month.first_day
    for number, amount in enumerate(report.days, start=1):
        yield [fmt.day(first.replace(day=number)), _count(amount)]


def _contracts(report: Consumption) -> Iterator[Row]:
    if not report.contracts:
        yield [fmt.NO_CONTRACTS]
    for contract in report.contracts:
        yield [
            *_texts(contract.account, contract.rfc),
            contract.stamps,
            *_texts(
                fmt.status(contract.status),
                fmt.caller_name(contract.requested_by),
                fmt.date_time(contract.created_at),
                contract.id,
                contract.requested_by,
            ),
        ]


def _expiries(report: Consumption) -> Iterator[Row]:
    for expiry in report.expiries:
        texts = _texts(expiry.account, expiry.rfc)
        yield [*texts, expiry.stamps, fmt.day(expiry.expires_on)]


def _movements(movements: Iterable[MovementLine]) -> Iterator[str]:
    """Yield one CSV line per movement."""
    # Accounts, RFCs and kinds repeat; the limit bounds the memory.
    quote = lru_cache(maxsize=50_000)(_quote)
    for movement in movements:
        yield (
            f"{quote(movement.account)},{quote(fmt.rfc(movement.rfc))},{fmt.day(movement.date)},"
            f"{quote(movement.kind)},{movement.amount}\r\n"
        )


def _quote(value: str) -> str:
    return _lines([[fmt.escape_formula(value)]]).removesuffix("\r\n")


def _lines(rows: Iterable[Row]) -> str:
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def _texts(*values: str) -> Row:
    return [fmt.escape_formula(value) for value in values]


def _count(value: int | None) -> str | int:
    return fmt.NO_DATA if value is None else value
