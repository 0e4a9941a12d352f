"""Sovos Reachcore: monthly balances and statements, over REST."""

from __future__ import annotations

from timbres.domain.account import Pac
from timbres.pacs.reachcore.error_codes import ERRORS, STATEMENT_ERRORS

PAC = Pac(
    name="reachcore",
    display_name="Reachcore",
    client="timbres.pacs.reachcore.client:ReachcoreClient",
    bases={"uat": "https://oat.reachcore.com", "production": "https://go.reachcore.com"},
    credentials=("api_key",),
    ascii_credentials=True,
    capabilities=("balance", "statement", "consumption"),
    errors={"balance": ERRORS.problem_types, "statement": STATEMENT_ERRORS.problem_types},
)
