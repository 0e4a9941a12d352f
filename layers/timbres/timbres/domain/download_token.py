"""Ticket: what a mail carries in place of a link to a report.

Whoever has a ticket may download one report. Timbres keeps its hash only, so that what is
kept opens nothing.
"""

from __future__ import annotations

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
