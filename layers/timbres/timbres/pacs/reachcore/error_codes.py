"""Reachcore's codes. Source: "Stamping Service Balance Consultation API", status, errors."""

from __future__ import annotations

from dataclasses import replace

from timbres.pacs.errors import (
    CREDENTIALS_REJECTED,
    ENDPOINT_NOT_FOUND,
    FORMAT_UNSUPPORTED,
    ISSUER_NOT_REGISTERED,
    PAC_FAILED,
    PAC_MONTH_INVALID,
    REQUEST_REJECTED,
    ErrorTable,
)

# The HTTP status, or the Code in the body of an HTTP 400.
ERRORS = ErrorTable(
    by_code={
        "400-001": PAC_MONTH_INVALID,
        "400-002": ISSUER_NOT_REGISTERED,
        "400-003": FORMAT_UNSUPPORTED,
        "401": CREDENTIALS_REJECTED,
        "404": ENDPOINT_NOT_FOUND,
        "500": PAC_FAILED,
    }
)
# For the statement, 400-002 means that the request must not have an RFC.
STATEMENT_ERRORS = replace(ERRORS, by_code={**ERRORS.by_code, "400-002": REQUEST_REJECTED})
