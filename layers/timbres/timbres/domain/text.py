"""Text from outside: its charset, numbers in it, and quotes of it in errors."""

from __future__ import annotations

import codecs
import re
from decimal import Decimal
from email.message import Message

from timbres.errors import ProblemType, TimbresError

_MAX_QUOTED_LENGTH = 40
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    # Before UTF-16, whose mark it begins with.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CHARSETS = frozenset(
    {"utf-8", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be"}
)
# No account has more stamps; a larger number is an error.
MAX_NUMBER = 10**12
# Three decimals in a text may be a thousand, as in 1.000.
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.(?!0{3}$)[0-9]{0,20})?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)


def quote_input(value: object) -> str:
    """Return ``value`` for an error text: quoted, printable, at most 40 characters of it."""
    text = value if isinstance(value, str) else repr(value)
    printable = "".join(c if c.isprintable() else "?" for c in text[:_MAX_QUOTED_LENGTH])
    return f"'{printable}'" + ("…" if len(text) > _MAX_QUOTED_LENGTH else "")


def invalid_value(
    problem_type: ProblemType, value: object, kind: str, expected: str, field: str
) -> TimbresError:
    """Return the error of a value that is not ``kind``, for example ``a valid RFC``."""
    detail = f"{quote_input(value)} is not {kind}: expected {expected}."
    return TimbresError(problem_type, detail, field=field)


def charset_of(head: bytes, content_type: str) -> str | None:
    """Return the charset of a text: of its byte order mark, else as declared, else None.

    ``head`` are its first bytes, ``content_type`` is its media type with parameters. A charset
    that is unusual in Mexico is ignored.
    """
    for mark, charset in _BOMS.items():
        if head.startswith(mark):
            return charset
    header = Message()
    header["Content-Type"] = content_type
    try:
        charset = codecs.lookup(str(header.get_content_charset(""))).name
    except (LookupError, ValueError):
        return None
    return charset if charset in _CHARSETS else None


def parse_number(value: object) -> int:
    """Return a whole number in any notation: 2, 2.0, 2e0, "2" or " +2 ".

    Raises ValueError for any other value, and beyond 10**12.
    """
    if type(value) is int:
        number: int | float | Decimal = value
    elif type(value) is float:
        number = value
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = Decimal(value.strip())
    else:
        raise ValueError("not a whole number")
    if not -MAX_NUMBER <= number <= MAX_NUMBER or number != int(number):
        raise ValueError("not a whole number")
    return int(number)
