"""Lambda's Runtime API for one process, and a function's process that asks it for work."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from local.aws import ROOT

_PATH = os.pathsep.join(str(ROOT / "layers" / name) for name in ("timbres", "reports"))


class UnansweredError(Exception):
    """A function failed, or said nothing in time; the message is what it said."""


class Runtime(ThreadingHTTPServer):
    """Hands out one event at a time, and takes its answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Invocations)
        self.events: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()
        self.waiting = threading.Event()

    def invoke(self, event: bytes, seconds: float = 60) -> dict[str, Any]:
        """Return the function's answer to ``event``; raises UnansweredError."""
        self.waiting.clear()
        self.events.put(event)
        try:
            well, answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise UnansweredError(f"nothing within {seconds} s") from None
        if not well:
            raise UnansweredError(answer.decode())
        result: dict[str, Any] = json.loads(answer)
        return result

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a process that is killed leaves its connections as they are."""


class _Invocations(BaseHTTPRequestHandler):
    server: Runtime
    protocol_version = "HTTP/1.1"
    # An answer in two packets would wait for the acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.waiting.set()
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid4()))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 29_000))
        arn = "arn:aws:lambda:mx-central-1:000000000000:function:bench"
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
        # Without these two Lambda's client ends with a segmentation fault.
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-691e0000-0123456789abcdef01234567")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answers.put((self.path.endswith("/response"), body))

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running_function(
    folder: Path, module: str, environment: Mapping[str, str], command: tuple[str, ...] = ()
) -> Iterator[tuple[Runtime, subprocess.Popen[bytes]]]:
    """Run ``module.handler`` of ``folder`` in a fresh process with Lambda's own client.

    ``command`` stands before the interpreter's. The process is killed at the end.
    """
    with Runtime() as runtime:
        serving = threading.Thread(target=runtime.serve_forever, daemon=True)
        serving.start()
        process = subprocess.Popen(
            [*command, sys.executable, "-m", "awslambdaric", f"{module}.handler"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": _PATH,
                "LAMBDA_TASK_ROOT": str(folder),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_address[1]}",
                **environment,
            },
        )
        try:
            yield runtime, process
        finally:
            process.kill()
            process.wait()
            runtime.events.put(None)
            runtime.shutdown()
            serving.join()
