"""Sovos Reachcore: the REST API of balances.

Source: "Stamping Service Balance Consultation API" and its Spanish version, "API para
Consulta de Saldo en Servicio de Timbrado".
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from types import TracebackType
from typing import IO, Any, Self

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
from timbres.domain.clock import from_local
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.errors import PacError
from timbres.pacs.base import MAX_CONNECTIONS, BalanceClient, StatementClient
from timbres.pacs.errors import (
    contradiction,
    error_from_code,
    protocol_error,
    sanitize_message,
)
from timbres.pacs.http import HttpResponse, PacSession, with_retries
from timbres.pacs.reachcore.error_codes import ERRORS, STATEMENT_ERRORS
from timbres.pacs.reachcore.limits import ByteBudget, enforce_limits, is_short
from timbres.pacs.reachcore.statement import read_statement
from timbres.pacs.rest import BOM, parse_json, post_json, read_count, read_text

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
_NAMES = _SUMMARY | {"Detalle", "RFC", "Fecha", "TipoMovimiento", "Monto"}
# Enough for the PAC's messages, of which the first 300 characters are reported.
_MAX_ERROR_BYTES = 2 * 1024 * 1024
# The documented responses have no comma after FechaActual; accepted there only.
_MISSING_COMMA = re.compile(rb'("FechaActual"\s*:\s*"[^"\\]*")(\s*")')
_HEAD_BYTES = 4096


class ReachcoreClient(BalanceClient, StatementClient):
    """A client for one account at Sovos Reachcore. Threads may share it."""

    def __init__(self, account: Account, attempts: int) -> None:
        self._url = account.base + _PATH
        self._key = account.credentials["api_key"]
        self._session = PacSession(NAME, MAX_CONNECTIONS)
        self._attempts = attempts

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
                return ReachcoreBalance(response, one_issuer=rfc is not None)
            except BaseException:
                response.file.close()
                raise

        return with_retries(read, deadline, self._attempts)

    def statement(self, month: Month, file_format: str, deadline: Deadline) -> ReachcoreStatement:
        """Return the PAC's own statement of all RFCs, ``csv`` or ``pdf``, byte for byte.

        Raises ``pac-protocol-error`` if the response has another format, for example HTML.
        """

        def read() -> ReachcoreStatement:
            response = self._post(f"/{file_format}", {"MesConsulta": str(month)}, deadline)
            if not _looks_like(file_format, response):
                response.file.close()
                raise protocol_error(
                    NAME, f"it is not a {file_format.upper()} file ({_describe_content(response)})"
                )
            return ReachcoreStatement(response, is_csv=file_format == "csv")

        return with_retries(read, deadline, self._attempts)

    def _post(self, path: str, payload: dict[str, str], deadline: Deadline) -> HttpResponse:
        headers = {"RCApiKey": self._key}
        response = post_json(self._session, self._url + path, payload, deadline, headers=headers)
        if response.status == 200:
            return response
        with response.file:
            raise _error_from_response(response, bool(path))


class ReachcoreStatement:
    """A statement of Reachcore; see :class:`timbres.pacs.base.StatementFile`."""

    def __init__(self, response: HttpResponse, *, is_csv: bool) -> None:
        self.file = response.file
        self.size = response.size
        self.sha256 = response.sha256
        self._is_csv = is_csv

    def figures(self) -> Statement | None:
        """Return the figures of a CSV, None for a PDF. Raises ``pac-protocol-error``."""
        if not self._is_csv:
            return None
        self.file.seek(0)
        return read_statement(self.file)


class ReachcoreBalance:
    """A month's balance in the PAC's JSON; see :class:`timbres.pacs.base.BalanceStream`."""

    def __init__(self, response: HttpResponse, *, one_issuer: bool = False) -> None:
        self._response = response
        self._one_issuer = one_issuer
        self.summary = self._summary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._response.file.close()

    def movements(self) -> Iterator[Movement]:
        """Yield every movement of ``Detalle`` in the PAC's order.

        The memory in use does not grow with their number. Raises ``pac-protocol-error``.
        """
        fields = _fields(self._open())
        return enforce_limits(NAME, (_movement(item) for name, item in fields if name is _MOVEMENT))

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
        corrected = _MISSING_COMMA.sub(rb"\1,\2", head.removeprefix(BOM), count=1)
        self._response.file.seek(len(head))
        return _Source(corrected, self._response.file)

    def _summary(self) -> Summary:
        fields: dict[str | None, Any] = {}
        for name, value in _fields(self._open()):
            if name is not _MOVEMENT:
                fields[name] = value
            elif fields.keys() >= _SUMMARY:
                break  # The documented order: only movements follow.
        plan = read_text(NAME, fields, "TipoConsumo")
        if not is_short(plan):
            raise protocol_error(NAME, "TipoConsumo is too long")
        try:
            as_of = from_local(read_text(NAME, fields, "FechaActual"))
        except ValueError:
            raise protocol_error(NAME, "FechaActual is not a time yyyy-mm-ddThh:MM:ss") from None
        return Summary(
            plan=_PLANS.get(plan, plan),
            as_of=as_of,
            issuers=IssuerCounts(
                registered=read_count(NAME, fields, "Registrados"),
                authorized=read_count(NAME, fields, "Autorizados"),
                active=read_count(NAME, fields, "GeneraronTimbre"),
            ),
            transactions=read_count(NAME, fields, "Transacciones"),
        )


# In place of a field's name: the value is an item of Detalle.
_MOVEMENT = None
_OPENING = frozenset({"start_map", "start_array"})
_CLOSING = frozenset({"end_map", "end_array"})


def _fields(file: _Source) -> Iterator[tuple[str | None, Any]]:
    """Yield the response's fields as (name, value), and each item of ``Detalle`` when parsed.

    Other objects and lists are skipped, at any depth: their value is None. Raises
    ``pac-protocol-error`` for anything but a JSON object with one list ``Detalle``.
    """
    # use_float: without it ijson 3.6.0 ends the process at an integer of over 4,300 digits.
    events = ijson.basic_parse(file, use_float=True)
    names: set[str] = set()
    has_detail = False
    try:
        if next(events)[0] != "start_map":
            raise protocol_error(NAME, "it is not a JSON object")
        for event, name in events:
            if event == "end_map":
                continue
            if name in names:
                raise protocol_error(NAME, f"{_field_label(name)} appears twice")
            names.add(name)
            event, value = next(events)  # noqa: PLW2901 the value follows its name
            if name == "Detalle" and event == "start_array":
                has_detail = True
                for item in _items(events):
                    file.budget.reset()
                    yield _MOVEMENT, item
            else:
                if event in _OPENING:
                    _skip(events)
                yield name, value
    except (ijson.JSONError, UnicodeDecodeError):
        raise protocol_error(NAME, "it is not valid JSON, or it is incomplete") from None
    if not has_detail:
        raise protocol_error(NAME, "Detalle is missing or is not a list")


def _items(events: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the objects of the list whose start event was read."""
    for begin, _ in events:
        if begin == "end_array":
            return
        if begin != "start_map":
            raise protocol_error(NAME, "an item of Detalle is not a movement")
        item: dict[str, Any] = {}
        for end, name in events:
            if end == "end_map":
                break
            if name in item:
                raise protocol_error(NAME, f"{_field_label(name)} appears twice in a movement")
            event, value = next(events)
            if event in _OPENING:
                _skip(events)
            item[name] = value
        yield item


