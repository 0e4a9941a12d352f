"""Tickets: how they are made, and what is kept of them."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.download_token import download_token_hash, is_download_token, new_download_token

TICKET = "sample-ticket-sample_TICKET-sample-ticket-g"


def test_tickets_are_256_random_bits() -> None:
    tokens = [new_download_token() for _ in range(2_000)]

    assert len(set(tokens)) == len(tokens)
    raw = [base64.urlsafe_b64decode(one + "=") for one in tokens]
    assert {len(one) for one in raw} == {32}
    # Each of the 256 bits is sometimes 0 and sometimes 1.
    numbers = [int.from_bytes(one) for one in raw]
    always, ever = numbers[0], 0
    for number in numbers:
        always &= number
        ever |= number
    assert (always, ever) == (0, 2**256 - 1)


def test_a_ticket_ends_in_what_no_mail_program_leaves_out_of_a_link() -> None:
    assert all(is_download_token(new_download_token()) for _ in range(500))
    assert {new_download_token()[-1] for _ in range(2_000)} <= set("AEIMQUYcgkosw048")


@given(st.binary(min_size=32, max_size=32))
def test_the_form_is_that_of_32_bytes(raw: bytes) -> None:
    assert is_download_token(base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.text())
def test_text_of_another_form_is_no_ticket(text: str) -> None:
    assert is_download_token(text) == bool(
        re.fullmatch(r"[\w-]{42}[AEIMQUYcgkosw048]", text, re.ASCII)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        TICKET[:-1],
        TICKET + "g",
        TICKET + "\n",
        TICKET[:-1] + "=",
        # Four bits are left for the last character: this one would have six.
        TICKET[:-1] + "h",
        TICKET.replace("-", "+"),
        TICKET.replace("s", "ｓ"),
        "٣" * 43,
    ],
)
def test_what_is_nearly_a_ticket_is_none(text: str) -> None:
    assert is_download_token(TICKET)
    assert not is_download_token(text)


def test_what_is_kept_is_the_sha_256_of_the_text() -> None:
    assert download_token_hash(TICKET) == hashlib.sha256(TICKET.encode()).hexdigest()


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_any_text_has_a_hash_that_tells_nothing_of_it(text: str) -> None:
    digest = download_token_hash(text)
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert digest == download_token_hash(text)


@given(st.text(), st.text())
def test_two_texts_have_two_hashes(one: str, other: str) -> None:
    assert (download_token_hash(one) == download_token_hash(other)) is (one == other)
