"""Sovos Reachcore: the REST API of balances.

Source: "Stamping Service Balance Consultation API" and its Spanish version, "API para
Consulta de Saldo en Servicio de Timbrado".
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any

import ijson

from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.balance import (
    IssuerCounts,
    Movement,
    Statement,
    Summary,
    is_consistent,
    is_consumption,
)
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.errors import PacError
from timbres.pacs.base import (
    MAX_CONNECTIONS,
    BalanceClient,
    BalanceStream,
    CallLimits,
    StatementClient,
    StatementFile,
)
from timbres.pacs.errors import (
    contradiction,
    error_from_code,
    protocol_error,
    sanitize_message,
)
from timbres.pacs.http import (
    MAX_BYTES,
    HttpResponse,
    PacSession,
    response_error,
    with_retries,
)
from timbres.pacs.reachcore.error_codes import ERRORS, STATEMENT_ERRORS
from timbres.pacs.reachcore.limits import ByteBudget, distinct_kinds, distinct_rfcs, is_short
from timbres.pacs.reachcore.statement import read_statement
from timbres.pacs.reading import FieldReader, decode_text, fold

NAME = "reachcore"
_PATH = "/api/rest/Timbre/saldos"
_PLANS = {"Prepago": "prepaid", "Postpago": "postpaid"}
_SUMMARY = frozenset(
    {
        "TipoConsumo",
        "FechaActual",
        "Registrados",
        "Autorizados",
        "GeneraronTimbre",
        "Transacciones",
    }
)
_RFC, _DATE, _KIND, _AMOUNT = "RFC", "Fecha", "TipoMovimiento", "Monto"
_DOCUMENTED = frozenset({*_SUMMARY, "Detalle", _RFC, _DATE, _KIND, _AMOUNT})
_SPELLINGS = {fold(name): name for name in _DOCUMENTED}
# What is clearly not a CSV: gzip, zip, PDF.
_NO_CSV = (b"\x1f\x8b", b"PK\x03\x04", b"%PDF-")
_PDF_HEAD_BYTES = 1024
# The documented responses have no comma after FechaActual; accepted there only.
_MISSING_COMMA = re.compile(rb'(?i)("FechaActual"\s*:\s*"[^"\\]*")(\s*")')
_HEAD_BYTES = 4096


class ReachcoreClient(BalanceClient, StatementClient):
    """A client for one account at Sovos Reachcore. Threads may share it."""

    def __init__(self, account: Account, limits: CallLimits) -> None:
        self._url = account.base + _PATH
        self._key = account.credentials["api_key"]
        self._session = PacSession(NAME, limits, MAX_CONNECTIONS)
        self._limits = limits

    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> ReachcoreBalance:
        """Return the month's balance, of all RFCs or of one.

        Raises ``issuer-not-registered`` for an RFC that the account does not hold.
        """
        payload = {"MesConsulta": str(month)}
        if rfc is not None:
            payload["RFCConsulta"] = rfc

        def read() -> ReachcoreBalance:
            response = self._post("", payload, deadline)
            try:
                if response.is_page:
                    raise response_error(NAME, response)
                return ReachcoreBalance(response, one_issuer=rfc is not None)
            except BaseException:
                response.file.close()
                raise

        return with_retries(read, deadline, self._limits)

    def statement(self, month: Month, file_format: str, deadline: Deadline) -> ReachcoreStatement:
        """Return the PAC's own statement of all RFCs, ``csv`` or ``pdf``, byte for byte.

        Raises ``pac-protocol-error`` if the response clearly has another format.
        """

        def read() -> ReachcoreStatement:
            response = self._post(f"/{file_format}", {"MesConsulta": str(month)}, deadline)
            if not _may_be(file_format, response):
                with response.file:
                    raise _wrong_format_error(file_format, response)
            return ReachcoreStatement(response, month if file_format == "csv" else None)

        return with_retries(read, deadline, self._limits)

    def _post(self, path: str, payload: dict[str, str], deadline: Deadline) -> HttpResponse:
        headers = {"RCApiKey": self._key}
        response = self._session.post_json(self._url + path, payload, deadline, headers=headers)
        if response.status == 200:
            return response
        with response.file:
            raise _error_from_response(response, bool(path))


class ReachcoreStatement(StatementFile):
    """A statement of Reachcore; see :class:`timbres.pacs.base.StatementFile`."""

    def __init__(self, response: HttpResponse, csv_month: Month | None) -> None:
        self.file = response.file
        self.size = response.size
        self.sha256 = response.sha256
        self._content_type = response.content_type
        self._csv_month = csv_month

    def figures(self) -> Statement | None:
        """Return the figures of a CSV, None for a PDF. Raises ``pac-protocol-error``."""
        if self._csv_month is None:
            return None
        self.file.seek(0)
        return read_statement(self.file, self._csv_month, self._content_type)


class ReachcoreBalance(BalanceStream):
    """A month's balance in the PAC's JSON; see :class:`timbres.pacs.base.BalanceStream`."""

    def __init__(self, response: HttpResponse, *, one_issuer: bool = False) -> None:
        self._one_issuer = one_issuer
        self._reader = reader = FieldReader(NAME)
        # A million movements have few different texts; each is read once.
        self._kinds = distinct_kinds(NAME, lambda kind: reader.text({_KIND: kind}, _KIND))
        self._rfcs = distinct_rfcs(NAME, lambda rfc: reader.optional_text({_RFC: rfc}, _RFC) or "")
        self._read_date = lru_cache(64)(lambda day: reader.date({_DATE: day}, _DATE))
        try:
            self._response = response.in_utf8(MAX_BYTES)
        except ValueError:
            raise protocol_error(NAME, "it is not valid text, or it is too long") from None
        if self._response is not response:
            self._reader.normalized.add("charset")
        self.summary = self._summary()

    def __exit__(self, *_exception: object) -> None:
        self._response.file.close()

    def movements(self) -> Iterator[Movement]:
        """Yield every movement of ``Detalle`` in the PAC's order.

        The memory in use does not grow with their number. Raises ``pac-protocol-error``.
        """
        fields = self._fields()
        yield from (self._movement(item) for name, item in fields if name is _MOVEMENT)
        self._reader.log()

    def verified_movements(self) -> Iterator[Movement]:
        """Yield every movement; at the end, raise if the summary contradicts them."""
        consumed = 0
        for movement in self.movements():
            if is_consumption(movement.kind):
                consumed += movement.amount
            yield movement
        total = self.summary.transactions
        if is_consistent(total, consumed, one_issuer=self._one_issuer) is False:
            raise contradiction(NAME, total, consumed)

    def _open(self) -> _Source:
        head = self._response.peek(_HEAD_BYTES)
        corrected = _MISSING_COMMA.sub(rb"\1,\2", head, count=1)
        self._response.file.seek(len(head))
        return _Source(corrected, self._response.file)

    def _summary(self) -> Summary:
        fields: dict[str, Any] = {}
        for name, value in self._fields():
            if name is not None:
                fields[name] = value
            elif fields.keys() >= _SUMMARY:
                break  # The documented order: only movements follow.
        reader = self._reader
        plan = reader.optional_text(fields, "TipoConsumo")
        if plan is not None and not is_short(plan):
            raise protocol_error(NAME, "TipoConsumo is too long")
        return Summary(
            plan=_PLANS.get(plan, plan) if plan else None,
            as_of=reader.time(fields, "FechaActual"),
            issuers=IssuerCounts(
                registered=reader.count(fields, "Registrados"),
                authorized=reader.count(fields, "Autorizados"),
                active=reader.count(fields, "GeneraronTimbre"),
            ),
            transactions=reader.count(fields, "Transacciones"),
        )

    def _movement(self, item: dict[str, Any]) -> Movement:
        reader, received = self._reader, item.get(_RFC)
        kind, rfc = self._kinds[item.get(_KIND)], self._rfcs[received]
        if rfc is None and is_consumption(kind):
            # Raises: consumption is of an issuer; another movement may be of the account.
            reader.text(item, _RFC)
        elif rfc != (received or None):
            reader.normalized.add(_RFC)
        return Movement(rfc, self._read_date(item.get(_DATE)), kind, reader.number(item, _AMOUNT))

    def _fields(self) -> Iterator[tuple[str | None, Any]]:
        """Yield the response's fields as (documented name, value), and each item of ``Detalle``.

        Other objects and lists are skipped, at any depth. Raises
        ``pac-protocol-error`` for anything but a JSON object, and if ``Detalle`` is not a list.
        """
        file = self._open()
        # use_float: without it ijson 3.6.0 ends the process at an integer of over 4,300 digits.
        events = ijson.basic_parse(file, use_float=True)
        names: set[str] = set()
        try:
            if next(events)[0] != "start_map":
                raise protocol_error(NAME, "it is not a JSON object")
            for event, received in events:
                if event == "end_map":
                    continue
                name = self._documented(received)
                if name in names:
                    raise protocol_error(NAME, f"{_field_label(name)} appears twice")
                names.add(name)
                event, value = next(events)  # noqa: PLW2901 the value follows its name
                if name == "Detalle" and event == "start_array":
                    for item in self._items(events):
                        file.budget.reset()
                        yield _MOVEMENT, item
                elif name == "Detalle" and event != "null":
                    raise protocol_error(NAME, "Detalle is not a list")
                else:
                    yield name, _skip(events) if event in _OPENING else value
        except (ijson.JSONError, UnicodeDecodeError):
            raise protocol_error(NAME, "it is not valid JSON, or it is incomplete") from None

    def _items(self, events: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the objects of the list whose start event was read."""
        for begin, _ in events:
            if begin == "end_array":
                return
            if begin != "start_map":
                raise protocol_error(NAME, "an item of Detalle is not a movement")
            item: dict[str, Any] = {}
            for end, received in events:
                if end == "end_map":
                    break
                # A million movements have four million names: most need no call.
                name = received if received in _DOCUMENTED else self._documented(received)
                if name in item:
                    raise protocol_error(NAME, f"{_field_label(name)} appears twice in a movement")
                event, value = next(events)
                item[name] = _skip(events) if event in _OPENING else value
            yield item

    def _documented(self, received: str) -> str:
        """Return the documented spelling of a field's name; an unknown name is folded."""
        if received in _DOCUMENTED:
            return received
        name = _SPELLINGS.get(fold(received), fold(received))
        if name in _DOCUMENTED:
            self._reader.normalized.add(name)
        return name