def _field_label(name: str) -> str:
    # An undocumented name may repeat a credential.
    return name if name in _NAMES else "a field"


def _skip(events: Iterator[tuple[str, Any]]) -> None:
    """Consume the events of the object or list whose start event was read."""
    depth = 1
    while depth:
        event, _ = next(events)
        depth += (event in _OPENING) - (event in _CLOSING)


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


def _movement(item: dict[str, Any]) -> Movement:
    try:
        day = _day(read_text(NAME, item, "Fecha"))
    except ValueError:
        raise protocol_error(NAME, "Fecha is not a date yyyy-mm-ddThh:MM:ss") from None
    return Movement(
        rfc=read_text(NAME, item, "RFC").strip(),
        date=day,
        kind=read_text(NAME, item, "TipoMovimiento").strip(),
        amount=read_count(NAME, item, "Monto"),
    )


@lru_cache(maxsize=64)
def _day(text: str) -> date:
    # A month has up to 31 days, but may have a million movements.
    return from_local(text).date()


def _error_from_response(response: HttpResponse, is_statement: bool) -> PacError:
    table = STATEMENT_ERRORS if is_statement else ERRORS
    code, message = _first_error(response)
    if response.status == 400:
        if code is None:
            return protocol_error(NAME, "HTTP 400 without errors in its body")
        return error_from_code(NAME, table, code, message)
    return error_from_code(NAME, table, str(response.status), message)


def _first_error(response: HttpResponse) -> tuple[str | None, str | None]:
    """Return Code and Message of ``{"errors": [{…}]}``, each None if it is missing."""
    body = parse_json(response.peek(_MAX_ERROR_BYTES))
    try:
        first_error = body["errors"][0]
        code, message = first_error.get("Code"), first_error.get("Message")
    except (LookupError, TypeError, AttributeError):
        return None, None
    return (
        sanitize_message(str(code)) if isinstance(code, str | int) else None,
        message if isinstance(message, str) else None,
    )


def _looks_like(file_format: str, response: HttpResponse) -> bool:
    head = response.peek()
    if file_format == "pdf":
        response.file.seek(max(0, response.size - 1024))
        tail = response.file.read()
        response.file.seek(0)
        return head.startswith(b"%PDF-") and b"%%EOF" in tail
    return head.removeprefix(BOM).lstrip().startswith(b"Cuenta,")


def _describe_content(response: HttpResponse) -> str:
    return sanitize_message(response.content_type) or "no content type"
