"""RFCs from a PAC: one form for each RFC, and any other text as received."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.rfc import normalize_rfc, parse_rfc
from timbres.errors import TimbresError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A&D061009TY8", "A&D061009TY8"),
        ("a&d061009ty8 ", "A&D061009TY8"),
        ("A&amp;D061009TY8", "A&D061009TY8"),
        ("a&AMP;d061009ty8", "A&D061009TY8"),
        ("n\N{COMBINING TILDE}an840101ab1", "ÑAN840101AB1"),
        ("xaxx010101000", "XAXX010101000"),
        ("Publico en general", "Publico en general"),
        (" sin rfc\t", "sin rfc"),
        ("A&amp;D", "A&amp;D"),
        # Its upper case would be another issuer's RFC.
        ("ßA010101AAA", "ßA010101AAA"),
        ("A&amp;amp;D061009TY8", "A&amp;amp;D061009TY8"),
    ],
)
def test_an_rfc_from_a_pac_has_one_form_and_other_texts_stay(text: str, expected: str) -> None:
    assert normalize_rfc(text) == expected


@given(st.text(max_size=16) | st.from_regex(r"[A-Za-z&ñ]{3,4}[0-9]{6}[A-Za-z0-9]{3}"))
def test_callers_and_pacs_mean_the_same_issuer(text: str) -> None:
    try:
        rfc = parse_rfc(text)
    except TimbresError:
        assert normalize_rfc(text) == text.strip() or "&amp;" in text.casefold()
    else:
        assert normalize_rfc(text) == rfc
        assert normalize_rfc(unicodedata.normalize("NFD", text).replace("&", "&amp;")) == rfc
    assert normalize_rfc(normalize_rfc(text)) == normalize_rfc(text)
