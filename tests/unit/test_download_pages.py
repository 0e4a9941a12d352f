"""The error pages of download links."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from timbres.handlers.download_pages import (
    CONTENT_SECURITY_POLICY,
    limit_page,
    not_found_page,
    unavailable_page,
)

PAGES = {"not found": not_found_page(30), "unavailable": unavailable_page()}
PAGES |= {f"limit {is_valid}": limit_page(61, is_valid=is_valid) for is_valid in (True, False)}


class Page(HTMLParser):
    """Parses a page: its elements, its style, and its text outside of the head."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.body_text = self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.body_text += data if "body" in self.open else ""
        self.style += data if self.open[-1:] == ["style"] else ""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_and_is_accessible(name: str) -> None:
    text = PAGES[name]
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    meta = {item.get("name"): item.get("content") for tag, item in page.elements if tag == "meta"}

    assert page.open == []
    assert text.startswith("<!doctype html>\n")
    # No element that a browser would load, send or run.
    allowed = "html|head|meta|title|style|body|main|h1|h2|p|ul|li"
    assert [tag for tag in tags if not re.fullmatch(allowed, tag)] == []
    for tag, attributes in page.elements:
        assert attributes.keys() <= {"lang", "charset", "name", "content", "class"}, tag
    assert not re.search(r"url\(|@import|https?:|//", text)
    assert ("html", {"lang": "es-MX"}) in page.elements
    assert tags.count("main") == tags.count("title") == 1
    # No heading level is skipped.
    assert [tag for tag in tags if re.fullmatch("h[1-6]", tag)] == ["h1", "h2"]
    assert meta["viewport"] == "width=device-width, initial-scale=1"
    assert meta["robots"] == "noindex, nofollow"
    assert "color-scheme: light dark" in page.style


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(digit * 2 for digit in color[1:])
    parts = [part / 255 for part in bytes.fromhex(digits)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ink", ["ink", "quiet"])
def test_text_has_enough_contrast_in_light_and_dark(ink: str) -> None:
    style = Page(PAGES["not found"]).style
    inks, cards = (re.findall(rf"--{name}: (#[0-9a-f]+)", style) for name in (ink, "card"))

    assert len(inks) == 2
    for colors in zip(inks, cards, strict=True):
        low, high = sorted(map(luminance, colors))
        # AAA of WCAG 2.
        assert (high + 0.05) / (low + 0.05) >= 7


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_allows_only_the_pages_own_style(name: str) -> None:
    digest = base64.b64encode(hashlib.sha256(Page(PAGES[name]).style.encode()).digest()).decode()
    directives = dict(
        directive.strip().split(" ", 1) for directive in CONTENT_SECURITY_POLICY.split(";")
    )

    assert directives.pop("style-src") == f"'sha256-{digest}'"
    assert set(directives) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(directives.values()) == {"'none'"}


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (not_found_page(30), "Este enlace ya no funciona"),
        (not_found_page(30), "sirven 30 días"),
        (not_found_page(30), "lo canceló"),
        (not_found_page(30), "quien administra Timbres en su empresa"),
        (not_found_page(30), "El correo del próximo mes trae enlaces nuevos"),
        (not_found_page(1), "sirven un día"),
        (unavailable_page(), "Por ahora no se puede abrir el reporte"),
        (limit_page(600, is_valid=True), "Abra el enlace mañana"),
        (limit_page(60, is_valid=False), "Espere un minuto y"),
        (limit_page(61, is_valid=False), "Espere 2 minutos y"),
        (unavailable_page(), "Su enlace no tiene nada malo"),
        (unavailable_page(), "Espere un minuto"),
    ],
)
def test_a_page_gives_the_cause_and_the_fix(page: str, text: str) -> None:
    assert text in " ".join(Page(page).body_text.split())
