"""Solución Factible: the SOAP service Utilerias.

Sources: "Utilerias.getTimbres", "Utilerias.agregarContrato". The bundled
``utilerias.wsdl`` says what is known of the wire; an account may ask for the PAC's own.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from lxml import etree
from zeep import Client, Plugin, Settings
from zeep.exceptions import Fault
from zeep.proxy import ServiceProxy
from zeep.transports import Transport
from zeep.wsdl.bindings.soap import Soap11Binding

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import OUT_OF_TIME, PacError, TimbresError
from timbres.pacs.base import CONNECTIONS, PacClient, Reply
from timbres.pacs.codes import (
    ENDPOINT_NOT_FOUND,
    SOLUCION_FACTIBLE,
    clean,
    protocol_error,
    said,
)
from timbres.pacs.http import PacSession, retried

NAME = "solucion-factible"
_PATH = "/ws/services/Utilerias"
_PORT = "/ws/services/Utilerias.UtileriasHttpsSoap11Endpoint/"
_BUNDLED = Path(__file__).with_name("utilerias.wsdl")
_OPERATIONS = ("getTimbres", "agregarContrato")
_XML = frozenset({"text/xml", "application/xml", "application/soap+xml", ""})
# A reply is under 2 KB; as a tree it takes some 60 times its bytes, in each of 32 threads.
_MOST_REPLY_BYTES = 256 * 1024
# The live WSDL is some 100 KB.
_MOST_WSDL_BYTES = 1024 * 1024
# A purchase is waited for longer than a read: an answer spares the doubt.
_PURCHASE_READ_SECONDS = 15.0
# With less time left than this, a purchase is not begun.
_PURCHASE_LEAST_SECONDS = 6.0

# zeep and urllib3 log whole envelopes, passwords included, at DEBUG.
for _name in ("zeep", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_deadline: ContextVar[Deadline] = ContextVar("deadline")
_read_seconds: ContextVar[float] = ContextVar("read_seconds", default=10.0)


class SolucionFactible(PacClient):
    """One account at Solución Factible. Its threads may share it."""

    def __init__(self, account: Account, attempts: int) -> None:
        self._address = account.base + _PORT
        self._wsdl = f"{account.base}{_PATH}?wsdl" if account.live_wsdl else str(_BUNDLED)
        self._credentials = {
            "usuario": account.credentials["username"],
            "password": account.credentials["password"],
        }
        self._session = PacSession(NAME, CONNECTIONS)
        self._attempts = attempts
        self._service: ServiceProxy | None = None
        self._building = threading.Lock()

    def stamps(self, rfc: Rfc, deadline: Deadline) -> Stamps:
        """Return an issuer's stamps (getTimbres).

        A field that is missing, empty or nil is None. Raises ``pac-protocol-error`` when
        a 200 names none of the three.
        """

        def read() -> Stamps:
            reply = self._call("getTimbres", deadline, rfcEmisor=rfc, **self._credentials)
            stamps = Stamps(
                contracted=getattr(reply, "contratados", None),
                used=getattr(reply, "usados", None),
                available=getattr(reply, "disponibles", None),
            )
            if stamps == Stamps(None, None, None):
                raise protocol_error(NAME, "status 200 without contratados, usados or disponibles")
            return stamps

        return retried(read, deadline, self._attempts)

    def buy(self, rfc: Rfc, stamps: int, deadline: Deadline) -> Reply:
        """Buy stamps for an issuer (agregarContrato): one request, never repeated.

        Raises ``out-of-time``, with nothing sent, when the answer could not be waited for.
        """
        # The client first: with "wsdl": "live" it is itself a call, and may be repeated.
        try:
            retried(lambda: self._ready(deadline), deadline, self._attempts)
        except PacError as error:
            # However that call ended, nothing was bought by it.
            error.kind = replace(error.kind, may_have_taken_effect=False)
            raise
        if deadline.left() < _PURCHASE_LEAST_SECONDS:
            raise TimbresError(
                OUT_OF_TIME, "Too little time was left to wait for a purchase; nothing was sent."
            )
        token = _read_seconds.set(_PURCHASE_READ_SECONDS)
        try:
            reply = self._call(
                "agregarContrato", deadline, rfcEmisor=rfc, timbres=stamps, **self._credentials
            )
        finally:
            _read_seconds.reset(token)
        return Reply(code=str(reply.status), message=clean(getattr(reply, "mensaje", None)))

    def _ready(self, deadline: Deadline) -> ServiceProxy:
        with self._building:
            if self._service is None:
                token = _deadline.set(deadline)
                try:
                    self._service = self._build()
                except TimbresError:
                    raise
                except Exception:
                    raise protocol_error(
                        NAME, "the live WSDL does not offer getTimbres and agregarContrato"
                    ) from None
                finally:
                    _deadline.reset(token)
            return self._service

    def _build(self) -> ServiceProxy:
        client = Client(
            self._wsdl,
            transport=_Transport(self._session, self._wsdl),
            settings=Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            plugins=[_Documented()],
        )
        for name, binding in client.wsdl.bindings.items():
            if isinstance(binding, Soap11Binding) and all(
                operation in binding.all() for operation in _OPERATIONS
            ):
                return client.create_service(str(name), self._address)
        raise LookupError("no SOAP 1.1 binding with both operations")

    def _call(self, operation: str, deadline: Deadline, **arguments: object) -> Any:
        service = self._ready(deadline)
        token = _deadline.set(deadline)
        try:
            reply = service[operation](**arguments)
        except TimbresError:
            raise
        except Fault as fault:
            raise said(NAME, SOLUCION_FACTIBLE, "500", f"SOAP fault: {fault.message}") from None
        except Exception:
            # Whatever else zeep raises, it is a reply that it could not read.
            raise protocol_error(NAME, f"it is no reply to {operation}") from None
        finally:
            _deadline.reset(token)
        status = getattr(reply, "status", None)
        if status is None:
            raise protocol_error(NAME, "status is missing")
        if status != 200:
            raise said(NAME, SOLUCION_FACTIBLE, str(status), getattr(reply, "mensaje", None))
        return reply


class _Transport(Transport):
    """zeep's way out, over a session with bounds; the deadline is the call's."""

    def __init__(self, session: PacSession, wsdl: str) -> None:
        # Not zeep's own set-up: it would teach the session file:// and another name.
        self.cache = None
        self.logger = logging.getLogger("zeep.transports")
        self._close_session = False  # What zeep would close when it is collected.
        self._bounded = session
        self._wsdl = wsdl

    def load(self, url: str) -> bytes:
        # What a live WSDL imports is not fetched: it would choose whom we ask, or which file.
        if url != self._wsdl:
            raise LookupError("the WSDL imports another document")
        return bytes(super().load(url))

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> requests.Response:
        return self._fetch("POST", address, message, headers)

    def _load_remote_data(self, url: str) -> bytes:
        response = self._fetch("GET", url, None, {})
        if response.status_code != 200:
            raise said(NAME, SOLUCION_FACTIBLE, "500", f"HTTP {response.status_code}")
        return bytes(response.content)

    def _fetch(
        self, method: str, address: str, message: bytes | None, headers: dict[str, str]
    ) -> requests.Response:
        answer = self._bounded.fetch(
            method,
            address,
            data=message,
            headers=headers,
            deadline=_deadline.get(),
            read_seconds=_read_seconds.get(),
            most_bytes=_MOST_WSDL_BYTES if message is None else _MOST_REPLY_BYTES,
        )
        with answer.file as file:
            content = file.read()
        if answer.status == 404:
            raise PacError(
                ENDPOINT_NOT_FOUND, f"{NAME} answered HTTP 404.", pac=NAME, pac_code="404"
            )
        media_type = answer.content_type.partition(";")[0].strip().lower()
        soap = media_type in _XML and (content if answer.status == 200 else b"Fault" in content)
        if not soap:
            raise _no_soap(answer.status, media_type)
        response = requests.Response()
        response.status_code = answer.status
        response.headers["Content-Type"] = "text/xml"
        response._content = content
        return response


def _no_soap(status: int, media_type: str) -> PacError:
    if status >= 500:
        return said(NAME, SOLUCION_FACTIBLE, "500", f"HTTP {status}")
    return protocol_error(NAME, f"HTTP {status} with {clean(media_type) or 'no content'}, no SOAP")


class _Documented(Plugin):
    """Holds a reply against the documentation, where zeep alone would let it pass.

    zeep reads a number that is none as absent, the reply to another operation as this
    one's, and cannot read a reply with a field more than its WSDL names.
    """

    def ingress(
        self, envelope: etree._Element, http_headers: dict[str, str], operation: Any
    ) -> tuple[etree._Element, dict[str, str]]:
        body = envelope.find(f"{{{_SOAP}}}Body")
        reply = body[0] if body is not None and len(body) else None
        if reply is None or reply.tag == f"{{{_SOAP}}}Fault":
            return envelope, http_headers
        if etree.QName(reply).localname != f"{operation.name}Response":
            raise protocol_error(NAME, f"it is no reply to {operation.name}")
        seen: set[str] = set()
        for returned, field in [(parent, child) for parent in reply for child in parent]:
            name = etree.QName(field).localname
            if name not in _FIELDS[operation.name]:
                returned.remove(field)
                continue
            if name in seen:
                raise protocol_error(NAME, f"{name} stands in it twice")
            seen.add(name)
            if name in _NUMBERS:
                _check_number(name, field)
        return envelope, http_headers


_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_NUMBERS = frozenset({"status", "contratados", "usados", "disponibles"})
_FIELDS = {
    "getTimbres": _NUMBERS | {"mensaje"},
    "agregarContrato": frozenset({"status", "mensaje"}),
}


def _check_number(name: str, field: etree._Element) -> None:
    text = (field.text or "").strip()
    digits = text.removeprefix("-")
    if len(field) or (text and not (digits.isascii() and digits.isdecimal())):
        raise protocol_error(NAME, f"{name} is no whole number")
    if len(digits) > 12:
        raise protocol_error(NAME, f"{name} is too large")
