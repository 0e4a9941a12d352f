"""A PAC, or whoever answers in its place, that means harm: a clear error and bounded memory."""

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
from tests.integration.harness import RC, RFC_N, SF, World, problem
from tests.integration.pac_cases import (
    ACTS,
    BALANCE,
    BUY,
    COUNT,
    CSV,
    LIVE_WSDL,
    PDF,
    RFC,
    WSDL,
    Act,
    Odd,
    Stage,
    answering,
    every_act,
    failing,
    odd_server,
    quicken,
)

from timbres.deadline import Deadline
from timbres.domain.stamps import Stamps
from timbres.pacs.base import PacClient
from timbres.pacs.registry import create_client

MIB = 1024 * 1024
WSDL_TEXT = WSDL.read_text()
SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP = (COUNT, BUY, LIVE_WSDL)


@cache
def kept(act: Act, url: str) -> PacClient:
    """A client as a warm function keeps it."""
    return create_client(act.account(url))


def ask(act: Act, url: str, seconds: float = 4) -> Any:
    # With a live WSDL, it is the first call that asks for it.
    client = create_client(act.account(url)) if act is LIVE_WSDL else kept(act, url)
    return act.do(client, Deadline(seconds))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


@pytest.fixture
def trap() -> Iterator[Odd]:
    """A server that nobody may come to."""

    def listen(odd: Odd, connection: socket.socket) -> None:
        odd.hear(connection)

    with odd_server(listen) as odd:
        yield odd
        assert odd.accepted == 0
        assert odd.heard == b""


