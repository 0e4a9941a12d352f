"""SOAP 1.1 to PACs: a zeep client that threads share, over a session with limits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from zeep import Client, Plugin, Settings
from zeep.exceptions import Fault
from zeep.proxy import ServiceProxy
from zeep.transports import Transport
from zeep.wsdl.bindings.soap import Soap11Binding

from timbres.deadline import Deadline
from timbres.errors import PacError, TimbresError
from timbres.pacs.errors import ENDPOINT_NOT_FOUND, protocol_error, sanitize_message
from timbres.pacs.http import READ_SECONDS, PacSession

_ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
_XML = frozenset({"text/xml", "application/xml", "application/soap+xml", ""})
# A reply is under 2 KB. As a tree it takes about 60 times its bytes, in each of 32 threads.
_MAX_REPLY_BYTES = 256 * 1024
# The live WSDL is about 100 KB.
_MAX_WSDL_BYTES = 1024 * 1024

logger = logging.getLogger("timbres")

# zeep logs whole envelopes, passwords included, at DEBUG.
logging.getLogger("zeep").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Call:
    session: PacSession
    deadline: Deadline
    read_seconds: float = READ_SECONDS


# zeep passes no data of a call to its transport.
_call: ContextVar[_Call] = ContextVar("call")


@contextmanager
def _call_context(call: _Call) -> Iterator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


class SoapService:
    """A SOAP service of a PAC, at ``address``. Threads may share it.

    ``wsdl`` is a file or a URL; the first call loads it. ``fields`` are the documented fields
    of each operation's reply, ``numbers`` the fields that are whole numbers. ``to_error``
    returns the error for the message of a SOAP fault or of an HTTP 5xx status. ``optional`` are
    the operations that a WSDL may lack.
    """

    def __init__(
        self,
        session: PacSession,
        wsdl: str,
        address: str,
        *,
        fields: Mapping[str, frozenset[str]],
        numbers: frozenset[str],
        to_error: Callable[[str], PacError],
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self._session = session
        self._wsdl = wsdl
        self._address = address
        self._operations = tuple(name for name in fields if name not in optional)
        self._offered: frozenset[str] = frozenset()
        self._to_error = to_error
        self._plugin = _ReplyValidator(session.pac, fields, numbers)
        self._service: ServiceProxy | None = None
        self._service_lock = threading.Lock()

    def call(
        self,
        operation: str,
        deadline: Deadline,
        arguments: Mapping[str, object],
        *,
        session: PacSession | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Any:
        """Send one request, over ``session`` if given, and return the reply as zeep parses it.

        Raises a :class:`~timbres.errors.PacError`; ``pac-protocol-error`` if the response is
        not a reply to ``operation``.
        """
        call = _Call(session or self._session, deadline, read_seconds)
        try:
            return self._send(operation, call, arguments)
        except Fault as fault:
            raise self._to_error(f"SOAP fault: {fault.message}") from None

    def call_optional(
        self, operation: str, deadline: Deadline, arguments: Mapping[str, object]
    ) -> Any:
        """Send one request for an optional operation and return the reply, or None.

        None: the WSDL does not have the operation, or the PAC answers with a SOAP fault, as
        servers do for an operation that they do not have. Raises the errors of :meth:`call`.
        """
        self.prepare(deadline)
        if operation not in self._offered:
            logger.warning("%s is not in the WSDL", operation)
            return None
        try:
            return self._send(operation, _Call(self._session, deadline), arguments)
        except Fault as fault:
            logger.warning("%s: SOAP fault: %s", operation, sanitize_message(fault.message))
            return None

    def _send(self, operation: str, call: _Call, arguments: Mapping[str, object]) -> Any:
        """Return the reply. Raises zeep's Fault, or a ``PacError``."""
        service = self.prepare(call.deadline)
        try:
            with _call_context(call):
                return service[operation](**arguments)
        except (TimbresError, Fault):
            raise
        except Exception:
            # zeep raises many types for a reply that it cannot parse.
            raise protocol_error(self._session.pac, f"it is not a reply to {operation}") from None

    def prepare(self, deadline: Deadline) -> ServiceProxy:
        """Load the WSDL if necessary and return zeep's service. Raises a ``PacError``."""
        with self._service_lock:
            if self._service is None:
                try:
                    with _call_context(_Call(self._session, deadline)):
                        self._service = self._create_service()
                except TimbresError:
                    raise
                except Exception:
                    operations = " and ".join(self._operations)
                    raise protocol_error(
                        self._session.pac, f"the live WSDL does not offer {operations}"
                    ) from None
            return self._service

    def _create_service(self) -> ServiceProxy:
        client = Client(
            self._wsdl,
            transport=_Transport(self._session, self._wsdl, self._to_error),
            settings=Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            plugins=[self._plugin],
        )
        for name, binding in client.wsdl.bindings.items():
            if isinstance(binding, Soap11Binding) and all(
                operation in binding.all() for operation in self._operations
            ):
                self._offered = frozenset(map(str, binding.all()))
                return client.create_service(str(name), self._address)
        raise LookupError("no SOAP 1.1 binding with all operations")


