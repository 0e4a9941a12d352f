"""HTTP to PACs: bounded in time and size, decompressed, pooled, never redirected."""

from __future__ import annotations

import hashlib
import logging
import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout, InvalidURL, SSLError
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProtocolError

from timbres.deadline import Deadline
from timbres.errors import DEADLINE_EXCEEDED, PacError, TimbresError
from timbres.pacs.errors import TIMEOUT, UNREACHABLE, protocol_error

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
# A million movements are some 120 MB; a Lambda's /tmp holds 512 MB.
MAX_BYTES = 256 * 1024 * 1024
_IN_MEMORY = 1024 * 1024
_CHUNK = 64 * 1024
_BACKOFF_SECONDS = 0.3
_HEADERS = {"User-Agent": "timbres", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP = 16 + zlib.MAX_WBITS
_UNCOMPRESSED = frozenset({"", "identity", "none"})

# At DEBUG urllib3 logs the path of every request.
logging.getLogger("urllib3").setLevel(logging.WARNING)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A PAC's whole answer, on disk beyond 1 MiB. ``sha256`` is hexadecimal."""

    file: IO[bytes]
    status: int
    content_type: str
    size: int
    sha256: str

    def peek(self, size: int = _CHUNK) -> bytes:
        """Return the first ``size`` bytes and leave the file at its start."""
        self.file.seek(0)
        start = self.file.read(size)
        self.file.seek(0)
        return start


@cache
def _tls_context() -> ssl.SSLContext:
    # One context a process: loading the CA bundle costs more than a handshake.
    return ssl.create_default_context(cafile=certifi.where())


class _Adapter(HTTPAdapter):
    """Verifies certificates by the context of the process."""

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block, ssl_context=_tls_context(), **pool_kwargs
        )

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context verifies; the CA bundle that is set here otherwise loads at each handshake.
        pass


class _Body:
    """The body of a request; ``taken`` once the connection has asked for it.

    It is asked for when the connection is made and the headers are sent. While it is not,
    the PAC cannot have the whole request.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.taken = False

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        self.taken = True
        yield self._content


class PacSession(requests.Session):
    """A session for one PAC account, with a pool of ``connections``.

    It ignores proxies and netrc of the environment, keeps no cookies and follows no
    redirect, so that credentials go where the account says and nowhere else. Threads may
    share it: after the construction nothing in it changes but the pool, which has a lock.
    """

    def __init__(self, pac: str, connections: int = 1) -> None:
        super().__init__()
        self.pac = pac
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_maxsize=connections, max_retries=0))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: of a redirect that it does not follow, requests reads the whole body."""

    def fetch(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        read_seconds: float = READ_SECONDS,
        most_bytes: int = MAX_BYTES,
    ) -> HttpResponse:
        """Send one request and return the whole answer, decompressed, whatever its status.

        The caller closes ``Download.file``. Raises ``pac-unreachable`` when nothing was
        sent, ``pac-timeout`` when the answer did not come whole and in time,
        ``pac-protocol-error`` for no HTTP, a redirect, an unknown compression or more than
        ``most_bytes``, and ``out-of-time`` when the deadline left no time to begin.
        """
        left = deadline.remaining()
        if left <= 0.5:
            raise TimbresError(DEADLINE_EXCEEDED, f"No time was left to ask {self.pac}; ask again.")
        timeout = Timeout(connect=CONNECT_SECONDS, read=read_seconds, total=left)
        body = None if data is None else _Body(data)
        try:
            request = requests.Request(method, url, _HEADERS | (headers or {}), data=body)
            with self.send(
                request.prepare(),
                timeout=timeout,  # type: ignore[arg-type]  # HTTPAdapter.send documents it
                stream=True,
                allow_redirects=False,
            ) as response:
                return self._read(response, deadline, most_bytes)
        except zlib.error:
            raise protocol_error(self.pac, "it cannot be decompressed") from None
        except (requests.RequestException, HTTPError) as error:
            raise self._map_error(error, body) from None

    def _read(
        self, response: requests.Response, deadline: Deadline, most_bytes: int
    ) -> HttpResponse:
        if 300 <= response.status_code < 400:
            raise protocol_error(self.pac, "it redirects elsewhere, which is not followed")
        declared = response.headers.get("Content-Length", "").strip()
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > most_bytes:
            raise self._too_large_error(most_bytes)
        pieces = self._limit_size(_raw_chunks(response), deadline, most_bytes)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in _COMPRESSED:
            pieces = self._limit_size(_decompress(pieces, encoding), deadline, most_bytes)
        elif encoding not in _UNCOMPRESSED:
            raise protocol_error(self.pac, "it is compressed in a way that was not asked for")
        digest = hashlib.sha256()
        size = 0
        file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 the caller's
        try:
            for piece in pieces:
                size += len(piece)
                digest.update(piece)
                file.write(piece)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return HttpResponse(
            file=file,
            status=response.status_code,
            content_type=response.headers.get("Content-Type", ""),
            size=size,
            sha256=digest.hexdigest(),
        )

    def _limit_size(
        self, pieces: Iterable[bytes], deadline: Deadline, most_bytes: int
    ) -> Iterator[bytes]:
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > most_bytes:
                raise self._too_large_error(most_bytes)
            if deadline.remaining() <= 0:
                raise self._timeout_error()
            yield piece

    def _too_large_error(self, most_bytes: int) -> PacError:
        return protocol_error(self.pac, f"it is longer than {most_bytes:,} bytes")

    def _timeout_error(self) -> PacError:
        return PacError(
            TIMEOUT, f"{self.pac} did not answer, or not to the end, in time.", pac=self.pac
        )

    def _map_error(self, error: Exception, body: _Body | None) -> PacError:
        if _was_not_sent(error, body):
            return PacError(
                UNREACHABLE, f"{self.pac} could not be reached: {_root_cause(error)}.", pac=self.pac
            )
        return (
            protocol_error(self.pac, "it is no HTTP")
            if _is_malformed_http(error)
            else self._timeout_error()
        )


