"""Reachcore's codes. Source: "Stamping Service Balance Consultation API", status, errors."""

from __future__ import annotations

from timbres.errors import ProblemType
from timbres.pacs.errors import (
    CREDENTIALS_REJECTED,
    ENDPOINT_NOT_FOUND,
    FORMAT_UNSUPPORTED,
    ISSUER_NOT_REGISTERED,
    PAC_FAILED,
    PAC_MONTH_INVALID,
    REQUEST_REJECTED,
)

# Reachcore: HTTP status, or the Code in the body of a 400.
REACHCORE: dict[str, ProblemType] = {
    "400-001": PAC_MONTH_INVALID,
    "400-002": ISSUER_NOT_REGISTERED,
    "400-003": FORMAT_UNSUPPORTED,
    "401": CREDENTIALS_REJECTED,
    "404": ENDPOINT_NOT_FOUND,
    "500": PAC_FAILED,
}
# On the statement, 400-002 means that an RFC was sent where none is wanted.
REACHCORE_STATEMENT: dict[str, ProblemType] = {**REACHCORE, "400-002": REQUEST_REJECTED}
