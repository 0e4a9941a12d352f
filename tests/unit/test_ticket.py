"""Tickets: how they are made, what is kept of them, and the pages for when they fail."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres.domain.ticket import (
    CONTENT_SECURITY_POLICY,
    gone_page,
    is_ticket,
    new_ticket,
    ticket_hash,
    unavailable_page,
)

TICKET = "sample-ticket-sample_TICKET-sample-ticket-g"
PAGES = {"gone": gone_page(30), "unavailable": unavailable_page()}


def test_tickets_are_256_random_bits() -> None:
    tickets = [new_ticket() for _ in range(2_000)]

    assert len(set(tickets)) == len(tickets)
    raw = [base64.urlsafe_b64decode(one + "=") for one in tickets]
    assert {len(one) for one in raw} == {32}
    # Each of the 256 bits is sometimes 0 and sometimes 1.
    numbers = [int.from_bytes(one) for one in raw]
    always, ever = numbers[0], 0
    for number in numbers:
        always &= number
        ever |= number
    assert (always, ever) == (0, 2**256 - 1)


def test_a_ticket_ends_in_what_no_mail_program_leaves_out_of_a_link() -> None:
    assert all(is_ticket(new_ticket()) for _ in range(500))
    assert {new_ticket()[-1] for _ in range(2_000)} <= set("AEIMQUYcgkosw048")


@given(st.binary(min_size=32, max_size=32))
def test_the_form_is_that_of_32_bytes(raw: bytes) -> None:
    assert is_ticket(base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.text())
def test_text_of_another_form_is_no_ticket(text: str) -> None:
    assert is_ticket(text) == bool(re.fullmatch(r"[\w-]{42}[AEIMQUYcgkosw048]", text, re.ASCII))


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
    assert is_ticket(TICKET)
    assert not is_ticket(text)


def test_what_is_kept_is_the_sha_256_of_the_text() -> None:
    assert ticket_hash(TICKET) == hashlib.sha256(TICKET.encode()).hexdigest()


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_any_text_has_a_hash_that_tells_nothing_of_it(text: str) -> None:
    digest = ticket_hash(text)
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert digest == ticket_hash(text)


@given(st.text(), st.text())
def test_two_texts_have_two_hashes(one: str, other: str) -> None:
    assert (ticket_hash(one) == ticket_hash(other)) is (one == other)


# ------------------------------------------------------------------------------ the pages


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and its text outside of the head."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "body" in self.open:
            self.words += data
        if self.open[-1:] == ["style"]:
            self.style += data


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_in_itself(name: str) -> None:
    text = PAGES[name]
    page = Page(text)

    assert page.open == []
    assert text.startswith("<!doctype html>\n")
    assert len(text.encode()) < 8_000
    # Nothing that a browser would go and get, send or run.
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "form", "object", "embed", "base", "a"}
    )
    for tag, attributes in page.elements:
        assert attributes.keys() <= {"lang", "charset", "name", "content", "class"}, tag
    assert not re.search(r"url\(|@import|https?:|//", text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_by_everyone(name: str) -> None:
    page = Page(PAGES[name])

    assert ("html", {"lang": "es-MX"}) in page.elements
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    # No heading is left out on the way down.
    headings = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert headings == sorted(headings) == [1, 2]
    meta = {
        attributes["name"]: attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and "name" in attributes
    }
    assert meta["viewport"] == "width=device-width, initial-scale=1"
    assert meta["robots"] == "noindex, nofollow"
    assert "color-scheme: light dark" in page.style


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(one * 2 for one in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "quiet"])
def test_text_stands_out_from_its_ground(scheme: int, ink: str) -> None:
    style = Page(PAGES["gone"]).style
    colours = {
        name: re.findall(rf"--{name}: (#[0-9a-f]+)", style)[scheme] for name in (ink, "card")
    }
    low, high = sorted(map(luminance, colours.values()))
    # AAA of WCAG 2.
    assert (high + 0.05) / (low + 0.05) >= 7


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_lets_the_page_s_own_style_through_and_nothing_else(name: str) -> None:
    digest = base64.b64encode(hashlib.sha256(Page(PAGES[name]).style.encode()).digest()).decode()

    directives = dict(one.strip().split(" ", 1) for one in CONTENT_SECURITY_POLICY.split(";"))
    assert directives.pop("style-src") == f"'sha256-{digest}'"
    assert set(directives) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(directives.values()) == {"'none'"}
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_the_page_says_why_and_what_to_do() -> None:
    words = " ".join(Page(gone_page(30)).words.split())
    assert "Este enlace ya no funciona" in words
    assert "sirven 30 días" in words
    assert "lo canceló" in words
    assert "quien administra Timbres en su empresa" in words
    assert "El correo del próximo mes trae enlaces nuevos" in words
    assert "sirven un día" in gone_page(1)


def test_of_a_failure_of_timbres_the_page_says_nothing_against_the_link() -> None:
    words = " ".join(Page(unavailable_page()).words.split())
    assert "Por ahora no se puede abrir el reporte" in words
    assert "Su enlace no tiene nada malo" in words
    assert "Espere un minuto" in words
