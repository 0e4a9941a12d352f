"""Ticket: what a mail carries in place of a link to a report, and the pages for when it fails.

Whoever has a ticket may download one report. Timbres keeps its hash only, so that what is
kept opens nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass

# The link that a ticket is exchanged for: long enough to follow a redirect, and no longer.
LINK_SECONDS = 300
# How long a person is told to wait, and a client by Retry-After.
WAIT_SECONDS = 60

_BYTES = 32
# Base64url of 32 bytes. The last character carries four bits: it is never - or _, which a
# mail program could leave out of a link.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket is for: one version of one object, and the name it is saved under."""

    account: str
    report_id: str
    key: str
    object_version: str
    download_name: str


def new_ticket() -> str:
    """Return a ticket that nobody can guess: 256 random bits, 43 characters of a URL."""
    return secrets.token_urlsafe(_BYTES)


def is_ticket(text: str) -> bool:
    """Tell whether ``text`` has the form of a ticket."""
    return _FORM.fullmatch(text) is not None


def ticket_hash(text: str) -> str:
    """Return what a ticket is kept under, SHA-256 in 64 hexadecimal digits; of any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def gone_page(days: int) -> str:
    """Return the page for a ticket that is no good, whyever; tickets are good for ``days``."""
    lasts = "un día" if days == 1 else f"{days} días"
    return _page(
        "Este enlace ya no funciona",
        f"""<p>Timbres no encontró un reporte para este enlace. Puede ser que:</p>
<ul>
<li>ya venció: los enlaces de los reportes sirven {lasts};</li>
<li>alguien de su empresa lo canceló;</li>
<li>no se copió completo: ábralo desde el correo, sin escribirlo a mano.</li>
</ul>
<h2>Qué hacer</h2>
<p>Pida el reporte otra vez a quien administra Timbres en su empresa. El reporte no se perdió: \
solo el enlace dejó de servir. El correo del próximo mes trae enlaces nuevos.</p>""",
    )


def unavailable_page() -> str:
    """Return the page for when Timbres itself cannot look at a ticket."""
    return _page(
        "Por ahora no se puede abrir el reporte",
        """<p>Hay una falla pasajera de Timbres. Su enlace no tiene nada malo.</p>
<h2>Qué hacer</h2>
<p>Espere un minuto y abra otra vez el enlace del correo. Si sigue igual, avise a quien \
administra Timbres en su empresa.</p>""",
    )


_STYLE = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1d2530; \
--quiet: #4a5666; --line: #dbe0e7; }
@media (prefers-color-scheme: dark) {
:root { --paper: #14181e; --card: #1c222a; --ink: #e8ebef; --quiet: #aab4c0; --line: #333c48; }
}
body { margin: 0; padding: 8vh 1.25rem; background: var(--paper); color: var(--ink); \
font: 1.0625rem/1.6 system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; padding: 1.5rem 2rem 2rem; background: var(--card); \
border: 1px solid var(--line); border-radius: .75rem; }
h1 { font-size: 1.5rem; line-height: 1.3; }
h2 { font-size: 1.0625rem; margin: 1.75rem 0 0; }
h2 + p { margin-top: .25rem; }
ul { padding-left: 1.25rem; }
p.from { margin: 0; color: var(--quiet); font-size: .9375rem; }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing is loaded, run, framed or sent; only the style that stands in the page is applied.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def _page(title: str, content: str) -> str:
    return f"""<!doctype html>
<html lang="es-MX">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<meta name="referrer" content="no-referrer">
<title>{title} – Timbres</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<p class="from">Timbres: reportes de timbres fiscales</p>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""
