"""Solución Factible: stamps of issuers and contracts, over SOAP."""

from __future__ import annotations

from pathlib import Path

from timbres.domain.account import Pac, Wsdl
from timbres.pacs.solucion_factible.error_codes import ERRORS

# The operation that returns the stamps of the account itself; a live WSDL may not have it.
ACCOUNT_STAMPS = "getTimbresImplementacion"

PAC = Pac(
    name="solucion-factible",
    display_name="Solución Factible",
    client="timbres.pacs.solucion_factible.client:SolucionFactibleClient",
    bases={
        "testing": "https://testing.solucionfactible.com",
        "production": "https://solucionfactible.com",
    },
    credentials=("username", "password"),
    capabilities=("stamps", "contracts", "consumption"),
    errors={"stamps": ERRORS.problem_types, "contracts": ERRORS.problem_types},
    creates_issuers=True,
    has_account_stamps=True,
    wsdl=Wsdl(
        bundled=Path(__file__).with_name("utilerias.wsdl"),
        live_path="/ws/services/Utilerias?wsdl",
        optional=frozenset({ACCOUNT_STAMPS}),
    ),
)
