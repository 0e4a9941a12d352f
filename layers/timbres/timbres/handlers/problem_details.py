"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from typing import Any

from timbres.errors import PacError, TimbresError
from timbres.schemas.errors import pac_to_dict

MEDIA_TYPE = "application/problem+json"

_CODES = {
    400: "body-invalid format-unsupported idempotency-key-invalid month-invalid "
    "parameter-invalid rfc-invalid stamps-invalid",
    403: "pac-permission-denied",
    404: "account-unknown contract-not-found issuer-not-registered issuer-unknown link-unknown "
    "mail-not-found report-not-found route-not-found run-not-found",
    409: "account-login-changed account-misconfigured account-stamps-exhausted "
    "account-unreadable contract-duplicate contract-in-flight contract-not-bought "
    "contract-not-under-review contract-pending environment-mismatch "
    "issuer-stamps-exhausted report-failed",
    413: "body-too-large",
    422: "answer-too-large day-over-limit idempotency-key-reused issuer-new issuers-invalid "
    "operation-unsupported rfc-generic stamps-over-limit transaction-limit-exceeded",
    500: "internal-error",
    502: "pac-credentials-rejected pac-endpoint-not-found pac-error pac-protocol-error "
    "pac-rejected-request",
    503: "account-credentials-on-trial out-of-time pac-unavailable pac-unreachable "
    "storage-unavailable",
    504: "pac-timeout",
}
# The HTTP status of each error code.
STATUS_CODES = {code: status for status, codes in _CODES.items() for code in codes.split()}


def status_code(code: str) -> int:
    """Return the HTTP status for an error code; 500 for a code that is not in the table."""
    return STATUS_CODES.get(code, 500)


def problem_document(error: TimbresError, request_id: str) -> dict[str, Any]:
    """Return an error as a problem document, without credentials.

    ``instance`` is the id of the request, which is also in the log.
    """
    body: dict[str, Any] = {
        "type": f"urn:timbres:problem:{error.problem_type.code}",
        "title": error.problem_type.title,
        "status": status_code(error.problem_type.code),
        "detail": error.detail,
        "instance": f"urn:uuid:{request_id}",
        "code": error.problem_type.code,
    }
    if error.field is not None:
        body["field"] = error.field
    if isinstance(error, PacError):
        body["pac"] = pac_to_dict(error.pac, error.pac_code, error.pac_message)
    return body | error.extensions


def to_json(value: Any) -> str:
    """Return compact JSON, without escapes for non-ASCII characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
