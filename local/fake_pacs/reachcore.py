"""Fake of Sovos Reachcore's stamping balance service, as documented.

Source: "Stamping Service Balance Consultation API" and its Spanish original. Assumptions where the
pages say nothing: errors without a documented code have the HTTP status as `Code`; a content type
other than JSON returns 415; `GeneraronTimbre` applies to the requested month; `Transacciones` is
the sum of the stamps that authorised RFCs consumed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from local.fake_pacs.base import (
    JSON,
    MAINTENANCE_PAGE,
    FakePac,
    Reply,
    RequestContext,
    json_reply,
)
from local.fake_pacs.fake_data import (
    MEXICO_CITY,
    Balance,
    Clock,
    ReachcoreState,
    is_month,
    mexico_now,
)
from local.fake_pacs.faults import ANY_OPERATION, Fault, FaultKind, FaultRules
from local.fake_pacs.statements import csv_statement, pdf_statement

PATH = "/api/rest/Timbre/saldos"
SALDOS = "saldos"
_WRITERS = {"csv": csv_statement, "pdf": pdf_statement}
_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}

NOT_REGISTERED = (
    "El RFC proporcionado no pertenece a los RFC registrados en la cuenta a la que pertenece "
    "el API KEY."
)
RFC_NOT_NEEDED = "No es necesario mandar el 'RFCConsulta'"
ERRORS = {
    "400-001": (400, "'MesConsulta' se encuentra en un formato inválido."),
    "400-002": (400, NOT_REGISTERED),
    "400-003": (400, "El formato (formatoSolicitado) no está soportado"),
    "401": (401, "El API Key no es válido."),
    "404": (404, "La URL no existe."),
    "405": (405, "El método no está permitido."),
    "415": (415, "El API REST solo procesa estructuras JSON."),
    "500": (500, "Error de la plataforma Reachcore"),
}
"""HTTP status and message by documented code; 405 and 415 are not documented."""

_DOCUMENTED = frozenset(ERRORS) - {"405", "415"}


@dataclass(frozen=True)
class _Query:
    """The content of a request, before validation."""

    operation: str
    account: str | None
    is_json: bool
    month: object
    rfc: object

    @property
    def context(self) -> RequestContext:
        return RequestContext(
            self.operation,
            self.account,
            self.rfc if isinstance(self.rfc, str) else None,
            self.month if isinstance(self.month, str) else None,
        )


class FakeReachcore(FakePac):
    """The WSGI application: POST on `saldos`, `saldos/csv` and `saldos/pdf`."""

    rules = FaultRules(
        kinds={
            SALDOS: ANY_OPERATION | {FaultKind.MISSING_COMMA},
            "csv": ANY_OPERATION,
            "pdf": ANY_OPERATION,
        },
        codes=dict.fromkeys((SALDOS, "csv", "pdf"), _DOCUMENTED),
    )

    def __init__(self, state: ReachcoreState, *, clock: Clock = mexico_now) -> None:
        """Set the state and the clock (any zone; replies use Mexico City's time)."""
        super().__init__(
            [
                ("POST", PATH, self._saldos),
                ("POST", f"{PATH}/<file_format>", self._statement),
            ],
            clock,
        )
        self._state = state
        self._served: dict[tuple[str, str, str], bytes] = {}
        self._served_lock = threading.Lock()

    def state_json(self) -> dict[str, Any]:
        """Return the accounts without their API keys."""
        return self._state.as_json()

    def not_routed(self, error: HTTPException) -> Reply:
        """Return 404 or 405 in the documented error structure."""
        return _error("405" if error.code == 405 else "404")

    def rejection(self, operation: str, fault: Fault) -> Reply:
        """Return the documented error structure, or the fault's body."""
        on_statement = operation != SALDOS and fault.code == "400-002"
        return _error(str(fault.code), RFC_NOT_NEEDED if on_statement else None, fault.body)

    def content_type(self, operation: str) -> str:
        """Return the content type of a statement's format, or JSON."""
        return _CONTENT_TYPES.get(operation, JSON)

    def statements(self, month: str, file_format: str) -> list[bytes]:
        """Return the last sent statement of a month for each account."""
        with self._served_lock:
            return [
                content
                for (_, *key), content in self._served.items()
                if key == [month, file_format]
            ]

    # ------------------------------------------------------------------ the PAC's own

    def _saldos(self, request: Request) -> Response:
        query = self._query(request, SALDOS)

        def process(fault: Fault | None, _processing_fault: Fault | None) -> Reply:
            return self._error_reply(query) or self._balance_reply(query, fault)

        return self.respond(request, query.context, process)

    def _statement(self, request: Request, file_format: str) -> Response:
        query = self._query(request, file_format)

        def process(_fault: Fault | None, _processing_fault: Fault | None) -> Reply:
            if error := self._error_reply(query):
                return error
            if query.rfc is not None:
                return _error("400-002", RFC_NOT_NEEDED)
            return self._statement_reply(query, file_format)

        return self.respond(request, query.context, process)

    def _query(self, request: Request, operation: str) -> _Query:
        payload = request.get_json(force=True, silent=True)
        fields = payload if isinstance(payload, dict) else {}
        return _Query(
            operation,
            self._state.account_of(request.headers.get("RCApiKey", "")),
            request.mimetype == "application/json",
            fields.get("MesConsulta"),
            fields.get("RFCConsulta"),
        )

    @staticmethod
    def _error_reply(query: _Query) -> Reply | None:
        """Return the documented error that applies to every operation, or None."""
        if not query.is_json:
            return _error("415")
        if query.account is None:
            return _error("401")
        if query.operation != SALDOS and query.operation not in _WRITERS:
            return _error("400-003")
        if not isinstance(query.month, str) or not is_month(query.month):
            return _error("400-001")
        return None

    def _balance_reply(self, query: _Query, fault: Fault | None) -> Reply:
        rfc = query.rfc
        if rfc is not None and not (
            isinstance(rfc, str) and self._state.is_registered(str(query.account), rfc)
        ):
            return _error("400-002")
        reply = json_reply(_balance_json(self._balance(query, rfc)))
        if fault and fault.kind is FaultKind.MISSING_COMMA:
            reply.body = reply.body.replace(b', "Registrados"', b' "Registrados"')
        return reply

    def _statement_reply(self, query: _Query, file_format: str) -> Reply:
        balance = self._balance(query, None)
        content = _WRITERS[file_format](balance)
        with self._served_lock:
            self._served[(balance.account, balance.month, file_format)] = content
        filename = f"EstadoDeCuenta_{balance.month}.{file_format}"
        headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
        return Reply(200, content, _CONTENT_TYPES[file_format], "200", headers)

    def _balance(self, query: _Query, rfc: str | None) -> Balance:
        now = self._clock().astimezone(MEXICO_CITY)
        return self._state.balance(str(query.account), str(query.month), rfc, now)


def _error(code: str, message: str | None = None, body: str = "json") -> Reply:
    """Return the reply for a code: JSON as documented, an empty body, or an HTML page."""
    status, default_message = ERRORS[code]
    if body == "empty":
        return Reply(status, b"", JSON, code)
    if body == "html":
        return Reply(status, MAINTENANCE_PAGE, "text/html; charset=utf-8", code)
    return json_reply(
        {"errors": [{"Code": code, "Message": message or default_message}]}, code, status
    )


def _balance_json(balance: Balance) -> dict[str, Any]:
    """Return the documented structure, in the documented order."""
    return {
        "TipoConsumo": balance.plan.value,
        "FechaActual": balance.as_of.strftime("%Y-%m-%dT%H:%M:%S"),
        "Registrados": balance.registered,
        "Autorizados": balance.authorized,
        "GeneraronTimbre": balance.stamping,
        "Transacciones": balance.transactions,
        "Detalle": [
            {
                "RFC": row.rfc,
                "Fecha": f"{row.date}T00:00:00",
                "TipoMovimiento": row.kind,
                "Monto": row.amount,
            }
            for row in balance.movements
        ],
    }
