"""Download token: part of each mailed link to a report.

A token permits the download of one report. Timbres stores only its hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network

from timbres.errors import PARAMETER_INVALID, TimbresError

# Validity of the presigned link that a token is exchanged for: enough to follow a redirect.
LINK_SECONDS = 300
# Wait in the page that asks the user to retry, and in Retry-After.
WAIT_SECONDS = 60
# Downloads of one token per day in Mexico City: more than a department and its scanners open.
MAX_DOWNLOADS_PER_DAY = 100
# Invalid tokens of one source per period. A valid token always works, also from a shared address.
MAX_FAILURES = 30
FAILURE_PERIOD_SECONDS = 600

# Base64url of 32 bytes. The last character has four bits: it is never - or _, which a mail
# program could omit from a link.
_FORM = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


@dataclass(frozen=True, slots=True)
class DownloadToken:
    """The target of a token: one version of one object, and its download name."""

    key: str
    object_version: str
    download_name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A token opens nothing: it is invalid, its source sent too many, or it was used too often.

    ``retry_after`` are the seconds until the limit that is reached ends, None for no limit.
    """

    retry_after: int | None = None
    is_valid: bool = False


def source_period(ip: str, at: datetime) -> tuple[str, int]:
    """Return the key of a source's failures in the period of ``at``, and its end in Unix time.

    The key does not contain the address. An IPv6 network of 64 bits is one source, because a caller
    may use all of its addresses.
    """
    address = ip_address(ip)
    source = ip_network((address, 64 if address.version == 6 else 32), strict=False)
    end = (int(at.timestamp()) // FAILURE_PERIOD_SECONDS + 1) * FAILURE_PERIOD_SECONDS
    return f"source#{hashlib.sha256(f'{source} {end}'.encode()).hexdigest()}", end


def new_download_token() -> str:
    """Return a new token: 256 random bits as 43 characters for a URL."""
    return secrets.token_urlsafe(32)


def is_download_token(text: str) -> bool:
    """Return whether ``text`` has the format of a token."""
    return _FORM.fullmatch(text) is not None


def parse_link(value: object) -> str:
    """Return the token of a mailed link, or of the token alone. Raises ``parameter-invalid``.

    The error does not repeat the value, which may be valid elsewhere.
    """
    token = value.strip().rpartition("/")[2] if isinstance(value, str) else ""
    if not is_download_token(token):
        text = "Expected a link of a mail: https://…/d/ and 43 characters."
        raise TimbresError(PARAMETER_INVALID, text, field="link")
    return token


def download_token_hash(text: str) -> str:
    """Return the key under which a token is stored: SHA-256 in 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