# In place of a field's name: the value is an item of Detalle.
_MOVEMENT = None
_SKIPPED = object()
_OPENING = frozenset({"start_map", "start_array"})
_CLOSING = frozenset({"end_map", "end_array"})


def _field_label(name: str) -> str:
    # An undocumented name may repeat a credential.
    return name if name in _DOCUMENTED else "a field"


def _skip(events: Iterator[tuple[str, Any]]) -> object:
    """Consume the object or list whose start event was read; return a value that no field has."""
    depth = 1
    while depth:
        event, _ = next(events)
        depth += (event in _OPENING) - (event in _CLOSING)
    return _SKIPPED


class _Source(io.RawIOBase):
    """A corrected head and the remaining file, read as one stream within ``budget``."""

    def __init__(self, head: bytes, tail: IO[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._tail = tail
        self.budget = ByteBudget(NAME)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._head.read(len(buffer)) or self._tail.read(len(buffer))
        self.budget.consume(len(chunk))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _error_from_response(response: HttpResponse, is_statement: bool) -> PacError:
    table = STATEMENT_ERRORS if is_statement else ERRORS
    if response.status != 400:
        return response_error(NAME, response, table)
    code, message = response.error()
    if code is None:
        return protocol_error(NAME, "HTTP 400 without errors in its body", "400", message)
    return error_from_code(NAME, table, code, message)


def _may_be(file_format: str, response: HttpResponse) -> bool:
    head = response.peek(_PDF_HEAD_BYTES)
    if file_format == "pdf":
        return b"%PDF-" in head and not response.is_page
    start = decode_text(head, response.content_type, "replace").lstrip()
    is_other = start.strip("\0\ufeff")[:1] in ("", "{", "[") or head.startswith(_NO_CSV)
    return not is_other and not response.is_page


def _wrong_format_error(file_format: str, response: HttpResponse) -> PacError:
    if response.is_page:
        return response_error(NAME, response)
    content = sanitize_message(response.content_type) or "no content type"
    code, message = response.error()
    return protocol_error(
        NAME, f"it is not a {file_format.upper()} file ({content})", code, message
    )
