"""Problem types of PACs, and the table that maps a PAC's codes to them.

Each PAC's package has the table of its codes. A contract stays unknown after an error that may
have taken effect, until a count decides.
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
# From a PAC that has no separate code for an issuer that it does not know.
ISSUER_MAY_BE_UNKNOWN = replace(REQUEST_REJECTED, issuer_unknown=True)
FORMAT_UNSUPPORTED = ProblemType("format-unsupported", "The PAC does not offer this format")
CREDENTIALS_REJECTED = ProblemType("pac-credentials-rejected", "The PAC rejected the credentials")
ENDPOINT_NOT_FOUND = ProblemType("pac-endpoint-not-found", "The PAC's address does not exist")
PAC_FAILED = ProblemType("pac-error", "The PAC failed", may_have_taken_effect=True, retryable=True)
# The call was not admitted.
UNAVAILABLE = ProblemType(
    "pac-unavailable", "The PAC is not available", retryable=True, retry_after=60
)
# The database, or a server in front of the PAC, failed at an unknown moment.
UNAVAILABLE_MEANWHILE = replace(UNAVAILABLE, may_have_taken_effect=True)
# The PAC is overloaded: the call has no error, but callers must slow down.
OVERLOAD_ERRORS = frozenset({UNAVAILABLE_MEANWHILE, UNAVAILABLE})
PERMISSION_DENIED = ProblemType("pac-permission-denied", "The PAC does not permit this")
# The network may have sent this request twice: a count decides.
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
# A well-formed response whose figures disagree, which can happen while the PAC writes.
CONTRADICTION = replace(PROTOCOL_ERROR, retryable=True)

_MAX_MESSAGE = 300
_MAX_SANITIZED = 10_000

_redact: ContextVar[Callable[[str], str]] = ContextVar("redact", default=str)


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The problem types of a PAC operation's errors.

    ``by_code`` maps codes. ``by_text`` maps parts of messages, case-folded, for a PAC without
    codes; the first match counts. ``unknown`` is the problem type of any other error; None makes
    it a ``pac-protocol-error``.
    """

    by_code: Mapping[str, ProblemType] = field(default_factory=dict)
    by_text: tuple[tuple[str, ProblemType], ...] = ()
    unknown: ProblemType | None = None

    @property
    def problem_types(self) -> tuple[ProblemType, ...]:
        """Every problem type of the table, once."""
        from_text = (problem_type for _, problem_type in self.by_text)
        problem_types = (*self.by_code.values(), *from_text, self.unknown)
        return tuple(dict.fromkeys(filter(None, problem_types)))

    def problem_type_of(self, code: str | None, message: str | None) -> ProblemType | None:
        """Return the problem type of an error; None if the table does not have it."""
        if code is not None and code in self.by_code:
            return self.by_code[code]
        text = (message or "").casefold()
        for part, problem_type in self.by_text:
            if part in text:
                return problem_type
        return self.unknown


# HTTP statuses that a PAC does not document: of its server, or of a gateway or firewall in front.
HTTP_ERRORS = ErrorTable(
    by_code={
        # A web page instead of the PAC's data.
        "200": UNAVAILABLE_MEANWHILE,
        "403": UNAVAILABLE_MEANWHILE,
        "404": ENDPOINT_NOT_FOUND,
        "408": TIMEOUT,
        "429": UNAVAILABLE,
        "503": UNAVAILABLE_MEANWHILE,
        **{str(status): PAC_FAILED for status in range(500, 600) if status != 503},
    }
)
# The text of a SOAP fault. A fault of the caller's side will not succeed when repeated.
SOAP_FAULTS = ErrorTable(
    by_text=(("endpoint reference (epr)", ENDPOINT_NOT_FOUND),), unknown=PAC_FAILED
)
CALLER_FAULTS = replace(SOAP_FAULTS, unknown=replace(REQUEST_REJECTED, may_have_taken_effect=True))


def error_from_code(pac: str, table: ErrorTable, code: str | None, message: str | None) -> PacError:
    """Return the error for an error response of ``pac``, with its code and message.

    ``code`` is None for a PAC without codes; a message never replaces a code.
    """
    problem_type = table.problem_type_of(code, message)
    pac_code, pac_message = sanitize_message(code), sanitize_message(message)
    if problem_type is None:
        reply = pac_code or ("a code" if code is not None else "an error")
        detail = f"{pac} answered {reply}, which its documentation does not have."
    else:
        parts = (pac_code, pac_message and pac_message.rstrip("."))
        detail = f"{pac} answered {': '.join(filter(None, parts)) or 'an error without a message'}."
    return PacError(
        problem_type or PROTOCOL_ERROR,
        detail,
        pac=pac,
        pac_code=pac_code,
        pac_message=pac_message,
    )


def protocol_error(
    pac: str, reason: str, code: str | None = None, message: str | None = None
) -> PacError:
    """Return the error for a response that does not match the PAC's documentation."""
    return PacError(
        PROTOCOL_ERROR,
        f"The response of {pac} does not match its documentation: {reason}.",
        pac=pac,
        pac_code=sanitize_message(code),
        pac_message=sanitize_message(message),
    )


@contextmanager
def redact_messages(redact: Callable[[str], str]) -> Iterator[None]:
    """Let ``redact`` remove the credentials from a PAC's messages before they are truncated."""
    token = _redact.set(redact)
    try:
        yield
    finally:
        _redact.reset(token)


def contradiction(pac: str, transactions: int | None, consumed: int) -> PacError:
    """Return the error for a response whose total is not the sum of its consumption."""
    return PacError(
        CONTRADICTION,
        f"The response of {pac} contradicts itself: it states a total of {transactions} stamps, "
        f"but its consumption adds up to {consumed}.",
        pac=pac,
    )


def sanitize_message(message: str | None) -> str | None:
    """Return a PAC's message on one line, printable, 300 characters at most; None if empty.

    Within :func:`redact_messages` it has no credentials.
    """
    if message is None:
        return None
    printable = "".join(c for c in message if c.isprintable() or c.isspace())
    # Truncate after redaction: a truncated password would not be recognized.
    line = _redact.get()(" ".join(printable.split())[:_MAX_SANITIZED])
    return line[:_MAX_MESSAGE].strip() or None
