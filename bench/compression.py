"""Measure a balance of a million movements over a link of 50 Mbit/s, compressed and not.

The PAC is a process of its own that sends at that rate. It compresses if the client accepts gzip.
``python -m bench.compression pac <folder>`` is the PAC, ``… read <url> <encoding>`` is the client.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from local.emulator_process import ROOT
from local.fake_pacs.fake_data import bulk_rfc

from bench.goals import Goal
from bench.memory_usage import peak_mb

_MOVEMENTS = 1_000_000
_BYTES_PER_SECOND = 50_000_000 / 8
_CHUNK = 62_500


def measure() -> list[Goal]:
    """Measure both responses once; return the goals of time and memory."""
    with tempfile.TemporaryDirectory(prefix="timbres-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.compression", "pac", folder],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            plain, compressed = (
                _read_in_process(url, encoding) for encoding in ("identity", "gzip")
            )
        finally:
            process.kill()
            process.wait()
    ratio = compressed["seconds"] / plain["seconds"]
    name = "balance of a million movements at 50 Mbit/s"
    return [
        Goal(
            f"{name}, compressed / not",
            f"{compressed['seconds']:.1f} s",
            f"{plain['seconds']:.1f} s",
            ratio,
            0.15,
        ),
        Goal(f"{name}, MB above the base", f"{compressed['mb']:.1f} MB", "", compressed["mb"], 32),
    ]


def _read_in_process(url: str, encoding: str) -> dict[str, float]:
    process = subprocess.run(
        [sys.executable, "-m", "bench.compression", "read", url, encoding],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers' / 'timbres'}"},
    )
    result: dict[str, float] = json.loads(process.stdout)
    return result


def _serve(folder: Path) -> None:
    movement = '{{"RFC": "{}", "Fecha": "2026-10-{:02d}T00:00:00", "TipoMovimiento": '
    movement += '"Consumo de timbre", "Monto": 1}}'
    rfcs = [bulk_rfc(n) for n in range(5_000)]
    movements = ",".join(movement.format(rfcs[n % 5_000], 1 + n % 31) for n in range(_MOVEMENTS))
    content = (
        f'{{"Registrados": 5000, "Autorizados": 5000, "GeneraronTimbre": 5000, '
        f'"TipoConsumo": "Postpago", "FechaActual": "2026-11-01T06:00:00", '
        f'"Transacciones": {_MOVEMENTS}, "Detalle": [{movements}]}}'
    ).encode()
    bodies = {"identity": content, "gzip": gzip.compress(content, 6)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            encoding = (folder / "encoding").read_text()
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Encoding", encoding)
            self.send_header("Content-Length", str(len(bodies[encoding])))
            self.end_headers()
            start, body = time.perf_counter(), bodies[encoding]
            for begin in range(0, len(body), _CHUNK):
                due = start + begin / _BYTES_PER_SECOND
                time.sleep(max(0.0, due - time.perf_counter()))
                self.wfile.write(body[begin : begin + _CHUNK])

        def do_PUT(self) -> None:
            (folder / "encoding").write_text(self.path.removeprefix("/"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def _read(url: str, encoding: str) -> None:
    import requests

    from timbres.deadline import Deadline
    from timbres.domain.account import parse_account
    from timbres.domain.balance import sum_movements
    from timbres.domain.month import Month
    from timbres.pacs.registry import PACS, create_client

    requests.put(f"{url}/{encoding}", timeout=5).raise_for_status()
    secret = {"pac": "reachcore", "environment": "sandbox", "endpoint": url, "api_key": "bench"}
    account = parse_account("bench", json.dumps(secret), PACS, allow_sandbox=True)
    client = create_client(account)
    base, start = peak_mb(), time.perf_counter()
    with client.balance(Month(2026, 10), None, Deadline(120)) as reading:
        totals = sum_movements(reading.movements())
    seconds = time.perf_counter() - start
    if totals.consumed != _MOVEMENTS:
        raise SystemExit(f"{totals.consumed} stamps were read, expected {_MOVEMENTS}")
    print(json.dumps({"seconds": seconds, "mb": peak_mb() - base}))


if __name__ == "__main__":
    if sys.argv[1] == "pac":
        _serve(Path(sys.argv[2]))
    else:
        _read(*sys.argv[2:4])
