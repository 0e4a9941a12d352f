"""Download token: part of each mailed link to a report.

Who has a token may download one report. Timbres stores only its hash, which opens nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

# The link that a token is exchanged for: long enough to follow a redirect, and no longer.
LINK_SECONDS = 300
# In the page for a person, and in Retry-After.
WAIT_SECONDS = 60

_BYTES = 32
# Base64url of 32 bytes. The last character carries four bits: it is never - or _, which a
# mail program could leave out of a link.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class DownloadToken:
    """What a token opens: one version of one object, and the name it is saved under."""

    account: str
    report_id: str
    key: str
    object_version: str
    download_name: str


def new_download_token() -> str:
    """Return a token that nobody can guess: 256 random bits, 43 characters of a URL."""
    return secrets.token_urlsafe(_BYTES)


def is_download_token(text: str) -> bool:
    """Return whether ``text`` has the form of a token."""
    return _FORM.fullmatch(text) is not None


def download_token_hash(text: str) -> str:
    """Return the key that a token is stored under, SHA-256 in 64 hex digits; of any text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
