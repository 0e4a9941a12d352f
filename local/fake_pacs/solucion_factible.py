"""Fake of Solución Factible's SOAP service `Utilerias`, as documented.

Sources: "Utilerias.getTimbres", "Utilerias.getTimbresImplementacion" and
"Utilerias.agregarContrato". The pages define operations, parameters, attributes and codes. The
envelope is that of an Axis2 server: SOAP 1.1, document/literal wrapped, results in the `/xsd`
namespace. Assumptions where the pages say nothing:
incomplete data (611) precedes wrong credentials (60x), which precede malformed data (612), and an
issuer that the user does not have is a 611.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from lxml import etree
from pydantic import Field
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from local.fake_pacs.base import (
    CONTROL,
    FakePac,
    Reply,
    RequestContext,
    control_fields,
    json_response,
)
from local.fake_pacs.fake_data import (
    MEXICO_CITY,
    AccountState,
    Clock,
    Issuer,
    SolucionFactibleState,
    is_rfc,
    mexico_now,
)
from local.fake_pacs.faults import ANY_OPERATION, Fault, FaultKind, FaultRules, Fields, Text

SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
TYPES = f"{SERVICE}/xsd"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
WSDL_SOAP = (
    "http://schemas.xmlsoap.org/wsdl/soap/",
    "http://schemas.xmlsoap.org/wsdl/soap12/",
    "http://schemas.xmlsoap.org/wsdl/http/",
)
XML = "text/xml; charset=UTF-8"
PATHS = (
    "/ws/services/Utilerias",
    "/ws/services/Utilerias/",
    "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint",
    "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/",
)


class _AccountChange(Fields):
    username: str | None = None
    state: Annotated[AccountState, Field(strict=False)] | None = None
    password: str | None = None
    contratados: int | None = None
    usados: int | None = None


class _IssuerChange(Fields):
    rfc: Text
    username: str | None = None
    contratados: int | None = None
    usados: int | None = None


GET_TIMBRES = "getTimbres"
GET_TIMBRES_IMPLEMENTACION = "getTimbresImplementacion"
AGREGAR_CONTRATO = "agregarContrato"
WSDL = "wsdl"
_PARAMETERS = {
    GET_TIMBRES: ("usuario", "password", "rfcEmisor"),
    GET_TIMBRES_IMPLEMENTACION: ("usuario", "password"),
    AGREGAR_CONTRATO: ("usuario", "password", "rfcEmisor", "timbres"),
}
MESSAGES = {
    "200": "La transacción ha sido completada satisfactoriamente.",
    "500": "Han ocurrido errores que no han permitido completar el proceso.",
    "501": "Ha ocurrido un error de conexión a la base de datos.",
    "502": "Se ha fallado al intentar recuperar o guardar información en la base de datos.",
    "503": "Se ha alcanzado el límite de licencias de acceso concurrente a la base de datos.",
    "601": "Error de autenticación, el nombre de usuario o contraseña son incorrectos.",
    "602": "La cuenta de usuario se encuentra bloqueada.",
    "603": "La contraseña de la cuenta ha expirado.",
    "604": "Se ha superado el número máximo permitido de intentos fallidos de autenticación.",
    "605": "El usuario se encuentra inactivo.",
    "611": "Los datos recibidos están incompletos o no se encuentran donde se esperarían.",
    "612": "El archivo XML o alguno de sus atributos está mal formado.",
    "620": "Permiso denegado.",
    "624": "Violación de restricción de unicidad.",
    "630": "Se han agotado los timbres de la implementación.",
    "631": "Se han agotado los timbres del emisor.",
    "632": "Se ha alcanzado el límite de uso justo permitido por transacción.",
    "633": "Uso indebido de cuenta de producción en pruebas o cuenta de prueba en producción.",
}
"""Message by status: every code of either page."""

_FIELD_FAULTS = frozenset({FaultKind.MISSING_FIELDS, FaultKind.EMPTY_FIELDS, FaultKind.NIL_FIELDS})
_SOAP_FAULTS = ANY_OPERATION | {FaultKind.SOAP_FAULT}


@dataclass(frozen=True)
class _Request:
    """An operation with its documented parameters; a missing parameter is an empty string."""

    operation: str
    values: dict[str, str]

    def missing_parameters(self) -> list[str]:
        """Return the documented parameters that are absent or blank."""
        return [name for name in _PARAMETERS[self.operation] if not self.values[name].strip()]

    def stamps(self) -> int | None:
        """Return the number of stamps to contract, or None if it is not a positive integer."""
        text = self.values.get("timbres", "").strip()
        digits = text.isascii() and text.isdigit() and len(text) <= 10
        return int(text) if digits and int(text) > 0 else None


class FakeSolucionFactible(FakePac):
    """The WSGI application: the three operations and, with `?wsdl`, the WSDL."""

    rules = FaultRules(
        kinds={
            GET_TIMBRES: _SOAP_FAULTS | _FIELD_FAULTS | {FaultKind.LAGGING_READS},
            GET_TIMBRES_IMPLEMENTACION: _SOAP_FAULTS | _FIELD_FAULTS,
            AGREGAR_CONTRATO: _SOAP_FAULTS
            | {FaultKind.DOUBLED_CONTRACT, FaultKind.EXPIRING_CONTRACT},
            WSDL: ANY_OPERATION - {FaultKind.CODE},
        },
        codes={
            GET_TIMBRES: frozenset(MESSAGES) - {"620"},
            GET_TIMBRES_IMPLEMENTACION: frozenset(MESSAGES),
            AGREGAR_CONTRATO: frozenset(MESSAGES),
        },
        soap=True,
    )

    def __init__(
        self,
        state: SolucionFactibleState,
        *,
        wsdl: Path | None = None,
        clock: Clock = mexico_now,
    ) -> None:
        """Set the state, the WSDL file to serve (read at each request) and the clock."""
        service = [
            route
            for path in PATHS
            for route in (("POST", path, self._soap), ("GET", path, self._get_wsdl))
        ]
        super().__init__(
            [
                *service,
                ("POST", f"{CONTROL}/account", self._post_account),
                ("POST", f"{CONTROL}/issuer", self._post_issuer),
            ],
            clock,
        )
        self._state = state
        self._wsdl = wsdl

    def state_json(self) -> dict[str, Any]:
        """Return the accounts without their passwords."""
        return self._state.as_json()

    def not_routed(self, error: HTTPException) -> Reply:
        """Return a SOAP fault with the HTTP status of the error."""
        return _soap_fault("Client", "The service cannot be found", error.code or 500)

    def rejection(self, operation: str, fault: Fault) -> Reply:
        """Return the status with the fault's message or the documented message."""
        code = str(fault.code)
        return _result(operation, code, fault.mensaje or MESSAGES[code])

    def wrong_shape(self, operation: str) -> Reply:
        """Return a well-formed envelope with an undocumented result."""
        response = etree.Element(f"{{{SERVICE}}}{operation}Response", nsmap={"ns": SERVICE})
        returned = etree.SubElement(response, f"{{{SERVICE}}}resultado")
        etree.SubElement(returned, f"{{{SERVICE}}}codigo").text = "200"
        return Reply(200, _envelope(response), XML, "not-processed")

    def content_type(self, operation: str) -> str:  # noqa: ARG002 XML for each
        """Return the content type of SOAP 1.1."""
        return XML

    def replacement(self, request: Request, operation: str, fault: Fault) -> Reply:
        """Return a SOAP fault, or the reply of the base class."""
        if fault.kind is FaultKind.SOAP_FAULT:
            return _soap_fault("Server", "Error interno del servicio Utilerias")
        return super().replacement(request, operation, fault)

    def contracts(self) -> list[tuple[str, int]]:
        """Return the created contracts of every user as RFC and stamps."""
        return [
            (contract["rfc"], contract["timbres"])
            for account in self._state.as_json()["accounts"]
            for contract in account["contracts"]
        ]

    # ------------------------------------------------------------------ the PAC's own

    def _soap(self, request: Request) -> Response:
        try:
            call = _parse_request(request)
        except ValueError as error:
            reply = _soap_fault("Client", str(error))
            return self.respond(request, RequestContext("other"), lambda *_: reply)

        def process(fault: Fault | None, processing_fault: Fault | None) -> Reply:
            status, details, counts = self._process(call, processing_fault)
            return _result(call.operation, status, MESSAGES[status] + details, counts, fault)

        user = call.values["usuario"]
        context = RequestContext(
            call.operation,
            # An unknown value may be a password.
            user if self._state.knows(user) else None,
            call.values.get("rfcEmisor") or None,
            timbres=call.stamps(),
        )
        return self.respond(request, context, process)

    def _process(self, call: _Request, fault: Fault | None) -> tuple[str, str, Issuer | None]:
        """Return the status, what follows its message, and the counts, if any."""
        user, rfc = call.values["usuario"], call.values.get("rfcEmisor")
        if missing := call.missing_parameters():
            return "611", f" Faltan: {', '.join(missing)}.", None
        status = self._state.authenticate(user, call.values["password"])
        if status != "200":
            return status, "", None
        if rfc is None:
            return "200", "", self._state.account_stamps(user)
        if not is_rfc(rfc):
            return "612", " Atributo: rfcEmisor.", None
        if call.operation == GET_TIMBRES:
            if fault:
                as_of = self._clock() - timedelta(seconds=fault.seconds)
                issuer = self._state.past_stamps(user, rfc, as_of)
            else:
                issuer = self._state.stamps(user, rfc)
            details = "" if issuer else f" El emisor con RFC {rfc} no está registrado."
            return "200" if issuer else "611", details, issuer
        return self._create_contract(user, rfc, call.stamps(), fault)

    def _create_contract(
        self, user: str, rfc: str, stamps: int | None, fault: Fault | None
    ) -> tuple[str, str, None]:
        now = self._clock().astimezone(MEXICO_CITY)
        if stamps is None:
            return "612", " Atributo: timbres.", None
        if self._state.account_stamps(user).disponibles <= 0:
            return "630", "", None
        self._state.contract(user, rfc, stamps, now)
        if fault and fault.kind is FaultKind.DOUBLED_CONTRACT:
            self._state.contract(user, rfc, stamps, now)
        if fault and fault.kind is FaultKind.EXPIRING_CONTRACT:
            self._state.expire(user, rfc, fault.contratados, fault.usados, now)
        return "200", "", None

    def _get_wsdl(self, request: Request) -> Response:
        def process(_fault: Fault | None, _processing_fault: Fault | None) -> Reply:
            if WSDL not in {name.lower() for name in request.args}:
                return _soap_fault("Client", "Send SOAP by POST, or ask for ?wsdl", 405)
            if self._wsdl is None or not self._wsdl.is_file():
                return _soap_fault("Server", "The WSDL is not available", 404)
            return Reply(200, _remove_addresses(self._wsdl), XML, "200")

        return self.respond(request, RequestContext(WSDL), process)

    # -------------------------------------------------------------- control endpoints

    def _post_account(self, request: Request) -> Response:
        fields = control_fields(request, _AccountChange)
        changes = fields.model_dump(exclude={"username", "password"})
        changes["password"] = fields.password or None
        if all(value is None for value in changes.values()):
            raise ValueError("send a state, a password, contratados or usados")
        self._state.set_account(fields.username, **changes)
        return json_response({"changed": True})

    def _post_issuer(self, request: Request) -> Response:
        fields = control_fields(request, _IssuerChange)
        self._state.set_issuer(**fields.model_dump())
        return json_response({"rfc": fields.rfc}, 201)


