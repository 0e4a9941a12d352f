"""SOAP 1.1 to PACs: one zeep client that threads share, over a session with bounds."""

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
# A reply is under 2 KB; as a tree it takes some 60 times its bytes, in each of 32 threads.
_MAX_REPLY_BYTES = 256 * 1024
# The live WSDL is some 100 KB.
_MAX_WSDL_BYTES = 1024 * 1024

# zeep logs whole envelopes, passwords included, at DEBUG.
logging.getLogger("zeep").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Call:
    session: PacSession
    deadline: Deadline
    read_seconds: float = READ_SECONDS


# zeep hands nothing of a call on to its transport.
_call: ContextVar[_Call] = ContextVar("call")


@contextmanager
def _call_context(call: _Call) -> Iterator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


class SoapService:
    """One SOAP service of a PAC, at ``address``. Its threads may share it.

    ``wsdl`` is a file or the URL that the WSDL is loaded from at the first call. ``fields``
    are the documented fields of each operation's reply, ``numbers`` those that are whole
    numbers. ``failed`` makes the error for a fault or an HTTP status of the 500s of a message.
    """

    def __init__(
        self,
        session: PacSession,
        wsdl: str,
        address: str,
        *,
        fields: Mapping[str, frozenset[str]],
        numbers: frozenset[str],
        failed: Callable[[str], PacError],
    ) -> None:
        self._session = session
        self._wsdl = wsdl
        self._address = address
        self._operations = tuple(fields)
        self._failed = failed
        self._plugin = _ReplyValidator(session.pac, fields, numbers)
        self._service: ServiceProxy | None = None
        self._building = threading.Lock()

    def call(
        self,
        operation: str,
        deadline: Deadline,
        arguments: Mapping[str, object],
        *,
        session: PacSession | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Any:
        """Return the reply to one request, as zeep reads it; it goes over ``session`` if given.

        Raises a :class:`~timbres.errors.PacError`; ``pac-protocol-error`` for what is no reply
        to ``operation``.
        """
        service = self.prepare(deadline)
        try:
            with _call_context(_Call(session or self._session, deadline, read_seconds)):
                return service[operation](**arguments)
        except TimbresError:
            raise
        except Fault as fault:
            raise self._failed(f"SOAP fault: {fault.message}") from None
        except Exception:
            # Whatever else zeep raises, it is a reply that it could not read.
            raise protocol_error(self._session.pac, f"it is no reply to {operation}") from None

    def prepare(self, deadline: Deadline) -> ServiceProxy:
        """Return zeep's service, once the WSDL is loaded. Raises a ``PacError``."""
        with self._building:
            if self._service is None:
                try:
                    with _call_context(_Call(self._session, deadline)):
                        self._service = self._build()
                except TimbresError:
                    raise
                except Exception:
                    offered = " and ".join(self._operations)
                    raise protocol_error(
                        self._session.pac, f"the live WSDL does not offer {offered}"
                    ) from None
            return self._service

    def _build(self) -> ServiceProxy:
        client = Client(
            self._wsdl,
            transport=_Transport(self._session, self._wsdl, self._failed),
            settings=Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True),
            plugins=[self._plugin],
        )
        for name, binding in client.wsdl.bindings.items():
            if isinstance(binding, Soap11Binding) and all(
                operation in binding.all() for operation in self._operations
            ):
                return client.create_service(str(name), self._address)
        raise LookupError("no SOAP 1.1 binding with all operations")


@dataclass(frozen=True, slots=True)
class _Response:
    """What zeep reads of a response."""

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/xml"})


class _Transport(Transport):
    """zeep's way out; session, deadline and time-out are those of the call."""

    def __init__(self, session: PacSession, wsdl: str, failed: Callable[[str], PacError]) -> None:
        super().__init__(session=session)
        self._wsdl = wsdl
        self._failed = failed

    def load(self, url: str) -> bytes:
        # What a live WSDL imports is not fetched: it would choose whom we ask, or which file.
        if url != self._wsdl:
            raise LookupError("the WSDL imports another document")
        if not url.startswith(("https:", "http:")):
            return bytes(super().load(url))
        response = self._fetch("GET", url)
        if response.status_code != 200:
            raise self._failed(f"HTTP {response.status_code}")
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
        answer = call.session.fetch(
            method,
            address,
            data=message,
            headers=headers,
            deadline=call.deadline,
            read_seconds=call.read_seconds,
            most_bytes=_MAX_WSDL_BYTES if message is None else _MAX_REPLY_BYTES,
        )
        with answer.file as file:
            content = file.read()
        if answer.status == 404:
            raise PacError(ENDPOINT_NOT_FOUND, f"{pac} answered HTTP 404.", pac=pac, pac_code="404")
        media_type = answer.content_type.partition(";")[0].strip().lower()
        if media_type in _XML and (content if answer.status == 200 else b"Fault" in content):
            return _Response(answer.status, content)
        if answer.status >= 500:
            raise self._failed(f"HTTP {answer.status}")
        shown = sanitize_message(media_type) or "no content"
        raise protocol_error(pac, f"HTTP {answer.status} with {shown}, no SOAP")


class _ReplyValidator(Plugin):
    """Holds a reply against the documentation, where zeep alone would let it pass.

    zeep reads a number that is none as absent, the reply to another operation as this
    one's, and cannot read a reply with a field more than its WSDL names.
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
            raise protocol_error(self._pac, f"it is no reply to {operation.name}")
        seen: set[str] = set()
        for returned, child in [(parent, child) for parent in reply for child in parent]:
            name = etree.QName(child).localname
            if name not in self._fields[operation.name]:
                returned.remove(child)
                continue
            if name in seen:
                raise protocol_error(self._pac, f"{name} stands in it twice")
            seen.add(name)
            if name in self._numbers:
                self._check_number(name, child)
        return envelope, http_headers

    def _check_number(self, name: str, element: etree._Element) -> None:
        text = (element.text or "").strip()
        digits = text.removeprefix("-")
        if len(element) or (text and not (digits.isascii() and digits.isdecimal())):
            raise protocol_error(self._pac, f"{name} is no whole number")
        if len(digits) > 12:
            raise protocol_error(self._pac, f"{name} is too large")
