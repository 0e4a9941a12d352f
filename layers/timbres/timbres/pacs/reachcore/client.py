"""Sovos Reachcore: the REST API of balances.

Source: "Stamping Service Balance Consultation API" and its Spanish twin, "API para
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
# Room for the PAC's words, of which the first 300 characters are shown.
_ERROR_BYTES = 2 * 1024 * 1024
# The documented answers lack the comma behind FechaActual; accepted there, nowhere else.
_MISSING_COMMA = re.compile(rb'("FechaActual"\s*:\s*"[^"\\]*")(\s*")')
_HEAD = 4096


class ReachcoreClient(BalanceClient, StatementClient):
    """One account at Sovos Reachcore."""

    def __init__(self, account: Account, attempts: int) -> None:
        self._url = account.base + _PATH
        self._key = account.credentials["api_key"]
        self._session = PacSession(NAME, MAX_CONNECTIONS)
        self._attempts = attempts

    def balance(self, month: Month, rfc: Rfc | None, deadline: Deadline) -> ReachcoreBalance:
        """Return the month's balance, of all RFCs or of one.

        Raises ``issuer-not-registered`` for an RFC that the account does not hold.
        """
        question = {"MesConsulta": str(month)}
        if rfc is not None:
            question["RFCConsulta"] = rfc

        def read() -> ReachcoreBalance:
            answer = self._post("", question, deadline)
            try:
                return ReachcoreBalance(answer, one_issuer=rfc is not None)
            except BaseException:
                answer.file.close()
                raise

        return with_retries(read, deadline, self._attempts)

    def statement(self, month: Month, file_format: str, deadline: Deadline) -> ReachcoreStatement:
        """Return the PAC's own statement of all RFCs, ``csv`` or ``pdf``, byte for byte.

        Raises ``pac-protocol-error`` when what came is no such file, an HTML page say.
        """

        def read() -> ReachcoreStatement:
            answer = self._post(f"/{file_format}", {"MesConsulta": str(month)}, deadline)
            if not _looks_like(file_format, answer):
                answer.file.close()
                raise protocol_error(
                    NAME, f"no {file_format.upper()} file came ({_describe_content(answer)})"
                )
            return ReachcoreStatement(answer, is_csv=file_format == "csv")

        return with_retries(read, deadline, self._attempts)

    def _post(self, path: str, payload: dict[str, str], deadline: Deadline) -> HttpResponse:
        headers = {"RCApiKey": self._key}
        answer = post_json(self._session, self._url + path, payload, deadline, headers=headers)
        if answer.status == 200:
            return answer
        with answer.file:
            raise _error_from_response(answer, bool(path))


class ReachcoreStatement:
    """A statement of Reachcore; see :class:`timbres.pacs.base.StatementFile`."""

    def __init__(self, answer: HttpResponse, *, is_csv: bool) -> None:
        self.file = answer.file
        self.size = answer.size
        self.sha256 = answer.sha256
        self._is_csv = is_csv

    def figures(self) -> Statement | None:
        """Return what a CSV says, None for a PDF. Raises ``pac-protocol-error``."""
        if not self._is_csv:
            return None
        self.file.seek(0)
        return read_statement(self.file)


class ReachcoreBalance:
    """A month's balance in the PAC's JSON; see :class:`timbres.pacs.base.BalanceStream`."""

    def __init__(self, answer: HttpResponse, *, one_issuer: bool = False) -> None:
        self._answer = answer
        self._one_issuer = one_issuer
        self.summary = self._summary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._answer.file.close()

    def movements(self) -> Iterator[Movement]:
        """Yield every movement of ``Detalle`` in the PAC's order.

        The memory in use does not grow with their number. Raises ``pac-protocol-error``.
        """
        found = (_movement(item) for name, item in _fields(self._open()) if name is _MOVEMENT)
        return enforce_limits(NAME, found)

    def verified_movements(self) -> Iterator[Movement]:
        """Yield what :meth:`movements` does; at the end, raise if the summary disagrees."""
        consumed = 0
        for movement in self.movements():
            if is_consumption(movement.kind):
                consumed += movement.amount
            yield movement
        total = self.summary.transactions
        if is_consistent(total, consumed, one_issuer=self._one_issuer) is False:
            raise contradiction(NAME, total, consumed)

    def _open(self) -> _Source:
        head = self._answer.peek(_HEAD)
        mended = _MISSING_COMMA.sub(rb"\1,\2", head.removeprefix(BOM), count=1)
        self._answer.file.seek(len(head))
        return _Source(mended, self._answer.file)

    def _summary(self) -> Summary:
        fields: dict[str | None, Any] = {}
        for name, value in _fields(self._open()):
            if name is not _MOVEMENT:
                fields[name] = value
            elif fields.keys() >= _SUMMARY:
                break  # The documented order: only movements follow.
        plan = read_text(NAME, fields, "TipoConsumo")
        if not is_short(plan):
            raise protocol_error(NAME, "TipoConsumo is longer than any")
        try:
            as_of = from_local(read_text(NAME, fields, "FechaActual"))
        except ValueError:
            raise protocol_error(NAME, "FechaActual is no time yyyy-mm-ddThh:MM:ss") from None
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


# Stands for the name of a field where an item of Detalle is told instead.
_MOVEMENT = None
_OPENING = frozenset({"start_map", "start_array"})
_CLOSING = frozenset({"end_map", "end_array"})


def _fields(file: _Source) -> Iterator[tuple[str | None, Any]]:
    """Yield the answer's fields as (name, value), and each item of ``Detalle`` on its way.

    Objects and lists elsewhere are passed over, however deep: their value is None. Raises
    ``pac-protocol-error`` for what is no JSON object with one list ``Detalle``.
    """
    # use_float: without it ijson 3.6.0 ends the process at an integer of over 4,300 digits.
    events = ijson.basic_parse(file, use_float=True)
    seen: set[str] = set()
    listed = False
    try:
        if next(events)[0] != "start_map":
            raise protocol_error(NAME, "it is no JSON object")
        for event, name in events:
            if event == "end_map":
                continue
            if name in seen:
                raise protocol_error(NAME, f"{_intern(name)} stands in it twice")
            seen.add(name)
            event, value = next(events)  # noqa: PLW2901 a name's value follows it
            if name == "Detalle" and event == "start_array":
                listed = True
                for item in _items(events):
                    file.portion.reset()
                    yield _MOVEMENT, item
            else:
                if event in _OPENING:
                    _skip(events)
                yield name, value
    except (ijson.JSONError, UnicodeDecodeError):
        raise protocol_error(NAME, "it is no JSON, or only the beginning of one") from None
    if not listed:
        raise protocol_error(NAME, "Detalle is missing or no list")


def _items(events: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list that has just begun."""
    for begin, _ in events:
        if begin == "end_array":
            return
        if begin != "start_map":
            raise protocol_error(NAME, "Detalle holds something that is no movement")
        item: dict[str, Any] = {}
        for end, name in events:
            if end == "end_map":
                break
            if name in item:
                raise protocol_error(NAME, f"{_intern(name)} stands in a movement twice")
            event, value = next(events)
            if event in _OPENING:
                _skip(events)
            item[name] = value
        yield item


