"""Credentials in what a run has left behind, in every form that one could be written in."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

# Letters and digits pass every escaping as they are. So many in a row are nobody else's.
_ENOUGH = 12
_SHORTEST = 6
# What is put as a whole into base64 or hex: itself, or a document that it stands in.
_ENCODED = {"as it is", "latin-1", "XML", "JSON", "JSON, not ASCII"}
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


class Search:
    """Looks for credentials, given by name, in text and bytes of any kind."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._forms = {
            form: f"{name} ({encoding})"
            for name, value in credentials.items()
            for form, encoding in forms(value).items()
        }

    def found(self, content: bytes | str) -> list[str]:
        """Return the names of the credentials in ``content``, with how each is written there."""
        data = content.encode() if isinstance(content, str) else content
        return sorted(
            {name for layer in layers(data) for form, name in self._forms.items() if form in layer}
        )


def forms(secret: str) -> dict[bytes, str]:
    """Return the byte strings that give a credential away, each with its encoding's name.

    A credential with 12 letters or digits in a row is looked for by these alone: whatever is
    around them, and however it is escaped, they are there. Raises ValueError for one of less
    than six characters, which would be found everywhere.
    """
    if len(secret) < _SHORTEST:
        raise ValueError("too short to be told from other text")
    core = max(re.findall("[A-Za-z0-9]*", secret), key=len)
    texts = _written(secret)
    if len(core) >= _ENOUGH:
        texts = {"as it is": core.encode(), "utf-16-le": core.encode("utf-16-le")}
    found = {text: encoding for encoding, text in reversed(texts.items())}
    for encoding in _ENCODED & texts.keys():
        text = texts[encoding]
        found.setdefault(text.hex().encode(), f"{encoding}, hex")
        found.setdefault(text.hex().upper().encode(), f"{encoding}, hex")
        found.setdefault("".join(f"%{one:02x}" for one in text).encode(), f"{encoding}, %")
        found.setdefault("".join(f"%{one:02X}" for one in text).encode(), f"{encoding}, %")
        for shift in range(3):
            for plain in (base64.b64encode, base64.urlsafe_b64encode):
                found.setdefault(_aligned(text, shift, plain), f"{encoding}, base64 + {shift}")
    return found


def layers(content: bytes) -> Iterator[bytes]:
    """Yield ``content``, and what is compressed in it: gzip, zip, the streams of a PDF."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif content[:5] == b"%PDF-":
        for stream in _STREAM.findall(content):
            try:
                yield zlib.decompress(stream)
            except zlib.error:
                continue


def _written(secret: str) -> dict[str, bytes]:
    """Return a credential as each of the usual writers would put it into a text."""
    quoted = json.dumps(secret)[1:-1]
    plain = json.dumps(secret, ensure_ascii=False)[1:-1]
    html = quoted.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    xml = escape(secret)
    texts = {
        "as it is": secret,
        "JSON": quoted,
        "JSON, upper": re.sub(r"\\u[0-9a-f]{4}", lambda m: "\\u" + m[0][2:].upper(), quoted),
        "JSON, not ASCII": plain,
        "JSON, slashes": plain.replace("/", "\\/"),
        "JSON, ASCII, slashes": quoted.replace("/", "\\/"),
        "JSON for HTML": html,
        "XML": xml,
        "XML attribute": escape(secret, {'"': "&quot;"}),
        "XML, quotes": escape(secret, {'"': "&quot;", "'": "&apos;"}),
        "XML, numbered quotes": escape(secret, {'"': "&#34;", "'": "&#39;"}),
        "HTML": escape(secret, {'"': "&quot;", "'": "&#x27;"}),
        "XML, ASCII": xml.encode("ascii", "xmlcharrefreplace").decode(),
        "repr": repr(secret)[1:-1],
        "repr of bytes": repr(secret.encode())[2:-1],
    }
    for name, code in (("", "utf-8"), (", latin-1", "latin-1")):
        for safe in ("", "/", "-._~/+:@"):
            texts[f"percent{name}, but {safe}"] = quote(secret, safe, code, "replace")
        texts[f"form{name}"] = quote_plus(secret, "", code, "replace")
    for name in [name for name in texts if name.startswith(("percent", "form"))]:
        texts[f"{name}, lower"] = re.sub("%..", lambda m: m[0].lower(), texts[name])
    found = {name: text.encode() for name, text in texts.items()}
    for code in ("latin-1", "utf-16-le"):
        found[code] = secret.encode(code, "replace")
        found[f"XML, {code}"] = xml.encode(code, "replace")
    return found


def _aligned(text: bytes, shift: int, encode: Callable[[bytes], bytes]) -> bytes:
    """Return the base64 characters that ``text`` alone decides, ``shift`` bytes behind others."""
    whole = encode(bytes(shift) + text)
    return whole[-(-shift * 8 // 6) : (shift + len(text)) * 8 // 6]
