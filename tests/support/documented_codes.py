"""The PACs' tables of response codes, copied from their pages, and the expected error of each row.

A row is the first line of a page's row, up to the description. `EXPECTED` has the error that a
caller of Timbres gets for each row; `rows()` combines both and fails if a row has no error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SALDOS = "saldos"
STATEMENT = "saldos/csv, saldos/pdf"
GET_TIMBRES = "Utilerias.getTimbres"
AGREGAR_CONTRATO = "Utilerias.agregarContrato"


@dataclass(frozen=True)
class Page:
    """A table of a page: HTTP code, error code, meaning, description; or code — text."""

    title: str
    pac: str
    operation: str
    table: str


PAGES = (
    Page(
        "Stamping Service Balance Consultation API",
        "reachcore",
        SALDOS,
        """
200 - OK The consultation was performed correctly.
400 400-001 Bad Request MesConsulta format is not valid.
400 400-002 Bad Request The given RFC does not belong to the registered RFCs in the account \
of the API KEY.
401 - Unauthorized The API Key is not valid.
404 - Not found The URL does not exist.
500 - Internal Server Error Sovos platform error.
""",
    ),
    Page(
        "Stamping Service Balance Consultation API",
        "reachcore",
        STATEMENT,
        """
200 - OK The consultation was performed correctly.
400 400-001 Bad Request MesConsulta format is not valid.
400 400-002 Bad Request It is not necessary to send the RFCCOnsulta.
400 400-003 Bad Request The format (formatoSolicitado) is not supported.
401 - Unauthorized API Key is not valid.
404 - Not found The URL does not exist.
500 - Internal Server Error Sovos platform error.
""",
    ),
    Page(
        "API para Consulta de Saldo en Servicio de Timbrado",
        "reachcore",
        SALDOS,
        """
200 - OK La consulta se realizó correctamente.
400 400-001 Bad Request MesConsulta se encuentra en un formato inválido.
400 400-002 Bad Request El RFC proporcionado no pertenece a los RFC registrados en la cuenta \
a la que pertenece el API KEY.
401 - Unauthorized El API Key no es válido.
404 - Not found La URL no existe.
500 - Internal Server Error Error de la plataforma Reachcore
""",
    ),
    Page(
        "API para Consulta de Saldo en Servicio de Timbrado",
        "reachcore",
        STATEMENT,
        """
200 - OK La consulta se realizó correctamente.
400 400-001 Bad Request MesConsulta se encuentra en un formato inválido.
400 400-002 Bad Request No es necesario mandar el RFCConsulta.
400 400-003 Bad Request El formato (formatoSolicitado) no está soportado
401 - Unauthorized El API Key no es válido.
404 - Not found La URL no existe.
500 - Internal Server Error Error de la plataforma Reachcore
""",
    ),
    Page(
        "Utilerias.getTimbres",
        "solucion-factible",
        GET_TIMBRES,
        """
200 — The transaction has been completed successfully.
500 — Errors have occurred that have prevented the process from being completed.
501 — A database connection error has occurred.
502 — It has failed to retrieve or store information in the database.
503 — The limit of concurrent access licenses to the database has been reached.
601 — Authentication error, the username or password is incorrect.
602 — The user account is locked.
603 — Your account password has expired.
604 — The maximum allowed number of failed authentication attempts has been exceeded.
605 — The user is currently inactive.
611 — Los datos recibidos están incompletos o no se encuentran donde se esperarían.
612 — The XML file or one of its attributes is malformed.
624 — Violation of uniqueness restriction.
630 — The implementation stamps have run out.
631 — The issuer's stamps have run out.
632 — The fair use limit allowed per transaction has been reached.
633 — Misuse of a production account in testing or a test account in production.
""",
    ),
    Page(
        "Utilerias.agregarContrato",
        "solucion-factible",
        AGREGAR_CONTRATO,
        """
200 — The transaction has been completed successfully.
500 — Errors have occurred that have prevented the process from being completed.
501 — A database connection error has occurred.
502 — It has failed to retrieve or store information in the database.
503 — The limit of concurrent access licenses to the database has been reached.
601 — Authentication error, the username or password is incorrect.
602 — The user account is locked.
603 — Your account password has expired.
604 — The maximum allowed number of failed authentication attempts has been exceeded.
605 — The user is currently inactive.
611 — The data received is incomplete or not located where it would be expected.
612 — The XML file or one of its attributes is malformed.
620 — Permission denied.
624 — Violation of uniqueness restriction.
630 — The implementation stamps have run out.
631 — The issuer's stamps have run out.
632 — The fair use limit allowed per transaction has been reached.
633 — Misuse of a production account in testing or a test account in production.
""",
    ),
)


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

_REACHCORE = {
    "400-001": Meaning("month-invalid", 400),
    "400-003": Meaning("format-unsupported", 400),
    "401": REJECTED_CREDENTIALS,
    "404": Meaning("pac-endpoint-not-found", 502),
    "500": FAILED,
}
_SOLUCION_FACTIBLE = {
    "500": FAILED,
    "501": Meaning("pac-unavailable", 503, may_have_taken_effect=True, retry=True, wait=True),
    "502": FAILED,
    "503": Meaning("pac-unavailable", 503, retry=True, wait=True),
    "601": REJECTED_CREDENTIALS,
    "602": REJECTED_CREDENTIALS,
    "603": REJECTED_CREDENTIALS,
    "604": REJECTED_CREDENTIALS,
    "605": REJECTED_CREDENTIALS,
    "611": REJECTED_REQUEST,
    "612": REJECTED_REQUEST,
    "620": Meaning("pac-permission-denied", 403),
    "624": Meaning("contract-duplicate", 409, may_have_taken_effect=True),
    "630": Meaning("account-stamps-exhausted", 409),
    "631": Meaning("issuer-stamps-exhausted", 409),
    "632": Meaning("transaction-limit-exceeded", 422),
    "633": Meaning("environment-mismatch", 409),
}
EXPECTED = {
    SALDOS: {**_REACHCORE, "400-002": Meaning("issuer-not-registered", 404)},
    STATEMENT: {**_REACHCORE, "400-002": REJECTED_REQUEST},
    GET_TIMBRES: _SOLUCION_FACTIBLE,
    AGREGAR_CONTRATO: _SOLUCION_FACTIBLE,
}


class Row(NamedTuple):
    """A documented error."""

    page: str
    pac: str
    operation: str
    code: str
    message: str
    meaning: Meaning


def rows() -> list[Row]:
    """Return every row of every table, except the 200s."""
    failures = []
    for page in PAGES:
        for line in page.table.strip().splitlines():
            code, message = _read(page.pac, line)
            if code != "200":
                meaning = EXPECTED[page.operation][code]
                failures.append(Row(page.title, page.pac, page.operation, code, message, meaning))
    return failures


def documented(operation: str) -> set[str]:
    """Return the error codes that the pages document for an operation."""
    return {row.code for row in rows() if row.operation == operation}


def _read(pac: str, line: str) -> tuple[str, str]:
    if pac == "solucion-factible":
        code, message = line.split(" — ")
        return code, message
    status, code, message = line.split(" ", 2)
    return (status if code == "-" else code), message
