"""Redaction: mask credentials in a text, in any spelling or encoding."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

MASK = "***"
# A shorter credential is part of too many words: it is masked only as a separate word.
_MIN_LENGTH = 6
# An escape may itself be escaped: &amp;amp; or %2526.
_MAX_ESCAPES = 3
_ESCAPE = re.compile(
    r"(?:%[0-9a-f]{2})+|&#x[0-9a-f]{1,6};|&#[0-9]{1,7};|&[a-z][a-z0-9]{1,30};|\\u[0-9a-f]{4}",
    re.IGNORECASE,
)
# Where a text may be truncated: at an ellipsis, or at the end.
_CUT = re.compile(r"\.{2,}|[.\"'»)\]]*\Z")

# A character of a folded text, with begin and end in the original.
_Folded = list[tuple[str, int, int]]


def redact(text: str, credentials: Iterable[str]) -> str:
    r"""Return ``text`` with asterisks in place of ``credentials``.

    Case, accents, spacing and escapes (percent, XML, ``\u``) are ignored. If a credential has 6
    characters or more, two thirds of it in a row are masked, too, and also its first 6 or more
    characters at the text's end or before an ellipsis, where a PAC truncated it.
    """
    folded = _fold(text)
    plain = "".join(char for char, _, _ in folded)
    spans: list[tuple[int, int]] = []
    for credential in credentials:
        needle = "".join(char for char, _, _ in _fold(credential))
        # A credential such as "+++" folds to nothing: the literal text is masked.
        spans += _literal(text, credential)
        for begin, end in _matches(plain, needle):
            span = (folded[begin][1], _with_accents(text, folded[end - 1][2]))
            if len(needle) >= _MIN_LENGTH or _stands_alone(text, *span):
                spans.append(span)
    return _mask_spans(text, spans)


def _matches(plain: str, needle: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each occurrence of ``needle`` or most of it; both are folded."""
    size = max(_MIN_LENGTH, -(-2 * len(needle) // 3))
    parts = (
        {needle[at : at + size] for at in range(len(needle) - size + 1)}
        if len(needle) >= size
        else {needle} - {""}
    )
    for part in parts:
        begin = plain.find(part)
        while begin >= 0:
            yield begin, begin + len(part)
            begin = plain.find(part, begin + 1)
    for cut in _CUT.finditer(plain):
        for length in range(min(size, len(needle)), _MIN_LENGTH - 1, -1):
            if plain.endswith(needle[:length], 0, cut.start()):
                yield cut.start() - length, cut.start()
                break


def _literal(text: str, credential: str) -> Iterator[tuple[int, int]]:
    if len(credential) >= _MIN_LENGTH:
        for match in re.finditer(re.escape(credential), text):
            yield match.span()


def _stands_alone(text: str, begin: int, end: int) -> bool:
    return not (text[:begin][-1:].isalnum() or text[end : end + 1].isalnum())


def _with_accents(text: str, end: int) -> int:
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return end


def _mask_spans(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = 0
    for begin, end in sorted(spans):
        if begin >= at:
            # Spans that overlap or touch get one mask.
            pieces += [text[at:begin], "" if pieces and begin == at else MASK]
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _fold(text: str) -> _Folded:
    """Return a text's characters, unescaped, in lower case, without accents and blanks."""
    folded: _Folded = [(char, at, at + 1) for at, char in enumerate(text)]
    for _ in range(_MAX_ESCAPES):
        unescaped = list(_unescape(folded))
        if len(unescaped) == len(folded):
            break
        folded = unescaped
    return [
        (plain, begin, end)
        for char, begin, end in folded
        for plain in unicodedata.normalize("NFKD", char).casefold()
        # In a form, + is a blank; in JSON, a backslash precedes a quote.
        if plain.isprintable() and plain not in " +\\" and not unicodedata.combining(plain)
    ]


def _unescape(folded: _Folded) -> Iterator[tuple[str, int, int]]:
    at = 0
    for match in _ESCAPE.finditer("".join(char for char, _, _ in folded)):
        yield from folded[at : match.start()]
        at = match.end()
        begin, end = folded[match.start()][1], folded[at - 1][2]
        for char in _decode_escape(match[0]):
            yield char, begin, end
    yield from folded[at:]


def _decode_escape(escape: str) -> str:
    if escape[0] == "%":
        encoded = unquote_to_bytes(escape)
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            return encoded.decode("latin-1")
    return chr(int(escape[2:], 16)) if escape[0] == "\\" else html.unescape(escape)
