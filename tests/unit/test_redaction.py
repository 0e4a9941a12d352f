"""Redaction masks credentials in a PAC's messages in every encoding, and nothing else."""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.account import Account, parse_account
from timbres.domain.redaction import redact
from timbres.errors import PacError
from timbres.pacs import errors as codes
from timbres.pacs.errors import redact_messages, sanitize_message
from timbres.pacs.registry import PACS

PASSWORD = 'contraseña & <"4f1c+9a07\\b2"> Ü'
KEY = "llave-4f1c9a07b2d8e3"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "itself": str,
    "lower case": str.lower,
    "with other blanks": lambda s: s.replace(" ", " \t\n "),
    "a blank between all": " ".join,
    "a soft hyphen between all": "\u00ad".join,
    "decomposed": lambda s: unicodedata.normalize("NFD", s),
    "full width": lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s),
    "without accents": lambda s: s.replace("ñ", "n").replace("Ü", "U"),
    "percent": lambda s: quote(s, safe=""),
    "percent, Latin-1": lambda s: quote(s, safe="", encoding="latin-1"),
    "percent, twice": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "XML": html.escape,
    "XML, by hexadecimal number": lambda s: "".join(f"&#x{ord(c):X};" for c in s),
    "JSON, all by number": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "XML in JSON": lambda s: json.dumps(html.escape(s))[1:-1],
}


@pytest.mark.parametrize("secret", [PASSWORD, KEY])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_credential_is_masked_in_every_encoding(encoding: str, secret: str) -> None:
    encoded = ENCODINGS[encoding](secret)
    assert redact(f"no entra con [{encoded}], dice.", [secret]) == "no entra con [***], dice."


@pytest.mark.parametrize("length", range(6, len(KEY)))
@pytest.mark.parametrize("mark", ["", "…", "...'", '"'])
def test_a_truncated_credential_is_masked(length: int, mark: str) -> None:
    assert redact(f"no entra con {KEY[:length]}{mark}", [KEY]) == f"no entra con ***{mark}"


OTHER_TEXTS = ["La contraseña es incorrecta", "llave-9", "", "100 % de 5 & 6 <b> &c; %zz \\u12"]


@pytest.mark.parametrize(
    ("text", "credentials", "redacted"),
    [
        # Two thirds of a credential in a row.
        *((f"no: {part} no", [KEY], "no: *** no") for part in (KEY[:-4], KEY[4:], KEY[3:-3])),
        # A short credential is masked as a whole word.
        ("usuario 'ACME'.", ["acme"], "usuario '***'."),
        ("acmes y pacme y acme2", ["acme"], "acmes y pacme y acme2"),
        # Overlapping or adjacent credentials get one mask.
        (f"{KEY}{KEY} x", [KEY, KEY[5:]], "*** x"),
        # Symbols, which the comparison ignores elsewhere.
        ("con +++++++ no", ["+++++++"], "con *** no"),
        # Other text is unchanged.
        *((text, [KEY, PASSWORD, ""], text) for text in OTHER_TEXTS),
    ],
)
def test_parts_short_credentials_and_symbols_are_masked(
    text: str, credentials: list[str], redacted: str
) -> None:
    assert redact(text, credentials) == redacted


@given(st.text(max_size=60), st.text(min_size=6, max_size=20), st.text(max_size=60))
def test_no_text_shows_a_credential(before: str, secret: str, after: str) -> None:
    assert secret not in redact(before + secret + after, [secret]).replace("***", "")


def account() -> Account:
    value = {"pac": "solucion-factible", "environment": "testing", "username": "u@x.mx"}
    return parse_account("acme", json.dumps(value | {"password": PASSWORD}), PACS)


@pytest.mark.parametrize("before", [0, 281, 299, 9_985])
def test_a_credential_is_masked_before_a_message_is_truncated(before: int) -> None:
    with redact_messages(account().redact):
        message = sanitize_message("x" * before + " " + PASSWORD)
        # Blanks are collapsed before the message is truncated.
        folded_message = sanitize_message(" " * before + PASSWORD)

    assert message == ("x" * before + " ***").strip()[:300].strip()
    assert folded_message == "***"


def test_a_redacted_error_is_a_new_one_without_credentials() -> None:
    error = PacError(
        codes.PROTOCOL_ERROR, f"a {KEY}", pac="p", pac_code=KEY, pac_message=f"b {KEY}"
    )

    redacted = error.redacted(lambda text: redact(text, [KEY]))

    assert (redacted.detail, redacted.pac_code, redacted.pac_message) == ("a ***", "***", "b ***")
    assert (redacted.problem_type, redacted.pac) == (error.problem_type, error.pac)
    assert KEY not in str(redacted)
    assert (error.detail, error.pac_code, error.pac_message) == (f"a {KEY}", KEY, f"b {KEY}")


def test_redaction_ends_with_its_call() -> None:
    with pytest.raises(ZeroDivisionError), redact_messages(account().redact):
        raise ZeroDivisionError

    assert sanitize_message(PASSWORD) == PASSWORD
