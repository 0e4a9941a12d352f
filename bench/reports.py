"""Measure CPU time and memory per row of a report, compared with the cheapest implementation.

Each measurement is a fresh process. The cases take turns, so that other load on the machine
affects all of them. A limit writes the same rows without formatting: the csv module with rows of
text, and the raw XML of an XLSX. All cases repeat the same block of 10,000 movements, so reading
them costs nothing. Run with ``python -m bench.reports [--sizes 1000 10000] [--runs 3] [--json
file]``; PYTHONPATH lists the layers.
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
    """One case.

    ``prepare`` is ``module:function``; the function imports its libraries and returns the
    function to measure, which takes a number of rows. ``limit`` is the name of the case to compare
    with, None for a limit itself; ``max_ratio`` is the largest permitted ratio. ``max_rows`` is the
    largest number of rows to measure.
    """

    name: str
    prepare: str
    limit: str | None = None
    max_ratio: float | None = None
    max_rows: int = SIZES[-1]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One process: CPU time (user and system) per row in µs, peak memory above its base in MB."""

    us: float
    mb: float


CASES = (
    Case("csv module, to nowhere", "bench.reports:csv_limit"),
    Case("CSV into S3", "bench.reports:csv_upload", "csv module, to nowhere", 1),
    Case("XLSX by hand, to nowhere", "bench.reports:xlsx_limit"),
    Case("XLSX into S3", "bench.reports:xlsx_upload", "XLSX by hand, to nowhere", 9),
)


# ----------------------------------------------------------------------------------- cases


class NullWriter(io.RawIOBase):
    """A stream that discards its bytes."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Discard ``data``; return its length."""
        return len(data)


class S3:
    """A stub of S3 that answers immediately; ``bytes`` is the number of received bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        """Return an upload's id."""
        return {"UploadId": "upload"}

    def upload_part(self, **request: Any) -> dict[str, str]:
        """Count a part's bytes."""
        self.bytes += len(request["Body"])
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> dict[str, str]:
        """Return a version's id."""
        return {"VersionId": "version"}

    def put_object(self, **request: Any) -> dict[str, str]:
        """Count an object's bytes; return its version's id."""
        self.bytes += len(request["Body"])
        return {"VersionId": "version"}


def create_movements() -> list[MovementLine]:
    """Return the block of movements that every measurement repeats."""
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
    """Yield the rows repeatedly, without end."""
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
        sources=(Source("acme-rc", "reachcore", FROM_PAC, "prepaid", at, previous=rows),),
        issuers=issuers,
        days=(rows // 31,) * 31,
        contracts=(),
        movements=lambda: islice(repeat_rows(movements), rows),
    )


def into_s3(write: Callable[[Consumption, Any], int]) -> Run:
    """Return a function that writes a report with ``write`` and uploads it."""
    from timbres.aws.multipart_upload import Upload

    movements = create_movements()

    def run(rows: int) -> None:
        s3 = S3()
        with Upload(s3, "bucket", "key") as upload:
            row_count = write(create_report(rows, movements), upload)
        if (row_count, s3.bytes) != (rows, upload.bytes):
            raise SystemExit(f"{row_count} rows and {s3.bytes} bytes written, expected {rows} rows")

    return run


def csv_upload() -> Run:
    """Return the upload of the CSV report."""
    from timbres_reports import csv_writer

    return into_s3(csv_writer.write)


def xlsx_upload() -> Run:
    """Return the upload of the XLSX report."""
    from timbres_reports import xlsx_writer

    return into_s3(xlsx_writer.write)


def csv_limit() -> Run:
    """Return the limit of CSV: the csv module with rows of text."""
    rows_of_text = [
        [
            movement.date.isoformat(),
            movement.account,
            movement.rfc or "",
            movement.kind,
            str(movement.amount),
        ]
        for movement in create_movements()
    ]

    def run(rows: int) -> None:
        text = io.TextIOWrapper(io.BufferedWriter(NullWriter()), encoding="utf-8", newline="")
        csv.writer(text).writerows(islice(repeat_rows(rows_of_text), rows))
        text.flush()

    return run


def xlsx_limit() -> Run:
    """Return the limit of XLSX: XML written directly, with inline strings."""
    epoch = date(1899, 12, 30)
    rows_of_text = [
        (
            *(escape(text) for text in (movement.account, movement.rfc or "", movement.kind)),
            (movement.date - epoch).days,
            movement.amount,
        )
        for movement in create_movements()
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
        output = io.BufferedWriter(NullWriter())
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as book:
            for name, content in _PARTS.items():
                book.writestr(name, content)
            with book.open("xl/worksheets/sheet1.xml", "w") as sheet:
                sheet.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                row_lines = lines(rows)
                while text := "".join(islice(row_lines, 1000)):
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


# ------------------------------------------------------------------------------ measurement


def measure(
    cases: Iterable[Case] = CASES, sizes: Sequence[int] = SIZES, runs: int = RUNS
) -> dict[str, Any]:
    """Measure every case at every size; return the results, ready for JSON.

    ``{"cases": [...], "sizes": {"1000": {name: [{"us": ..., "mb": ...}, ...]}}}``: a list
    has one entry per run. Raises CalledProcessError if a measurement fails.
    """
    cases = list(cases)
    by_size: dict[str, dict[str, list[dict[str, float]]]] = {}
    for rows in sizes:
        selected = [case for case in cases if rows <= case.max_rows]
        measurements: dict[str, list[dict[str, float]]] = {case.name: [] for case in selected}
        for _ in range(runs):
            for case in selected:
                measurements[case.name].append(asdict(_run_in_process(case, rows)))
        by_size[str(rows)] = measurements
    return {"cases": [asdict(case) for case in cases], "sizes": by_size}


def format_table(results: dict[str, Any]) -> str:
    """Return the results as a table, one line per case and size."""
    columns = f"{'min':>8}{'median':>8}{'max':>8}"
    lines = [
        f"{'rows':>9}  {'':28}{'µs per row':^24}{'MB above base':^24}{'ratio':^24}  limit",
        f"{'':9}  {'':28}{columns}{columns}{columns}",
    ]
    for rows, measurements in results["sizes"].items():
        cases = [case for case in results["cases"] if case["name"] in measurements]
        lines += [_format_line(int(rows), case, measurements) for case in cases]
    return "\n".join(lines)


def _format_line(
    rows: int, case: dict[str, Any], measurements: dict[str, list[dict[str, float]]]
) -> str:
    runs = measurements[case["name"]]
    line = f"{rows:>9,}  {case['name']:28}"
    line += format_spread([run["us"] for run in runs]) + format_spread([run["mb"] for run in runs])
    if case["limit"] in measurements:
        # The two runs of one turn are compared.
        pairs = zip(runs, measurements[case["limit"]], strict=True)
        line += format_spread([run["us"] / limit["us"] for run, limit in pairs])
        line += f"  {case['max_ratio']:g}" if case["max_ratio"] is not None else ""
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
    """Measure in this process, which does nothing else."""
    module, _, function = prepare.partition(":")
    run: Run = getattr(importlib.import_module(module), function)()
    base = peak_mb()
    start = time.process_time()
    run(rows)
    seconds = time.process_time() - start
    return Measurement(us=seconds / rows * 1e6, mb=peak_mb() - base)


def main() -> None:
    """Measure, print the table and, with ``--json``, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="output file of the results")
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
