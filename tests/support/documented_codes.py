"""The PACs' tables of error codes, copied from their pages, with the expected error of each row.

The Spanish page of Reachcore, "API para Consulta de Saldo en Servicio de Timbrado", has the same
codes as the English one, "Stamping Service Balance Consultation API".
"""

from __future__ import annotations

from typing import NamedTuple

SALDOS = "saldos"
STATEMENT = "saldos/csv, saldos/pdf"
GET_TIMBRES = "Utilerias.getTimbres"
AGREGAR_CONTRATO = "Utilerias.agregarContrato"


class Meaning(NamedTuple):
    """The error that a caller gets for a code."""

    code: str
    status: int
    may_have_taken_effect: bool = False
    retry: bool = False
    wait: bool = False


REJECTED_CREDENTIALS = Meaning("pac-credentials-rejected", 502)
REJECTED_REQUEST = Meaning("pac-rejected-request", 502)
FAILED = Meaning("pac-error", 502, may_have_taken_effect=True, retry=True)
UNAVAILABLE = Meaning("pac-unavailable", 503, retry=True, wait=True)

# A row is the first line of a page's row: code, expected error and description.
_REACHCORE = """
400-001 month      MesConsulta format is not valid.
401     login      The API Key is not valid.
404     endpoint   The URL does not exist.
500     failed     Sovos platform error.
"""
_UTILERIAS = """
500     failed     Errors have occurred that have prevented the process from being completed.
501     database   A database connection error has occurred.
502     failed     It has failed to retrieve or store information in the database.
503     busy       The limit of concurrent access licenses to the database has been reached.
601     login      Authentication error, the username or password is incorrect.
602     login      The user account is locked.
603     login      Your account password has expired.
604     login      The maximum allowed number of failed authentication attempts has been exceeded.
605     login      The user is currently inactive.
611     rejected   The data received is incomplete or not located where it would be expected.
612     rejected   The XML file or one of its attributes is malformed.
624     duplicate  Violation of uniqueness restriction.
630     account    The implementation stamps have run out.
631     issuer     The issuer's stamps have run out.
632     limit      The fair use limit allowed per transaction has been reached.
633     wrong      Misuse of a production account in testing or a test account in production.
"""
_TABLES = {
    SALDOS: f"""{_REACHCORE}
400-002 unknown The given RFC does not belong to the registered RFCs in the account of the API KEY.
""",
    STATEMENT: f"""{_REACHCORE}
400-002 rejected   It is not necessary to send the RFCCOnsulta.
400-003 format     The format (formatoSolicitado) is not supported.
""",
    GET_TIMBRES: _UTILERIAS,
    AGREGAR_CONTRATO: f"{_UTILERIAS}\n620     denied     Permission denied.",
}
_MEANINGS = {
    "month": Meaning("month-invalid", 400),
    "format": Meaning("format-unsupported", 400),
    "unknown": Meaning("issuer-not-registered", 404),
    "login": REJECTED_CREDENTIALS,
    "endpoint": Meaning("pac-endpoint-not-found", 502),
    "failed": FAILED,
    "database": UNAVAILABLE._replace(may_have_taken_effect=True),
    "busy": UNAVAILABLE,
    "rejected": REJECTED_REQUEST,
    "denied": Meaning("pac-permission-denied", 403),
    "duplicate": Meaning("contract-duplicate", 409, may_have_taken_effect=True),
    "account": Meaning("account-stamps-exhausted", 409),
    "issuer": Meaning("issuer-stamps-exhausted", 409),
    "limit": Meaning("transaction-limit-exceeded", 422),
    "wrong": Meaning("environment-mismatch", 409),
}


def documented(operation: str) -> dict[str, Meaning]:
    """Return the documented codes of an operation in their order, with their meanings."""
    rows = [line.split(maxsplit=2) for line in _TABLES[operation].splitlines() if line]
    return {code: _MEANINGS[meaning] for code, meaning, _ in sorted(rows)}
