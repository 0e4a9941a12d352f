"""Libre, a fictional PAC: JSON over HTTP, error texts and no codes, issuers without a limit."""

from __future__ import annotations

from tests.support.libre.errors import ERRORS
from timbres.domain.account import Pac

PAC = Pac(
    name="libre",
    display_name="Libre",
    client="tests.support.libre.client:LibreClient",
    bases={"production": "https://libre.example"},
    credentials=("user", "token"),
    capabilities=("stamps", "contracts", "consumption"),
    errors={"stamps": ERRORS.problem_types, "contracts": ERRORS.problem_types},
)
