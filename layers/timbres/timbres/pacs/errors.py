"""What can go wrong at a PAC; each PAC's package has the table of its own codes.

A contract that failed with a kind that may have taken effect stays unknown until proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from timbres.errors import PacError, ProblemType

PAC_MONTH_INVALID = ProblemType("month-invalid", "The PAC does not accept the month")
ISSUER_NOT_REGISTERED = ProblemType(
    "issuer-not-registered", "The RFC is not registered at the PAC", issuer_unknown=True
)
REQUEST_REJECTED = ProblemType("pac-rejected-request", "The PAC did not accept the request")
# A PAC without a code of its own for an issuer that it does not know answers so.
ISSUER_MAY_BE_UNKNOWN = replace(REQUEST_REJECTED, issuer_unknown=True)
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
OVERLOAD_ERRORS = frozenset({DATABASE_UNAVAILABLE, UNAVAILABLE})
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
PROTOCOL_ERROR = ProblemType(
    "pac-protocol-error",
    "The PAC's answer is not of the documented shape",
    may_have_taken_effect=True,
)
# An answer of the documented shape whose figures disagree: while the PAC writes, they may.
CONTRADICTION = replace(PROTOCOL_ERROR, retryable=True)

_MAX_MESSAGE = 300
_MAX_SANITIZED = 10_000

_redact: ContextVar[Callable[[str], str]] = ContextVar("redact", default=str)


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """What the refusals of a PAC's operation mean.

    ``by_code`` has its codes. ``by_text`` has parts of its messages, case-folded, for a PAC
    without codes; the first that matches counts. ``gateway`` is the kind of an undocumented
    HTTP status of the 500s, which gateways in front of a PAC answer; None where a code is no
    HTTP status. ``unknown`` is the kind of any other refusal; None makes it a
    ``pac-protocol-error``.
    """

    by_code: Mapping[str, ProblemType] = field(default_factory=dict)
    by_text: tuple[tuple[str, ProblemType], ...] = ()
    unknown: ProblemType | None = None
    gateway: ProblemType | None = None

    @property
    def problem_types(self) -> tuple[ProblemType, ...]:
        """Every kind that the table may give, once."""
        texts = (kind for _, kind in self.by_text)
        others = (kind for kind in (self.gateway, self.unknown) if kind is not None)
        return tuple(dict.fromkeys((*self.by_code.values(), *texts, *others)))

    def problem_type_of(self, code: str | None, message: str | None) -> ProblemType | None:
        """Return the kind of a refusal, None for one that the table does not name."""
        if code is not None and code in self.by_code:
            return self.by_code[code]
        text = (message or "").casefold()
        for part, kind in self.by_text:
            if part in text:
                return kind
        if self.gateway is not None and code and len(code) == 3 and code[0] == "5":
            return self.gateway
        return self.unknown


# What an HTTP status other than 200 means at a PAC that documents none.
HTTP_ERRORS = ErrorTable(by_code={"404": ENDPOINT_NOT_FOUND}, gateway=PAC_FAILED)


def error_from_code(pac: str, table: ErrorTable, code: str | None, message: str | None) -> PacError:
    """Return the error for a refusal of ``pac``, in its own words.

    ``code`` is None for a PAC that has none: a free text never stands in its place.
    """
    kind = table.problem_type_of(code, message)
    text, shown_code = sanitize_message(message), sanitize_message(code)
    if kind is None:
        answered = shown_code or ("a code" if code is not None else "a refusal")
        detail = f"{pac} answered {answered}, which its documentation does not name."
    else:
        said = ": ".join(part for part in (shown_code, text and text.rstrip(".")) if part)
        detail = f"{pac} answered {said or 'a refusal without words'}."
    return PacError(
        kind or PROTOCOL_ERROR,
        detail,
        pac=pac,
        pac_code=shown_code,
        pac_message=text,
    )


def protocol_error(pac: str, what: str) -> PacError:
    """Return the error for an answer that is not of the documented shape; ``what`` is off."""
    return PacError(PROTOCOL_ERROR, f"The answer of {pac} is not as documented: {what}.", pac=pac)


@contextmanager
def redact_messages(redact: Callable[[str], str]) -> Iterator[None]:
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


def sanitize_message(message: str | None) -> str | None:
    """Return a PAC's words on one line, printable, 300 characters at most; None for none.

    Within :func:`redacting` they are free of credentials.
    """
    if message is None:
        return None
    printable = "".join(c for c in message if c.isprintable() or c.isspace())
    # Cut only after redaction: half a password is no longer recognized.
    line = _redact.get()(" ".join(printable.split())[:_MAX_SANITIZED])
    return line[:_MAX_MESSAGE].strip() or None
