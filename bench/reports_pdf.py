"""What a row of the PDF and of the page costs, against a PDF written by hand.

The limit writes the same cells into the same columns, compressed too, from rows that are
escaped text already. The page is measured by its issuers, each with its days, and compared
with nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import islice

from bench.reports import Case, Nowhere, Run, block, endless, report
from timbres.domain.consumption import IssuerLine, MovementLine

_LIMIT = "PDF by hand, to nowhere"
_ROWS_A_PAGE = 56
_DAYS = 31

CASES = (
    Case(_LIMIT, "bench.reports_pdf:pdf_limit", most=100_000),
    Case("PDF", "bench.reports_pdf:pdf", _LIMIT, 30, most=100_000),
    Case("HTML, an issuer and its days", "bench.reports_pdf:page", most=10_000),
)


def pdf() -> Run:
    """Ours: the PDF report, with all rows."""
    from timbres_reports import pdf_file

    movements = block()

    def run(rows: int) -> None:
        written = pdf_file.write(report(rows, movements), Nowhere(), most_rows=rows)
        if written != rows:
            raise SystemExit(f"{written} rows written, not {rows}")

    return run


def page() -> Run:
    """Ours: the page, with a movement for each issuer and day."""
    from timbres_reports import html_file

    def run(issuers: int) -> None:
        rfcs = [f"EKU{n:06d}3C9" for n in range(issuers)]
        lines = tuple(IssuerLine("acme-rc", rfc, _DAYS, _DAYS, 500, 500.0) for rfc in rfcs)
        days = [date(2026, 10, number) for number in range(1, _DAYS + 1)]

        def movements() -> Iterator[MovementLine]:
            for rfc in rfcs:
                for day in days:
                    yield MovementLine("acme-rc", rfc, day, "Timbrado", 1)

        html_file.write(replace(report(issuers, ()), issuers=lines, movements=movements), Nowhere())

    return run


def pdf_limit() -> Run:
    """The limit: a PDF by hand."""
    rows_of_text = [
        (
            each.account,
            each.rfc,
            each.date.strftime("%d/%m/%Y"),
            each.kind.replace("ó", "\\363"),
            str(each.amount),
        )
        for each in block()
    ]

    def run(rows: int) -> None:
        lines = islice(endless(rows_of_text), rows)
        contents = []
        while some := list(islice(lines, _ROWS_A_PAGE)):
            content = "\n".join(
                f"1 0 0 1 48 {740 - 12 * n} Tm ({account}) Tj 132 0 Td ({rfc}) Tj "
                f"96 0 Td ({day}) Tj 70 0 Td ({kind}) Tj 164 0 Td ({amount}) Tj"
                for n, (account, rfc, day, kind, amount) in enumerate(some)
            )
            contents.append(zlib.compress(f"BT /F1 8 Tf\n{content}\nET".encode()))
        _save(contents)

    return run


def _save(contents: list[bytes]) -> None:
    """Write pages of these contents, the table of their places at the end."""
    out, at, places = Nowhere(), 0, []
    kids = b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(contents)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, content in enumerate(contents):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % (5 + 2 * n)
        )
        objects.append(
            b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(content), content)
        )
    at += out.write(b"%PDF-1.4\n")
    for number, each in enumerate(objects, 1):
        places.append(at)
        at += out.write(b"%d 0 obj\n%s\nendobj\n" % (number, each))
    entries = b"".join(b"%010d 00000 n \n" % place for place in places)
    out.write(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, entries))
    out.write(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, at))
