"""The error pages of ``GET /d/{token}``, in Spanish."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = files("timbres.handlers") / "templates"
_STYLE = (_TEMPLATES / "download_page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Allows the page's own style and nothing else.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def not_found_page(days: int) -> str:
    """Return the page for an invalid, expired or revoked link; links are valid for ``days``."""
    return _render("download_not_found.html", days=days)


def limit_page(seconds: int, *, is_valid: bool) -> str:
    """Return the page for a reached limit that ends after ``seconds``.

    It is that of the link if the link ``is_valid``, otherwise that of its source.
    """
    return _render("download_limit.html", minutes=-(-seconds // 60), is_valid=is_valid)


def unavailable_page() -> str:
    """Return the page for an internal error."""
    return _render("download_unavailable.html")


def _render(name: str, **values: int) -> str:
    return _environment().get_template(name).render(style=_STYLE, **values)


@cache
def _environment() -> Environment:
    # Most requests are redirects, and a cold start is faster without this import.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 see above

    return Environment(
        loader=PackageLoader("timbres.handlers"),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
