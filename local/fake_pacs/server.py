"""Serve a fake PAC over HTTP/1.1 on loopback, with keep-alive connections."""

from __future__ import annotations

import io
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import Headers
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    """A connection that stays open after a response, unlike Werkzeug's own handler.

    The body is read completely before the application runs, so the next request can be found.
    """

    protocol_version = "HTTP/1.1"
    # Few packets per response, sent without waiting for acknowledgements.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Handle a request; ignore a broken connection."""
        environ = self.environ = self.make_environ()
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(length))
        try:
            body, status, headers = run_wsgi_app(self.server.app, environ)
            self._send(status, headers, body)
        except OSError:
            self.close_connection = True
        except Exception:
            self.close_connection = True
            self.log("error", "%s", traceback.format_exc())
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, status: str, headers: Headers, body: Iterable[bytes]) -> None:
        code, _, reason = status.partition(" ")
        chunked = int(code) != HTTPStatus.NO_CONTENT and "Content-Length" not in headers
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in filter(None, body):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            self.wfile.flush()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write no access log; the fake PAC has its own list of calls."""


class _Server(ThreadedWSGIServer):
    """A server with one thread per connection, which can close all open connections."""

    def __init__(self, app: WSGIApplication, port: int, ssl_context: SSLContext | None) -> None:
        super().__init__(HOST, port, app, _Handler, ssl_context=ssl_context)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it ends."""
        with self._open_lock:
            self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore closed connections, which faults cause."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """Close all open connections."""
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serve(
    app: WSGIApplication, *, port: int = 0, ssl_context: SSLContext | None = None
) -> Iterator[str]:
    """Serve an application on loopback during the context; yield its base URL.

    Port 0 selects a free port; with `ssl_context` the URL is https. All threads are daemons. The
    end of the context also closes keep-alive connections.
    """
    server = _Server(app, port, ssl_context)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    scheme = "https" if ssl_context else "http"
    try:
        yield f"{scheme}://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.close_connections()
