"""What Libre's texts mean; any other refusal is a rejected request."""

from __future__ import annotations

from timbres.pacs.errors import (
    CREDENTIALS_REJECTED,
    PAC_FAILED,
    REQUEST_REJECTED,
    UNAVAILABLE,
    ErrorTable,
)

ERRORS = ErrorTable(
    by_text=(("acceso denegado", CREDENTIALS_REJECTED), ("saturado", UNAVAILABLE)),
    unknown=REQUEST_REJECTED,
    gateway=PAC_FAILED,
)
