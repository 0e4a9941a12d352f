"""RFCs: SAT's t_RFC after NFC, trim and upper-case; a generic RFC is not an issuer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.support.timbres_errors import expect_error

from timbres.domain.rfc import Rfc, parse_issuer, parse_rfc
from timbres.errors import TimbresError
from timbres.handlers.http import parse_query_rfc

# The pattern of the CFDI schema.
T_RFC = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
N_TILDE = "n\N{COMBINING TILDE}"

well_formed = st.from_regex(T_RFC, fullmatch=True)


@pytest.mark.parametrize(
    ("text", "rfc"),
    [
        ("AAA010101AAA", "AAA010101AAA"),
        ("a&d061009ty8", "A&D061009TY8"),
        ("&&&010101AA0", "&&&010101AA0"),
        ("ÑÑÑÑ010101AA0", "ÑÑÑÑ010101AA0"),
        (f"{N_TILDE}an840101ab1", "ÑAN840101AB1"),
        ("\N{NO-BREAK SPACE} A&D061009TY8\t\n", "A&D061009TY8"),
        # NFC itself turns the Kelvin sign into K.
        ("\N{KELVIN SIGN}AA010101AAA", "KAA010101AAA"),
        ("AAA011231AA0", "AAA011231AA0"),
        ("XAXX010101000", "XAXX010101000"),
    ],
)
def test_an_rfc_is_normalized(text: str, rfc: str) -> None:
    assert parse_rfc(text) == rfc


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "A", "AB061009TY8", "ABCDE061009TY8", "A&D061009TY", "A&D061009TY80"),
        "A&amp;D061009TY8",
        *("A%26D061009TY8", "A-D061009TY8", "A&D 061009TY8", "A&D-061009-TY8"),
        *("A&D061309TY8", "A&D060009TY8", "A&D061000TY8", "A&D061032TY8"),
        *("A&D061009TYB", "A&D061009T&8", "A&D061009Ñ18"),
        # Digits and letters of other scripts; the last is Cyrillic.
        *("A&D06100９TY8", "A&D06١009TY8", "A＆D061009TY8", "ÁAD061009TY8", "АAD061009TY8"),
        *("A&D061009TY8\x00", "A&D061009TY8\u200b", "A&D061009TY8\nA&D061009TY8"),
        "A\x1b[31m\u202e" + "Z" * 1000,
    ],
)
def test_an_invalid_rfc_is_rejected(text: str) -> None:
    expect_error("rfc-invalid", "rfc", parse_rfc, text)


@pytest.mark.parametrize("letter", [*"ſıßŉﬀﬃﬆǰİᶏ", "\N{ANGSTROM SIGN}"])
@pytest.mark.parametrize("place", [0, 1, 2, 9])
def test_a_foreign_letter_is_rejected_even_if_its_upper_case_is_valid(
    letter: str, place: int
) -> None:
    valid = "ABC061009TY8"
    for replaced in (1, len(letter.upper())):
        text = valid[:place] + letter + valid[place + replaced :]
        expect_error("rfc-invalid", "rfc", parse_rfc, text)


@pytest.mark.parametrize("value", [None, 7, 1.5, True, [], {}, ["A&D061009TY8"], b"A&D061009TY8"])
def test_an_rfc_is_a_text(value: object) -> None:
    assert "text" in expect_error("rfc-invalid", "rfc", parse_rfc, value).detail


@pytest.mark.parametrize("parse", [parse_rfc, parse_issuer])
@pytest.mark.parametrize(
    ("text", "explained"),
    [("A", True), (" AAA ", True), ("", True), ("A&D061309TY8", False), (None, False)],
)
def test_a_lost_ampersand_is_explained_in_a_query_only(
    parse: Callable[[object], Rfc], text: str | None, explained: bool
) -> None:
    in_query = expect_error("rfc-invalid", "rfc", parse_query_rfc, text, parse)
    elsewhere = expect_error("rfc-invalid", "rfc", parse_rfc, text)

    assert ("%26" in in_query.detail) is explained
    assert "%26" not in elsewhere.detail


@pytest.mark.parametrize("text", ["XAXX010101000", "XEXX010101000", " xaxx010101000 "])
def test_a_generic_rfc_is_not_an_issuer(text: str) -> None:
    expect_error("rfc-generic", "rfc", parse_issuer, text)


def test_an_issuer_is_any_other_rfc_and_its_error_names_the_callers_field() -> None:
    assert parse_issuer("a&d061009ty8") == "A&D061009TY8"
    for text, code in (("nope", "rfc-invalid"), ("XAXX010101000", "rfc-generic")):
        expect_error(code, "rfcEmisor", parse_issuer, text, field="rfcEmisor")


@given(well_formed, st.sampled_from(["NFC", "NFD"]), st.booleans(), st.text(" \t\r\n", max_size=3))
@example("ÑÑÑ010101AA0", "NFD", True, " ")
def test_case_blanks_and_composition_do_not_matter(
    rfc: str, form: Literal["NFC", "NFD"], lower: bool, blanks: str
) -> None:
    text = unicodedata.normalize(form, rfc.lower() if lower else rfc)

    assert parse_rfc(blanks + text + blanks) == rfc


def assert_rfc_or_error(text: str) -> None:
    """Check that a text is an RFC after NFC, trim and upper-case, or rejected."""
    composed = unicodedata.normalize("NFC", text).strip()
    try:
        rfc = parse_rfc(text)
    except TimbresError:
        expect_error("rfc-invalid", "rfc", parse_rfc, text)
        assert not T_RFC.fullmatch(text)
    else:
        assert T_RFC.fullmatch(rfc)
        assert all(character.isascii() or character in "Ññ" for character in composed)
        assert rfc == composed.upper()


@given(st.text(max_size=16))
def test_any_text_is_an_rfc_or_an_error(text: str) -> None:
    assert_rfc_or_error(text)


@given(well_formed, st.integers(0, 12), st.characters())
def test_a_replaced_character_gives_an_rfc_or_an_error(rfc: str, place: int, char: str) -> None:
    assume(place < len(rfc))
    assert_rfc_or_error(rfc[:place] + char + rfc[place + 1 :])
