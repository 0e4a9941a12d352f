"""Search for credentials in the output of a run, in every encoding."""

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

# No encoding changes letters and digits. A sequence of this length is unique to a credential.
_CORE_LENGTH = 12
_MIN_LENGTH = 6
# Forms that may also be base64 or hex encoded, alone or inside a document.
_ENCODED = {"as it is", "latin-1", "XML", "JSON", "JSON, not ASCII"}
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


class Search:
    """Finds credentials, given by name, in text and bytes."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._forms = {
            form: f"{name} ({encoding})"
            for name, value in credentials.items()
            for form, encoding in forms(value).items()
        }

    def found(self, content: bytes | str) -> list[str]:
        """Return the names of the credentials in ``content``, each with its encoding."""
        data = content.encode() if isinstance(content, str) else content
        return sorted(
            {name for layer in layers(data) for form, name in self._forms.items() if form in layer}
        )


def forms(secret: str) -> dict[bytes, str]:
    """Return the byte strings that reveal a credential, each with the name of its encoding.

    A credential with 12 letters or digits in a row is searched by these alone, because no escaping
    changes them. Raise ValueError for fewer than six characters, which would match everywhere.
    """
    if len(secret) < _MIN_LENGTH:
        raise ValueError("too short to be distinguished from other text")
    core = max(re.findall("[A-Za-z0-9]*", secret), key=len)
    texts = _escaped_forms(secret)
    if len(core) >= _CORE_LENGTH:
        texts = {"as it is": core.encode(), "utf-16-le": core.encode("utf-16-le")}
    encoded = {text: encoding for encoding, text in reversed(texts.items())}
    for encoding in _ENCODED & texts.keys():
        text = texts[encoding]
        encoded.setdefault(text.hex().encode(), f"{encoding}, hex")
        encoded.setdefault(text.hex().upper().encode(), f"{encoding}, hex")
        encoded.setdefault("".join(f"%{byte:02x}" for byte in text).encode(), f"{encoding}, %")
        encoded.setdefault("".join(f"%{byte:02X}" for byte in text).encode(), f"{encoding}, %")
        for shift in range(3):
            for plain in (base64.b64encode, base64.urlsafe_b64encode):
                encoded.setdefault(_aligned(text, shift, plain), f"{encoding}, base64 + {shift}")
    return encoded


def layers(content: bytes) -> Iterator[bytes]:
    """Yield ``content`` and its decompressed parts: gzip, zip, the streams of a PDF."""
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


def _escaped_forms(secret: str) -> dict[str, bytes]:
    """Return a credential in the escaped forms of common formats."""
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
    encoded = {name: text.encode() for name, text in texts.items()}
    for code in ("latin-1", "utf-16-le"):
        encoded[code] = secret.encode(code, "replace")
        encoded[f"XML, {code}"] = xml.encode(code, "replace")
    return encoded


def _aligned(text: bytes, shift: int, encode: Callable[[bytes], bytes]) -> bytes:
    """Return the base64 characters that depend on ``text`` alone, after ``shift`` bytes."""
    whole = encode(bytes(shift) + text)
    return whole[-(-shift * 8 // 6) : (shift + len(text)) * 8 // 6]
