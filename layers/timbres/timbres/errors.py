"""The one error family: what went wrong, in whose words, and what may be done about it.

A :class:`ProblemType` is a row: a stable code and the two facts that decide what happens next: may
the call have taken effect, may a read be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One type of problem (RFC 9457).

    ``may_have_taken_effect``: a purchase that failed so may still have happened.
    ``retryable``: a read that failed so may be repeated. ``retry_after``: seconds a caller is
    told to wait. ``issuer_unknown``: the PAC may not know the issuer yet.
    """

    code: str
    title: str
    may_have_taken_effect: bool = False
    retryable: bool = False
    retry_after: int | None = None
    issuer_unknown: bool = False


BODY_INVALID = ProblemType("body-invalid", "The body is not what was expected")
BODY_TOO_LARGE = ProblemType("body-too-large", "The body is too large")
PARAMETER_INVALID = ProblemType("parameter-invalid", "A parameter is not what was expected")
RFC_INVALID = ProblemType("rfc-invalid", "The RFC is not valid")
RFC_GENERIC = ProblemType("rfc-generic", "A generic RFC is no issuer")
MONTH_INVALID = ProblemType("month-invalid", "The month is not valid")
STAMPS_INVALID = ProblemType("stamps-invalid", "The number of stamps is not valid")
IDEMPOTENCY_KEY_INVALID = ProblemType("idempotency-key-invalid", "The Idempotency-Key is not valid")
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused", "The Idempotency-Key was used with another body"
)
CONTRACT_PENDING = ProblemType(
    "contract-pending", "The contract is being bought right now", retry_after=5
)
CONTRACT_IN_FLIGHT = ProblemType(
    "contract-in-flight", "Another contract of this issuer is not settled", retry_after=60
)
CONTRACT_LIMIT_EXCEEDED = ProblemType("stamps-over-limit", "More stamps than one contract may buy")
DAILY_LIMIT_EXCEEDED = ProblemType(
    "day-over-limit", "More stamps than the account may buy in a day"
)
CONTRACT_NOT_UNDER_REVIEW = ProblemType(
    "contract-not-under-review", "The contract does not need a settlement"
)
CONTRACT_NOT_FOUND = ProblemType("contract-not-found", "There is no such contract")
ISSUERS_INVALID = ProblemType("issuers-invalid", "Some rows of the list are not right")
ISSUER_NOT_FOUND = ProblemType("issuer-unknown", "The account has no such issuer")
RUN_NOT_FOUND = ProblemType("run-not-found", "There is no such run")
REPORT_NOT_FOUND = ProblemType("report-not-found", "There is no such report")
REPORT_FAILED = ProblemType("report-failed", "The report could not be made")
ROUTE_NOT_FOUND = ProblemType("route-not-found", "There is no such route")
ACCOUNT_NOT_FOUND = ProblemType("account-unknown", "There is no such account")
ACCOUNT_MISCONFIGURED = ProblemType("account-misconfigured", "The account's secret is not right")
ACCOUNT_LOGIN_CHANGED = ProblemType(
    "account-login-changed", "The account's secret now has another login"
)
CREDENTIALS_ON_TRIAL = ProblemType(
    "account-credentials-on-trial",
    "The account's new credentials are being tried",
    retryable=True,
    retry_after=5,
)
OPERATION_UNSUPPORTED = ProblemType(
    "operation-unsupported", "The account's PAC does not offer this operation"
)
RESPONSE_TOO_LARGE = ProblemType("answer-too-large", "The answer would be too large")
DEADLINE_EXCEEDED = ProblemType("out-of-time", "Not enough time was left to begin", retry_after=5)
AWS_SERVICE_UNAVAILABLE = ProblemType(
    "storage-unavailable", "An AWS service did not answer as it should", retry_after=5
)
INTERNAL_ERROR = ProblemType("internal-error", "Internal error")


class TimbresError(Exception):
    """Something a caller is told about.

    ``detail`` is a sentence for a person, free of credentials; ``field`` names the input
    at fault, where one is. ``extensions`` are further members of the problem document.
    ``pac_code`` is what a PAC said, where it was one.
    """

    pac_code: str | None = None

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str,
        *,
        field: str | None = None,
        extensions: dict[str, object] | None = None,
    ) -> None:
        super().__init__(f"{problem_type.code}: {detail}")
        self.problem_type = problem_type
        self.detail = detail
        self.field = field
        self.extensions = extensions or {}

    def changed(self, **changes: Any) -> Self:
        """Return a new error with some arguments of this one replaced."""
        return type(self)(**(self._arguments() | changes))

    def _arguments(self) -> dict[str, Any]:
        return {
            "problem_type": self.problem_type,
            "detail": self.detail,
            "field": self.field,
            "extensions": self.extensions,
        }


class PacError(TimbresError):
    """A PAC refused, failed, or could not be understood.

    ``pac`` is its name; ``pac_code`` and
    ``pac_message`` are its own words, None where it said nothing.
    """

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str,
        *,
        pac: str,
        pac_code: str | None = None,
        pac_message: str | None = None,
        field: str | None = None,
        extensions: dict[str, object] | None = None,
    ) -> None:
        super().__init__(problem_type, detail, field=field, extensions=extensions)
        self.pac = pac
        self.pac_code = pac_code
        self.pac_message = pac_message

    def redacted(self, redact: Callable[[str], str]) -> Self:
        """Return a new error with ``redact`` applied to everything the PAC may have sent."""
        return self.changed(
            detail=redact(self.detail),
            pac_code=None if self.pac_code is None else redact(self.pac_code),
            pac_message=None if self.pac_message is None else redact(self.pac_message),
        )

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {
            "pac": self.pac,
            "pac_code": self.pac_code,
            "pac_message": self.pac_message,
        }
