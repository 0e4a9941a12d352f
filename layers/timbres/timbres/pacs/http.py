"""HTTP to PACs: bounded in time and size, decompressed, pooled, never redirected."""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import math
import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cache, partial
from http.cookiejar import DefaultCookiePolicy
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self, TypeVar

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectTimeout, InvalidURL, SSLError
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProtocolError

from timbres.deadline import Deadline
from timbres.domain.text import charset_of
from timbres.errors import DEADLINE_EXCEEDED, PacError, TimbresError
from timbres.pacs.base import DEFAULT_LIMITS, CallLimits
from timbres.pacs.errors import (
    HTTP_ERRORS,
    TIMEOUT,
    UNREACHABLE,
    ErrorTable,
    error_from_code,
    protocol_error,
)
from timbres.pacs.reading import decode_text, error_of, is_html, parse_json

# A million movements are about 120 MB; a Lambda's /tmp has 512 MB.
MAX_BYTES = 256 * 1024 * 1024
_MAX_MEMORY_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 2048
_HEADERS = {"User-Agent": "timbres", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP = 16 + zlib.MAX_WBITS
_UNCOMPRESSED = frozenset({"", "identity", "none"})
# Beyond it, a PAC's Retry-After is ignored.
_MAX_WAIT_SECONDS = 60
# Enough for the PAC's messages, of which the first 300 characters are reported.
_MAX_ERROR_BYTES = 2 * 1024 * 1024
# The reasons of OpenSSL, by their number or name, in words that an operator understands.
_TLS_REASONS: Mapping[int | str | None, str] = {
    10: "its certificate has expired",
    9: "its certificate is not valid yet",
    18: "its certificate is self-signed",
    19: "its certificate is self-signed",
    20: "its certificate is of an unknown issuer",
    21: "its certificate is of an unknown issuer",
    62: "its certificate is for another host",
    64: "its certificate is for another host",
    "NO_PROTOCOLS_AVAILABLE": "there is no common protocol version",
    "NO_SHARED_CIPHER": "there is no common cipher",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "there is no common protocol version or cipher",
    "TLSV1_ALERT_PROTOCOL_VERSION": "there is no common protocol version",
    "UNSUPPORTED_PROTOCOL": "there is no common protocol version",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
}

# At DEBUG urllib3 logs the path of every request.
logging.getLogger("urllib3").setLevel(logging.WARNING)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A PAC's complete response, on disk beyond 1 MiB.

    ``sha256`` is hexadecimal, ``retry_after`` in seconds, up to a minute.
    """

    file: IO[bytes]
    status: int
    content_type: str
    size: int
    sha256: str
    retry_after: int | None = None

    def peek(self, size: int = _CHUNK_BYTES) -> bytes:
        """Return the first ``size`` bytes and leave the file at its start."""
        self.file.seek(0)
        head = self.file.read(size)
        self.file.seek(0)
        return head

    @property
    def is_page(self) -> bool:
        """Whether it is a page for a browser, for example of a firewall, and not a PAC's data."""
        text = decode_text(self.peek(_HEAD_BYTES), self.content_type, "replace")
        return is_html(text, self.content_type)

    def error(self) -> tuple[str | None, str | None]:
        """Return code and message of an error response, None for what it does not have."""
        return error_of(self.peek(_MAX_ERROR_BYTES), self.content_type)

    def in_utf8(self, max_bytes: int) -> Self:
        """Return the response in UTF-8, without a byte order mark; itself if it is that already.

        Another response replaces this one, whose file is closed. Raises UnicodeDecodeError, and
        ValueError beyond ``max_bytes``.
        """
        charset = charset_of(self.peek(_HEAD_BYTES), self.content_type) or "utf-8"
        if charset == "utf-8":
            return self

        def pieces() -> Iterator[bytes]:
            size = 0
            reader = codecs.getreader(charset)(self.file)
            while text := reader.read(_CHUNK_BYTES):
                yield (piece := text.encode())
                size += len(piece)
                if size > max_bytes:
                    raise ValueError("too long")

        file, _, _ = _spool(pieces())
        self.file.close()
        return replace(self, file=file, content_type="")


def _spool(pieces: Iterable[bytes]) -> tuple[IO[bytes], int, str]:
    """Return a file with the ``pieces``, which the caller closes, its size and its SHA-256."""
    size, digest = 0, hashlib.sha256()
    file: IO[bytes] = SpooledTemporaryFile(max_size=_MAX_MEMORY_BYTES)  # noqa: SIM115 the caller closes it
    try:
        for piece in pieces:
            size += len(piece)
            digest.update(piece)
            file.write(piece)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, size, digest.hexdigest()


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context of the process: loading the CA bundle costs more than a handshake."""
    return ssl.create_default_context(cafile=certifi.where())


# Created in Lambda's import phase, which has a whole processor.
tls_context()


class _Adapter(HTTPAdapter):
    """Verifies certificates with the TLS context of the process."""

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        super().init_poolmanager(
            connections, maxsize, block, ssl_context=tls_context(), **pool_kwargs
        )

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context verifies; requests would load the CA bundle here for each connection.
        pass


class _Body:
    """The body of a request; ``is_read`` is true once the connection has read it.

    The connection reads it after it sent the headers. Before that, the PAC cannot have the
    complete request.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.is_read = False

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        self.is_read = True
        yield self._content


class PacSession(requests.Session):
    """A session for one PAC account, with a pool of ``connections``.

    It ignores the environment's proxies and netrc, keeps no cookies and follows no redirects:
    credentials go only to the address of the account. Threads may share it: after construction
    only the pool changes, and it has a lock.
    """

    def __init__(self, pac: str, limits: CallLimits = DEFAULT_LIMITS, connections: int = 1) -> None:
        super().__init__()
        self.pac = pac
        self._limits = limits
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(pool_maxsize=connections, max_retries=0))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests reads the whole body of a redirect that it does not follow."""

    def fetch(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> HttpResponse:
        """Send one request and return the complete response, decompressed, of any status.

        The caller closes ``HttpResponse.file``. Raises ``pac-unreachable`` if nothing was
        sent, ``pac-timeout`` if the response was not complete in time, ``pac-protocol-error``
        for a response that is not HTTP, is a redirect, has an unsupported compression or is
        longer than ``max_bytes``, and ``out-of-time`` if too little time was left to start.
        """
        remaining = deadline.remaining()
        if remaining <= 0.5:
            raise TimbresError(
                DEADLINE_EXCEEDED, f"Too little time was left to call {self.pac}; retry."
            )
        limits = self._limits
        timeout = Timeout(total=remaining, connect=limits.connect_seconds, read=limits.read_seconds)
        body = None if data is None else _Body(data)
        try:
            request = requests.Request(method, url, _HEADERS | (headers or {}), data=body)
            with self.send(
                request.prepare(),
                timeout=timeout,  # type: ignore[arg-type]  # HTTPAdapter.send documents it
                stream=True,
                allow_redirects=False,
            ) as response:
                return self._read(response, deadline, max_bytes)
        except zlib.error:
            raise protocol_error(self.pac, "it cannot be decompressed") from None
        except (requests.RequestException, HTTPError) as error:
            raise self._map_error(error, body) from None

    def post_json(
        self,
        url: str,
        payload: Mapping[str, Any],
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> HttpResponse:
        """Send one request with a JSON body, as :meth:`fetch` does."""
        return self.fetch(
            "POST",
            url,
            headers={"Content-Type": "application/json", **(headers or {})},
            data=json.dumps(payload, ensure_ascii=False).encode(),
            deadline=deadline,
            max_bytes=max_bytes,
        )

    def _read(
        self, response: requests.Response, deadline: Deadline, max_bytes: int
    ) -> HttpResponse:
        status = response.status_code
        if status < 200:
            # The connection is closed: the final response would be read as that of the next call.
            raise protocol_error(self.pac, f"it is an interim response, HTTP {status}")
        if 300 <= status < 400:
            raise protocol_error(self.pac, "it redirects elsewhere, which is not followed")
        declared = response.headers.get("Content-Length", "").strip()
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes:
            raise self._too_large_error(max_bytes)
        # read1 returns the bytes received so far; iter_content waits for a full chunk.
        read = partial(response.raw.read1, _CHUNK_BYTES, decode_content=False)
        chunks = self._limit_size(iter(read, b""), deadline, max_bytes)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in _COMPRESSED:
            chunks = self._limit_size(_decompress(chunks, encoding), deadline, max_bytes)
        elif encoding not in _UNCOMPRESSED:
            raise protocol_error(self.pac, "it is compressed in an unsupported format")
        file, size, sha256 = _spool(chunks)
        return HttpResponse(
            file=file,
            # 203: a proxy changed the response, for example its encoding.
            status=200 if status == 203 else status,
            content_type=response.headers.get("Content-Type", ""),
            size=size,
            sha256=sha256,
            retry_after=_seconds(response.headers.get("Retry-After", "").strip()),
        )

    def _limit_size(
        self, chunks: Iterable[bytes], deadline: Deadline, max_bytes: int
    ) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise self._too_large_error(max_bytes)
            if deadline.remaining() <= 0:
                raise self._timeout_error()
            yield chunk

    def _too_large_error(self, max_bytes: int) -> PacError:
        return protocol_error(self.pac, f"it is longer than {max_bytes:,} bytes")

    def _timeout_error(self) -> PacError:
        return PacError(
            TIMEOUT, f"{self.pac} did not send a complete response in time.", pac=self.pac
        )

    def _map_error(self, error: Exception, body: _Body | None) -> PacError:
        if _was_not_sent(error, body):
            return PacError(
                UNREACHABLE, f"{self.pac} could not be reached: {_root_cause(error)}.", pac=self.pac
            )
        return (
            protocol_error(self.pac, "it is not valid HTTP")
            if _is_malformed_http(error)
            else self._timeout_error()
        )


def _decompress(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the decompressed ``chunks``, at most 64 KiB at a time.

    Input without output yields an empty chunk, so that the caller can check the deadline.
    Raises ``zlib.error`` for input that has another encoding or is incomplete.
    """
    inflater = None
    for chunk in chunks:
        data = chunk
        while data:
            if inflater is None or inflater.eof:  # gzip may have several members.
                # Some servers send deflate without zlib's header, which begins with an 8.
                deflate = zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
                inflater = zlib.decompressobj(deflate if encoding == "deflate" else _GZIP)
            yield inflater.decompress(data, _CHUNK_BYTES)
            data = inflater.unused_data or inflater.unconsumed_tail
    if inflater is not None:
        yield inflater.flush()  # The end of a match, where the last input filled a chunk.
        if not inflater.eof:
            raise zlib.error("the end is missing")


