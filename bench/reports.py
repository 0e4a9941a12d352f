"""Measure reports: CPU time per row against the cheapest way to write it, memory, and duration.

Each measurement is a new process: ``python -m bench.reports <case> <rows>``. A limit writes the
same rows without formatting: the csv module with rows of text, and the raw XML of a workbook. All
cases repeat the same block of movements, so reading them costs nothing.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from local.fake_pacs.fake_data import bulk_rfc

from bench.goals import Goal, measured
from bench.memory_usage import peak_mb
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import FROM_PAC, Consumption, IssuerLine, MovementLine, Source
from timbres.domain.month import Month

_Row = TypeVar("_Row")
_BLOCK = 10_000
_ISSUERS = 40
_DAYS = [date(2026, 10, number) for number in range(1, 32)]


def measure(runs: int) -> list[Goal]:
    """Measure the formats; return the goals of time and memory."""
    goals = []
    for ours, limit, ratio in (("csv", "csv_limit", 1.0), ("xlsx", "xlsx_limit", 9.0)):
        pairs = [[_in_process(case, 100_000) for case in (ours, limit)] for _ in range(runs)]
        own, cheapest = ([pair[n]["cpu"] / 100_000 for pair in pairs] for n in (0, 1))
        name = f"row of {ours.upper()} / cheapest way to write it"
        goals.append(measured(name, own, cheapest, ratio, "µs", 1e6))
        largest = _in_process(ours, 1_000_000)["mb"]
        name = f"{ours.upper()} of a million rows, MB above the base"
        goals.append(Goal(name, f"{largest:.1f} MB", "", largest, 32))
    for issuers in (200, 100_000):
        seconds = _in_process("pdf", issuers)["cpu"]
        name = f"PDF of {issuers:,} issuers, seconds"
        goals.append(Goal(name, f"{seconds:.2f} s", "", seconds, 3))
    if (ready := _page_seconds(10_000)) is not None:
        name = "page with 10,000 issuers ready in Chromium, seconds"
        goals.append(Goal(name, f"{ready:.2f} s", "", ready, 1))
    return goals


def _in_process(case: str, rows: int, *arguments: str) -> dict[str, float]:
    process = subprocess.run(
        [sys.executable, "-m", "bench.reports", case, str(rows), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, float] = json.loads(process.stdout)
    return result


def _page_seconds(issuers: int) -> float | None:
    """Return the seconds until the page is loaded and drawn; None without Chromium."""
    from playwright.sync_api import sync_playwright

    paths = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path_of_browser = next(filter(None, paths), None)
    if path_of_browser is None:
        return None
    with tempfile.TemporaryDirectory(prefix="timbres-bench-") as folder, sync_playwright() as web:
        path = Path(folder) / "page.html"
        _in_process("html", issuers, str(path))
        browser = web.chromium.launch(executable_path=path_of_browser, args=["--no-sandbox"])
        page = browser.new_page()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            page.goto(path.as_uri())
            text = page.evaluate(
                "new Promise(done => requestAnimationFrame(() => done(document.body.innerText)))"
            )
            seconds.append(time.perf_counter() - start)
            if f"{issuers:,}" not in text:
                raise SystemExit(f"the page does not state its {issuers:,} issuers")
        browser.close()
    return sorted(seconds)[1]


# ------------------------------------------------------------- what runs in a new process


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class _S3:
    """A stub of S3 that answers immediately; ``bytes`` is the number of received bytes."""

    def __init__(self) -> None:
        self.bytes = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "upload"}

    def upload_part(self, **request: Any) -> dict[str, str]:
        self.bytes += len(request["Body"])
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"VersionId": "version"}

    def put_object(self, **request: Any) -> dict[str, str]:
        self.bytes += len(request["Body"])
        return {"VersionId": "version"}


def _movements() -> list[MovementLine]:
    rfcs = [bulk_rfc(n) for n in range(_ISSUERS)]
    return [
        MovementLine(
            account="acme-rc",
            rfc=rfcs[n % _ISSUERS],
            date=_DAYS[n * 31 // _BLOCK],
            kind="Consumo de timbre",
            amount=1 + n % 900,
        )
        for n in range(_BLOCK)
    ]


def _repeat(rows: Sequence[_Row], count: int) -> Iterator[_Row]:
    return islice(chain.from_iterable(repeat(rows)), count)


def _report(rows: int, movements: Sequence[MovementLine]) -> Consumption:
    at = datetime(2026, 11, 1, 6, tzinfo=MEXICO_CITY)
    each = rows // _ISSUERS
    return Consumption(
        account="acme-rc",
        month=Month(2026, 10),
        generated_at=at,
        sources=(Source("acme-rc", "reachcore", FROM_PAC, "prepaid", at, previous=rows),),
        issuers=tuple(IssuerLine("acme-rc", bulk_rfc(n), each, each) for n in range(_ISSUERS)),
        days=(rows // 31,) * 31,
        contracts=(),
        movements=lambda: _repeat(movements, rows),
    )


def _many_issuers(issuers: int) -> Consumption:
    """Return a month of many issuers, with one movement per issuer and day."""
    rfcs = [bulk_rfc(n) for n in range(issuers)]
    lines = tuple(IssuerLine("acme-rc", rfc, 31, 31, 500, Decimal(500)) for rfc in rfcs)

    def movements() -> Iterator[MovementLine]:
        for rfc in rfcs:
            for day in _DAYS:
                yield MovementLine("acme-rc", rfc, day, "Consumo de timbre", 1)

    return replace(_report(issuers * 31, ()), issuers=lines, movements=movements)


def _into_s3(write: Callable[[Consumption, Any], int], rows: int) -> Callable[[], None]:
    from timbres.aws.multipart_upload import Upload

    report = _report(rows, _movements())

    def run() -> None:
        s3 = _S3()
        with Upload(s3, "bucket", "key") as upload:
            count = write(report, upload)
        if (count, s3.bytes) != (rows, upload.bytes):
            raise SystemExit(f"{count} rows and {s3.bytes} bytes were written, expected {rows}")

    return run


def _csv(rows: int) -> Callable[[], None]:
    from timbres_reports import csv_writer

    return _into_s3(csv_writer.write, rows)


def _xlsx(rows: int) -> Callable[[], None]:
    from timbres_reports import xlsx_writer

    return _into_s3(xlsx_writer.write, rows)


def _csv_limit(rows: int) -> Callable[[], None]:
    texts = [
        [line.date.isoformat(), line.account, line.rfc or "", line.kind, str(line.amount)]
        for line in _movements()
    ]

    def run() -> None:
        text = io.TextIOWrapper(io.BufferedWriter(_Nowhere()), encoding="utf-8", newline="")
        csv.writer(text).writerows(_repeat(texts, rows))
        text.flush()

    return run


def _xlsx_limit(rows: int) -> Callable[[], None]:
    epoch = date(1899, 12, 30)
    values = [
        (
            *(escape(text) for text in (line.account, line.rfc or "", line.kind)),
            (line.date - epoch).days,
            line.amount,
        )
        for line in _movements()
    ]

    def lines() -> Iterator[str]:
        for n, (account, rfc, kind, day, amount) in enumerate(_repeat(values, rows), start=1):
            yield (
                f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{account}</t></is></c>'
                f'<c r="B{n}" t="inlineStr"><is><t>{rfc}</t></is></c>'
                f'<c r="C{n}" s="1"><v>{day}</v></c>'
                f'<c r="D{n}" t="inlineStr"><is><t>{kind}</t></is></c>'
                f'<c r="E{n}"><v>{amount}</v></c></row>'
            )

    def run() -> None:
        output = io.BufferedWriter(_Nowhere())
        with (
            zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as book,
            book.open("xl/worksheets/sheet1.xml", "w") as sheet,
        ):
            texts = lines()
            while text := "".join(islice(texts, 1000)):
                sheet.write(text.encode())

    return run


def _pdf(issuers: int) -> Callable[[], None]:
    from timbres_reports import pdf_writer

    report = _many_issuers(issuers)

    def run() -> None:
        pdf_writer.write(report, io.BufferedWriter(_Nowhere()))

    return run


def _html(issuers: int) -> Callable[[], None]:
    from timbres_reports import html_writer

    report = _many_issuers(issuers)

    def run() -> None:
        with Path(sys.argv[3]).open("wb") as file:
            html_writer.write(report, file)

    return run


_CASES = {
    "csv": _csv,
    "csv_limit": _csv_limit,
    "xlsx": _xlsx,
    "xlsx_limit": _xlsx_limit,
    "pdf": _pdf,
    "html": _html,
}


def main() -> None:
    """Measure one case in this process, which does nothing else."""
    run = _CASES[sys.argv[1]](int(sys.argv[2]))
    base, start = peak_mb(), time.process_time()
    run()
    print(json.dumps({"cpu": time.process_time() - start, "mb": peak_mb() - base}))


if __name__ == "__main__":
    main()