@dataclass(frozen=True, slots=True)
class _Response:
    """The attributes of a response that zeep reads."""

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/xml"})


class _Transport(Transport):
    """zeep's transport; it uses the session, deadline and timeout of the current call."""

    def __init__(self, session: PacSession, wsdl: str, to_error: Callable[[str], PacError]) -> None:
        super().__init__(session=session)
        self._wsdl = wsdl
        self._to_error = to_error

    def load(self, url: str) -> bytes:
        # A live WSDL must not choose which other hosts or local files are read.
        if url != self._wsdl:
            raise LookupError("the WSDL imports another document")
        if not url.startswith(("https:", "http:")):
            return bytes(super().load(url))
        response = self._fetch("GET", url)
        if response.status_code != 200:
            raise self._to_error(f"HTTP {response.status_code}")
        return response.content

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> _Response:
        return self._fetch("POST", address, message, headers)

    def _fetch(
        self,
        method: str,
        address: str,
        message: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Response:
        call = _call.get()
        pac = call.session.pac
        response = call.session.fetch(
            method,
            address,
            data=message,
            headers=headers,
            deadline=call.deadline,
            read_seconds=call.read_seconds,
            max_bytes=_MAX_WSDL_BYTES if message is None else _MAX_REPLY_BYTES,
        )
        with response.file as file:
            content = file.read()
        status = response.status
        if status == 404:
            raise PacError(ENDPOINT_NOT_FOUND, f"{pac} answered HTTP 404.", pac=pac, pac_code="404")
        media_type = response.content_type.partition(";")[0].strip().lower()
        if media_type in _XML and (content if status == 200 else b"Fault" in content):
            return _Response(status, content)
        if status >= 500:
            raise self._to_error(f"HTTP {status}")
        content_type = sanitize_message(media_type) or "no content"
        raise protocol_error(pac, f"HTTP {status} with {content_type} instead of SOAP")


class _ReplyValidator(Plugin):
    """Checks a reply against the documentation, more strictly than zeep.

    zeep parses an invalid number as absent and accepts the reply to another operation. It
    cannot parse a reply with an additional field, so this plugin removes such fields.
    """

    def __init__(
        self, pac: str, fields: Mapping[str, frozenset[str]], numbers: frozenset[str]
    ) -> None:
        self._pac = pac
        self._fields = fields
        self._numbers = numbers

    def ingress(
        self, envelope: etree._Element, http_headers: Mapping[str, str], operation: Any
    ) -> tuple[etree._Element, Mapping[str, str]]:
        body = envelope.find(f"{{{_ENVELOPE}}}Body")
        reply = body[0] if body is not None and len(body) else None
        if reply is None or reply.tag == f"{{{_ENVELOPE}}}Fault":
            return envelope, http_headers
        if etree.QName(reply).localname != f"{operation.name}Response":
            raise protocol_error(self._pac, f"it is not a reply to {operation.name}")
        names: set[str] = set()
        for parent, child in [(element, child) for element in reply for child in element]:
            name = etree.QName(child).localname
            if name not in self._fields[operation.name]:
                parent.remove(child)
                continue
            if name in names:
                raise protocol_error(self._pac, f"{name} appears twice")
            names.add(name)
            if name in self._numbers:
                self._check_number(name, child)
        return envelope, http_headers

    def _check_number(self, name: str, element: etree._Element) -> None:
        text = (element.text or "").strip()
        digits = text.removeprefix("-")
        if len(element) or (text and not (digits.isascii() and digits.isdecimal())):
            raise protocol_error(self._pac, f"{name} is not a whole number")
        if len(digits) > 12:
            raise protocol_error(self._pac, f"{name} is too large")
