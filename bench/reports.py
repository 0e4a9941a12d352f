"""What a row of a report costs: CPU time and memory, against the cheapest way there is.

Every measurement is a fresh process, and all are taken in turns, so that whatever else the
machine does falls on all of them. A limit writes the same rows without any care: the csv
module, with rows that are text already; the raw XML of an XLSX, by hand. The movements are
the same block of 10,000 again and again, for limits and writers alike, so reading them
costs neither. Run with ``python -m bench.reports [--sizes 1000 10000] [--runs 3] [--json
file]``; PYTHONPATH names the layers.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from bench.memory_usage import peak_mb
from bench.stats import format_spread
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import FROM_PAC, Consumption, IssuerLine, MovementLine, Source
from timbres.domain.month import Month

Run = Callable[[int], None]
_Row = TypeVar("_Row")

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RUNS = 3
_BLOCK = 10_000
_ISSUERS = 40


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    ``prepare`` is ``module:function``; the function imports what it needs and returns what
    is measured, which takes a number of rows. ``limit`` is the name of the case it is
    compared with, None for a limit itself; ``aim`` is the ratio to stay within. ``most`` is
    the largest number of rows that it is measured with.
    """

    name: str
    prepare: str
    limit: str | None = None
    max_ratio: float | None = None
    max_rows: int = SIZES[-1]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One process: CPU time (user and system) a row in µs, peak memory above its base in MB."""

    us: float
    mb: float


CASES = (
    Case("csv module, to nowhere", "bench.reports:csv_limit"),
    Case("CSV into S3", "bench.reports:csv_upload", "csv module, to nowhere", 1.7),
    Case("XLSX by hand, to nowhere", "bench.reports:xlsx_limit"),
    Case("XLSX into S3", "bench.reports:xlsx_upload", "XLSX by hand, to nowhere", 13),
)


# ------------------------------------------------------------------------ what is measured


class NullWriter(io.RawIOBase):
    """Takes bytes and forgets them."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Return the length of ``data``."""
        return len(data)


class S3:
    """The calls that an upload makes, answered at once; ``bytes`` counts what came."""

    def __init__(self) -> None:
        self.bytes = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        """Return an upload's id."""
        return {"UploadId": "upload"}

    def upload_part(self, **request: Any) -> dict[str, str]:
        """Count a part."""
        self.bytes += len(request["Body"])
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> dict[str, str]:
        """Return a version's id."""
        return {"VersionId": "version"}

    def put_object(self, **request: Any) -> dict[str, str]:
        """Count an object; return its version's id."""
        self.bytes += len(request["Body"])
        return {"VersionId": "version"}


