"""Exception types and the problem types that they map to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One type of problem (RFC 9457).

    ``may_have_taken_effect``: the PAC may have created the contract despite the error.
    ``retryable``: a read may be retried. ``retry_after``: value of Retry-After in seconds, or
    None. ``issuer_unknown``: the PAC may not know the issuer yet.
    """

    code: str
    title: str
    may_have_taken_effect: bool = False
    retryable: bool = False
    retry_after: int | None = None
    issuer_unknown: bool = False


BODY_INVALID = ProblemType("body-invalid", "The body is not valid")
BODY_TOO_LARGE = ProblemType("body-too-large", "The body is too large")
PARAMETER_INVALID = ProblemType("parameter-invalid", "A parameter is not valid")
RFC_INVALID = ProblemType("rfc-invalid", "The RFC is not valid")
RFC_GENERIC = ProblemType("rfc-generic", "A generic RFC is not an issuer")
MONTH_INVALID = ProblemType("month-invalid", "The month is not valid")
STAMPS_INVALID = ProblemType("stamps-invalid", "The number of stamps is not valid")
IDEMPOTENCY_KEY_INVALID = ProblemType("idempotency-key-invalid", "The Idempotency-Key is not valid")
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused", "The Idempotency-Key was used with another body"
)
CONTRACT_PENDING = ProblemType("contract-pending", "The contract is in progress", retry_after=5)
CONTRACT_IN_FLIGHT = ProblemType(
    "contract-in-flight", "Another contract of this issuer is not settled", retry_after=60
)
CONTRACT_LIMIT_EXCEEDED = ProblemType(
    "stamps-over-limit", "More stamps than one contract may allot"
)
DAILY_LIMIT_EXCEEDED = ProblemType(
    "day-over-limit", "More stamps than the account may allot in a day"
)
CONTRACT_NOT_UNDER_REVIEW = ProblemType(
    "contract-not-under-review", "The contract is not under review"
)
CONTRACT_NOT_FOUND = ProblemType("contract-not-found", "The contract does not exist")
ISSUERS_INVALID = ProblemType("issuers-invalid", "Some rows of the list are not valid")
ISSUER_NOT_FOUND = ProblemType("issuer-unknown", "The account does not have this issuer")
ISSUER_NEW = ProblemType("issuer-new", "The issuer is not known anywhere")
RUN_NOT_FOUND = ProblemType("run-not-found", "The run does not exist")
REPORT_NOT_FOUND = ProblemType("report-not-found", "The report does not exist")
MAIL_NOT_FOUND = ProblemType("mail-not-found", "The mail does not exist")
LINK_NOT_FOUND = ProblemType("link-unknown", "The link does not exist")
REPORT_FAILED = ProblemType("report-failed", "The report could not be generated")
ROUTE_NOT_FOUND = ProblemType("route-not-found", "The route does not exist")
ACCOUNT_NOT_FOUND = ProblemType("account-unknown", "The account does not exist")
ACCOUNT_MISCONFIGURED = ProblemType("account-misconfigured", "The account's secret is not valid")
ACCOUNT_UNREADABLE = ProblemType(
    "account-unreadable", "AWS cannot read the account's secret", retryable=True
)
ACCOUNT_LOGIN_CHANGED = ProblemType(
    "account-login-changed", "The account's secret now has a different login"
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
RESPONSE_TOO_LARGE = ProblemType("answer-too-large", "The response would be too large")
DEADLINE_EXCEEDED = ProblemType("out-of-time", "Not enough time is left to start", retry_after=5)
AWS_SERVICE_UNAVAILABLE = ProblemType(
    "storage-unavailable", "An AWS service is unavailable", retry_after=5
)
INTERNAL_ERROR = ProblemType("internal-error", "Internal error")


class TimbresError(Exception):
    """An error that the API reports to the caller.

    ``detail`` is a sentence without credentials. ``field`` names the invalid input, or is None.
    ``extensions`` are the extension members of the problem document. ``pac_code`` and
    ``pac_message`` are the PAC's, None for any other error.
    """

    pac_code: str | None = None
    pac_message: str | None = None

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

    @property
    def retry_after(self) -> int | None:
        """The seconds after which to retry, or None."""
        return self.problem_type.retry_after

    def changed(self, **changes: Any) -> Self:
        """Return a copy of the error with some arguments replaced."""
        return type(self)(**(self._arguments() | changes))

    def _arguments(self) -> dict[str, Any]:
        return {
            "problem_type": self.problem_type,
            "detail": self.detail,
            "field": self.field,
            "extensions": self.extensions,
        }


class PacError(TimbresError):
    """A PAC rejected a request, failed, or sent an invalid response.

    ``pac`` is its name; ``pac_code``, ``pac_message`` and ``requested_wait`` (the seconds of
    its Retry-After) are from its response, or None.
    """

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str,
        *,
        pac: str,
        pac_code: str | None = None,
        pac_message: str | None = None,
        requested_wait: int | None = None,
        field: str | None = None,
        extensions: dict[str, object] | None = None,
    ) -> None:
        super().__init__(problem_type, detail, field=field, extensions=extensions)
        self.pac = pac
        self.pac_code = pac_code
        self.pac_message = pac_message
        self.requested_wait = requested_wait

    @property
    def retry_after(self) -> int | None:
        """The PAC's own Retry-After where the problem type has one."""
        default = super().retry_after
        return default if default is None else self.requested_wait or default

    def redacted(self, redact: Callable[[str], str]) -> Self:
        """Return a copy with ``redact`` applied to every text that the PAC may have sent."""
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
            "requested_wait": self.requested_wait,
        }
