"""Errors of the API, one class per kind; ``code`` is the stable code of docs/api.md."""

from __future__ import annotations

from typing import Any, ClassVar


class TimbresError(Exception):
    """A request failed.

    ``code`` and ``detail`` are those of the problem document, ``status`` is the HTTP status (0
    without a response), ``problem`` the complete document. ``exit_code`` is the command's status.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, code: str, detail: str, status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.status = status
        self.problem = problem or {}

    @property
    def contract(self) -> Any:
        """The contract that the error concerns, or None."""
        return self.problem.get("contract")


class InputError(TimbresError):
    """The request is not valid: correct it."""

    exit_code = 2


class AccessError(TimbresError):
    """The keys are missing, expired or invalid, or no policy grants the route."""

    exit_code = 3


class NotFoundError(TimbresError):
    """The account, issuer, contract, report, run or route does not exist."""

    exit_code = 4


class ConflictError(TimbresError):
    """The state does not permit the request."""

    exit_code = 5


class ContractRejectedError(ConflictError):
    """The contract is rejected: no stamps were contracted. Its key always returns this."""


class PacFailedError(TimbresError):
    """The PAC rejected the request or the account's credentials: an operator has to act."""

    exit_code = 6


class TransientError(TimbresError):
    """The API, the PAC or the network did not respond in several attempts: try again later."""

    exit_code = 7


class ContractUndecidedError(TimbresError):
    """The contract may exist: its outcome is not known yet, or a person has to decide it.

    Repeat the call with the same key; never use another key for the same stamps.
    """

    exit_code = 8


# Errors with a status of 5xx that a repetition does not change.
PERMANENT = {
    "pac-credentials-rejected",
    "pac-endpoint-not-found",
    "pac-protocol-error",
    "pac-rejected-request",
}


def error_of(status: int, problem: dict[str, Any]) -> TimbresError:
    """Return the error for a problem document."""
    code = str(problem.get("code", "unexpected-response"))
    contract = problem.get("contract")
    kind: type[TimbresError] = TimbresError
    if isinstance(contract, dict) and contract.get("status") == "rejected":
        kind = ContractRejectedError
    elif code in PERMANENT or code == "pac-permission-denied":
        kind = PacFailedError
    elif status == 429 or status >= 500:
        kind = TransientError
    elif status == 403:
        kind = AccessError
    elif status == 404:
        kind = NotFoundError
    elif status == 409:
        kind = ConflictError
    elif 400 <= status < 500:
        kind = InputError
    return kind(code, str(problem.get("detail", f"HTTP {status}")), status, problem)