def _raw_chunks(response: requests.Response) -> Iterator[bytes]:
    # read1 returns what has come; iter_content waits for a full chunk, however slowly it drips.
    while piece := response.raw.read1(_CHUNK, decode_content=False):
        yield piece


def _decompress(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield what ``pieces`` decompress to, at most 64 KiB at a time.

    An input without output yields an empty piece, so that the bounds are held then, too.
    Raises ``zlib.error`` for what is not of this encoding, or only the beginning of it.
    """
    inflater = None
    for piece in pieces:
        rest = piece
        while rest:
            if inflater is None or inflater.eof:  # gzip may have several members.
                # Some servers send deflate without zlib's header, which begins with an 8.
                deflate = zlib.MAX_WBITS if rest[0] & 0x0F == 8 else -zlib.MAX_WBITS
                inflater = zlib.decompressobj(deflate if encoding == "deflate" else _GZIP)
            yield inflater.decompress(rest, _CHUNK)
            rest = inflater.unused_data or inflater.unconsumed_tail
    if inflater is not None:
        yield inflater.flush()  # The rest of a match, where the last input filled a piece.
        if not inflater.eof:
            raise zlib.error("the end is missing")


def _was_not_sent(error: Exception, body: _Body | None) -> bool:
    if body is not None:
        # The types of a broken handshake and of a broken answer are the same.
        return not body.taken
    known = (ConnectTimeout, SSLError, InvalidURL, LocationValueError)
    return isinstance(error, known) or isinstance(_reason(error), NewConnectionError)


def _reason(error: Exception) -> object:
    """Return urllib3's reason for an error of requests."""
    cause = error.args[0] if error.args else None
    return getattr(cause, "reason", cause)


def _is_malformed_http(error: Exception) -> bool:
    aborted = _reason(error)
    # Of a broken connection the cause is an OSError; of a head that is none, the parser's error.
    return isinstance(aborted, ProtocolError) and not isinstance(aborted.args[-1], OSError)


def _root_cause(error: Exception) -> str:
    reason = _reason(error)
    if isinstance(reason, NewConnectionError):
        return str(reason).rpartition(": ")[2]
    if isinstance(error, ConnectTimeout):
        return "the connection timed out"
    if isinstance(error, InvalidURL | LocationValueError):
        return "its address is not valid"
    if isinstance(error, SSLError):
        cause = _reason(reason) if isinstance(reason, HTTPError) else None
        return f"TLS: {cause or 'the handshake failed'}"
    return "the connection broke before the request was sent"


def with_retries(read: Callable[[], T], deadline: Deadline, attempts: int) -> T:
    """Return what ``read`` returns, repeating it after a failure that allows it.

    ``attempts`` at most, with full jitter between them, and none that the deadline would
    cut short. Only for calls that change nothing. Raises the last failure.
    """
    for attempt in range(1, attempts + 1):
        try:
            return read()
        except PacError as error:
            pause = random.uniform(0, _BACKOFF_SECONDS * 2**attempt)  # noqa: S311 jitter, no secret
            if (
                not error.problem_type.retryable
                or attempt == attempts
                or deadline.remaining() < pause + 1
            ):
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")