def _intern(name: str) -> str:
    # An unknown name is the PAC's own text, which may repeat a credential.
    return name if name in _NAMES else "a member"


def _skip(events: Iterator[tuple[str, Any]]) -> None:
    """Take away the events of an object or a list that has just begun."""
    depth = 1
    while depth:
        event, _ = next(events)
        depth += (event in _OPENING) - (event in _CLOSING)


class _Source(io.RawIOBase):
    """A mended head and the rest of a file, read as one, ``portion`` by portion."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest
        self.portion = ByteBudget(NAME)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        self.portion.consume(len(piece))
        buffer[: len(piece)] = piece
        return len(piece)


def _movement(item: dict[str, Any]) -> Movement:
    try:
        day = _day(read_text(NAME, item, "Fecha"))
    except ValueError:
        raise protocol_error(NAME, "Fecha is no date yyyy-mm-ddThh:MM:ss") from None
    return Movement(
        rfc=read_text(NAME, item, "RFC").strip(),
        date=day,
        kind=read_text(NAME, item, "TipoMovimiento").strip(),
        amount=read_count(NAME, item, "Monto"),
    )


@lru_cache(maxsize=64)
def _day(text: str) -> date:
    # A month has 31 at most: cached, since there may be a million movements.
    return from_local(text).date()


def _error_from_response(answer: HttpResponse, statement: bool) -> PacError:
    table = STATEMENT_ERRORS if statement else ERRORS
    code, message = _first_error(answer)
    if answer.status == 400:
        if code is None:
            return protocol_error(NAME, "HTTP 400 without errors in its body")
        return error_from_code(NAME, table, code, message)
    return error_from_code(NAME, table, str(answer.status), message)


def _first_error(answer: HttpResponse) -> tuple[str | None, str | None]:
    """Return Code and Message of ``{"errors": [{…}]}``, or None for each that is not there."""
    body = parse_json(answer.peek(_ERROR_BYTES))
    try:
        first = body["errors"][0]
        code, message = first.get("Code"), first.get("Message")
    except (LookupError, TypeError, AttributeError):
        return None, None
    return (
        sanitize_message(str(code)) if isinstance(code, str | int) else None,
        message if isinstance(message, str) else None,
    )


def _looks_like(form: str, answer: HttpResponse) -> bool:
    head = answer.peek()
    if form == "pdf":
        answer.file.seek(max(0, answer.size - 1024))
        tail = answer.file.read()
        answer.file.seek(0)
        return head.startswith(b"%PDF-") and b"%%EOF" in tail
    return head.removeprefix(BOM).lstrip().startswith(b"Cuenta,")


def _describe_content(answer: HttpResponse) -> str:
    return sanitize_message(answer.content_type) or "without a content type"
