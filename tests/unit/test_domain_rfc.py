"""RFCs: SAT's t_RFC after NFC, trim and upper-case; a generic RFC is not an issuer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.rfc import Rfc, parse_issuer, parse_rfc
from timbres.handlers.http import parse_query_rfc

# The pattern of the CFDI schema.
T_RFC = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
N_TILDE = "n\N{COMBINING TILDE}"


@pytest.mark.parametrize(
    ("text", "rfc"),
    [
        ("AAA010101AAA", "AAA010101AAA"),
        ("a&amp;d061009ty8", "A&D061009TY8"),
        (f"{N_TILDE}an840101ab1", "ÑAN840101AB1"),
        ("\N{NO-BREAK SPACE} A&D061009TY8\t\n", "A&D061009TY8"),
        # NFC itself turns the Kelvin sign into K.
        ("\N{KELVIN SIGN}AA010101AAA", "KAA010101AAA"),
    ],
)
def test_an_rfc_is_normalized(text: str, rfc: str) -> None:
    assert parse_rfc(text) == rfc


@pytest.mark.parametrize(
    "text",
    [
        *("", "AB061009TY8", "ABCDE061009TY8", "A&D061009TY", "A&D061009TY80", "A%26D061009TY8"),
        *("A&amp;amp;D061009TY8", "A&D 061009TY8", "A&D061309TY8", "A&D060009TY8", "A&D061032TY8"),
        *("A&D061009TYB", "A&D061009T&8", "A&D061009Ñ18", "A&D061009TY8\x00", "A\x1b[31m\u202e"),
        # Digits and letters of other scripts; the last is Cyrillic.
        *("A&D06100９TY8", "A&D06١009TY8", "A＆D061009TY8", "ÁAD061009TY8", "АAD061009TY8"),
        *(None, 7, True, ["A&D061009TY8"], b"A&D061009TY8"),
    ],
)
def test_an_invalid_rfc_is_rejected(text: object) -> None:
    detail = expect_error("rfc-invalid", "rfc", parse_rfc, text).detail

    assert isinstance(text, str) or "text" in detail


@pytest.mark.parametrize("letter", [*"ſıßŉﬀﬃﬆǰİᶏ", "\N{ANGSTROM SIGN}"])
@pytest.mark.parametrize("place", [0, 1, 2, 9])
def test_a_foreign_letter_is_rejected_even_if_its_upper_case_is_valid(
    letter: str, place: int
) -> None:
    valid = "ABC061009TY8"
    for replaced in (1, len(letter.upper())):
        text = valid[:place] + letter + valid[place + replaced :]
        expect_error("rfc-invalid", "rfc", parse_rfc, text)


@pytest.mark.parametrize("parse", [parse_rfc, parse_issuer])
@pytest.mark.parametrize(
    ("text", "explained"), [(" AAA ", True), ("", True), ("A&D061309TY8", False), (None, False)]
)
def test_a_lost_ampersand_is_explained_in_a_query_only(
    parse: Callable[[object], Rfc], text: str | None, explained: bool
) -> None:
    in_query = expect_error("rfc-invalid", "rfc", parse_query_rfc, text, parse)

    assert ("%26" in in_query.detail) is explained
    assert "%26" not in expect_error("rfc-invalid", "rfc", parse_rfc, text).detail


def test_an_issuer_is_an_rfc_that_is_not_generic() -> None:
    assert parse_issuer("a&d061009ty8") == "A&D061009TY8"
    for text in ("XAXX010101000", " xexx010101000 "):
        expect_error("rfc-generic", "rfcEmisor", parse_issuer, text, field="rfcEmisor")
    expect_error("rfc-invalid", "rfcEmisor", parse_issuer, "nope", field="rfcEmisor")


@st.composite
def nearly_valid(draw: st.DrawFn) -> str:
    """Return an RFC in any case and composition, with blanks, and often a wrong character."""
    rfc = draw(st.from_regex(T_RFC, fullmatch=True))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(rfc) - 1))
        rfc = rfc[:place] + draw(st.characters()) + rfc[place + 1 :]
    form = draw(st.sampled_from(["NFC", "NFD"]))
    text = unicodedata.normalize(form, draw(st.sampled_from([rfc, rfc.lower()])))
    return text + draw(st.text(" \t\r\n", max_size=3))


@settings(max_examples=200)
@given(st.text(max_size=16) | nearly_valid())
def test_any_text_is_an_rfc_or_an_error(text: str) -> None:
    composed = unicodedata.normalize("NFC", text).strip()
    is_rfc = all(char.isascii() or char in "Ññ" for char in composed) and T_RFC.fullmatch(
        composed.upper()
    )

    if is_rfc:
        assert parse_rfc(text) == composed.upper()
    else:
        expect_error("rfc-invalid", "rfc", parse_rfc, text)
