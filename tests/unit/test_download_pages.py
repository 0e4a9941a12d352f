"""The error pages of download links."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from local.emulator_process import ROOT

from timbres.handlers.download_pages import (
    CONTENT_SECURITY_POLICY,
    not_found_page,
    unavailable_page,
)

PAGES = {"not found": not_found_page(30), "unavailable": unavailable_page()}


class Page(HTMLParser):
    """Parses a page: its elements, and its text outside of the head."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.body_text = ""
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
            self.body_text += data
        if self.open[-1:] == ["style"]:
            self.style += data


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing(name: str) -> None:
    text = PAGES[name]
    page = Page(text)

    assert page.open == []
    assert text.startswith("<!doctype html>\n")
    assert len(text.encode()) < 8_000
    # No element that a browser would load, send or run.
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "form", "object", "embed", "base", "a"}
    )
    for tag, attributes in page.elements:
        assert attributes.keys() <= {"lang", "charset", "name", "content", "class"}, tag
    assert not re.search(r"url\(|@import|https?:|//", text)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible(name: str) -> None:
    page = Page(PAGES[name])

    assert ("html", {"lang": "es-MX"}) in page.elements
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    # No heading level is skipped.
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
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "quiet"])
def test_text_has_enough_contrast(scheme: int, ink: str) -> None:
    style = Page(PAGES["not found"]).style
    colours = {
        name: re.findall(rf"--{name}: (#[0-9a-f]+)", style)[scheme] for name in (ink, "card")
    }
    low, high = sorted(map(luminance, colours.values()))
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
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_the_page_gives_the_cause_and_the_fix() -> None:
    text = " ".join(Page(not_found_page(30)).body_text.split())
    assert "Este enlace ya no funciona" in text
    assert "sirven 30 días" in text
    assert "lo canceló" in text
    assert "quien administra Timbres en su empresa" in text
    assert "El correo del próximo mes trae enlaces nuevos" in text
    assert "sirven un día" in not_found_page(1)


def test_the_unavailable_page_does_not_blame_the_link() -> None:
    text = " ".join(Page(unavailable_page()).body_text.split())
    assert "Por ahora no se puede abrir el reporte" in text
    assert "Su enlace no tiene nada malo" in text
    assert "Espere un minuto" in text


def test_the_template_engine_is_loaded_for_a_page_only() -> None:
    code = """
import sys
from timbres.handlers.download_pages import not_found_page
before = "jinja2" in sys.modules
not_found_page(30)
print(before, "jinja2" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "layers" / "timbres",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