@contextmanager
def memory_below(most: int) -> Iterator[None]:
    """Let the memory in use grow by less than ``most`` bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


# ----------------------------------------------------------------- more than can be wanted

HEADS = {
    "1 GB declared": (b"Content-Length: 1073741824\r\n", b""),
    "more than any number": (b"Content-Length: " + b"9" * 5_000 + b"\r\n", b""),
    "chunks without end": (b"Transfer-Encoding: chunked\r\n", b"40000\r\n"),
    "one chunk of 16 EB": (b"Transfer-Encoding: chunked\r\n", b""),
    "until the connection ends": (b"", b""),
}


def flooding(how: str, sent: list[int]) -> Callable[[Odd, socket.socket], None]:
    head, frame = HEADS[how]
    piece = frame + b"," * 0x40000 + (b"\r\n" if frame else b"")

    def behave(odd: Odd, connection: socket.socket) -> None:
        odd.hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n" + head + b"\r\n")
        if "one chunk" in how:
            connection.sendall(b"F" * 15 + b"\r\n")
        # Made as it is sent: nobody here holds a gigabyte either.
        while not odd.over.is_set():
            connection.sendall(piece)
            sent[0] += len(piece)

    return behave


@pytest.mark.parametrize(
    ("act", "how"),
    [
        *((act, "1 GB declared") for act in ACTS),
        # What is read to a short bound is cheap to flood in every way.
        *((act, how) for act in ACTS if act.most_bytes <= MIB for how in [*HEADS][1:]),
        (BALANCE, "more than any number"),
        (CSV, "chunks without end"),
    ],
)
def test_a_body_without_measure_is_left_at_its_bound(act: Act, how: str) -> None:
    sent = [0]
    with odd_server(flooding(how, sent)) as odd, memory_below(4 * MIB):
        with failing("pac-protocol-error") as errors:
            ask(act, odd.url, 20)
        assert f"longer than {act.most_bytes:,} bytes" in errors[0].detail
        assert odd.accepted == 1
    # What lies in the sockets' buffers was sent and never read.
    read_at_most = 0 if "Content-Length" in HEADS[how][0].decode() else act.most_bytes
    assert sent[0] < read_at_most + 16 * MIB


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
def test_chunks_that_are_none_end_with_an_error(frame: bytes) -> None:
    def behave(odd: Odd, connection: socket.socket) -> None:
        odd.hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + frame)

    with odd_server(behave) as odd, memory_below(2 * MIB), failing("pac-timeout"):
        ask(BUY, odd.url, 1)


# --------------------------------------------------------------------------- compressed


def gzip_of(content: bytes) -> bytes:
    return gzip.compress(content)


def members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(b"") + gzip.compress(content[half:])


def bare(content: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def plain(content: bytes) -> bytes:
    return content


ENCODINGS = [
    ("gzip", gzip_of),
    ("x-gzip", gzip_of),
    (" GZIP ", gzip_of),
    ("gzip", members),
    ("deflate", zlib.compress),
    ("deflate", bare),
    ("identity", plain),
    ("none", plain),
    ("", plain),
]


@every_act
@pytest.mark.parametrize("frame", [None, 1], ids=["whole", "a byte a chunk"])
@pytest.mark.parametrize(("encoding", "pack"), ENCODINGS)
def test_a_compressed_answer_is_as_good_as_a_plain_one(
    act: Act,
    encoding: str,
    pack: Callable[[bytes], bytes],
    frame: int | None,
    place: tuple[Stage, str],
) -> None:
    stage, url = place
    sandbox = act.sandbox()
    # The same answers twice: a statement names the second that it was written in.
    answers: list[tuple[bytes, str, list[tuple[str, str]]]] = []

    def noting(environ: Any, start_response: Any) -> Any:
        started: list[Any] = []
        body = b"".join(sandbox(environ, lambda *args: started.append(args)))
        status, headers = started[0][:2]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        answers.append((body, status, kept))
        start_response(status, kept)
        return [body]

    def packing(_environ: Any, start_response: Any) -> Any:
        content, status, headers = answers.pop(0)
        start_response(status, [*headers, ("Content-Encoding", encoding)])
        body = pack(content)
        return [body] if frame is None else [bytes([byte]) for byte in body]

    stage.play(noting)
    expected = ask(act, url)
    stage.play(packing)
    assert ask(act, url) == expected
    assert {one["HTTP_ACCEPT_ENCODING"] for one in stage.seen} == {"gzip, deflate"}


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip_of), ("deflate", zlib.compress), ("deflate", bare)]
)
def test_nothing_is_left_behind_where_a_piece_ends(
    encoding: str, pack: Callable[[bytes], bytes], place: tuple[Stage, str]
) -> None:
    """64 KiB are decompressed at a time; the rest of a match may wait for the next time."""
    stage, url = place
    for size in range(65_530, 65_560):
        content = b"Cuenta,".ljust(size)
        stage.play(answering(pack(content), "text/csv", Content_Encoding=encoding))
        assert ask(CSV, url) == content


@every_act
@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip;q=1", "x" * 9_000]
)
def test_another_compression_is_refused(act: Act, encoding: str, place: tuple[Stage, str]) -> None:
    stage, url = place
    stage.play(answering(gzip_of(b"x"), Content_Encoding=encoding))
    with failing("pac-protocol-error") as errors:
        ask(act, url)
    assert "compressed" in errors[0].detail
    assert errors[0].problem_type.may_have_taken_effect
    assert len(stage.seen) == 1


@pytest.mark.parametrize("act", [BALANCE, CSV, COUNT, BUY], ids=repr)
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip_of(b"x" * 1000)[:-1]),
        ("gzip", gzip_of(b"x" * 1000)[:5]),
        ("gzip", gzip_of(b"x" * 1000) + b"x"),
        ("gzip", gzip_of(b"x" * 1000)[:-8] + bytes(8)),
        ("gzip", zlib.compress(b"x")),
        ("gzip", b"<html></html>"),
        ("deflate", zlib.compress(b"x" * 1000)[:-1]),
        ("deflate", bare(b"x" * 1000)[:-1]),
        ("deflate", gzip_of(b"x")),
        ("deflate", b"\xff" * 100),
    ],
    ids=range(10),
)
def test_what_cannot_be_decompressed_is_no_answer(
    act: Act, encoding: str, content: bytes, place: tuple[Stage, str]
) -> None:
    stage, url = place
    stage.play(answering(content, Content_Encoding=encoding))
    with failing("pac-protocol-error") as errors:
        ask(act, url)
    assert "decompressed" in errors[0].detail


def packed(size: int, window: int) -> bytes:
    """Return so many blanks, compressed to a thousandth."""
    packer = zlib.compressobj(9, wbits=window)
    pieces = [packer.compress(b" " * MIB) for _ in range(size // MIB)]
    return b"".join(pieces) + packer.flush()


@pytest.mark.parametrize(("encoding", "window"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
@pytest.mark.parametrize(
    ("act", "size"),
    [(COUNT, 64 * MIB), (BUY, 64 * MIB), (LIVE_WSDL, 64 * MIB), (BALANCE, 257 * MIB)],
    ids=repr,
)
def test_a_bomb_is_left_at_the_bound_of_what_it_decompresses_to(
    act: Act, size: int, encoding: str, window: int, place: tuple[Stage, str]
) -> None:
    stage, url = place
    bomb = packed(size, window)
    assert len(bomb) < 300_000
    stage.play(answering(bomb, Content_Encoding=encoding))
    with memory_below(4 * MIB), failing("pac-protocol-error") as errors:
        ask(act, url, 25)
    assert f"longer than {act.most_bytes:,} bytes" in errors[0].detail


# Deflate without end: of blanks, of blocks that hold nothing, of gzip members that hold nothing.
BLANKS = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
ENDLESS = {
    "blanks": ("deflate", BLANKS.compress(b" " * MIB) + BLANKS.flush(zlib.Z_FULL_FLUSH)),
    "nothing": ("deflate", b"\x00\x00\x00\xff\xff" * 10_000),
    "members of nothing": ("gzip", gzip_of(b"") * 1_000),
    "a name": ("gzip", b"x" * 50_000),
}


def endless(how: str, sent: list[int], pause: float) -> Callable[[Odd, socket.socket], None]:
    encoding, again = ENDLESS[how]
    start = b"\x1f\x8b\x08\x08" + bytes(6) if how == "a name" else again

    def behave(odd: Odd, connection: socket.socket) -> None:
        odd.hear(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
            b"Content-Encoding: %s\r\n\r\n%s" % (encoding.encode(), start)
        )
        while not odd.over.wait(pause):
            connection.sendall(again)
            sent[0] += len(again)

    return behave


@pytest.mark.parametrize("how", ENDLESS)
@pytest.mark.parametrize("act", SOAP, ids=repr)
def test_a_compressed_stream_without_end_is_left_at_its_bound(act: Act, how: str) -> None:
    sent = [0]
    with odd_server(endless(how, sent, 0)) as odd, memory_below(4 * MIB):
        with failing("pac-protocol-error") as errors:
            ask(act, odd.url, 20)
        assert f"longer than {act.most_bytes:,} bytes" in errors[0].detail
    assert sent[0] < act.most_bytes + 16 * MIB


@pytest.mark.parametrize("how", ENDLESS)
def test_a_compressed_stream_that_drips_ends_at_the_deadline(how: str) -> None:
    with odd_server(endless(how, [0], 0.3)) as odd, failing("pac-timeout"):
        ask(BALANCE, odd.url, 0.8)


@every_act
def test_what_is_packed_without_saying_so_is_no_answer(act: Act, place: tuple[Stage, str]) -> None:
    stage, url = place
    stage.play(answering(packed(10 * MIB, 31)))
    with memory_below(4 * MIB), failing("pac-protocol-error"):
        ask(act, url)


# ---------------------------------------------------------------------------- elsewhere


@every_act
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_wherever_it_leads(
    act: Act, status: int, place: tuple[Stage, str], trap: Odd
) -> None:
    stage, url = place
    here, there = url.removeprefix("http:"), trap.url.removeprefix("http:")
    for location in (f"{url}/again", here, trap.url, there, "/again", "file:///etc/hostname", ""):
        stage.play(answering(b"", status=status, Location=location))
        with failing("pac-protocol-error") as errors:
            ask(act, url)
        assert "redirect" in errors[0].detail
        assert len(stage.seen) == 1


@pytest.mark.parametrize("status", [301, 307])
def test_the_body_of_a_redirect_is_not_read(status: int) -> None:
    sent = [0]

    def behave(odd: Odd, connection: socket.socket) -> None:
        odd.hear(connection)
        connection.sendall(b"HTTP/1.1 %d X\r\nLocation: /again\r\n\r\n" % status)
        while not odd.over.is_set():
            connection.sendall(b" " * MIB)
            sent[0] += MIB
            assert sent[0] < 64 * MIB  # Ended here, or it would fill the memory.

    with odd_server(behave) as odd, memory_below(4 * MIB):
        with failing("pac-protocol-error") as errors:
            ask(BUY, odd.url)
        assert "redirect" in errors[0].detail
    assert sent[0] < 16 * MIB


def importing(place: str) -> str:
    head, end = WSDL_TEXT.partition("<wsdl:types>")[::2]
    return f'{head}<wsdl:import namespace="urn:x" location="{place}"/><wsdl:types>{end}'


def including(place: str, how: str = "import") -> str:
    begin = WSDL_TEXT.index(">", WSDL_TEXT.index("<xs:schema")) + 1
    namespace = ' namespace="urn:x"' if how == "import" else ""
    one = f'<xs:{how}{namespace} schemaLocation="{place}"/>'
    return WSDL_TEXT[:begin] + one + WSDL_TEXT[begin:]


@pytest.mark.parametrize(
    "make",
    [importing, including, lambda place: including(place, "include")],
    ids=["WSDL", "schema", "included schema"],
)
def test_a_live_wsdl_leads_nowhere_else(
    make: Callable[[str], str], place: tuple[Stage, str], trap: Odd
) -> None:
    stage, url = place
    there = trap.url.removeprefix("http:")
    for where in (f"{trap.url}/x", f"{there}/x", f"{url}/x", "x.xsd", "file:///dev/zero",
                  "file:/dev/zero", "/dev/zero", "ftp://127.0.0.1/x"):  # fmt: skip
        stage.play(answering(make(where)))
        with failing("pac-protocol-error") as errors:
            ask(LIVE_WSDL, url)
        assert "WSDL" in errors[0].detail
        assert [one["REQUEST_METHOD"] for one in stage.seen] == ["GET"]


# ---------------------------------------------------------------------------------- XML


def reply(fields: str, operation: str = "getTimbres") -> str:
    return (
        f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body><n:{operation}Response xmlns:n="{SERVICE}" '
        f'xmlns:x="{SERVICE}/xsd"><n:return><x:status>200</x:status>{fields}'
        f"<x:contratados>5</x:contratados></n:return></n:{operation}Response></e:Body>"
        "</e:Envelope>"
    )


def told(words: str) -> str:
    return reply(f"<x:mensaje>{words}</x:mensaje>")


def noted(words: str) -> str:
    return reply(f'<x:mensaje note="{words}">x</x:mensaje>')


LAUGHS = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 10}">' for n in range(10))
QUADRATIC = f'<!ENTITY q "{"x" * 50_000}">'

XML = {
    "a DTD": "<!DOCTYPE e:Envelope>" + told("x"),
    "a DTD with a comment before it": "<!-- x --><!DOCTYPE e:Envelope []>" + told("x"),
    "a DTD elsewhere": '<!DOCTYPE e:Envelope SYSTEM "{trap}/x.dtd">' + told("x"),
    "a public DTD elsewhere": '<!DOCTYPE e PUBLIC "-//X//Y//EN" "{trap}/x.dtd">' + told("x"),
    "a DTD of a device": '<!DOCTYPE e:Envelope SYSTEM "file:///dev/zero">' + told("x"),
    "billion laughs": f"<!DOCTYPE e [{LAUGHS}]>" + told("&e9;"),
    "billion laughs in an attribute": f"<!DOCTYPE e [{LAUGHS}]>" + noted("&e9;"),
    "quadratic blow-up": f"<!DOCTYPE e [{QUADRATIC}]>" + told("&q;" * 50_000),
    "quadratic blow-up in an attribute": f"<!DOCTYPE e [{QUADRATIC}]>" + noted("&q;" * 50_000),
    "an entity of itself": '<!DOCTYPE e [<!ENTITY a "&b;"><!ENTITY b "&a;">]>' + told("&a;"),
    "an entity elsewhere": '<!DOCTYPE e [<!ENTITY a SYSTEM "{trap}/x">]>' + told("&a;"),
    "an entity of a file": '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + told("&a;"),
    "an entity of a device": '<!DOCTYPE e [<!ENTITY a SYSTEM "file:///dev/zero">]>' + told("&a;"),
    "a parameter elsewhere": '<!DOCTYPE e [<!ENTITY % p SYSTEM "{trap}/x">%p;]>' + told("x"),
    "a parameter of a device": '<!DOCTYPE e [<!ENTITY % p SYSTEM "file:///dev/zero">%p;]>'
    + told("x"),
    "a default attribute": '<!DOCTYPE e [<!ATTLIST e:Envelope a CDATA "x">]>' + told("x"),
    "an entity that is not": told("&a;"),
    "elements 100,000 deep": "<a>" * 80_000,
    "elements 100,000 deep in a reply": told("<a>" * 20_000 + "</a>" * 20_000),
    "invalid UTF-8": told("\udcff\udcfe"),
    "UTF-8 longer than needed": told("\udcc0\udcaf"),
    "half a pair": told("&#xD800;"),
    "NUL": told("\0"),
    "NUL as a reference": told("&#0;"),
    "a character of control": told("\x1b[31m"),
    "two byte order marks": "\ufeff\ufeff" + told("x"),
    "UTF-7": '<?xml version="1.0" encoding="UTF-7"?>+ADw-!DOCTYPE x+AD4-' + told("x"),
    "an encoding that is not": '<?xml version="1.0" encoding="x-none"?>' + told("x"),
    "XML 2.0 twice": '<?xml version="2.0"?><?xml version="2.0"?>' + told("x"),
    "two of an attribute": told("x").replace("<n:return", '<n:return a="1" a="2"'),
    "nothing": "",
    "blanks": " \n" * 1000,
    "HTML": "<!DOCTYPE html><html><body>Mantenimiento</body></html>",
    "JSON": '{"status": 200}',
}


@pytest.mark.parametrize("act", SOAP, ids=repr)
@pytest.mark.parametrize("what", XML)
def test_xml_that_means_harm_is_refused(
    act: Act, what: str, place: tuple[Stage, str], trap: Odd
) -> None:
    stage, url = place
    content = XML[what].replace("{trap}", trap.url)
    if act is BUY:
        content = content.replace("getTimbres", "agregarContrato")
    stage.play(answering(content.encode("utf-8", "surrogateescape")))
    with memory_below(2 * MIB), failing("pac-protocol-error") as errors:
        ask(act, url)
    # A purchase whose answer is none may have been made; a WSDL buys nothing.
    assert errors[0].problem_type.may_have_taken_effect
    assert len(stage.seen) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037"])
def test_a_dtd_hides_in_no_encoding(encoding: str, place: tuple[Stage, str]) -> None:
    stage, url = place
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE e [{LAUGHS}]>' + told("&e9;")
    stage.play(answering(text.encode(encoding)))
    with memory_below(2 * MIB), failing("pac-protocol-error"):
        ask(COUNT, url)


HARMLESS = {
    "a byte order mark": "\ufeff" + told("x"),
    "an inclusion": told('<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{trap}/x"/>'),
    "a style sheet": '<?xml-stylesheet href="{trap}/x" type="text/xsl"?>' + told("x"),
    "a schema": told("x").replace(
        "<n:return",
        '<n:return xmlns:s="http://www.w3.org/2001/XMLSchema-instance" '
        f's:schemaLocation="{SERVICE} {{trap}}/x"',
    ),
    "an attachment": told(
        '<o:Include xmlns:o="http://www.w3.org/2004/08/xop/include" href="{trap}/x"/>'
    ),
    "30,000 elements more": reply("<a/>" * 30_000),
    "20,000 attributes": reply("<a " + " ".join(f"a{n}=''" for n in range(20_000)) + "/>"),
    "10,000 namespaces": reply("<a " + " ".join(f"xmlns:a{n}='u'" for n in range(10_000)) + "/>"),
    "long words": told("x" * 200_000),
    "a remark": told("<!-- <!DOCTYPE x> -->"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_xml_that_does_no_harm_is_read_without_its_extras(
    what: str, place: tuple[Stage, str], trap: Odd
) -> None:
    stage, url = place
    stage.play(answering(HARMLESS[what].replace("{trap}", trap.url)))
    assert ask(COUNT, url) == Stamps(5, None, None)


# --------------------------------------------------------------------- words and numbers


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/html", "<html><body>Mantenimiento</body></html>"),
        ("application/json", "<html></html>"),
        ("text/csv", ""),
        ("application/json", "\0"),
        ("application/json", "\ufeff"),
        ("application/json", "[" * 100_000),
        ("application/json", '{"Detalle":' * 100_000),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("act", [BALANCE, CSV, PDF], ids=repr)
def test_a_200_that_is_nothing_of_the_kind(
    act: Act, media_type: str, content: str, place: tuple[Stage, str]
) -> None:
    stage, url = place
    stage.play(answering(content, media_type))
    with memory_below(4 * MIB), failing("pac-protocol-error") as errors:
        ask(act, url)
    assert len(errors[0].detail) < 300
    assert len(stage.seen) == 1


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
def test_a_refusal_in_too_many_words_is_cut(body: str, code: str, place: tuple[Stage, str]) -> None:
    stage, url = place
    stage.play(answering(body, "application/json", 400))
    with memory_below(16 * MIB), failing(code) as errors:
        ask(BALANCE, url)
    assert len(errors[0].detail) < 700
    assert len(errors[0].pac_message or "") <= 300
    assert len(errors[0].pac_code or "") <= 300


# -------------------------------------------------------------- what a caller sees of it

HOSTILE_WORDS = (
    "=cmd|'/c calc'!A1\r\nSubject: hola\r\n\r\n<script>alert(1)</script> javascript:alert(1) "
    "\u202egpj.exe\u2066 ${jndi:ldap://x} %n%s\tfin " + "x" * 50_000
)
SHOWN = (
    "=cmd|'/c calc'!A1 Subject: hola <script>alert(1)</script> javascript:alert(1) "
    "gpj.exe ${jndi:ldap://x} %n%s fin " + "x" * 300
)[:300]


def test_words_that_mean_harm_are_one_short_line_wherever_they_come(reader: World) -> None:
    reader.fault("agregarContrato", "code", code="632", mensaje=HOSTILE_WORDS, times=1)
    refused = problem(reader.buy(), 422, "transaction-limit-exceeded")
    reader.fault("getTimbres", "code", code="601", mensaje=HOSTILE_WORDS, times=1)
    rejected = problem(reader.get(f"/accounts/{SF}/stamps", rfc=RFC_N), 502,
                       "pac-credentials-rejected")  # fmt: skip

    assert refused["pac"]["message"] == rejected["pac"]["message"] == SHOWN
    assert {one["pac_message"] for one in reader.journal()} == {SHOWN}
    (event,) = reader.events("Credentials Rejected")
    assert event["pac"]["message"] == SHOWN
    (mail,) = reader.mails()
    subject, _, text = mail.partition("\n\n")
    assert subject == f"Timbres: credenciales rechazadas, cuenta {SF}"
    assert not [line for line in text.splitlines() if line.startswith(("Subject:", "=cmd"))]
    for line in reader.log_lines():
        assert len(json.dumps(line)) < 2_000
    assert "x" * 301 not in reader.everything_seen()
    assert "\u202e" not in reader.everything_seen()


def test_a_reply_without_measure_is_a_problem_and_a_purchase_in_doubt(reader: World) -> None:
    stage = Stage()
    stage.play(answering(told("x" * MIB)))
    with serve(stage) as url:
        reader.create_account("long-sf", reader.secret(SF, endpoint=url))
        read = reader.get("/accounts/long-sf/stamps", rfc=RFC)
    body = problem(read, 502, "pac-protocol-error")
    assert "longer than 262,144 bytes" in body["detail"]
    assert body["pac"] == {"name": "solucion-factible", "code": None, "message": None}


def test_figures_without_measure_are_a_problem(
    reader: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage()
    row = (
        '{"RFC":"' + "\\\\" * 14 + '%06d","Fecha":"2026-10-02T00:00:00",'
        '"TipoMovimiento":"' + "\N{PILE OF POO}" * 100 + '","Monto":1}'
    )
    rows = ",".join(row % n for n in range(6_000))
    stage.play(
        answering(
            '{"TipoConsumo":"Postpago","FechaActual":"2026-11-19T13:53:41","Registrados":1,'
            f'"Autorizados":1,"GeneraronTimbre":1,"Transacciones":6000,"Detalle":[{rows}]}}'
        )
    )
    with serve(stage) as url:
        reader.create_account("long-rc", reader.secret(RC, endpoint=url))
        # The longest movements there can be, and as many as an answer has.
        whole = reader.get("/accounts/long-rc/balance", month="2026-10")
        assert (whole.status, len(whole.body["movements"])) == (200, 5_000)
        monkeypatch.setattr("timbres.handlers.http._MAX_RESPONSE_BYTES", len(whole.text) - 1)
        answer = reader.get("/accounts/long-rc/balance", month="2026-10")
    assert "request one rfc" in problem(answer, 422, "answer-too-large")["detail"]
