"""Responses of the same kinds as tests/cases, built from two documented ones."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SERVICE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
JSON, XML, HTML, CSV = "application/json", "text/xml;charset=UTF-8", "text/html", "text/csv"
DONE = "La transacción ha sido completada satisfactoriamente."
MOVEMENT = {
    "RFC": "A&D061009TY8",
    "Fecha": "2026-10-02T00:00:00",
    "TipoMovimiento": "Consumo de timbre",
    "Monto": 3,
}
BALANCE = {
    "TipoConsumo": "Postpago",
    "FechaActual": "2026-11-19T13:53:41",
    "Registrados": 2,
    "Autorizados": 2,
    "GeneraronTimbre": 2,
    "Transacciones": 3,
    "Detalle": [MOVEMENT],
}
PAGE = "<!DOCTYPE html><html><head><title>Mantenimiento</title></head><body>Vuelva</body></html>"
CSV_STATEMENT = """Cuenta,TipoConsumo,FechaInicioConsulta,FechaFinConsulta,FechaActual
Pruebas,Postpago,2026-10-01T00:00:00,2026-10-31T00:00:00,2026-11-20T16:57:53

Estado de los RFC
Registrados,2
Autorizados,2
Generaron Timbre,2

Transacciones
Consumo de todos los RFC:,3

RFC,Fecha,Tipo movimiento,Monto
A&D061009TY8 ,10/02/2026 12:00:00 AM,Consumo de timbre,1
AAA010101AAA ,10/03/2026 12:00:00 AM,Consumo de timbre,2
"""


@dataclass(frozen=True)
class Case:
    """A complete HTTP response and the expected result, as in tests/cases/expected.json."""

    name: str
    response: bytes
    expected: Mapping[str, Any]


def http(body: str | bytes, content_type: str = JSON, status: int = 200, **headers: str) -> bytes:
    """Return an HTTP response, from the status line on."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(content)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def balance(**changes: Any) -> str:
    """Return a balance with changed fields."""
    return json.dumps(BALANCE | changes, ensure_ascii=False)


def envelope(body: str, soap: str = SOAP_11, head: str = "") -> str:
    """Return a SOAP envelope."""
    return f'<e:Envelope xmlns:e="{soap}">{head}<e:Body>{body}</e:Body></e:Envelope>'


def reply(
    operation: str,
    fields: str,
    soap: str = SOAP_11,
    *,
    message: str = DONE,
    service: str = SERVICE,
    head: str = "",
) -> str:
    """Return a reply of an Axis2 server with status 200, written without its library."""
    return envelope(
        f'<n:{operation}Response xmlns:n="{service}" xmlns:x="{service}/xsd"><n:return>'
        f"<x:mensaje>{message}</x:mensaje><x:status>200</x:status>{fields}"
        f"</n:return></n:{operation}Response>",
        soap,
        head,
    )


COUNTS = (
    "<x:contratados>1000</x:contratados><x:usados>480</x:usados><x:disponibles>520</x:disponibles>"
)


def count(**options: Any) -> str:
    """Return a reply of getTimbres."""
    return reply("getTimbres", options.pop("fields", COUNTS), **options)


