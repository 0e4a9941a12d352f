"""The pages of ``GET /d/{token}`` for when there is no report to redirect to, in Spanish."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

_TEMPLATES = files("timbres.handlers") / "templates"
_STYLE = (_TEMPLATES / "download_page.css").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded, run, framed or sent; only the page's own style is applied.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def not_found_page(days: int) -> str:
    """Return the page for an invalid, expired or revoked link; links are valid for ``days``."""
    return _render("download_not_found.html", days=days)


def unavailable_page() -> str:
    """Return the page for a failure of Timbres itself."""
    return _render("download_unavailable.html")


def _render(name: str, **values: int) -> str:
    # Most requests are redirected, and a first one is faster without it.
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 see above

    environment = Environment(
        loader=PackageLoader("timbres.handlers"),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name).render(style=_STYLE, **values)
