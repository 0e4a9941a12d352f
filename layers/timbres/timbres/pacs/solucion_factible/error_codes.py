"""Solución Factible's codes. Source: "Utilerias.getTimbres" and "Utilerias.agregarContrato"."""

from __future__ import annotations

from timbres.pacs.errors import (
    ACCOUNT_STAMPS_EXHAUSTED,
    CONTRACT_DUPLICATE,
    CREDENTIALS_REJECTED,
    ENVIRONMENT_MISMATCH,
    ISSUER_MAY_BE_UNKNOWN,
    ISSUER_STAMPS_EXHAUSTED,
    PAC_FAILED,
    PERMISSION_DENIED,
    REQUEST_REJECTED,
    TRANSACTION_LIMIT_EXCEEDED,
    UNAVAILABLE,
    UNAVAILABLE_MEANWHILE,
    ErrorTable,
)

# The status of a reply, other than 200.
ERRORS = ErrorTable(
    by_code={
        "500": PAC_FAILED,
        "501": UNAVAILABLE_MEANWHILE,
        "502": PAC_FAILED,
        "503": UNAVAILABLE,
        "601": CREDENTIALS_REJECTED,
        "602": CREDENTIALS_REJECTED,
        "603": CREDENTIALS_REJECTED,
        "604": CREDENTIALS_REJECTED,
        "605": CREDENTIALS_REJECTED,
        # Incomplete data, or an issuer that has no contract yet.
        "611": ISSUER_MAY_BE_UNKNOWN,
        "612": REQUEST_REJECTED,
        "620": PERMISSION_DENIED,
        "624": CONTRACT_DUPLICATE,
        "630": ACCOUNT_STAMPS_EXHAUSTED,
        "631": ISSUER_STAMPS_EXHAUSTED,
        "632": TRANSACTION_LIMIT_EXCEEDED,
        "633": ENVIRONMENT_MISMATCH,
    }
)
