"""HTTP as PACs are spoken to: bounded in time and size, pooled, never redirected."""

from __future__ import annotations

import hashlib
import random
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from timbres.deadline import Deadline
from timbres.errors import OUT_OF_TIME, PacError, TimbresError
from timbres.pacs.codes import TIMEOUT, UNREACHABLE, protocol_error

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
# A million movements are some 120 MB; a Lambda's /tmp holds 512 MB.
MOST_BYTES = 256 * 1024 * 1024
_IN_MEMORY = 1024 * 1024
_CHUNK = 64 * 1024
_ATTEMPTS = 3
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


class _TlsConnection(HTTPSConnection):
    """Tells a failed handshake, before which nothing was sent, from a broken connection."""

    def connect(self) -> None:
        try:
            super().connect()
        except ssl.SSLError as error:
            raise NewConnectionError(self, f"TLS: {error.reason or error}") from error


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=_tls())
        self.poolmanager.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": _TlsPool}

    def cert_verify(self, conn: Any, *_unused: Any) -> None:
        # The context verifies; naming the bundle here would load it at every connection.
        conn.cert_reqs = "CERT_REQUIRED"


class PacSession(requests.Session):
    """A pooled session for one PAC account.

    It ignores proxies and netrc of the environment, keeps no cookies and follows no
    redirect, so that credentials go where the account says and nowhere else.
    """

    def __init__(self, pac: str, connections: int = 10) -> None:
        super().__init__()
        self.pac = pac
        self.trust_env = False
        self.headers["User-Agent"] = "timbres"
        # A compressed answer could grow beyond any limit while it is read.
        self.headers["Accept-Encoding"] = "identity"
        adapter = _Adapter(pool_maxsize=connections)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

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
        ``pac-protocol-error`` for a redirect or more than ``most_bytes``, and
        ``out-of-time`` when the deadline left no time to begin.
        """
        left = deadline.left()
        if left <= 0.5:
            raise TimbresError(OUT_OF_TIME, f"No time was left to ask {self.pac}; ask again.")
        timeout = (min(CONNECT_SECONDS, left), min(read_seconds, left))
        try:
            with self.request(
                method,
                url,
                headers=headers,
                data=data,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._read(response, deadline, most_bytes)
        except requests.RequestException as error:
            raise self._failed(error) from None
        finally:
            self.cookies.clear()

    def _read(
        self,
        response: requests.Response,
        deadline: Deadline,
        most_bytes: int,
    ) -> Download:
        if 300 <= response.status_code < 400:
            raise protocol_error(self.pac, "it redirects elsewhere, which is not followed")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise protocol_error(self.pac, "it is compressed, which was not asked for")
        digest = hashlib.sha256()
        size = 0
        file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 the caller's
        try:
            for chunk in _chunks(response):
                size += len(chunk)
                if size > most_bytes:
                    raise protocol_error(self.pac, f"it is longer than {most_bytes:,} bytes")
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
            status=response.status_code,
            content_type=response.headers.get("Content-Type", ""),
            size=size,
            sha256=digest.hexdigest(),
        )

    def _late(self) -> PacError:
        return PacError(
            TIMEOUT, f"{self.pac} did not answer, or not to the end, in time.", pac=self.pac
        )

    def _failed(self, error: requests.RequestException) -> PacError:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(reason, NewConnectionError):
            why = str(reason).rpartition(": ")[2]
        elif isinstance(error, requests.ConnectTimeout):
            why = "the connection timed out"
        else:
            return self._late()
        return PacError(UNREACHABLE, f"{self.pac} could not be reached: {why}.", pac=self.pac)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    # read1 returns what has come; read waits for a full chunk, however slowly it drips.
    while chunk := response.raw.read1(_CHUNK):
        yield chunk


def retried(read: Callable[[], T], deadline: Deadline) -> T:
    """Return what ``read`` returns, repeating it after a failure that allows it.

    Three attempts at most, with full jitter between them, and none that the deadline would
    cut short. Only for calls that change nothing. Raises the last failure.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return read()
        except PacError as error:
            pause = random.uniform(0, _BACK_OFF_SECONDS * 2**attempt)  # noqa: S311 jitter, no secret
            if not error.kind.retry or attempt == _ATTEMPTS or deadline.left() < pause + 1:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")
