"""Download tokens: their form and their stored hash."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token

TOKEN = "sample-token--sample_TOKEN--sample--token-g"


def test_tokens_are_256_random_bits() -> None:
    tokens = [new_download_token() for _ in range(2_000)]

    assert len(set(tokens)) == len(tokens)
    raw = [base64.urlsafe_b64decode(token + "=") for token in tokens]
    assert {len(token) for token in raw} == {32}
    # Each of the 256 bits takes both values.
    numbers = [int.from_bytes(token) for token in raw]
    all_set, any_set = numbers[0], 0
    for number in numbers:
        all_set &= number
        any_set |= number
    assert (all_set, any_set) == (0, 2**256 - 1)


def test_mail_programs_keep_the_last_character_of_a_token_in_the_link() -> None:
    assert all(is_download_token(new_download_token()) for _ in range(500))
    assert {new_download_token()[-1] for _ in range(2_000)} <= set("AEIMQUYcgkosw048")


@given(st.binary(min_size=32, max_size=32))
def test_32_encoded_bytes_are_a_token(raw: bytes) -> None:
    assert is_download_token(base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.text())
def test_text_of_another_form_is_not_a_token(text: str) -> None:
    assert is_download_token(text) == bool(
        re.fullmatch(r"[\w-]{42}[AEIMQUYcgkosw048]", text, re.ASCII)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        TOKEN[:-1],
        TOKEN + "g",
        TOKEN + "\n",
        TOKEN[:-1] + "=",
        # The last character has four significant bits; this one uses six.
        TOKEN[:-1] + "h",
        TOKEN.replace("-", "+"),
        TOKEN.replace("s", "ｓ"),
        "٣" * 43,
    ],
)
def test_a_modified_token_is_invalid(text: str) -> None:
    assert is_download_token(TOKEN)
    assert not is_download_token(text)


def test_the_hash_is_the_sha_256_of_the_text() -> None:
    assert download_token_hash(TOKEN) == hashlib.sha256(TOKEN.encode()).hexdigest()


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_any_text_has_a_hash(text: str) -> None:
    digest = download_token_hash(text)
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert digest == download_token_hash(text)


@given(st.text(), st.text())
def test_two_texts_have_two_hashes(first: str, second: str) -> None:
    assert (download_token_hash(first) == download_token_hash(second)) is (first == second)
