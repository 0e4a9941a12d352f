"""The search finds credentials in every encoding, and nothing else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from tests.support.credential_search import Search

# The first has twelve letters and digits in a row; every encoding splits the second.
SECRETS = ('ñ&<"/+ %4f1c9a07b2d8e3', "ñ&<\"/+ %'>?a1é=b")


def zipped(text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sheet.xml", text)
    return target.getvalue()


ENCODINGS: dict[str, Callable[[str], str | bytes]] = {
    "plain": str,
    "latin-1": lambda s: s.encode("latin-1"),
    "percent, latin-1": lambda s: quote(s, safe="", encoding="latin-1").lower(),
    "form": quote_plus,
    "xml, ascii": lambda s: escape(s).encode("ascii", "xmlcharrefreplace"),
    "json": json.dumps,
    "repr of bytes": lambda s: repr(s.encode()),
    "hex": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(b"uu" + s.encode()),
    "base64 of xml": lambda s: base64.b64encode(f"<password>{escape(s)}</password>".encode()),
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

    assert {name.partition(" (")[0] for name in names} == {"the password"}
    assert search.found(embed(encode(other))) == []
