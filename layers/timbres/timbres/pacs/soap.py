"""SOAP to PACs: a zeep client that threads share, over a session with limits.

zeep writes the requests, as the WSDL describes them. The replies are read here, by the local names
of their elements: their content identifies them, whatever a server declares about them.
"""

from __future__ import annotations

import codecs
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email import message_from_bytes
from typing import Any
from urllib.parse import urlsplit

from lxml import etree
from zeep import Client, Settings
from zeep.proxy import ServiceProxy
from zeep.transports import Transport
from zeep.wsdl.bindings.soap import Soap11Binding

from timbres.deadline import Deadline
from timbres.domain.text import charset_of
from timbres.errors import PacError, TimbresError
from timbres.pacs.errors import (
    CALLER_FAULTS,
    SOAP_FAULTS,
    error_from_code,
    protocol_error,
    sanitize_message,
)
from timbres.pacs.http import HttpResponse, PacSession, response_error
from timbres.pacs.reading import FieldReader, fold

_ENVELOPES = frozenset(
    {"http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"}
)
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_SOAP = re.compile(rb"<([\w.-]+:)?Envelope[\s>/]")
_ENCODING = re.compile(r"""\A(\s*<\?xml\b[^>]*?)\sencoding\s*=\s*("[^"]*"|'[^']*')""")
# A reply is under 2 KB. As a tree it takes about 60 times its bytes, in each of 32 threads.
_MAX_REPLY_BYTES = 256 * 1024
# The live WSDL is about 100 KB.
_MAX_WSDL_BYTES = 1024 * 1024
# The WSDL and the documents that it imports.
_MAX_WSDL_DOCUMENTS = 20

logger = logging.getLogger("timbres")

# zeep logs whole envelopes, passwords included, at DEBUG.
logging.getLogger("zeep").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Call:
    session: PacSession
    deadline: Deadline


# zeep passes no data of a call to its transport.
_call: ContextVar[_Call] = ContextVar("call")


@contextmanager
def _call_context(call: _Call) -> Iterator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


class _FaultError(PacError):
    """The PAC answered with a SOAP fault."""


