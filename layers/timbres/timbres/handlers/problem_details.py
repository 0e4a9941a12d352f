"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from typing import Any

from timbres.errors import PacError, TimbresError
from timbres.schemas.errors import pac_to_dict

MEDIA_TYPE = "application/problem+json"

# The HTTP status of each error code.
STATUS_CODES = {
    "account-credentials-on-trial": 503,
    "account-login-changed": 409,
    "account-misconfigured": 409,
    "account-stamps-exhausted": 409,
    "account-unknown": 404,
    "account-unreadable": 409,
    "answer-too-large": 422,
    "body-invalid": 400,
    "body-too-large": 413,
    "contract-duplicate": 409,
    "contract-in-flight": 409,
    "contract-not-bought": 409,
    "contract-not-found": 404,
    "contract-not-under-review": 409,
    "contract-pending": 409,
    "day-over-limit": 422,
    "environment-mismatch": 409,
    "format-unsupported": 400,
    "idempotency-key-invalid": 400,
    "idempotency-key-reused": 422,
    "internal-error": 500,
    "issuer-new": 422,
    "issuer-not-registered": 404,
    "issuer-stamps-exhausted": 409,
    "issuer-unknown": 404,
    "issuers-invalid": 422,
    "link-unknown": 404,
    "mail-not-found": 404,
    "month-invalid": 400,
    "operation-unsupported": 422,
    "out-of-time": 503,
    "pac-credentials-rejected": 502,
    "pac-endpoint-not-found": 502,
    "pac-error": 502,
    "pac-permission-denied": 403,
    "pac-protocol-error": 502,
    "pac-rejected-request": 502,
    "pac-timeout": 504,
    "pac-unavailable": 503,
    "pac-unreachable": 503,
    "parameter-invalid": 400,
    "report-failed": 409,
    "report-not-found": 404,
    "rfc-generic": 422,
    "rfc-invalid": 400,
    "route-not-found": 404,
    "run-not-found": 404,
    "stamps-invalid": 400,
    "stamps-over-limit": 422,
    "storage-unavailable": 503,
    "transaction-limit-exceeded": 422,
}


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
