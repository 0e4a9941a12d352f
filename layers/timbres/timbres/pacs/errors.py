"""What can go wrong at a PAC; each PAC's package has the table of its own codes.

A contract that failed with a kind that may have taken effect stays unknown until proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from timbres.errors import PacError, ProblemType

PAC_MONTH_INVALID = ProblemType("month-invalid", "The PAC does not accept the month")
ISSUER_NOT_REGISTERED = ProblemType("issuer-not-registered", "The RFC is not registered at the PAC")
REQUEST_REJECTED = ProblemType("pac-rejected-request", "The PAC did not accept the request")
FORMAT_UNSUPPORTED = ProblemType("format-unsupported", "The PAC does not offer this format")
CREDENTIALS_REJECTED = ProblemType("pac-credentials-rejected", "The PAC rejected the credentials")
ENDPOINT_NOT_FOUND = ProblemType("pac-endpoint-not-found", "The PAC's address does not exist")
PAC_FAILED = ProblemType("pac-error", "The PAC failed", may_have_taken_effect=True, retryable=True)
DATABASE_UNAVAILABLE = ProblemType(
    "pac-unavailable",
    "The PAC is not available",
    may_have_taken_effect=True,
    retryable=True,
    retry_after=60,
)
# 503 says that the call was not let in; 501 says only that the database was missed.
UNAVAILABLE = ProblemType(
    "pac-unavailable", "The PAC is not available", retryable=True, retry_after=60
)
# The PAC cannot take more just now: not a fault of the call, but a reason to slow down.
OVERWHELMED = frozenset({DATABASE_UNAVAILABLE, UNAVAILABLE})
PERMISSION_DENIED = ProblemType("pac-permission-denied", "The PAC does not permit this")
# It may be the echo of this very request, sent twice on its way: a count decides.
CONTRACT_DUPLICATE = ProblemType(
    "contract-duplicate",
    "The PAC holds such a contract already",
    may_have_taken_effect=True,
)
ACCOUNT_STAMPS_EXHAUSTED = ProblemType(
    "account-stamps-exhausted", "The account's stamps have run out"
)
ISSUER_STAMPS_EXHAUSTED = ProblemType("issuer-stamps-exhausted", "The issuer's stamps have run out")
TRANSACTION_LIMIT_EXCEEDED = ProblemType(
    "transaction-limit-exceeded", "The PAC's limit for one transaction is reached"
)
ENVIRONMENT_MISMATCH = ProblemType(
    "environment-mismatch", "The account belongs to the PAC's other environment"
)

UNREACHABLE = ProblemType(
    "pac-unreachable", "The PAC could not be reached", retryable=True, retry_after=60
)
TIMEOUT = ProblemType(
    "pac-timeout", "The PAC did not answer in time", may_have_taken_effect=True, retryable=True
)
PROTOCOL = ProblemType(
    "pac-protocol-error",
    "The PAC's answer is not of the documented shape",
    may_have_taken_effect=True,
)
# An answer of the documented shape whose figures disagree: while the PAC writes, they may.
CONTRADICTION = replace(PROTOCOL, retryable=True)

_SHOWN = 300
_LOOKED_AT = 10_000

_redact: ContextVar[Callable[[str], str]] = ContextVar("redact", default=str)


def said(pac: str, table: dict[str, ProblemType], code: str, message: str | None) -> PacError:
    """Return the error for a code that ``pac`` gave, in its own words.

    An undocumented code is a ``pac-protocol-error``; an undocumented HTTP status of the
    500s, which gateways in front of a PAC give, counts as 500.
    """
    kind = table.get(code)
    if kind is None and len(code) == 3 and code[0] == "5" and pac == "reachcore":
        kind = table["500"]
    words, shown = clean(message), clean(code)
    if kind is None:
        return PacError(
            PROTOCOL,
            f"{pac} answered {shown or 'a code'}, which its documentation does not name.",
            pac=pac,
            pac_code=shown,
            pac_message=words,
        )
    detail = f"{pac} answered {shown}"
    return PacError(
        kind,
        f"{detail}: {words.rstrip('.')}." if words else f"{detail}.",
        pac=pac,
        pac_code=shown,
        pac_message=words,
    )


def protocol_error(pac: str, what: str) -> PacError:
    """Return the error for an answer that is not of the documented shape; ``what`` is off."""
    return PacError(PROTOCOL, f"The answer of {pac} is not as documented: {what}.", pac=pac)


@contextmanager
def redacting(redact: Callable[[str], str]) -> Iterator[None]:
    """Let ``redact`` take the credentials out of a PAC's words before they are cut short."""
    token = _redact.set(redact)
    try:
        yield
    finally:
        _redact.reset(token)


def contradiction(pac: str, transactions: int, consumed: int) -> PacError:
    """Return the error for an answer whose total is not the sum of the consumption it lists."""
    return PacError(
        CONTRADICTION,
        f"The answer of {pac} contradicts itself: it states a total of {transactions} stamps, "
        f"and the consumption that it lists adds up to {consumed}.",
        pac=pac,
    )


def clean(message: str | None) -> str | None:
    """Return a PAC's words on one line, printable, 300 characters at most; None for none.

    Within :func:`redacting` they are free of credentials.
    """
    if message is None:
        return None
    printable = "".join(c for c in message if c.isprintable() or c.isspace())
    # Cut only after redaction: half a password is no longer recognized.
    line = _redact.get()(" ".join(printable.split())[:_LOOKED_AT])
    return line[:_SHOWN].strip() or None