def create_movements() -> list[MovementLine]:
    """Return the movements of which every measurement takes as many as it wants."""
    first = date(2026, 10, 1)
    return [
        MovementLine(
            account="acme-rc",
            rfc=f"EKU{900000 + n % _ISSUERS:06d}3C9" if n % 7 else "A&D061009TY8",
            date=first + timedelta(days=n * 31 // _BLOCK),
            kind="Timbrado" if n % 11 else "Cancelación, con aceptación",
            amount=1 + n % 900,
        )
        for n in range(_BLOCK)
    ]


def repeat_rows(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Yield rows again and again."""
    return chain.from_iterable(repeat(rows))


def create_report(rows: int, movements: Sequence[MovementLine]) -> Consumption:
    """Return a month of ``rows`` movements."""
    at = datetime(2026, 11, 1, 6, tzinfo=MEXICO_CITY)
    issuers = tuple(
        IssuerLine("acme-rc", f"EKU{900000 + n:06d}3C9", rows // _ISSUERS, rows // _ISSUERS)
        for n in range(_ISSUERS)
    )
    return Consumption(
        account="acme-rc",
        month=Month(2026, 10),
        generated_at=at,
        sources=(Source("acme-rc", "reachcore", FROM_PAC, "prepaid", at),),
        issuers=issuers,
        days=(rows // 31,) * 31,
        contracts=(),
        previous_total=rows,
        movements=lambda: islice(repeat_rows(movements), rows),
    )


def into_s3(write: Callable[[Consumption, Any], int]) -> Run:
    """Return what uploads a report that ``write`` writes."""
    from timbres.aws.multipart_upload import Upload

    movements = create_movements()

    def run(rows: int) -> None:
        s3 = S3()
        with Upload(s3, "bucket", "key") as upload:
            written = write(create_report(rows, movements), upload)
        if (written, s3.bytes) != (rows, upload.bytes):
            raise SystemExit(f"{written} rows and {s3.bytes} bytes written, not {rows} rows")

    return run


def csv_upload() -> Run:
    """Ours: the CSV report."""
    from timbres_reports import csv_writer

    return into_s3(csv_writer.write)


def xlsx_upload() -> Run:
    """Ours: the XLSX report."""
    from timbres_reports import xlsx_writer

    return into_s3(xlsx_writer.write)


def csv_limit() -> Run:
    """The limit: the csv module, rows of text."""
    rows_of_text = [
        [each.account, each.rfc, each.date.strftime("%d/%m/%Y"), each.kind, str(each.amount)]
        for each in create_movements()
    ]

    def run(rows: int) -> None:
        text = io.TextIOWrapper(io.BufferedWriter(NullWriter()), encoding="utf-8", newline="")
        csv.writer(text).writerows(islice(repeat_rows(rows_of_text), rows))
        text.flush()

    return run


def xlsx_limit() -> Run:
    """The limit: an XLSX whose XML is written by hand, strings within the cells."""
    epoch = date(1899, 12, 30)
    rows_of_text = [
        (
            *(escape(text) for text in (each.account, each.rfc, each.kind)),
            (each.date - epoch).days,
            each.amount,
        )
        for each in create_movements()
    ]

    def lines(rows: int) -> Iterator[str]:
        for n, (account, rfc, kind, day, amount) in enumerate(
            islice(repeat_rows(rows_of_text), rows), start=1
        ):
            yield (
                f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{account}</t></is></c>'
                f'<c r="B{n}" t="inlineStr"><is><t>{rfc}</t></is></c>'
                f'<c r="C{n}" s="1"><v>{day}</v></c>'
                f'<c r="D{n}" t="inlineStr"><is><t>{kind}</t></is></c>'
                f'<c r="E{n}"><v>{amount}</v></c></row>'
            )

    def run(rows: int) -> None:
        nowhere = io.BufferedWriter(NullWriter())
        with zipfile.ZipFile(nowhere, "w", zipfile.ZIP_DEFLATED) as book:
            for name, content in _PARTS.items():
                book.writestr(name, content)
            with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
                sheet.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                written = lines(rows)
                while text := "".join(islice(written, 1000)):
                    sheet.write(text.encode())
                sheet.write(b"</sheetData></worksheet>")

    return run


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET_TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET_TYPES}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_SHEET_TYPES}.styles+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{_SHEET_TYPES}.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="Movimientos" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" '
        f'Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
    ),
    "xl/styles.xml": (
        f'<styleSheet xmlns="{_MAIN}"><fonts count="1"><font/></fonts><fills count="1"><fill/>'
        '</fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/>'
        '</cellStyleXfs><cellXfs count="2"><xf/><xf numFmtId="14" applyNumberFormat="1"/>'
        "</cellXfs></styleSheet>"
    ),
}


# -------------------------------------------------------------------------- how it is measured


def measure(
    cases: Iterable[Case] = CASES, sizes: Sequence[int] = SIZES, runs: int = RUNS
) -> dict[str, Any]:
    """Measure every case at every size; return the results, ready for JSON.

    ``{"cases": [...], "sizes": {"1000": {name: [{"us": ..., "mb": ...}, ...]}}}``: a list
    has one entry a run. Raises CalledProcessError when a measurement fails.
    """
    cases = list(cases)
    sizes_: dict[str, dict[str, list[dict[str, float]]]] = {}
    for rows in sizes:
        here = [case for case in cases if rows <= case.max_rows]
        found: dict[str, list[dict[str, float]]] = {case.name: [] for case in here}
        for _ in range(runs):
            for case in here:
                found[case.name].append(asdict(_run_in_process(case, rows)))
        sizes_[str(rows)] = found
    return {"cases": [asdict(case) for case in cases], "sizes": sizes_}


def format_table(results: dict[str, Any]) -> str:
    """Return the results as a table, a line for each case and size."""
    spread = f"{'min':>8}{'median':>8}{'max':>8}"
    lines = [
        f"{'rows':>9}  {'':28}{'µs a row':^24}{'MB above base':^24}{'ratio':^24}  aim",
        f"{'':9}  {'':28}{spread}{spread}{spread}",
    ]
    for rows, found in results["sizes"].items():
        cases = [case for case in results["cases"] if case["name"] in found]
        lines += [_line(int(rows), case, found) for case in cases]
    return "\n".join(lines)


def _line(rows: int, case: dict[str, Any], found: dict[str, list[dict[str, float]]]) -> str:
    runs = found[case["name"]]
    line = f"{rows:>9,}  {case['name']:28}"
    line += format_spread([run["us"] for run in runs]) + format_spread([run["mb"] for run in runs])
    if case["limit"] in found:
        # The runs of one turn stood side by side.
        pairs = zip(runs, found[case["limit"]], strict=True)
        line += format_spread([run["us"] / limit["us"] for run, limit in pairs])
        line += f"  {case['aim']:g}" if case["aim"] is not None else ""
    return line


def _run_in_process(case: Case, rows: int) -> Measurement:
    process = subprocess.run(
        [sys.executable, "-m", "bench.reports", "--measure", case.prepare, "--sizes", str(rows)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Measurement(**json.loads(process.stdout))


def _measure(prepare: str, rows: int) -> Measurement:
    """Measure in this very process, which does nothing else."""
    module, _, function = prepare.partition(":")
    run: Run = getattr(importlib.import_module(module), function)()
    base = peak_mb()
    start = time.process_time()
    run(rows)
    spent = time.process_time() - start
    return Measurement(us=spent / rows * 1e6, mb=peak_mb() - base)


def main() -> None:
    """Measure, print the table and, when asked to, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(asdict(_measure(arguments.measure, arguments.sizes[0]))))
        return
    results = measure(CASES, arguments.sizes, arguments.runs)
    print(format_table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