class SoapService:
    """A SOAP service of a PAC, at ``address``. Threads may share it.

    ``wsdl`` is a file or a URL; the first call loads it. ``fields`` are the documented fields
    of each operation's reply, ``numbers`` the fields that are whole numbers, ``optional`` the
    operations that a WSDL may lack.
    """

    def __init__(
        self,
        session: PacSession,
        wsdl: str,
        address: str,
        *,
        fields: Mapping[str, frozenset[str]],
        numbers: frozenset[str],
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self._session = session
        self._wsdl = wsdl
        self._address = address
        self._fields = fields
        self._numbers = numbers
        self._required = [name for name in fields if name not in optional]
        self._offered: frozenset[str] = frozenset()
        self._service: ServiceProxy | None = None
        self._service_lock = threading.Lock()

    def call(
        self,
        operation: str,
        deadline: Deadline,
        arguments: Mapping[str, object],
        *,
        session: PacSession | None = None,
    ) -> dict[str, Any]:
        """Send one request, over ``session`` if given, and return the fields of the reply.

        A field that is missing, empty or nil is None. Raises a
        :class:`~timbres.errors.PacError`; ``pac-protocol-error`` if the response is not a reply
        to ``operation``.
        """
        service = self.prepare(deadline)
        pac = self._session.pac
        try:
            with _call_context(_Call(session or self._session, deadline)):
                response: HttpResponse = service[operation](**arguments)
        except TimbresError:
            raise
        except Exception:
            # zeep raises many types for arguments that do not fit the WSDL.
            raise protocol_error(pac, f"its WSDL has another {operation}") from None
        reader = FieldReader(pac)
        with response.file:
            reply = _reply(pac, response, operation)
        fields = self._read(reader, operation, reply)
        reader.log()
        return fields

    def call_optional(
        self, operation: str, deadline: Deadline, arguments: Mapping[str, object]
    ) -> dict[str, Any] | None:
        """Send one request for an optional operation and return the fields of the reply, or None.

        None: the WSDL does not have the operation, or the PAC answers with a SOAP fault, as
        servers do for an operation that they do not have. Raises the errors of :meth:`call`.
        """
        self.prepare(deadline)
        if operation not in self._offered:
            logger.warning("%s is not in the WSDL", operation)
            return None
        try:
            return self.call(operation, deadline, arguments)
        except _FaultError as error:
            logger.warning("%s: SOAP fault: %s", operation, error.pac_message)
            return None

    def _read(self, reader: FieldReader, operation: str, reply: etree._Element) -> dict[str, Any]:
        pac = self._session.pac
        documented = {fold(name): name for name in self._fields[operation]}
        values: dict[str, Any] = {}
        for element in reply.iterchildren(etree.Element):
            name = etree.QName(element).localname
            key = fold(name)
            if key not in documented:
                continue
            if key in values:
                raise protocol_error(pac, f"{documented[key]} appears twice")
            if name != documented[key]:
                reader.normalized.add(documented[key])
            if documented[key] in self._numbers and len(element):
                raise protocol_error(pac, f"{documented[key]} is not a whole number")
            is_nil = element.get(_NIL) in ("true", "1")
            values[key] = None if is_nil else (element.text or "").strip() or None
        return {
            name: None
            if values.get(key) is None
            else reader.number(values, name)
            if name in self._numbers
            else reader.text(values, name)
            for key, name in documented.items()
        }

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
                    operations = " and ".join(self._required)
                    raise protocol_error(
                        self._session.pac, f"the live WSDL does not offer {operations}"
                    ) from None
            return self._service

    def _create_service(self) -> ServiceProxy:
        client = Client(
            self._wsdl,
            transport=_Transport(self._session, self._wsdl),
            # The transport decides which other documents a live WSDL may import.
            settings=Settings(
                forbid_dtd=True, forbid_entities=True, forbid_external=False, raw_response=True
            ),
        )
        for name, binding in client.wsdl.bindings.items():
            if isinstance(binding, Soap11Binding) and all(
                operation in binding.all() for operation in self._required
            ):
                self._offered = frozenset(map(str, binding.all()))
                return client.create_service(str(name), self._address)
        raise LookupError("no SOAP 1.1 binding with all operations")


class _Transport(Transport):
    """zeep's transport; it uses the session, deadline and timeout of the current call."""

    def __init__(self, session: PacSession, wsdl: str) -> None:
        super().__init__(session=session)
        self._wsdl = wsdl
        self._loaded = 0

    def load(self, url: str) -> bytes:
        # A live WSDL must not choose which other hosts or local files are read.
        if url != self._wsdl and not _is_of_same_server(url, self._wsdl):
            raise LookupError("the WSDL imports a document of another server")
        self._loaded += 1
        if self._loaded > _MAX_WSDL_DOCUMENTS:
            raise LookupError("the WSDL imports too many documents")
        if not url.startswith(("https:", "http:")):
            return bytes(super().load(url))
        response = self._fetch("GET", url)
        with response.file as file:
            if response.status != 200 or response.is_page:
                raise response_error(_call.get().session.pac, response)
            return _to_utf8(file.read(), response.content_type)

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> HttpResponse:
        return self._fetch("POST", address, message, headers)

    def _fetch(
        self,
        method: str,
        address: str,
        message: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        call = _call.get()
        return call.session.fetch(
            method,
            address,
            data=message,
            headers=headers,
            deadline=call.deadline,
            max_bytes=_MAX_WSDL_BYTES if message is None else _MAX_REPLY_BYTES,
        )


def _is_of_same_server(url: str, other: str) -> bool:
    one, two = urlsplit(url), urlsplit(other)
    return bool(two.netloc) and (one.scheme, one.netloc) == (two.scheme, two.netloc)


def _reply(pac: str, response: HttpResponse, operation: str) -> etree._Element:
    """Return the element of a response that has the fields of ``operation``'s reply.

    Raises the error of a fault, of an HTTP status or of a web page, or ``pac-protocol-error``.
    """
    content, content_type = _root_part(response.peek(response.size), response.content_type)
    content = _to_utf8(content, content_type)
    if not (content.startswith(b"<") and _SOAP.search(content)) or response.status == 404:
        if response.status != 200 or response.is_page:
            raise response_error(pac, response)
        declared = sanitize_message(response.content_type.partition(";")[0]) or "no content"
        raise protocol_error(pac, f"HTTP 200 with {declared} instead of SOAP")
    body = _body(content)
    first = None if body is None else next(body.iterchildren(etree.Element), None)
    if first is not None and fold(etree.QName(first).localname) == "fault":
        raise _fault_error(pac, response, first)
    if response.status != 200:
        raise response_error(pac, response)
    if first is None or fold(etree.QName(first).localname) != fold(f"{operation}Response"):
        raise protocol_error(pac, f"it is not a reply to {operation}")
    # Axis2 and most others name the result "return"; .NET, for example, "getTimbresResult".
    children = list(first.iterchildren(etree.Element))
    results = [one for one in children if etree.QName(one).localname == "return"] or children
    if len(results) != 1:
        raise protocol_error(pac, f"the reply to {operation} is empty")
    return results[0]


def _body(content: bytes) -> etree._Element | None:
    """Return the Body of an envelope; None if it is not a valid envelope, or has a DTD."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    name = etree.QName(root)
    docinfo: Any = root.getroottree().docinfo
    if docinfo.doctype or name.localname != "Envelope":
        return None
    return root.find(f"{{{name.namespace}}}Body") if name.namespace in _ENVELOPES else None


def _fault_error(pac: str, response: HttpResponse, fault: etree._Element) -> _FaultError:
    """Return the error of a SOAP 1.1 or 1.2 fault, with its text."""
    texts = {fold(etree.QName(item).localname): item.text for item in fault.iter(etree.Element)}
    code = texts.get("faultcode") or texts.get("value") or ""
    side = code.strip().rpartition(":")[2].partition(".")[0]
    table = CALLER_FAULTS if side in ("Client", "Sender") else SOAP_FAULTS
    message = texts.get("faultstring") or texts.get("text")
    status = None if response.status == 200 else str(response.status)
    error = error_from_code(pac, table, status, message)
    return _FaultError(
        error.problem_type,
        error.detail,
        pac=pac,
        pac_code=error.pac_code,
        pac_message=error.pac_message,
        requested_wait=response.retry_after,
    )


def _root_part(content: bytes, content_type: str) -> tuple[bytes, str]:
    """Return the envelope of a multipart response (MTOM) and its content type."""
    if not content.lstrip().startswith(b"--"):
        return content, content_type
    boundary = content.split(maxsplit=1)[0][2:].decode("latin-1").replace('"', "")
    header = f'Content-Type: multipart/related; boundary="{boundary}"\r\n\r\n'
    message = message_from_bytes(header.encode("latin-1") + content)
    for part in message.walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes) and _SOAP.search(payload):
            return payload, str(part["Content-Type"] or "")
    return content, content_type


def _to_utf8(content: bytes, content_type: str) -> bytes:
    """Return XML in UTF-8 if its charset is known outside of it, and without blanks before it."""
    charset = charset_of(content, content_type)
    if charset is not None:
        # If it is wrong, the declaration in the document may be right.
        with suppress(UnicodeDecodeError):
            content = _ENCODING.sub(r"\1", content.decode(charset), count=1).encode()
    return content.lstrip(codecs.BOM_UTF8 + b" \t\r\n")