def _was_not_sent(error: Exception, body: _Body | None) -> bool:
    if body is not None:
        # A failed handshake and a broken response raise the same exception types.
        return not body.is_read
    before_sending = (ConnectTimeout, SSLError, InvalidURL, LocationValueError)
    return isinstance(error, before_sending) or isinstance(_reason(error), NewConnectionError)


def _reason(error: Exception) -> object:
    """Return urllib3's reason for an exception of requests."""
    cause = error.args[0] if error.args else None
    return getattr(cause, "reason", cause)


def _is_malformed_http(error: Exception) -> bool:
    reason = _reason(error)
    # The cause is an OSError for a broken connection, a parser's error for malformed headers.
    return isinstance(reason, ProtocolError) and not isinstance(reason.args[-1], OSError)


def _root_cause(error: Exception) -> str:
    reason = _reason(error)
    if isinstance(reason, NewConnectionError):
        return str(reason).rpartition(": ")[2]
    if isinstance(error, ConnectTimeout):
        return "the connection timed out"
    if isinstance(error, InvalidURL | LocationValueError):
        return "its address is not valid"
    if isinstance(error, SSLError):
        cause = reason.args[0] if isinstance(reason, HTTPError) and reason.args else None
        return f"TLS: {_tls_reason(cause)}"
    return "the connection broke before the request was sent"


