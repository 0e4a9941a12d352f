"""HTTP as PACs are spoken to: bounded in time and size, pooled, never redirected."""

from __future__ import annotations

import hashlib
import io
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

import certifi
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
)

from timbres.deadline import Deadline
from timbres.errors import OUT_OF_TIME, PacError, TimbresError
from timbres.pacs.codes import TIMEOUT, UNREACHABLE, protocol_error

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
# A million movements are some 120 MB; a Lambda's /tmp holds 512 MB.
MOST_BYTES = 256 * 1024 * 1024
_IN_MEMORY = 1024 * 1024
_CHUNK = 64 * 1024
_BACK_OFF_SECONDS = 0.3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Download:
    """A PAC's whole answer, on disk beyond 1 MiB. ``sha256`` is hexadecimal."""

    file: IO[bytes]
    status: int
    content_type: str
    size: int
    sha256: str

    def head(self, size: int = _CHUNK) -> bytes:
        """Return the first ``size`` bytes and leave the file at its start."""
        self.file.seek(0)
        start = self.file.read(size)
        self.file.seek(0)
        return start


@cache
def _tls() -> ssl.SSLContext:
    # One context a process: loading the CA bundle costs more than a handshake.
    return ssl.create_default_context(cafile=certifi.where())


_deadline: ContextVar[Deadline] = ContextVar("deadline")


class _Timed(io.RawIOBase):
    """A socket's bytes until the deadline, from which on each read is a TimeoutError."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: Deadline) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        usual = self._sock.gettimeout()
        self._sock.settimeout(left if usual is None else min(usual, left))
        try:
            count: int | None = self._raw.readinto(buffer)
            return count
        finally:
            self._sock.settimeout(usual)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """Ends at the deadline even where head or body drip, each byte in time."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: io.BufferedReader = io.BufferedReader(
            _Timed(self.fp.detach(), sock, _deadline.get())
        )


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    """Tells a failed handshake, before which nothing was sent, from a broken connection."""

    response_class = _Response

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            why = getattr(error, "reason", None) or error
            raise NewConnectionError(self, f"TLS: {why}") from error


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_HEADERS = {
    "User-Agent": "timbres",
    "Accept": "*/*",
    # A compressed answer could grow beyond any limit while it is read.
    "Accept-Encoding": "identity",
}


class PacSession:
    """A pooled session for one PAC account.

    It ignores proxies and netrc of the environment, keeps no cookies and follows no
    redirect, so that credentials go where the account says and nowhere else.
    """

    def __init__(self, pac: str, connections: int = 10) -> None:
        self.pac = pac
        # The context verifies; naming the bundle here would load it at every connection.
        self._pools = PoolManager(
            maxsize=connections, ssl_context=_tls(), cert_reqs="CERT_REQUIRED"
        )
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def fetch(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        read_seconds: float = READ_SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> Download:
        """Send one request and return the whole answer, whatever its status.

        The caller closes ``Download.file``. Raises ``pac-unreachable`` when nothing was
        sent, ``pac-timeout`` when the answer did not come whole and in time,
        ``pac-protocol-error`` for no HTTP, a redirect or more than ``most_bytes``, and
        ``out-of-time`` when the deadline left no time to begin.
        """
        left = deadline.left()
        if left <= 0.5:
            raise TimbresError(OUT_OF_TIME, f"No time was left to ask {self.pac}; ask again.")
        timeout = Timeout(connect=min(CONNECT_SECONDS, left), read=min(read_seconds, left))
        token = _deadline.set(deadline)
        try:
            response = self._pools.urlopen(
                method,
                url,
                headers=_HEADERS | (headers or {}),
                body=data,
                timeout=timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                return self._read(response, deadline, most_bytes)
            finally:
                # One that was read to its end is back in the pool by now.
                response.close()
        except HTTPError as error:
            raise self._failed(error) from None
        finally:
            _deadline.reset(token)

    def _read(
        self,
        response: BaseHTTPResponse,
        deadline: Deadline,
        most_bytes: int,
    ) -> Download:
        if 300 <= response.status < 400:
            raise protocol_error(self.pac, "it redirects elsewhere, which is not followed")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise protocol_error(self.pac, "it is compressed, which was not asked for")
        declared = response.headers.get("Content-Length", "").strip()
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > most_bytes:
            raise self._too_long(most_bytes)
        digest = hashlib.sha256()
        size = 0
        file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 the caller's
        try:
            for chunk in _chunks(response):
                size += len(chunk)
                if size > most_bytes:
                    raise self._too_long(most_bytes)
                if deadline.left() <= 0:
                    raise self._late()
                digest.update(chunk)
                file.write(chunk)
            file.seek(0)
        except HTTPError as error:
            file.close()
            raise self._late() from error
        except BaseException:
            file.close()
            raise
        return Download(
            file=file,
            status=response.status,
            content_type=response.headers.get("Content-Type", ""),
            size=size,
            sha256=digest.hexdigest(),
        )

    def _too_long(self, most_bytes: int) -> PacError:
        return protocol_error(self.pac, f"it is longer than {most_bytes:,} bytes")

    def _late(self) -> PacError:
        return PacError(
            TIMEOUT, f"{self.pac} did not answer, or not to the end, in time.", pac=self.pac
        )

    def _failed(self, error: HTTPError) -> PacError:
        if isinstance(error, NewConnectionError):
            why = str(error).rpartition(": ")[2]
        elif isinstance(error, ConnectTimeoutError):
            why = "the connection timed out"
        elif isinstance(error, LocationValueError):
            why = "its address is not valid"
        elif _is_no_http(error):
            return protocol_error(self.pac, "it is no HTTP")
        else:
            return self._late()
        return PacError(UNREACHABLE, f"{self.pac} could not be reached: {why}.", pac=self.pac)


def _is_no_http(error: HTTPError) -> bool:
    cause = error.args[-1] if error.args else None
    return isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected)


def _chunks(response: BaseHTTPResponse) -> Iterator[bytes]:
    # read1 returns what has come; read waits for a full chunk, however slowly it drips.
    while chunk := response.read1(_CHUNK):
        yield chunk


def retried(read: Callable[[], T], deadline: Deadline, attempts: int) -> T:
    """Return what ``read`` returns, repeating it after a failure that allows it.

    ``attempts`` at most, with full jitter between them, and none that the deadline would
    cut short. Only for calls that change nothing. Raises the last failure.
    """
    for attempt in range(1, attempts + 1):
        try:
            return read()
        except PacError as error:
            pause = random.uniform(0, _BACK_OFF_SECONDS * 2**attempt)  # noqa: S311 jitter, no secret
            if not error.kind.retry or attempt == attempts or deadline.left() < pause + 1:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")
