"""The one error family: what went wrong, in whose words, and what may be done about it.

A :class:`Kind` is a row: a stable code and the two facts that decide what happens next: may
the call have taken effect, may a read be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure.

    ``may_have_taken_effect``: a purchase that failed so may still have happened.
    ``retry``: a read that failed so may be repeated. ``retry_after``: seconds a caller is
    told to wait. ``issuer_unknown``: the PAC may not know the issuer yet.
    """

    code: str
    title: str
    may_have_taken_effect: bool = False
    retry: bool = False
    retry_after: int | None = None
    issuer_unknown: bool = False


BODY_INVALID = Kind("body-invalid", "The body is not what was expected")
BODY_TOO_LARGE = Kind("body-too-large", "The body is too large")
PARAMETER_INVALID = Kind("parameter-invalid", "A parameter is not what was expected")
RFC_INVALID = Kind("rfc-invalid", "The RFC is not valid")
RFC_GENERIC = Kind("rfc-generic", "A generic RFC is no issuer")
MONTH_INVALID = Kind("month-invalid", "The month is not valid")
STAMPS_INVALID = Kind("stamps-invalid", "The number of stamps is not valid")
IDEMPOTENCY_KEY_INVALID = Kind("idempotency-key-invalid", "The Idempotency-Key is not valid")
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency-key-reused", "The Idempotency-Key was used with another body"
)
CONTRACT_PENDING = Kind("contract-pending", "The contract is being bought right now", retry_after=5)
CONTRACT_IN_FLIGHT = Kind(
    "contract-in-flight", "Another contract of this issuer is not settled", retry_after=60
)
STAMPS_OVER_LIMIT = Kind("stamps-over-limit", "More stamps than one contract may buy")
DAY_OVER_LIMIT = Kind("day-over-limit", "More stamps than the account may buy in a day")
CONTRACT_NOT_UNDER_REVIEW = Kind(
    "contract-not-under-review", "The contract does not need a settlement"
)
CONTRACT_UNKNOWN = Kind("contract-not-found", "There is no such contract")
ISSUERS_INVALID = Kind("issuers-invalid", "Some rows of the list are not right")
ISSUER_UNKNOWN = Kind("issuer-unknown", "The account has no such issuer")
RUN_UNKNOWN = Kind("run-not-found", "There is no such run")
REPORT_UNKNOWN = Kind("report-not-found", "There is no such report")
REPORT_FAILED = Kind("report-failed", "The report could not be made")
ROUTE_UNKNOWN = Kind("route-not-found", "There is no such route")
ACCOUNT_UNKNOWN = Kind("account-unknown", "There is no such account")
ACCOUNT_MISCONFIGURED = Kind("account-misconfigured", "The account's secret is not right")
ACCOUNT_LOGIN_CHANGED = Kind("account-login-changed", "The account's secret now has another login")
CREDENTIALS_ON_TRIAL = Kind(
    "account-credentials-on-trial",
    "The account's new credentials are being tried",
    retry=True,
    retry_after=5,
)
OPERATION_UNSUPPORTED = Kind(
    "operation-unsupported", "The account's PAC does not offer this operation"
)
ANSWER_TOO_LARGE = Kind("answer-too-large", "The answer would be too large")
OUT_OF_TIME = Kind("out-of-time", "Not enough time was left to begin", retry_after=5)
STORAGE_UNAVAILABLE = Kind(
    "storage-unavailable", "An AWS service did not answer as it should", retry_after=5
)
INTERNAL_ERROR = Kind("internal-error", "Internal error")


class TimbresError(Exception):
    """Something a caller is told about.

    ``detail`` is a sentence for a person, free of credentials; ``field`` names the input
    at fault, where one is. ``members`` are further members of the problem document.
    ``pac_code`` is what a PAC said, where it was one.
    """

    pac_code: str | None = None

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        field: str | None = None,
        members: dict[str, object] | None = None,
    ) -> None:
        super().__init__(f"{kind.code}: {detail}")
        self.kind = kind
        self.detail = detail
        self.field = field
        self.members = members or {}

    def changed(self, **changes: Any) -> Self:
        """Return a new error with some arguments of this one replaced."""
        return type(self)(**(self._arguments() | changes))

    def _arguments(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "detail": self.detail,
            "field": self.field,
            "members": self.members,
        }


class PacError(TimbresError):
    """A PAC refused, failed, or could not be understood.

    ``pac`` is its name; ``pac_code`` and
    ``pac_message`` are its own words, None where it said nothing.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        pac: str,
        pac_code: str | None = None,
        pac_message: str | None = None,
        field: str | None = None,
        members: dict[str, object] | None = None,
    ) -> None:
        super().__init__(kind, detail, field=field, members=members)
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