def raw_deflate(content: bytes) -> bytes:
    """Return content in deflate's format without zlib's header."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def fault(code: str, text: str) -> str:
    """Return a SOAP 1.1 fault without prefixes."""
    return (
        f'<Envelope xmlns="{SOAP_11}"><Body><Fault><faultcode>{code}</faultcode>'
        f"<faultstring>{text}</faultstring></Fault></Body></Envelope>"
    )


def accepted(**body: Any) -> dict[str, Any]:
    """Return the expected balance of one movement of 3 stamps."""
    item = {"rfc": MOVEMENT["RFC"], "date": "2026-10-02", "kind": "Consumo de timbre", "amount": 3}
    expected = {"transactions": 3, "consistent": True, "movements": [item], **body}
    return {"status": 200, "body": expected}


def rejected(
    status: int, code: str, message: str | None, pac_code: str | None = None, calls: int = 1
) -> dict[str, Any]:
    """Return the expected problem, after ``calls`` attempts."""
    pac = {"code": pac_code, "message": message}
    return {"status": status, "body": {"code": code, "pac": pac}, "calls": calls}


def unavailable(message: str | None, code: str | None) -> dict[str, Any]:
    """Return the expected transient error of a read."""
    return rejected(503, "pac-unavailable", message, code, calls=3) | {"retry_after": "60"}


LATIN_DECLARATION = '<?xml version="1.0" encoding="ISO-8859-1"?>'
NO_SERVICE = "The service cannot be found for the endpoint reference (EPR) /x"
COUNTED = {"status": 200, "body": {"contracted": 1000, "used": 480, "available": 520}}
CONFIRMED = {
    "status": 201,
    "body": {"status": "confirmed", "pac": {"code": "200", "message": DONE}},
}
READY = {"body": {"status": "ready", "differences": {}}}
NOT_COMPARED = {"body": {"status": "ready", "differences": None}}


def unknown(code: str | None, message: str) -> dict[str, Any]:
    """Return the expected contract whose outcome is not known."""
    pac = {"code": code, "message": message}
    return {"status": 202, "body": {"status": "unknown", "pac": pac}, "calls": 1}


_BALANCES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "registrados-negative": (
        http(balance(Registrados=-1)),
        accepted(issuers={"registered": None, "authorized": 2, "stamping": 2}),
    ),
    "transacciones-negative": (
        http(balance(Transacciones=-1)),
        {"status": 200, "body": {"transactions": None, "consistent": None}},
    ),
    "detalle-null-contradiction": (
        http(balance(Detalle=None)),
        {"status": 200, "body": {"transactions": 3, "consistent": False, "movements": []}},
    ),
    **{
        f"fecha-{text}": (http(balance(Detalle=[MOVEMENT | {"Fecha": text}])), accepted())
        for text in ("/Date(1790920800000-0600)/", "/Date(1790924400000)/")
    },
    "429-without-a-wait": (http("", JSON, 429), unavailable(None, "429")),
    "403-page": (http(PAGE, HTML, 403), unavailable("Mantenimiento", "403")),
    "page-200": (http(PAGE, HTML), unavailable("Mantenimiento", None)),
    "page-200-as-json": (http(PAGE, JSON), unavailable("Mantenimiento", None)),
    "page-200-utf16": (http(PAGE.encode("utf-16"), HTML), unavailable("Mantenimiento", None)),
}
_STAMPS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "latin1-declared-as-utf8": (
        http((LATIN_DECLARATION + count()).encode("latin-1"), XML),
        COUNTED,
    ),
    "other-namespace": (http(count(service="http://otra.example"), XML), COUNTED),
    "without-prefixes": (http(count().replace("x:", ""), XML), COUNTED),
    "names-in-another-case": (http(count(fields=COUNTS.replace("contr", "Contr")), XML), COUNTED),
    "addressing": (
        http(count(head='<e:Header><a:Action xmlns:a="http://www.w3.org/2005/08/addressing" '
                   'e:mustUnderstand="1">urn:getTimbresResponse</a:Action></e:Header>'), XML),
        COUNTED,
    ),
    "page-200": (http(PAGE, XML), unavailable("Mantenimiento", None)),
    "fault-without-prefixes": (http(fault("Server", "Falla &amp; fin"), XML, 500),
                               rejected(502, "pac-error", "Falla & fin", "500", calls=3)),
    "fault-200": (http(fault("soap:Server", "Falla"), XML),
                  rejected(502, "pac-error", "Falla", calls=3)),
    "fault-of-the-caller": (http(fault("soap:Client", "Falta un dato"), XML, 500),
                            rejected(502, "pac-rejected-request", "Falta un dato", "500")),
    "service-not-found": (
        http(fault("soap:Client", NO_SERVICE), XML, 500),
        rejected(502, "pac-endpoint-not-found", NO_SERVICE, "500"),
    ),
}  # fmt: skip
_CONTRACTS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "203": (http(reply("agregarContrato", ""), XML, 203), CONFIRMED),
    "403-page": (http(PAGE, HTML, 403), unknown("403", "Mantenimiento")),
    "page-200": (http(PAGE, HTML), unknown(None, "Mantenimiento")),
    "429": (http("", XML, 429), rejected(503, "pac-unavailable", None, "429")),
    "service-not-found": (
        http(fault("Server", NO_SERVICE), XML),
        rejected(502, "pac-endpoint-not-found", NO_SERVICE),
    ),
}
_STATEMENTS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "csv-bom-text-html": (http("\ufeff" + CSV_STATEMENT, HTML), READY),
    "csv-windows-1252": (http(CSV_STATEMENT.replace("Pruebas", "Señal").encode("cp1252"),
                              f"{CSV}; charset=windows-1252"), READY),
    "csv-windows-1252-not-declared": (
        http(CSV_STATEMENT.replace("Pruebas", "Señal").encode("cp1252"), CSV), NOT_COMPARED),
    "csv-other-headings": (http("Reporte;Total\r\nTimbres;3\r\n", CSV), NOT_COMPARED),
    "csv-json": (http('{"errors": [{"Code": "7", "Message": "Falla"}]}', CSV),
                 {"body": {"status": "failed", "error": {"code": "pac-protocol-error",
                                                         "pac": {"message": "Falla"}}}}),
    "pdf-without-an-end": (http(b"%PDF-1.7\nx", "application/octet-stream"), NOT_COMPARED),
}  # fmt: skip
FURTHER_CASES = tuple(
    Case(f"{prefix}{name}", *case)
    for prefix, cases in (
        ("rc-", _BALANCES),
        ("sf-count-", _STAMPS),
        ("sf-buy-", _CONTRACTS),
        ("", _STATEMENTS),
    )
    for name, case in cases.items()
)
