"""Responses of a hostile PAC or proxy: a clear error and bounded memory."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from tests.support.further_cases import SERVICE, count, raw_deflate
from tests.support.pac_cases import (
    BALANCE,
    CONTRACT,
    COUNT,
    CSV,
    LIVE_WSDL,
    OPERATIONS,
    WSDL,
    Operation,
    every_operation,
    expect_pac_error,
    new_client,
)
from tests.support.pac_servers import PacServer, RawServer, memory_below, raw_server, respond_with

from timbres.deadline import Deadline
from timbres.domain.stamps import Stamps
from timbres.pacs.base import PacClient
from timbres.pacs.http import PacSession

MIB = 1024 * 1024
WSDL_TEXT = WSDL.read_text()
SOAP = (COUNT, LIVE_WSDL)


@cache
def warm_client(operation: Operation, url: str) -> PacClient:
    """Return the client that a warm function reuses."""
    return new_client(operation.account(url))


def call(operation: Operation, url: str, seconds: float = 4) -> Any:
    # Only the first call of a client reads the live WSDL.
    if operation is LIVE_WSDL:
        return operation(url, seconds)
    return operation.call(warm_client(operation, url), Deadline(seconds))


def expect_rejection(operation: Operation, url: str, says: str, seconds: float = 4) -> None:
    """Expect a ``pac-protocol-error`` with little memory in use; a contract is unknown after it."""
    with memory_below(4 * MIB), expect_pac_error("pac-protocol-error") as errors:
        call(operation, url, seconds)
    assert says in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect


@pytest.fixture
def trap() -> Iterator[RawServer]:
    """A server that must receive no connection."""
    with raw_server(lambda server, connection: server.read_request(connection)) as server:
        yield server
        assert (server.accepted, server.received) == (0, b"")


# ------------------------------------------------------------------------- endless bodies

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BLANKS = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
DEFLATED_BLANKS = BLANKS.compress(b" " * MIB) + BLANKS.flush(zlib.Z_FULL_FLUSH)
GZIP_WITH_NAME = b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08" + bytes(6)
# The end of the head with the begin of the body, and what follows without end.
FLOODS = {
    "1 GB declared": (b"Content-Length: 1073741824\r\n\r\n", b"," * 0x40000),
    "more than any number": (b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", b"," * 0x40000),
    "chunks without end": (CHUNKED, b"40000\r\n" + b"," * 0x40000 + b"\r\n"),
    "one chunk of 16 EB": (CHUNKED + b"F" * 15 + b"\r\n", b"," * 0x40000),
    "until the connection ends": (b"\r\n", b"," * 0x40000),
    "blanks": (b"Content-Encoding: deflate\r\n\r\n", DEFLATED_BLANKS),
    "nothing": (b"Content-Encoding: deflate\r\n\r\n", b"\x00\x00\x00\xff\xff" * 10_000),
    "members of nothing": (b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"") * 1_000),
    "a name": (GZIP_WITH_NAME, b"x" * 50_000),
}


@contextmanager
def flood(begin: bytes, again: bytes, *, status: int = 200, pause: float = 0) -> Iterator[Any]:
    """Serve a response without end; yield the server and a list with the number of bytes sent."""
    sent = [0]

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Type: text/xml\r\n" % status + begin)
        # Sent in pieces, so that the test needs no gigabyte of memory.
        while not server.stopped.wait(pause) and sent[0] < 600 * MIB:
            connection.sendall(again)
            sent[0] += len(again)

    with raw_server(behave) as server:
        yield server, sent
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("operation", "how"),
    [
        *((operation, "1 GB declared") for operation in OPERATIONS),
        # Every flood is cheap to test with a small limit.
        *((operation, how) for operation in SOAP for how in [*FLOODS][1:]),
    ],
)
def test_an_endless_body_is_rejected_at_the_limit(operation: Operation, how: str) -> None:
    with flood(*FLOODS[how]) as (server, sent):
        expect_rejection(operation, server.url, f"longer than {operation.max_bytes:,} bytes", 20)
    # The socket buffers hold data that was sent and not read.
    max_read = 0 if b"Content-Length" in FLOODS[how][0] else operation.max_bytes
    assert sent[0] < max_read + 16 * MIB


def test_a_compressed_stream_without_content_times_out_at_the_deadline() -> None:
    with flood(*FLOODS["nothing"], pause=0.1) as (server, _), expect_pac_error("pac-timeout"):
        call(BALANCE, server.url, 0.6)


def test_a_long_body_is_on_disk() -> None:
    length = b"Content-Length: %d\r\n\r\n" % (16 * MIB)
    with flood(length, b"," * 0x40000) as (server, _), PacSession("pac") as session:
        with memory_below(4 * MIB):
            response = session.fetch("GET", server.url, deadline=Deadline(10))
        assert response.size == 16 * MIB
        response.file.close()


@pytest.mark.parametrize("status", [301, 307])
def test_the_body_of_a_redirect_is_not_read(status: int) -> None:
    with flood(b"Location: /again\r\n\r\n", b" " * MIB, status=status) as (server, sent):
        expect_rejection(CONTRACT, server.url, "redirect")
    assert sent[0] < 16 * MIB


# --------------------------------------------------------------------------- compressed


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


GZIPPED = gzip.compress(b"x" * 1000)
NOT_DECOMPRESSED = [
    *((encoding, GZIPPED, "it is compressed in an unsupported format")
      for encoding in ("br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip;q=1",
                       "x" * 9_000)),
    *(("gzip", content, "decompressed")
      for content in (GZIPPED[:-1], GZIPPED[:5], GZIPPED + b"x", GZIPPED[:-8] + bytes(8),
                      zlib.compress(b"x"), b"<html></html>")),
    *(("deflate", content, "decompressed")
      for content in (zlib.compress(b"x" * 1000)[:-1], raw_deflate(b"x" * 1000)[:-1], GZIPPED,
                      b"\xff" * 100)),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "content", "says"), NOT_DECOMPRESSED, ids=range(17))
def test_a_body_that_cannot_be_decompressed_is_rejected(
    encoding: str, content: bytes, says: str, pac_server: PacServer, url: str
) -> None:
    pac_server.serve_app(respond_with(content, Content_Encoding=encoding))

    expect_rejection(BALANCE, url, says)
    assert len(pac_server.requests) == 1


# ---------------------------------------------------------------- redirects and references


@every_operation
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    operation: Operation, status: int, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    elsewhere = trap.url.removeprefix("http:")
    for location in (f"{url}/again", trap.url, elsewhere, "/again", "file:///etc/hostname", ""):
        pac_server.serve_app(respond_with(b"", status=status, Location=location))

        expect_rejection(operation, url, "redirect")
        assert len(pac_server.requests) == 1


def wsdl_import(location: str) -> str:
    head, end = WSDL_TEXT.partition("<wsdl:types>")[::2]
    return f'{head}<wsdl:import namespace="urn:x" location="{location}"/><wsdl:types>{end}'


def schema_import(location: str, element: str = 'import namespace="urn:x"') -> str:
    begin = WSDL_TEXT.index(">", WSDL_TEXT.index("<xs:schema")) + 1
    return f'{WSDL_TEXT[:begin]}<xs:{element} schemaLocation="{location}"/>{WSDL_TEXT[begin:]}'


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


def reply(message: str, before: str = "") -> str:
    """Return a reply with a message, after ``before``."""
    return before + count(message=message)


LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 10}">' for n in range(10))
BOMB = reply("&e9;", f"<!DOCTYPE e [{LAUGHS}]>")
QUADRATIC = f'<!DOCTYPE e [<!ENTITY q "{"x" * 50_000}">]>'
XML: dict[str, str | bytes] = {
    "a DTD": reply("x", "<!DOCTYPE e:Envelope>"),
    "a DTD with a comment before it": reply("x", "<!-- x --><!DOCTYPE e:Envelope []>"),
    "a DTD elsewhere": reply("x", '<!DOCTYPE e:Envelope SYSTEM "{trap}/x.dtd">'),
    "a DTD of a device": reply("x", '<!DOCTYPE e:Envelope SYSTEM "file:///dev/zero">'),
    "billion laughs": BOMB,
    "billion laughs in an attribute": BOMB.replace("mensaje>&e9;", 'mensaje a="&e9;">'),
    **{f"billion laughs in {name}": f'<?xml version="1.0" encoding="{name}"?>{BOMB}'.encode(name)
       for name in ("utf-16", "utf-16-le", "utf-32", "cp037")},
    "quadratic blow-up": reply("&q;" * 50_000, QUADRATIC),
    "an entity of itself": reply("&a;", '<!DOCTYPE e [<!ENTITY a "&b;"><!ENTITY b "&a;">]>'),
    "an entity elsewhere": reply("&a;", '<!DOCTYPE e [<!ENTITY a SYSTEM "{trap}/x">]>'),
    "an entity of a file": reply("&a;", '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/hosts">]>'),
    "a parameter elsewhere": reply("x", '<!DOCTYPE e [<!ENTITY % p SYSTEM "{trap}/x">%p;]>'),
    "a default attribute": reply("x", '<!DOCTYPE e [<!ATTLIST e:Envelope a CDATA "x">]>'),
    "an entity that is not": reply("&a;"),
    "elements 80,000 deep": "<a>" * 80_000,
    "elements 20,000 deep in a reply": reply("<a>" * 20_000 + "</a>" * 20_000),
    "invalid UTF-8": reply("#").encode().replace(b"#", b"\xff\xfe"),
    "UTF-8 longer than needed": reply("#").encode().replace(b"#", b"\xc0\xaf"),
    "half a pair": reply("&#xD800;"),
    "NUL": reply("\0"),
    "NUL as a reference": reply("&#0;"),
    "a character of control": reply("\x1b[31m"),
    "UTF-7": reply("x", '<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE x+AD4-'),
    "an encoding that is not": reply("x", '<?xml version="1.0" encoding="x-none"?>'),
    "two of an attribute": reply("x").replace("<n:return", '<n:return a="1" a="2"'),
}  # fmt: skip


@pytest.mark.parametrize("operation", SOAP, ids=repr)
@pytest.mark.parametrize("what", XML)
def test_hostile_xml_is_rejected(
    operation: Operation, what: str, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    text = XML[what]
    content = text.encode() if isinstance(text, str) else text
    pac_server.serve_app(respond_with(content.replace(b"{trap}", trap.url.encode())))

    expect_rejection(operation, url, "")
    assert len(pac_server.requests) == 1


XINCLUDE = '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{trap}/x"/>'
XOP = '<o:Include xmlns:o="http://www.w3.org/2004/08/xop/include" href="{trap}/x"/>'
XSI = (
    '<n:return xmlns:s="http://www.w3.org/2001/XMLSchema-instance" '
    f's:schemaLocation="{SERVICE} {{trap}}/x"'
)
FIELD = "<x:contratados>5</x:contratados>"
HARMLESS = {
    "two byte order marks": "\ufeff\ufeff" + count(fields=FIELD),
    "an inclusion": count(fields=FIELD, message=XINCLUDE),
    "a style sheet": '<?xml-stylesheet href="{trap}/x" type="text/xsl"?>' + count(fields=FIELD),
    "a schema": count(fields=FIELD).replace("<n:return", XSI),
    "an attachment": count(fields=FIELD, message=XOP),
    "30,000 elements more": count(fields="<a/>" * 30_000 + FIELD),
    "20,000 attributes": count(
        fields="<a " + " ".join(f"a{n}=''" for n in range(20_000)) + "/>" + FIELD
    ),
    "10,000 namespaces": count(
        fields="<a " + " ".join(f"xmlns:a{n}='u'" for n in range(10_000)) + "/>" + FIELD
    ),
    "a long message": count(fields=FIELD, message="x" * 200_000),
    "a comment": count(fields=FIELD, message="<!-- <!DOCTYPE x> -->"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_harmless_extras_in_xml_are_ignored(
    what: str, pac_server: PacServer, url: str, trap: RawServer
) -> None:
    pac_server.serve_app(respond_with(HARMLESS[what].replace("{trap}", trap.url)))

    assert call(COUNT, url) == Stamps(5, None, None)
