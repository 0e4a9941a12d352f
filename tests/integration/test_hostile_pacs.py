"""Responses of a hostile PAC or proxy: a clear error and bounded memory."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from local.fake_pacs.server import serve
from tests.support.events import check_problem
from tests.support.fake_stack import RC, RFC_N, SF, FakeStack
from tests.support.pac_cases import (
    BALANCE,
    CONTRACT,
    COUNT,
    CSV,
    LIVE_WSDL,
    OPERATIONS,
    PDF,
    WSDL,
    Operation,
    every_operation,
    expect_pac_error,
    shorten_timeouts,
)
from tests.support.pac_servers import PacServer, RawServer, raw_server, respond_with

from timbres.deadline import Deadline
from timbres.domain.stamps import Stamps
from timbres.pacs.base import PacClient
from timbres.pacs.registry import create_client

MIB = 1024 * 1024
WSDL_TEXT = WSDL.read_text()
SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP = (COUNT, CONTRACT, LIVE_WSDL)


@cache
def warm_client(operation: Operation, url: str) -> PacClient:
    """Return the client that a warm function reuses."""
    return create_client(operation.account(url))


def call(operation: Operation, url: str, seconds: float = 4) -> Any:
    # Only the first call of a client reads the live WSDL.
    client = (
        create_client(operation.account(url))
        if operation is LIVE_WSDL
        else warm_client(operation, url)
    )
    return operation.call(client, Deadline(seconds))


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_timeouts(monkeypatch)


@pytest.fixture
def trap() -> Iterator[RawServer]:
    """A server that must receive no connection."""

    def listen(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)

    with raw_server(listen) as server:
        yield server
        assert server.accepted == 0
        assert server.received == b""


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Let the memory in use grow by less than ``limit`` bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


# --------------------------------------------------------------------------- large bodies

HEADS = {
    "1 GB declared": (b"Content-Length: 1073741824\r\n", b""),
    "more than any number": (b"Content-Length: " + b"9" * 5_000 + b"\r\n", b""),
    "chunks without end": (b"Transfer-Encoding: chunked\r\n", b"40000\r\n"),
    "one chunk of 16 EB": (b"Transfer-Encoding: chunked\r\n", b""),
    "until the connection ends": (b"", b""),
}


def flooding(how: str, sent: list[int]) -> Callable[[RawServer, socket.socket], None]:
    head, frame = HEADS[how]
    piece = frame + b"," * 0x40000 + (b"\r\n" if frame else b"")

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n" + head + b"\r\n")
        if "one chunk" in how:
            connection.sendall(b"F" * 15 + b"\r\n")
        # Sent in pieces, so that the test needs no gigabyte of memory.
        while not server.stopped.is_set():
            connection.sendall(piece)
            sent[0] += len(piece)

    return behave


@pytest.mark.parametrize(
    ("operation", "how"),
    [
        *((operation, "1 GB declared") for operation in OPERATIONS),
        # Every flood is cheap to test with a small limit.
        *(
            (operation, how)
            for operation in OPERATIONS
            if operation.max_bytes <= MIB
            for how in [*HEADS][1:]
        ),
        (BALANCE, "more than any number"),
        (CSV, "chunks without end"),
    ],
)
def test_large_body_is_rejected_at_the_limit(operation: Operation, how: str) -> None:
    sent = [0]
    with raw_server(flooding(how, sent)) as server, memory_below(4 * MIB):
        with expect_pac_error("pac-protocol-error") as errors:
            call(operation, server.url, 20)
        assert f"longer than {operation.max_bytes:,} bytes" in errors[0].detail
        assert server.accepted == 1
    # The socket buffers hold data that was sent and not read.
    max_read = 0 if "Content-Length" in HEADS[how][0].decode() else operation.max_bytes
    assert sent[0] < max_read + 16 * MIB


@pytest.mark.parametrize(
    "frame",
    [
        b"F" * 60_000 + b"\r\n" + b"x" * 1000,
        b"-1\r\n" + b"x" * 1000,
        b"1" * 70_000,
        b"5;" + b"x" * 70_000,
        b"1_0\r\n" + b"x" * 1000,
    ],
    ids=["a size of 60,000 digits", "below 0", "size without end", "extension", "underscore"],
)
def test_malformed_chunks_raise_an_error(frame: bytes) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + frame)

    with raw_server(behave) as server, memory_below(2 * MIB), expect_pac_error("pac-timeout"):
        call(CONTRACT, server.url, 1)


# --------------------------------------------------------------------------- compressed


def gzip_members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(b"") + gzip.compress(content[half:])


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def identity(content: bytes) -> bytes:
    return content


ENCODINGS = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    (" GZIP ", gzip.compress),
    ("gzip", gzip_members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", identity),
    ("none", identity),
    ("", identity),
]


@every_operation
@pytest.mark.parametrize("frame", [None, 1], ids=["whole", "a byte a chunk"])
@pytest.mark.parametrize(("encoding", "pack"), ENCODINGS)
def test_compressed_response_equals_the_plain_one(
    operation: Operation,
    encoding: str,
    pack: Callable[[bytes], bytes],
    frame: int | None,
    pac_server: PacServer,
    url: str,
) -> None:
    fake_pac = operation.fake_pac()
    # Replay the responses: a statement contains the time of its creation.
    responses: list[tuple[bytes, str, list[tuple[str, str]]]] = []

    def record(environ: Any, start_response: Any) -> Any:
        started: list[Any] = []
        body = b"".join(fake_pac(environ, lambda *args: started.append(args)))
        status, headers = started[0][:2]
        other_headers = [
            (name, value) for name, value in headers if name.lower() != "content-length"
        ]
        responses.append((body, status, other_headers))
        start_response(status, other_headers)
        return [body]

    def replay_compressed(_environ: Any, start_response: Any) -> Any:
        content, status, headers = responses.pop(0)
        start_response(status, [*headers, ("Content-Encoding", encoding)])
        body = pack(content)
        return [body] if frame is None else [bytes([byte]) for byte in body]

    pac_server.serve_app(record)
    expected = call(operation, url)
    pac_server.serve_app(replay_compressed)
    assert call(operation, url) == expected
    assert {environ["HTTP_ACCEPT_ENCODING"] for environ in pac_server.requests} == {"gzip, deflate"}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
)
def test_decompression_is_complete_at_piece_boundaries(
    encoding: str, pack: Callable[[bytes], bytes], pac_server: PacServer, url: str
) -> None:
    """The client decompresses 64 KiB at a time; the end of a match may be in the next piece."""
    for size in range(65_530, 65_560):
        content = b"Cuenta,".ljust(size)
        pac_server.serve_app(respond_with(pack(content), "text/csv", Content_Encoding=encoding))
        assert call(CSV, url) == content


@every_operation
@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip;q=1", "x" * 9_000]
)
def test_unsupported_compression_is_rejected(
    operation: Operation, encoding: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with(gzip.compress(b"x"), Content_Encoding=encoding))
    with expect_pac_error("pac-protocol-error") as errors:
        call(operation, url)
    assert "compressed" in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect
    assert len(pac_server.requests) == 1


@pytest.mark.parametrize("operation", [BALANCE, CSV, COUNT, CONTRACT], ids=repr)
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(b"x" * 1000)[:-1]),
        ("gzip", gzip.compress(b"x" * 1000)[:5]),
        ("gzip", gzip.compress(b"x" * 1000) + b"x"),
        ("gzip", gzip.compress(b"x" * 1000)[:-8] + bytes(8)),
        ("gzip", zlib.compress(b"x")),
        ("gzip", b"<html></html>"),
        ("deflate", zlib.compress(b"x" * 1000)[:-1]),
        ("deflate", raw_deflate(b"x" * 1000)[:-1]),
        ("deflate", gzip.compress(b"x")),
        ("deflate", b"\xff" * 100),
    ],
    ids=range(10),
)
def test_malformed_compressed_body_is_rejected(
    operation: Operation, encoding: str, content: bytes, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with(content, Content_Encoding=encoding))
    with expect_pac_error("pac-protocol-error") as errors:
        call(operation, url)
    assert "decompressed" in errors[0].detail


def compressed_blanks(size: int, window: int) -> bytes:
    """Return ``size`` blanks, compressed by a factor of about 1,000."""
    packer = zlib.compressobj(9, wbits=window)
    pieces = [packer.compress(b" " * MIB) for _ in range(size // MIB)]
    return b"".join(pieces) + packer.flush()


@pytest.mark.parametrize(("encoding", "window"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
@pytest.mark.parametrize(
    ("operation", "size"),
    [(COUNT, 64 * MIB), (CONTRACT, 64 * MIB), (LIVE_WSDL, 64 * MIB), (BALANCE, 257 * MIB)],
    ids=repr,
)
def test_decompression_bomb_is_rejected_at_the_limit(
    operation: Operation, size: int, encoding: str, window: int, pac_server: PacServer, url: str
) -> None:
    bomb = compressed_blanks(size, window)
    assert len(bomb) < 300_000
    pac_server.serve_app(respond_with(bomb, Content_Encoding=encoding))
    with memory_below(4 * MIB), expect_pac_error("pac-protocol-error") as errors:
        call(operation, url, 25)
    assert f"longer than {operation.max_bytes:,} bytes" in errors[0].detail


# Endless streams: blanks, empty deflate blocks, empty gzip members, a gzip file name.
BLANKS = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
ENDLESS = {
    "blanks": ("deflate", BLANKS.compress(b" " * MIB) + BLANKS.flush(zlib.Z_FULL_FLUSH)),
    "nothing": ("deflate", b"\x00\x00\x00\xff\xff" * 10_000),
    "members of nothing": ("gzip", gzip.compress(b"") * 1_000),
    "a name": ("gzip", b"x" * 50_000),
}


def endless(how: str, sent: list[int], pause: float) -> Callable[[RawServer, socket.socket], None]:
    encoding, again = ENDLESS[how]
    start = b"\x1f\x8b\x08\x08" + bytes(6) if how == "a name" else again

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
            b"Content-Encoding: %s\r\n\r\n%s" % (encoding.encode(), start)
        )
        while not server.stopped.wait(pause):
            connection.sendall(again)
            sent[0] += len(again)

    return behave


@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize("operation", SOAP, ids=repr)
def test_endless_compressed_stream_is_rejected_at_the_limit(operation: Operation, how: str) -> None:
    sent = [0]
    with raw_server(endless(how, sent, 0)) as server, memory_below(4 * MIB):
        with expect_pac_error("pac-protocol-error") as errors:
            call(operation, server.url, 20)
        assert f"longer than {operation.max_bytes:,} bytes" in errors[0].detail
    assert sent[0] < operation.max_bytes + 16 * MIB


@pytest.mark.parametrize("how", ENDLESS)
def test_slow_compressed_stream_times_out_at_the_deadline(how: str) -> None:
    with raw_server(endless(how, [0], 0.3)) as server, expect_pac_error("pac-timeout"):
        call(BALANCE, server.url, 0.8)


# ---------------------------------------------------------------------------- redirects


@every_operation
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    operation: Operation, status: int, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    same_host, other_host = url.removeprefix("http:"), trap.url.removeprefix("http:")
    for location in (
        f"{url}/again",
        same_host,
        trap.url,
        other_host,
        "/again",
        "file:///etc/hostname",
        "",
    ):
        pac_server.serve_app(respond_with(b"", status=status, Location=location))
        with expect_pac_error("pac-protocol-error") as errors:
            call(operation, url)
        assert "redirect" in errors[0].detail
        assert len(pac_server.requests) == 1


@pytest.mark.parametrize("status", [301, 307])
def test_body_of_a_redirect_is_not_read(status: int) -> None:
    sent = [0]

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 %d X\r\nLocation: /again\r\n\r\n" % status)
        while not server.stopped.is_set():
            connection.sendall(b" " * MIB)
            sent[0] += MIB
            assert sent[0] < 64 * MIB  # Stop here if the client reads the whole body.

    with raw_server(behave) as server, memory_below(4 * MIB):
        with expect_pac_error("pac-protocol-error") as errors:
            call(CONTRACT, server.url)
        assert "redirect" in errors[0].detail
    assert sent[0] < 16 * MIB


def wsdl_import(location: str) -> str:
    head, end = WSDL_TEXT.partition("<wsdl:types>")[::2]
    return f'{head}<wsdl:import namespace="urn:x" location="{location}"/><wsdl:types>{end}'


def schema_import(location: str, element: str = "import") -> str:
    begin = WSDL_TEXT.index(">", WSDL_TEXT.index("<xs:schema")) + 1
    namespace = ' namespace="urn:x"' if element == "import" else ""
    reference = f'<xs:{element}{namespace} schemaLocation="{location}"/>'
    return WSDL_TEXT[:begin] + reference + WSDL_TEXT[begin:]


@pytest.mark.parametrize(
    "make",
    [wsdl_import, schema_import, lambda location: schema_import(location, "include")],
    ids=["WSDL", "schema", "included schema"],
)
def test_live_wsdl_with_external_references_is_rejected(
    make: Callable[[str], str], pac_server: PacServer, url: str, trap: RawServer
) -> None:
    other_host = trap.url.removeprefix("http:")
    for location in (f"{trap.url}/x", f"{other_host}/x", f"{url}/x", "x.xsd", "file:///dev/zero",
                  "file:/dev/zero", "/dev/zero", "ftp://127.0.0.1/x"):  # fmt: skip
        pac_server.serve_app(respond_with(make(location)))
        with expect_pac_error("pac-protocol-error") as errors:
            call(LIVE_WSDL, url)
        assert "WSDL" in errors[0].detail
        # Documents of its own server that import each other are fetched up to a limit.
        limit = 21 if location in (f"{url}/x", "x.xsd", "/dev/zero") else 1
        assert 1 <= len(pac_server.requests) <= limit


# ---------------------------------------------------------------------------------- XML


def reply(fields: str, operation: str = "getTimbres") -> str:
    return (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><n:{operation}Response xmlns:n="{SERVICE}" '
        f'xmlns:x="{SERVICE}/xsd"><n:return><x:status>200</x:status>{fields}'
        f"<x:contratados>5</x:contratados></n:return></n:{operation}Response></e:Body>"
        "</e:Envelope>"
    )


def reply_message(text: str) -> str:
    return reply(f"<x:mensaje>{text}</x:mensaje>")


def reply_attribute(text: str) -> str:
    return reply(f'<x:mensaje note="{text}">x</x:mensaje>')


LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 10}">' for n in range(10))
QUADRATIC = f'<!ENTITY q "{"x" * 50_000}">'

XML = {
    "a DTD": "<!DOCTYPE e:Envelope>" + reply_message("x"),
    "a DTD with a comment before it": "<!-- x --><!DOCTYPE e:Envelope []>" + reply_message("x"),
    "a DTD elsewhere": '<!DOCTYPE e:Envelope SYSTEM "{trap}/x.dtd">' + reply_message("x"),
    "a public DTD elsewhere": '<!DOCTYPE e PUBLIC "-//X//Y//EN" "{trap}/x.dtd">'
    + reply_message("x"),
    "a DTD of a device": '<!DOCTYPE e:Envelope SYSTEM "file:///dev/zero">' + reply_message("x"),
    "billion laughs": f"<!DOCTYPE e [{LAUGHS}]>" + reply_message("&e9;"),
    "billion laughs in an attribute": f"<!DOCTYPE e [{LAUGHS}]>" + reply_attribute("&e9;"),
    "quadratic blow-up": f"<!DOCTYPE e [{QUADRATIC}]>" + reply_message("&q;" * 50_000),
    "quadratic blow-up in an attribute": f"<!DOCTYPE e [{QUADRATIC}]>"
    + reply_attribute("&q;" * 50_000),
    "an entity of itself": '<!DOCTYPE e [<!ENTITY a "&b;"><!ENTITY b "&a;">]>'
    + reply_message("&a;"),
    "an entity elsewhere": '<!DOCTYPE e [<!ENTITY a SYSTEM "{trap}/x">]>' + reply_message("&a;"),
    "an entity of a file": '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    + reply_message("&a;"),
    "an entity of a device": '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///dev/zero">]>'
    + reply_message("&a;"),
    "a parameter elsewhere": '<!DOCTYPE e [<!ENTITY % p SYSTEM "{trap}/x">%p;]>'
    + reply_message("x"),
    "a parameter of a device": '<!DOCTYPE e [<!ENTITY % p SYSTEM "file:///dev/zero">%p;]>'
    + reply_message("x"),
    "a default attribute": '<!DOCTYPE e [<!ATTLIST e:Envelope a CDATA "x">]>' + reply_message("x"),
    "an entity that is not": reply_message("&a;"),
    "elements 100,000 deep": "<a>" * 80_000,
    "elements 100,000 deep in a reply": reply_message("<a>" * 20_000 + "</a>" * 20_000),
    "invalid UTF-8": reply_message("\udcff\udcfe"),
    "UTF-8 longer than needed": reply_message("\udcc0\udcaf"),
    "half a pair": reply_message("&#xD800;"),
    "NUL": reply_message("\0"),
    "NUL as a reference": reply_message("&#0;"),
    "a character of control": reply_message("\x1b[31m"),
    "UTF-7": '<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE x+AD4-' + reply_message("x"),
    "an encoding that is not": '<?xml version="1.0" encoding="x-none"?>' + reply_message("x"),
    "XML 2.0 twice": '<?xml version="2.0"?><?xml version="2.0"?>' + reply_message("x"),
    "two of an attribute": reply_message("x").replace("<n:return", '<n:return a="1" a="2"'),
    "nothing": "",
    "blanks": " \n" * 1000,
    "JSON": '{"status": 200}',
}


@pytest.mark.parametrize("operation", SOAP, ids=repr)
@pytest.mark.parametrize("what", XML)
def test_hostile_xml_is_rejected(
    operation: Operation, what: str, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    content = XML[what].replace("{trap}", trap.url)
    if operation is CONTRACT:
        content = content.replace("getTimbres", "agregarContrato")
    pac_server.serve_app(respond_with(content.encode("utf-8", "surrogateescape")))
    with memory_below(2 * MIB), expect_pac_error("pac-protocol-error") as errors:
        call(operation, url)
    # The PAC may have created the contract.
    assert errors[0].problem_type.may_have_taken_effect
    assert len(pac_server.requests) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037"])
def test_dtd_is_rejected_in_every_encoding(encoding: str, pac_server: PacServer, url: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE e [{LAUGHS}]>' + reply_message(
        "&e9;"
    )
    pac_server.serve_app(respond_with(text.encode(encoding)))
    with memory_below(2 * MIB), expect_pac_error("pac-protocol-error"):
        call(COUNT, url)


HARMLESS = {
    "a byte order mark": "\ufeff" + reply_message("x"),
    "two byte order marks": "\ufeff\ufeff" + reply_message("x"),
    "an inclusion": reply_message(
        '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{trap}/x"/>'
    ),
    "a style sheet": '<?xml-stylesheet href="{trap}/x" type="text/xsl"?>' + reply_message("x"),
    "a schema": reply_message("x").replace(
        "<n:return",
        '<n:return xmlns:s="http://www.w3.org/2001/XMLSchema-instance" '
        f's:schemaLocation="{SERVICE} {{trap}}/x"',
    ),
    "an attachment": reply_message(
        '<o:Include xmlns:o="http://www.w3.org/2004/08/xop/include" href="{trap}/x"/>'
    ),
    "30,000 elements more": reply("<a/>" * 30_000),
    "20,000 attributes": reply("<a " + " ".join(f"a{n}=''" for n in range(20_000)) + "/>"),
    "10,000 namespaces": reply("<a " + " ".join(f"xmlns:a{n}='u'" for n in range(10_000)) + "/>"),
    "a long message": reply_message("x" * 200_000),
    "a comment": reply_message("<!-- <!DOCTYPE x> -->"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_harmless_extras_in_xml_are_ignored(
    what: str, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    pac_server.serve_app(respond_with(HARMLESS[what].replace("{trap}", trap.url)))
    assert call(COUNT, url) == Stamps(5, None, None)


# ------------------------------------------------------------- other content and messages


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/csv", ""),
        ("application/json", "\0"),
        ("application/json", "\ufeff"),
        ("application/json", "[" * 100_000),
        ("application/json", '{"Detalle":' * 100_000),
    ],
    ids=range(5),
)
@pytest.mark.parametrize("operation", [BALANCE, CSV, PDF], ids=repr)
def test_malformed_body_with_status_200_is_rejected(
    operation: Operation, media_type: str, content: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with(content, media_type))
    with memory_below(4 * MIB), expect_pac_error("pac-protocol-error") as errors:
        call(operation, url)
    assert len(errors[0].detail) < 300
    assert len(pac_server.requests) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (json.dumps({"errors": [{"Code": "400-001", "Message": "x" * MIB}]}), "month-invalid"),
        (json.dumps({"errors": [{"Code": "x" * MIB, "Message": "x"}]}), "pac-protocol-error"),
        ('{"errors": [{"Code": %s}]}' % ("9" * 10_000), "pac-protocol-error"),
        ('{"errors": [{"Code": NaN}]}', "pac-protocol-error"),
        ('{"errors": [{"Code": 1e400}]}', "pac-protocol-error"),
        ('{"errors": %s' % ("[" * 100_000), "pac-protocol-error"),
        ('{"errors": [{"Code": "400-001", "Message": "\\ud800\\u0000\\u202e"}]}', "month-invalid"),
        ("x" * 3 * MIB, "pac-protocol-error"),
    ],
    ids=range(8),
)
def test_long_error_message_is_truncated(
    body: str, code: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with(body, "application/json", 400))
    with memory_below(16 * MIB), expect_pac_error(code) as errors:
        call(BALANCE, url)
    assert len(errors[0].detail) < 700
    assert len(errors[0].pac_message or "") <= 300
    assert len(errors[0].pac_code or "") <= 300


# ------------------------------------------------------------ output of Timbres to callers

HOSTILE_MESSAGE = (
    "=cmd|'/c calc'!A1\r\nSubject: hola\r\n\r\n<script>alert(1)</script> javascript:alert(1) "
    "\u202egpj.exe\u2066 ${jndi:ldap://x} %n%s\tfin " + "x" * 50_000
)
CLEANED_MESSAGE = (
    "=cmd|'/c calc'!A1 Subject: hola <script>alert(1)</script> javascript:alert(1) "
    "gpj.exe ${jndi:ldap://x} %n%s fin " + "x" * 300
)[:300]


def test_hostile_message_is_cleaned_and_truncated_everywhere(
    shared_stack: FakeStack,
) -> None:
    shared_stack.pacs.fault("agregarContrato", "code", code="632", mensaje=HOSTILE_MESSAGE, times=1)
    rejection = check_problem(shared_stack.create_contract(), 422, "transaction-limit-exceeded")
    shared_stack.pacs.fault("getTimbres", "code", code="601", mensaje=HOSTILE_MESSAGE, times=1)
    credentials = check_problem(shared_stack.get(f"/accounts/{SF}/stamps", rfc=RFC_N), 502,
                       "pac-credentials-rejected")  # fmt: skip

    assert rejection["pac"]["message"] == credentials["pac"]["message"] == CLEANED_MESSAGE
    assert {item["pac_message"] for item in shared_stack.contract_items()} == {CLEANED_MESSAGE}
    (event,) = shared_stack.events("Credentials Rejected")
    assert event["pac"]["message"] == CLEANED_MESSAGE
    (mail,) = shared_stack.mails()
    subject, _, text = mail.partition("\n\n")
    assert subject == f"Timbres: credenciales rechazadas, cuenta {SF}"
    assert not [line for line in text.splitlines() if line.startswith(("Subject:", "=cmd"))]
    for line in shared_stack.logs.lines():
        assert len(json.dumps(line)) < 2_000
    assert "x" * 301 not in shared_stack.all_output()
    assert "\u202e" not in shared_stack.all_output()


def test_response_larger_than_the_lambda_limit_returns_a_problem(
    shared_stack: FakeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pac_server = PacServer()
    row = (
        '{"RFC":"' + "\\\\" * 14 + '%06d","Fecha":"2026-10-02T00:00:00",'
        '"TipoMovimiento":"' + "\N{PILE OF POO}" * 100 + '","Monto":1}'
    )
    rows = ",".join(row % n for n in range(6_000))
    pac_server.serve_app(
        respond_with(
            '{"TipoConsumo":"Postpago","FechaActual":"2026-11-19T13:53:41","Registrados":1,'
            f'"Autorizados":1,"GeneraronTimbre":1,"Transacciones":6000,"Detalle":[{rows}]}}'
        )
    )
    with serve(pac_server) as url:
        shared_stack.accounts.create("long-rc", shared_stack.accounts.secret(RC, endpoint=url))
        # The longest possible movements, and the maximum number of them.
        full = shared_stack.get("/accounts/long-rc/balance", month="2026-10")
        assert (full.status, len(full.body["movements"])) == (200, 5_000)
        monkeypatch.setattr("timbres.handlers.http.MAX_RESPONSE_BYTES", len(full.text) - 1)
        response = shared_stack.get("/accounts/long-rc/balance", month="2026-10")
    assert "request one rfc" in check_problem(response, 422, "answer-too-large")["detail"]
