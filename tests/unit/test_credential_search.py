"""The search finds credentials in every encoding, and nothing else."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape, quoteattr

import pytest
from tests.support.credential_search import Search, forms

# The first has twelve letters and digits in a row; every encoding splits the second.
SECRETS = ('ñ&<"/+ %4f1c9a07b2d8e3', "ñ&<\"/+ %'>?a1é=b")


def zipped(text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sheet.xml", text)
    return target.getvalue()


ENCODINGS: dict[str, Callable[[str], str | bytes]] = {
    "plain": lambda s: s,
    "latin-1": lambda s: s.encode("latin-1"),
    "utf-16": lambda s: s.encode("utf-16"),
    "percent": lambda s: quote(s, safe=""),
    "percent, with slashes": quote,
    "percent, lower": lambda s: re.sub("%..", lambda m: m[0].lower(), quote(s, safe="")),
    "percent, latin-1": lambda s: quote(s, safe="", encoding="latin-1"),
    "percent, every byte": lambda s: "".join(f"%{byte:02X}" for byte in s.encode()),
    "form": quote_plus,
    "xml": escape,
    "xml attribute": quoteattr,
    "xml, ascii": lambda s: escape(s).encode("ascii", "xmlcharrefreplace"),
    "html": html.escape,
    "json": json.dumps,
    "json, upper": lambda s: json.dumps(s).replace("\\u00f1", "\\u00F1").replace("00e9", "00E9"),
    "json, not ascii": lambda s: json.dumps(s, ensure_ascii=False),
    "json, slashes": lambda s: json.dumps(s).replace("/", "\\/"),
    "repr": repr,
    "repr of bytes": lambda s: repr(s.encode()),
    "hex": lambda s: s.encode().hex(),
    "hex, upper": lambda s: s.encode().hex().upper(),
    "hex, latin-1": lambda s: s.encode("latin-1").hex(),
    **{
        f"base64 after {n}": lambda s, n=n: base64.b64encode(b"u" * n + s.encode())
        for n in range(7)
    },
    "base64, unpadded": lambda s: base64.b64encode(s.encode()).rstrip(b"="),
    "base64, latin-1": lambda s: base64.b64encode(s.encode("latin-1")),
    "base64, url-safe": lambda s: base64.urlsafe_b64encode(b"xy" + s.encode()),
    "base64 of xml": lambda s: base64.b64encode(f"<password>{escape(s)}</password>".encode()),
    "base64 of json": lambda s: base64.b64encode(json.dumps({"password": s}).encode()),
    "gzip": lambda s: gzip.compress(json.dumps({"password": s}).encode()),
    "zip": zipped,
    "pdf": lambda s: b"%PDF-1.7\nstream\n" + zlib.compress(s.encode()) + b"\nendstream\n",
}


def embed(text: str | bytes) -> bytes:
    """Return a text inside a log line; a compressed file or a PDF unchanged."""
    data = text.encode() if isinstance(text, str) else text
    is_file = data.startswith((b"\x1f\x8b", b"PK", b"%PDF-"))
    return data if is_file else b'{"level":"INFO","x":"' + data + b'"}\n'


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", SECRETS, ids=["letters and digits", "marks"])
def test_only_a_searched_credential_is_found(secret: str, encoding: str) -> None:
    encode, search = ENCODINGS[encoding], Search({"the password": secret})
    other = secret.translate(str.maketrans("014abcdé", "576defca"))

    names = search.found(embed(encode(secret)))

    assert names
    assert all(name.startswith("the password (") for name in names)
    assert search.found(embed(encode(other))) == []


def test_a_match_names_the_encoding() -> None:
    assert Search({"key": SECRETS[0]}).found(SECRETS[0]) == ["key (as it is)"]


def test_a_short_credential_is_rejected() -> None:
    with pytest.raises(ValueError, match="too short"):
        forms("a1234")
