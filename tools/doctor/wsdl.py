"""Compare the bundled WSDL of a PAC with the PAC's live WSDL."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zeep import Settings, Transport
from zeep.wsdl import Document
from zeep.wsdl.bindings.soap import Soap11Binding

from timbres.deadline import Deadline
from timbres.pacs.errors import protocol_error
from timbres.pacs.http import PacSession

_MAX_BYTES = 1024 * 1024

NO_ACTION = "No action is needed."
USE_LIVE_WSDL = 'Set "wsdl": "live" in the secret, and report it to the developers.'
UPDATE_TIMBRES = "Timbres must be changed; report it to the developers."


class WsdlError(Exception):
    """A document is not a valid WSDL of SOAP 1.1; the message gives the reason."""


@dataclass(frozen=True)
class Difference:
    """A difference and its remedy: `NO_ACTION`, `USE_LIVE_WSDL` or `UPDATE_TIMBRES`."""

    text: str
    remedy: str


def fetch_wsdl(pac: str, url: str, deadline: Deadline) -> bytes:
    """Return the WSDL at `url`. Raises a `PacError`."""
    response = PacSession(pac).fetch("GET", url, deadline=deadline, max_bytes=_MAX_BYTES)
    with response.file as file:
        if response.status != 200:
            raise protocol_error(pac, f"HTTP {response.status} to ?wsdl")
        return file.read()


def compare_wsdls(
    bundled: bytes, live: bytes, optional: frozenset[str] = frozenset()
) -> Iterator[Difference]:
    """Yield the differences between `bundled` and `live` that are relevant to Timbres.

    `optional` are operations without which Timbres works.

    Ignores ports' addresses (the account has its own), operations and reply fields that Timbres
    does not use, and the order of reply fields. Raises `WsdlError` if `live` is not a valid WSDL.
    """
    ours, theirs = _operations(bundled), _operations(live)
    for name, operation in ours.items():
        if name in theirs:
            yield from _compare_operations(name, operation, theirs[name])
        elif name in optional:
            yield Difference(f"{name} is missing, and optional.", NO_ACTION)
        else:
            others = ", ".join(sorted(theirs.keys() - ours.keys())) or "no other operation"
            yield Difference(f"{name} is missing; there is {others}.", UPDATE_TIMBRES)


@dataclass(frozen=True)
class _Field:
    namespace: str
    type: str
    required: bool


@dataclass(frozen=True)
class _Operation:
    """The properties that determine the bytes of a call and of its reply."""

    facts: dict[str, str]
    parameters: dict[str, _Field]
    fields: dict[str, _Field]


def _compare_operations(name: str, ours: _Operation, theirs: _Operation) -> Iterator[Difference]:
    for fact, value in ours.facts.items():
        if theirs.facts[fact] != value:
            yield Difference(f"{name}: {fact} is {theirs.facts[fact]}, not {value}.", USE_LIVE_WSDL)
    yield from _compare_fields(f"{name}: the parameter", ours.parameters, theirs.parameters)
    for field in theirs.parameters.keys() - ours.parameters.keys():
        if theirs.parameters[field].required:
            yield Difference(f"{name}: a parameter {field} is new and required.", UPDATE_TIMBRES)
        else:
            yield Difference(f"{name}: a parameter {field} is new, and optional.", NO_ACTION)
    order = [field for field in theirs.parameters if field in ours.parameters]
    expected = [field for field in ours.parameters if field in theirs.parameters]
    if order != expected:
        text = f"{name}: the parameters' order is {', '.join(order)}, not {', '.join(expected)}."
        yield Difference(text, USE_LIVE_WSDL)
    yield from _compare_fields(f"{name}: the reply's", ours.fields, theirs.fields)


def _compare_fields(
    subject: str, ours: dict[str, _Field], theirs: dict[str, _Field]
) -> Iterator[Difference]:
    for name, field in ours.items():
        other = theirs.get(name)
        if other is None:
            yield Difference(f"{subject} {name} is missing.", UPDATE_TIMBRES)
            continue
        if other.type != field.type:
            yield Difference(
                f"{subject} {name} is of type {other.type}, not {field.type}.", USE_LIVE_WSDL
            )
        if other.namespace != field.namespace:
            namespaces = f"{other.namespace or 'none'}, not {field.namespace}"
            yield Difference(f"{subject} {name} has the namespace {namespaces}.", USE_LIVE_WSDL)


class _NoImports(Transport):
    """A transport that loads nothing, because an import could name any URL or file."""

    def __init__(self) -> None:
        """Create no session."""
        self._close_session = False

    def load(self, url: str) -> bytes:
        raise WsdlError(f"it imports another document, {url!r}")


def _operations(content: bytes) -> dict[str, _Operation]:
    settings = Settings(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        transport: Any = _NoImports()
        document = Document(io.BytesIO(content), transport, settings=settings)
        soap: list[Any] = [b for b in document.bindings.values() if isinstance(b, Soap11Binding)]
        operations = {
            str(name): _operation(operation)
            for binding in soap
            for name, operation in binding.all().items()
        }
    except WsdlError:
        raise
    except Exception as error:
        # zeep raises exceptions of many types for an invalid document.
        raise WsdlError(f"it cannot be read ({type(error).__name__})") from None
    if not operations:
        raise WsdlError("it has no operation of SOAP 1.1")
    return operations


def _operation(operation: Any) -> _Operation:
    request, reply = operation.input.body, operation.output.body
    return _Operation(
        facts={
            "style": operation.style,
            "SOAPAction": operation.soapaction,
            "the request's element": _name(request),
            "the reply's element": _name(reply),
        },
        parameters=dict(map(_field, _elements(request))),
        fields={
            name: field
            for returned in _elements(reply)
            for name, field in map(_field, _elements(returned))
        },
    )


def _elements(parent: Any) -> list[Any]:
    return [element for _, element in getattr(getattr(parent, "type", None), "elements", ())]


def _name(element: Any) -> str:
    return str(element.qname) if element is not None else "empty"


def _field(element: Any) -> tuple[str, _Field]:
    qname = element.type.qname
    return str(element.name), _Field(
        namespace=element.qname.namespace or "",
        type=qname.localname if qname is not None else "its own",
        required=bool(element.min_occurs),
    )