# -------------------------------------------------------------------------------- SOAP


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _parse_request(request: Request) -> _Request:
    """Return the operation of a request. Raises ValueError if it cannot be dispatched."""
    if request.mimetype != "text/xml":
        raise ValueError(f"The content type {request.mimetype!r} is not SOAP 1.1's text/xml")
    try:
        root = etree.fromstring(request.get_data(), _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ValueError("The message is not well-formed XML") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise ValueError("A SOAP message must not contain a document type declaration")
    body = root.find(f"{{{ENVELOPE}}}Body")
    if root.tag != f"{{{ENVELOPE}}}Envelope" or body is None:
        raise ValueError("The message is not a SOAP 1.1 envelope")
    element = next(body.iterchildren(etree.Element), None)
    action = request.headers.get("SOAPAction", "").strip().strip('"')
    name = None if element is None else etree.QName(element)
    if (
        element is None
        or name is None
        # As in SERVICE, or without "timbrado": a live WSDL may have another namespace.
        or not str(name.namespace).startswith("http://utilerias.")
        or name.localname not in _PARAMETERS
        or action.removeprefix("urn:") not in ("", name.localname)
    ):
        raise ValueError(f"The operation is not found, and the SOAPAction is {action!r}")
    values = {
        parameter: element.findtext(f"{{{name.namespace}}}{parameter}") or ""
        for parameter in _PARAMETERS[name.localname]
    }
    return _Request(name.localname, values)


def _envelope(content: etree._Element) -> bytes:
    envelope = etree.Element(f"{{{ENVELOPE}}}Envelope", nsmap={"soapenv": ENVELOPE})
    etree.SubElement(envelope, f"{{{ENVELOPE}}}Body").append(content)
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")


def _result(
    operation: str,
    status: str,
    message: str,
    issuer: Issuer | None = None,
    fault: Fault | None = None,
) -> Reply:
    """Return `<operation>Response/return` with status, mensaje and the issuer's counts, if any."""
    kind = fault.kind if fault else None
    response = etree.Element(f"{{{SERVICE}}}{operation}Response", nsmap={"ns": SERVICE})
    returned = etree.SubElement(response, f"{{{SERVICE}}}return", nsmap={"ax21": TYPES, "xsi": XSI})
    kind_of_return = "Response" if operation == AGREGAR_CONTRATO else "ResponseTimbres"
    returned.set(f"{{{XSI}}}type", f"ax21:{kind_of_return}")
    etree.SubElement(returned, f"{{{TYPES}}}status").text = status
    etree.SubElement(returned, f"{{{TYPES}}}mensaje").text = message
    if issuer is not None and kind is not FaultKind.MISSING_FIELDS:
        for name in ("contratados", "usados", "disponibles"):
            count = etree.SubElement(returned, f"{{{TYPES}}}{name}")
            if kind is FaultKind.NIL_FIELDS:
                count.set(f"{{{XSI}}}nil", "true")
            elif kind is not FaultKind.EMPTY_FIELDS:
                count.text = str(getattr(issuer, name))
    return Reply(200, _envelope(response), XML, status)


def _soap_fault(side: str, text: str, http_status: int = 500) -> Reply:
    fault = etree.Element(f"{{{ENVELOPE}}}Fault", nsmap={"soapenv": ENVELOPE})
    etree.SubElement(fault, "faultcode").text = f"soapenv:{side}"
    etree.SubElement(fault, "faultstring").text = text
    etree.SubElement(fault, "detail")
    return Reply(http_status, _envelope(fault), XML, "not-processed")


def _remove_addresses(wsdl: Path) -> bytes:
    """Return the WSDL with empty port locations, as in the PAC's live WSDL."""
    tree = etree.parse(str(wsdl), _parser())
    for namespace in WSDL_SOAP:
        for address in tree.iter(f"{{{namespace}}}address"):
            address.set("location", "")
    return etree.tostring(tree, xml_declaration=True, encoding="UTF-8")
