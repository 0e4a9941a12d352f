"""RFCs: SAT's t_RFC after NFC, trim and upper-case; a generic RFC is not an issuer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from timbres.domain.rfc import Rfc, parse_issuer, parse_rfc
from timbres.errors import TimbresError
from timbres.handlers.http import parse_query_rfc
from timbres.handlers.problem_details import status_code

# The pattern of the CFDI schema.
T_RFC = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
N_TILDE = "n\N{COMBINING TILDE}"

well_formed = st.from_regex(T_RFC, fullmatch=True)


def rfc_error(text: object) -> TimbresError:
    with pytest.raises(TimbresError) as caught:
        parse_rfc(text)
    assert caught.value.problem_type.code == "rfc-invalid"
    assert status_code(caught.value.problem_type.code) == 400
    assert caught.value.field == "rfc"
    return caught.value


@pytest.mark.parametrize(
    ("text", "rfc"),
    [
        ("A&D061009TY8", "A&D061009TY8"),
        ("AAA010101AAA", "AAA010101AAA"),
        ("GOMP800101QX2", "GOMP800101QX2"),
        ("a&d061009ty8", "A&D061009TY8"),
        ("&&&010101AA0", "&&&010101AA0"),
        ("ÑÑÑÑ010101AA0", "ÑÑÑÑ010101AA0"),
        ("ñan840101ab1", "ÑAN840101AB1"),
        (f"{N_TILDE}an840101ab1", "ÑAN840101AB1"),
        (f"{N_TILDE.upper()}AN840101AB1", "ÑAN840101AB1"),
        ("  A&D061009TY8\n", "A&D061009TY8"),
        ("\N{NO-BREAK SPACE}A&D061009TY8\t", "A&D061009TY8"),
        # NFC itself turns the Kelvin sign into K.
        ("\N{KELVIN SIGN}AA010101AAA", "KAA010101AAA"),
        ("AAA000229AA0", "AAA000229AA0"),
        ("AAA011231AA0", "AAA011231AA0"),
        ("XAXX010101000", "XAXX010101000"),
        ("A&amp;D061009TY8", "A&D061009TY8"),
        ("a&AMP;d061009ty8", "A&D061009TY8"),
    ],
)
def test_an_rfc_is_normalized(text: str, rfc: str) -> None:
    assert parse_rfc(text) == rfc


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "A",
        "AB061009TY8",
        "ABCDE061009TY8",
        "A&amp;amp;D061009TY8",
        "A%26D061009TY8",
        "A-D061009TY8",
        "A&D 061009TY8",
        "A&D-061009-TY8",
        "A&D061009TY",
        "A&D061009TY80",
        "A&D061309TY8",
        "A&D060009TY8",
        "A&D061000TY8",
        "A&D061032TY8",
        "A&D061009TYB",
        "A&D061009T&8",
        "A&D061009Ñ18",
        "A&D06100９TY8",
        "A&D06١009TY8",
        "A＆D061009TY8",
        "ＡAD061009TY8",
        "ÁAD061009TY8",
        "ÜAD061009TY8",
        "АAD061009TY8",  # Cyrillic
        "\u0141AD061009TY8",
        "A&D061009TY8\x00",
        "A&D061009TY8\u200b",
        "A&D061009TY8\nA&D061009TY8",
    ],
)
def test_an_invalid_rfc_is_rejected(text: str) -> None:
    rfc_error(text)


@pytest.mark.parametrize(
    "letter", ["ſ", "ı", "ß", "ŉ", "ﬀ", "ﬃ", "ﬆ", "ǰ", "İ", "\N{ANGSTROM SIGN}", "ᶏ"]
)
@pytest.mark.parametrize("place", [0, 1, 2, 9])
def test_a_foreign_letter_is_rejected_even_if_its_upper_case_is_valid(
    letter: str, place: int
) -> None:
    whole = "ABC061009TY8"
    rfc_error(whole[:place] + letter + whole[place + 1 :])
    rfc_error(whole[:place] + letter + whole[place + len(letter.upper()) :])


@pytest.mark.parametrize("value", [None, 7, 1.5, True, [], {}, ["A&D061009TY8"], b"A&D061009TY8"])
def test_an_rfc_is_a_text(value: object) -> None:
    assert "text" in rfc_error(value).detail


@pytest.mark.parametrize("parse", [parse_rfc, parse_issuer])
@pytest.mark.parametrize(
    ("text", "explained"),
    [("A", True), (" AAA ", True), ("", True), ("A&D061309TY8", False), (None, False)],
)
def test_a_lost_ampersand_is_explained_in_a_query_only(
    parse: Callable[[object], Rfc], text: str | None, explained: bool
) -> None:
    with pytest.raises(TimbresError) as caught:
        parse_query_rfc(text, parse)
    assert ("%26" in caught.value.detail) is explained
    assert (caught.value.problem_type.code, caught.value.field) == ("rfc-invalid", "rfc")
    assert "%26" not in rfc_error(text).detail


def test_the_detail_quotes_the_input_shortened_and_printable() -> None:
    detail = rfc_error("A\x1b[31m\u202e" + "Z" * 1000).detail
    assert len(detail) < 250
    assert detail.isprintable()


def test_the_error_names_the_callers_field() -> None:
    with pytest.raises(TimbresError) as caught:
        parse_issuer("nope", field="rfcEmisor")
    assert caught.value.field == "rfcEmisor"


@pytest.mark.parametrize("text", ["XAXX010101000", "XEXX010101000", " xaxx010101000 "])
def test_a_generic_rfc_is_not_an_issuer(text: str) -> None:
    parse_rfc(text)
    with pytest.raises(TimbresError) as caught:
        parse_issuer(text)
    assert (caught.value.problem_type.code, status_code(caught.value.problem_type.code)) == (
        "rfc-generic",
        422,
    )
    assert caught.value.field == "rfc"


def test_an_issuer_is_any_other_rfc() -> None:
    assert parse_issuer("a&d061009ty8") == "A&D061009TY8"


@given(well_formed)
def test_a_well_formed_rfc_is_unchanged(rfc: str) -> None:
    assert parse_rfc(rfc) == rfc


@given(well_formed, st.sampled_from(["NFC", "NFD"]), st.booleans(), st.text(" \t\r\n", max_size=3))
@example("ÑÑÑ010101AA0", "NFD", True, " ")
def test_case_blanks_and_composition_do_not_matter(
    rfc: str, form: str, lower: bool, blanks: str
) -> None:
    text = unicodedata.normalize(form, rfc.lower() if lower else rfc)  # type: ignore[arg-type]
    assert parse_rfc(blanks + text + blanks) == rfc


@given(st.text(max_size=16))
def test_any_text_is_an_rfc_or_an_error(text: str) -> None:
    try:
        rfc = parse_rfc(text)
    except TimbresError:
        rfc_error(text)
        assert not T_RFC.fullmatch(text)
    else:
        assert T_RFC.fullmatch(rfc)
        assert parse_rfc(rfc) == rfc


@given(well_formed, st.integers(0, 12), st.characters())
def test_a_replaced_character_gives_an_rfc_or_an_error(
    rfc: str, place: int, character: str
) -> None:
    assume(place < len(rfc))
    text = rfc[:place] + character + rfc[place + 1 :]
    composed = unicodedata.normalize("NFC", text).strip()
    try:
        result = parse_rfc(text)
    except TimbresError:
        assert not T_RFC.fullmatch(text)
    else:
        assert all(c.isascii() or c in "Ññ" for c in composed)
        assert result == composed.upper()
