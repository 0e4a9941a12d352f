"""Fixtures for tests in Chromium; skipped without Chromium."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def chromium_path():
    """Return the path of Chromium or Chrome, None without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser():
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium_path()
    if path is None:
        pytest.skip("No Chromium: run tests/browser/install.sh, or name a Chromium in CHROMIUM.")
    assert Path(path).is_file(), f"CHROMIUM names {path}, which is not a file."
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield started
        started.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page of the given bytes; fail if it logs, raises or requests anything."""
    messages: list[str] = []
    contexts = []

    def open_content(content, **options):
        file = tmp_path / f"page-{len(contexts)}.html"
        file.write_bytes(content)
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()

        def check_request(request):
            if request.url not in {file.as_uri(), "data:,"}:
                messages.append(f"request: {request.url}")

        page.on("console", lambda message: messages.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: messages.append(f"error: {error}"))
        page.on("request", check_request)
        page.goto(file.as_uri())
        return page

    yield open_content
    for context in contexts:
        context.close()
    assert messages == []
