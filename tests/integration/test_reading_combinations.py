"""Encodings, charsets and wrappings of a response in any combination change no value."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.further_cases import (
    BALANCE,
    MOVEMENT,
    SOAP_11,
    SOAP_12,
    count,
    raw_deflate,
)
from tests.support.pac_cases import BALANCE as BALANCE_OPERATION
from tests.support.pac_cases import COUNT, RFC_N
from tests.support.pac_servers import PacServer, respond_with

from timbres.domain.stamps import Stamps

ENCODINGS: dict[str, list[Callable[[bytes], bytes]]] = {
    "gzip": [
        gzip.compress,
        lambda content: gzip.compress(content[:7]) + gzip.compress(content[7:]),
    ],
    "X-GZIP": [gzip.compress],
    "deflate": [zlib.compress, raw_deflate],
    "none": [bytes],
    "": [bytes],
}
# Charset of the bytes, and the parameter that declares it; None: a byte order mark does.
CHARSETS = [
    ("utf-8", "; charset=UTF-8"),
    ("utf-8", '; charset="utf8"'),
    ("utf-8", ""),
    ("utf-8", "; charset=x-none"),
    ("utf-8-sig", ""),
    ("utf-8-sig", "; charset=iso-8859-1"),
    ("utf-16", ""),
    ("utf-16", "; charset=utf-8"),
    ("utf-16-be", "; charset=UTF-16BE"),
    ("latin-1", "; charset=ISO-8859-1"),
    ("cp1252", "; Charset=Windows-1252"),
]
encodings = st.sampled_from([(name, pack) for name, packs in ENCODINGS.items() for pack in packs])
charsets = st.sampled_from(CHARSETS)
blanks = st.text(" \t\r\n", max_size=3)
combined = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@combined
@given(
    encodings,
    charsets,
    blanks,
    st.sampled_from(["text/xml", "text/html", "text/plain", "application/json", "x"]),
    st.sampled_from([SOAP_11, SOAP_12]),
    st.sampled_from(["", '<?xml version="1.0"?>', "declared"]),
    st.sampled_from(["", "binary", "base64"]),
    st.sampled_from(['multipart/related; boundary="b.1"', "text/xml"]),
    st.booleans(),
)
def test_a_count_in_any_wrapping(
    pac_server: PacServer,
    url: str,
    encoding: tuple[str, Callable[[bytes], bytes]],
    charset: tuple[str, str],
    before: str,
    media_type: str,
    soap: str,
    declaration: str,
    part_encoding: str,
    multipart_type: str,
    in_bytes: bool,
) -> None:
    name, pack = encoding
    if declaration == "declared":
        declaration = f"<?xml version='1.0' encoding='{charset[0].removesuffix('-sig')}'?>"
    content = (before + declaration + count(soap=soap)).encode(charset[0])
    media_type += charset[1]
    if part_encoding and not charset[0].startswith("utf-16"):  # That would not be MTOM.
        if part_encoding == "base64":
            content = base64.encodebytes(content)
        head = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: {part_encoding}\r\n\r\n"
        content = b"--b.1\r\n" + head.encode() + content + b"\r\n--b.1--\r\n"
        media_type = multipart_type
    pac_server.serve_app(
        respond_with(pack(content), media_type, in_bytes=in_bytes, Content_Encoding=name)
    )

    assert COUNT(url, 5) == Stamps(1000, 480, 520)


@combined
@given(
    encodings,
    charsets,
    blanks,
    st.sampled_from(["application/json", "text/html", "text/plain", ""]),
    st.sampled_from([str, str.lower, str.upper, str.swapcase]),
    st.sampled_from(["3", "3.0", '"3"', '" +3 "', "3e0"]),
    st.sampled_from(["", "T00:00:00", " 00:00", "T23:59:59Z", "T00:00:00.000-05:00"]),
    st.sampled_from(["ÑAN840101AB1", " ñan840101ab1 ", "N\u0303AN840101AB1"]),
)
def test_a_balance_in_any_wrapping(
    pac_server: PacServer,
    url: str,
    encoding: tuple[str, Callable[[bytes], bytes]],
    charset: tuple[str, str],
    before: str,
    media_type: str,
    spell: Callable[[str], str],
    number: str,
    time: str,
    rfc: str,
) -> None:
    name, pack = encoding
    movement = MOVEMENT | {"RFC": rfc, "Fecha": f"2026-10-02{time}", "Monto": "#"}
    spelled = {spell(key): value for key, value in movement.items()}
    balance = BALANCE | {"Detalle": [spelled], "Transacciones": "#"}
    text = json.dumps(
        {spell(key): value for key, value in balance.items()},
        ensure_ascii=charset[0] in ("latin-1", "cp1252"),
    )
    content = (before + text.replace('"#"', number)).encode(charset[0])
    pac_server.serve_app(
        respond_with(pack(content), media_type + charset[1], Content_Encoding=name)
    )

    (line,) = BALANCE_OPERATION(url, 5)

    assert (line.rfc, str(line.date), line.amount) == (RFC_N, "2026-10-02", 3)
