"""Download tokens: their form and their stored hash."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token

TOKEN = "sample-token--sample_TOKEN--sample--token-g"


def test_tokens_are_256_random_bits():
    tokens = {new_download_token() for _ in range(500)}
    numbers = [int.from_bytes(base64.urlsafe_b64decode(token + "=")) for token in tokens]

    assert len(tokens) == 500
    assert all(map(is_download_token, tokens))
    # Each of the 256 bits takes both values.
    all_set, any_set = 2**256 - 1, 0
    for number in numbers:
        all_set, any_set = all_set & number, any_set | number
    assert (all_set, any_set) == (0, 2**256 - 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", TOKEN[:-1], TOKEN + "g", TOKEN + "\n", TOKEN[:-1] + "="),
        # The last character has four significant bits, and a mail program could omit - or _.
        *(TOKEN[:-1] + "h", TOKEN[:-1] + "-", TOKEN[:-1] + "_"),
        *(TOKEN.replace("-", "+"), TOKEN.replace("s", "ｓ"), "٣" * 43),
    ],
)
def test_a_modified_token_is_invalid(text):
    assert is_download_token(TOKEN)
    assert not is_download_token(text)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_the_hash_of_any_text_is_its_sha_256(text):
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    assert download_token_hash(text) == digest
