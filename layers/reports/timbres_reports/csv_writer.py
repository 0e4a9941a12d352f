"""Writer of the report as a CSV: one flat table, one movement per line.

UTF-8 with BOM, commas, CRLF and ISO dates, which Excel, LibreOffice and databases read the same
way in every locale. The workbook has the totals, contracts and stamps left.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import lru_cache
from itertools import chain, islice
from typing import IO

from timbres.domain.consumption import Consumption, MovementLine
from timbres_reports import formatting_es as fmt

# Rows per write: they fit in memory, and writes are few.
_BATCH_ROWS = 4096
# Accounts, RFCs, kinds and days repeat; the limit bounds the memory.
_cached = lru_cache(20_000)


def write(report: Consumption, out: IO[bytes]) -> int:
    """Write ``report`` into ``out`` and return the number of its movements.

    It has the consumption, then the movements of other kinds. It raises the errors of reading the
    movements and of writing; ``out`` is then incomplete.
    """
    names = report.names
    prices = {source.account: source.stamp_price for source in report.sources}
    has_prices = report.cost is not None
    heading = ["Fecha", "Cuenta", "RFC", *(["Razón social"] if names else [])]
    heading += ["Tipo de movimiento", fmt.STAMPS]
    heading += ["Precio por timbre (MXN)"] if has_prices else []

    def issuer(account: str, rfc: str | None) -> str:
        texts = [account, fmt.rfc(rfc), *([names.get(rfc or "", "")] if names else [])]
        return _line(map(fmt.escape_formula, texts))

    def price(account: str) -> str:
        value = prices.get(account)
        return f",{'' if value is None else value}" if has_prices else ""

    out.write(codecs.BOM_UTF8)
    out.write(f"{_line(heading)}\r\n".encode())
    # Only consumption has a cost.
    lines = chain(
        _lines(report.movements(), issuer, price),
        _lines(report.other_movements(), issuer, lambda _: "," if has_prices else ""),
    )
    rows = 0
    while batch := list(islice(lines, _BATCH_ROWS)):
        out.write("".join(batch).encode())
        rows += len(batch)
    return rows


def _lines(
    movements: Iterable[MovementLine],
    issuer: Callable[[str, str | None], str],
    price: Callable[[str], str],
) -> Iterator[str]:
    """Yield one CSV line per movement."""
    kind = _cached(lambda text: _line([fmt.escape_formula(text)]))
    day, issuer, price = _cached(date.isoformat), _cached(issuer), _cached(price)
    for line in movements:
        account = line.account
        yield (
            f"{day(line.date)},{issuer(account, line.rfc)},{kind(line.kind)},"
            f"{line.amount}{price(account)}\r\n"
        )


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n")
