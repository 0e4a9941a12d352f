"""Search for credentials in the output of a run, in every encoding."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from urllib.parse import quote

# No encoding of text changes letters and digits. So many in a row are unique to a credential.
_CORE_LENGTH = 12
_MIN_LENGTH = 6
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


class Search:
    """Finds credentials, given by name, in text and bytes."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._forms = {form: name for name, value in credentials.items() for form in forms(value)}

    def found(self, content: bytes | str) -> list[str]:
        """Return the names of the credentials in ``content``."""
        data = content.encode() if isinstance(content, str) else content
        return sorted(
            {name for layer in layers(data) for form, name in self._forms.items() if form in layer}
        )


def forms(secret: str) -> set[bytes]:
    """Return the byte strings that reveal a credential.

    A credential with 12 letters or digits in a row is searched by these alone, in any document;
    another one as it is and in a URL. Both may be encoded again: in UTF-16, hex, percent, base64.
    Raise ValueError for fewer than six characters, which would match everywhere.
    """
    if len(secret) < _MIN_LENGTH:
        raise ValueError("too short to be distinguished from other text")
    core = max(re.findall("[A-Za-z0-9]*", secret), key=len)
    value = core if len(core) >= _CORE_LENGTH else secret
    text = value.encode()
    encoded = {text, quote(value, safe="").encode(), value.encode("utf-16-le")}
    encoded |= {text.hex().encode(), text.hex().upper().encode()}
    for form in ("%{:02x}", "%{:02X}"):
        encoded.add("".join(map(form.format, text)).encode())
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The characters that depend on the text alone, after ``shift`` other bytes.
            whole = encode(bytes(shift) + text)
            encoded.add(whole[-(-shift * 8 // 6) : (shift + len(text)) * 8 // 6])
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