def _tls_reason(cause: object) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _TLS_REASONS.get(cause.verify_code, cause.verify_message)
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return _TLS_REASONS.get(reason, f"the handshake failed ({reason or cause or 'no reason'})")


def _seconds(retry_after: str) -> int | None:
    """Return the seconds in a Retry-After header, from 1 to 60; None if it is not valid."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except ValueError:
            return None
    return math.ceil(min(max(wait, 1), _MAX_WAIT_SECONDS)) if math.isfinite(wait) else None


def response_error(
    pac: str, response: HttpResponse, documented: ErrorTable = HTTP_ERRORS
) -> PacError:
    """Return the error of a response with an error status, or of a page instead of data.

    ``documented`` are the statuses that the PAC documents; they have priority.
    """
    _, message = response.error()
    code = str(response.status)
    table = documented if code in documented.by_code else HTTP_ERRORS
    error = error_from_code(pac, table, code, message)
    if response.status == 200:
        title = f": {error.pac_message}" if error.pac_message else ""
        detail = f"{pac} answered with a web page instead of data{title}."
        error = error.changed(detail=detail, pac_code=None)
    return error.changed(requested_wait=response.retry_after)


def read_object(pac: str, response: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a response with HTTP 200, and close the response's file.

    The names of its fields are folded. Raises the error of another status or of a web page, or
    ``pac-protocol-error``.
    """
    with response.file as file:
        if response.status != 200 or response.is_page:
            raise response_error(pac, response)
        value = parse_json(file.read(), response.content_type)
    if not isinstance(value, dict):
        raise protocol_error(pac, "HTTP 200 without a JSON object")
    return value


def with_retries(read: Callable[[], T], deadline: Deadline, limits: CallLimits) -> T:
    """Return the result of ``read``, and repeat it after retryable errors.

    It makes at most ``limits.attempts`` calls, with full jitter between them and not before the
    PAC's Retry-After, and stops if the deadline leaves too little time. Only for calls that change
    nothing. Raises the last error.
    """
    for attempt in range(1, limits.attempts + 1):
        try:
            return read()
        except PacError as error:
            backoff = limits.backoff_seconds * 2**attempt
            pause = random.uniform(0, backoff)  # noqa: S311 jitter, no secret
            pause = max(pause, error.requested_wait or 0)
            if (
                not error.problem_type.retryable
                or attempt == limits.attempts
                or deadline.remaining() < pause + 1
            ):
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")
