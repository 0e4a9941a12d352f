"""Measure the PDF and the HTML page per issuer, with one movement per day.

They have no limit to compare with: the PDF has at most 200 rows, the page has every issuer.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

from bench.reports import Case, NullWriter, Run, create_report
from timbres.domain.consumption import Consumption, IssuerLine, MovementLine

_DAYS = 31

CASES = (
    Case("PDF, issuer with its days", "bench.reports_pdf:pdf", max_rows=100_000),
    Case("HTML, issuer with its days", "bench.reports_pdf:page", max_rows=10_000),
)


def pdf() -> Run:
    """Return a function that writes the PDF report."""
    from timbres_reports import pdf_writer

    return lambda issuers: _check(pdf_writer.write(_report(issuers), _null_stream()), 0)


def page() -> Run:
    """Return a function that writes the page, which lists 500 movements and totals the others."""
    from timbres_reports import html_writer

    return lambda issuers: _check(html_writer.write(_report(issuers), _null_stream()), 500)


def _report(issuers: int) -> Consumption:
    rfcs = [f"EKU{n:06d}3C9" for n in range(issuers)]
    lines = tuple(IssuerLine("acme-rc", rfc, _DAYS, _DAYS, 500, Decimal(500)) for rfc in rfcs)
    days = [date(2026, 10, number) for number in range(1, _DAYS + 1)]

    def movements() -> Iterator[MovementLine]:
        for rfc in rfcs:
            for day in days:
                yield MovementLine("acme-rc", rfc, day, "Timbrado", 1)

    return replace(create_report(issuers, ()), issuers=lines, movements=movements)


def _null_stream() -> io.BufferedWriter:
    return io.BufferedWriter(NullWriter())


def _check(movements: int, expected: int) -> None:
    if movements != expected:
        raise SystemExit(f"{movements} movements listed, expected {expected}")
