"""Tolerant reading of PACs' responses: text, names, numbers, dates and error messages.

A value is accepted if it has exactly one interpretation. Any other value is an error that names
the field.
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, TypeVar

from timbres.domain.clock import from_local, local_date
from timbres.domain.text import MAX_NUMBER, charset_of, parse_number
from timbres.pacs.errors import protocol_error

T = TypeVar("T")

logger = logging.getLogger("timbres")

_HTML = re.compile(r"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_MESSAGE_NAMES = ("message", "detail", "error_description", "error", "title")


def decode_text(content: bytes, content_type: str, errors: str = "strict") -> str:
    """Return a response as text, without a byte order mark.

    Without a declared charset it is UTF-8. ``errors`` as for ``bytes.decode``.
    """
    return content.decode(charset_of(content, content_type) or "utf-8", errors)


def is_html(text: str, content_type: str) -> bool:
    """Return whether ``text``, the begin of a response, is markup for a browser."""
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return False
    return "html" in content_type.lower() or _HTML.search(text) is not None


def parse_json(content: bytes, content_type: str = "") -> Any:
    """Return the value of a JSON text, with its names folded; None if it is not valid JSON.

    Of two names that become equal, the object has neither.
    """
    try:
        return json.loads(decode_text(content, content_type), object_pairs_hook=_folded)
    except (ValueError, RecursionError):
        return None


def error_of(content: bytes, content_type: str) -> tuple[str | None, str | None]:
    """Return code and message of an error response in any format, None for what it lacks.

    The formats are JSON (``{"errors": [{"Code", "Message"}]}`` or a message at its top), an HTML
    page, of which the title is the message, and plain text.
    """
    body = parse_json(content, content_type)
    if isinstance(body, Mapping):
        errors = body.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        return _code_and_message(first if isinstance(first, Mapping) else body)
    text = decode_text(content, content_type, "replace")
    if is_html(text, content_type):
        title = _TITLE.search(text)
        return None, html.unescape(re.sub(r"<[^>]*>", " ", title[2])) if title else None
    return None, text if content_type.lower().startswith("text/plain") else None


def _code_and_message(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    code = fields.get("code")
    messages = (fields.get(name) for name in _MESSAGE_NAMES)
    return (
        str(code).strip() or None if isinstance(code, str | int) else None,
        next((message for message in messages if isinstance(message, str)), None),
    )


@lru_cache(maxsize=1024)
def fold(name: str) -> str:
    """Return a field's name for comparison: case is ignored."""
    return name.casefold()


def _folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    twice = set()
    for name, value in pairs:
        if (key := fold(name)) in fields:
            twice.add(key)
        fields[key] = value
    return {key: value for key, value in fields.items() if key not in twice}


def known_count(count: int | None) -> int | None:
    """Return a count; None, with a warning, if it is negative: then the PAC does not know it."""
    if count is None or count >= 0:
        return count
    logger.warning("the PAC returned a negative count, which is not known", extra={"count": count})
    return None


class FieldReader:
    """Reads the fields of one response; ``normalized`` are the fields not as documented.

    The names are documented ones; those of the fields may be folded. Each method raises
    ``pac-protocol-error``, which names the field.
    """

    def __init__(self, pac: str) -> None:
        self._pac = pac
        self.normalized: set[str] = set()

    def text(self, fields: Mapping[str, Any], name: str) -> str:
        """Return a text that is not blank, without outer blanks."""
        value = fields[name] if name in fields else fields.get(fold(name))
        text = value.strip() if isinstance(value, str) else ""
        if not text:
            raise protocol_error(self._pac, f"{name} is missing or is not a text")
        return text

    def optional_text(self, fields: Mapping[str, Any], name: str) -> str | None:
        """Return a text, None if it is missing, null or blank."""
        value = fields[name] if name in fields else fields.get(fold(name))
        return None if value is None or value == "" else self.text(fields, name)

    def number(self, fields: Mapping[str, Any], name: str) -> int:
        """Return a whole number, up to 10**12."""
        value = fields[name] if name in fields else fields.get(fold(name))
        if type(value) is int and abs(value) <= MAX_NUMBER:
            return value
        try:
            number = parse_number(value)
            if str(number) != value:
                self.normalized.add(name)
            return number
        except ValueError:
            raise protocol_error(self._pac, f"{name} is missing or is not a whole number") from None

    def count(self, fields: Mapping[str, Any], name: str) -> int | None:
        """Return a count; None, with a warning, if it is negative."""
        return known_count(self.number(fields, name))

    def date(self, fields: Mapping[str, Any], name: str) -> date:
        """Return a date; time and offset are ignored."""
        return self._converted(fields, name, local_date, "a date yyyy-mm-ddThh:MM:ss")

    def time(self, fields: Mapping[str, Any], name: str) -> datetime:
        """Return a time, in Mexico City."""
        return self._converted(fields, name, from_local, "a time yyyy-mm-ddThh:MM:ss")

    def _converted(
        self, fields: Mapping[str, Any], name: str, convert: Callable[[str], T], expected: str
    ) -> T:
        text = self.text(fields, name)
        if len(text) != len("yyyy-mm-ddThh:MM:ss"):
            self.normalized.add(name)
        try:
            return convert(text)
        except ValueError:
            raise protocol_error(self._pac, f"{name} is not {expected}") from None

    def log(self) -> None:
        """Log the fields that were normalized, once for each response."""
        if self.normalized:
            extra = {"pac": self._pac, "fields": sorted(self.normalized)}
            logger.debug("a response of the PAC was normalized", extra=extra)
            self.normalized.clear()
