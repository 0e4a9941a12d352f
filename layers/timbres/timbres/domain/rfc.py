"""RFC: the tax identifier of an issuer, in the format of SAT's ``t_RFC``."""

from __future__ import annotations

import re
import unicodedata
from typing import NewType

from timbres.domain.text import invalid_value
from timbres.errors import RFC_GENERIC, RFC_INVALID, TimbresError

Rfc = NewType("Rfc", str)

# Checked before upper-casing: Unicode upper-cases some foreign letters into valid ones.
_ALPHABET = re.compile(r"[A-Za-z&Ññ0-9]*")
_T_RFC = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
_AMPERSAND = re.compile("&amp;", re.IGNORECASE)
_EXPECTED = (
    "3 or 4 letters (A-Z, Ñ, &), a date as YYMMDD and 3 characters; for example A&D061009TY8"
)
GENERIC = frozenset({Rfc("XAXX010101000"), Rfc("XEXX010101000")})


def parse_rfc(text: object, field: str = "rfc") -> Rfc:
    """Return the RFC in ``text``: NFC, trimmed, upper case, 12 or 13 characters.

    ``&amp;`` is ``&``. The check digit is not enforced: real RFCs fail it. Raises ``rfc-invalid``.
    """
    if not isinstance(text, str):
        raise TimbresError(RFC_INVALID, "An RFC is a text of 12 or 13 characters.", field=field)
    rfc = normalize_rfc(text)
    if not is_rfc(rfc):
        raise invalid_value(RFC_INVALID, text, "a valid RFC", _EXPECTED, field)
    return Rfc(rfc)


def normalize_rfc(text: str) -> str:
    """Return the RFC in ``text``, or ``text`` without outer blanks if it has no RFC."""
    if is_rfc(text):
        return text
    trimmed = text.strip()
    composed = _AMPERSAND.sub("&", unicodedata.normalize("NFC", trimmed))
    candidate = composed.upper()
    return candidate if _ALPHABET.fullmatch(composed) and is_rfc(candidate) else trimmed


def is_rfc(text: str) -> bool:
    """Return whether ``text`` is an RFC in its normal form."""
    return _T_RFC.fullmatch(text) is not None


def parse_issuer(text: object, field: str = "rfc") -> Rfc:
    """Return an RFC that can issue invoices. Raises ``rfc-invalid`` or ``rfc-generic``."""
    rfc = parse_rfc(text, field)
    if rfc in GENERIC:
        detail = f"{rfc} is the RFC of the public or of foreigners; stamps belong to an issuer."
        raise TimbresError(RFC_GENERIC, detail, field=field)
    return rfc
