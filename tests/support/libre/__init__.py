"""Libre, a fictional PAC: JSON over HTTP, error texts and no codes, issuers without a limit."""

from __future__ import annotations

from timbres.domain.account import Pac
from timbres.pacs.errors import (
    CREDENTIALS_REJECTED,
    REQUEST_REJECTED,
    UNAVAILABLE,
    ErrorTable,
)

ERRORS = ErrorTable(
    by_text=(("acceso denegado", CREDENTIALS_REJECTED), ("saturado", UNAVAILABLE)),
    unknown=REQUEST_REJECTED,
)
PAC = Pac(
    name="libre",
    display_name="Libre",
    # The demo environment deploys the package as timbres.pacs.libre.
    client=f"{__name__}.client:LibreClient",
    bases={"production": "https://libre.example"},
    credentials=("user", "token"),
    capabilities=("stamps", "contracts", "consumption"),
    errors=dict.fromkeys(("stamps", "contracts"), ERRORS.problem_types),
)
