"""Faults of the fake PACs, and the queue that assigns them to calls.

A fault matches an operation and optionally an RFC or an account. Some faults damage the reply after
the PAC has processed the call. `REPLACING_FAULTS` replace the reply; the PAC does not process the
call unless `processed` is true. `PROCESSING_FAULTS` change the processing and not the reply. A call
can have one of them and one of the others.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from local.fake_pacs.fields import FieldError, Fields, Text, read_fields


class FaultKind(StrEnum):
    """The faults."""

    SLOW = "slow"
    SLOW_AFTER = "slow-after"
    CUT_BEFORE = "cut-before"
    CUT_AFTER = "cut-after"
    TRUNCATED = "truncated"
    HTML_200 = "html-200"
    WRONG_SHAPE = "wrong-shape"
    EMPTY_BODY = "empty-body"
    CODE = "code"
    REDIRECT = "redirect"
    SOAP_FAULT = "soap-fault"
    MISSING_FIELDS = "missing-fields"
    EMPTY_FIELDS = "empty-fields"
    NIL_FIELDS = "nil-fields"
    DTD = "dtd"
    MISSING_COMMA = "missing-comma"
    LAGGING_READS = "lagging-reads"
    DOUBLED_CONTRACT = "doubled-contract"
    EXPIRING_CONTRACT = "expiring-contract"
    CANNED = "canned"


ANY_OPERATION = frozenset(
    {
        FaultKind.SLOW,
        FaultKind.SLOW_AFTER,
        FaultKind.CUT_BEFORE,
        FaultKind.CUT_AFTER,
        FaultKind.TRUNCATED,
        FaultKind.HTML_200,
        FaultKind.WRONG_SHAPE,
        FaultKind.EMPTY_BODY,
        FaultKind.CODE,
        FaultKind.REDIRECT,
        FaultKind.CANNED,
    }
)
PROCESSING_FAULTS = frozenset(
    {FaultKind.LAGGING_READS, FaultKind.DOUBLED_CONTRACT, FaultKind.EXPIRING_CONTRACT}
)
"""Faults that change what the PAC reads or writes, not its reply."""
REPLACING_FAULTS = frozenset(
    {
        FaultKind.HTML_200,
        FaultKind.WRONG_SHAPE,
        FaultKind.EMPTY_BODY,
        FaultKind.CODE,
        FaultKind.REDIRECT,
        FaultKind.SOAP_FAULT,
        FaultKind.CANNED,
    }
)
"""Faults that replace the PAC's reply."""

CANNED_RESPONSES = Path(__file__).parents[2] / "tests" / "cases"
"""Folder of the responses of `canned`: complete HTTP responses, from the status line on."""
LAG_SECONDS = 8.0
EXPIRING_CONTRATADOS, EXPIRING_USADOS = 100, 50


@dataclass(frozen=True)
class Fault:
    """A fault of the next `times` calls of an operation, or of all calls if `times` is -1.

    `seconds` applies to the slow kinds and to `lagging-reads`, whose replies omit the writes of the
    last `seconds` (default 8). `code`, `mensaje` (SOAP) and `body` (REST: json, empty or html)
    apply to `code`. `reply`, sent unchanged, applies to `wrong-shape`, `location` to `redirect`,
    and `processed` to `REPLACING_FAULTS`. `case` applies to `canned`: the name of a file in
    `CANNED_RESPONSES` without `.http`, or a path. `contratados` and `usados` apply to
    `expiring-contract`: the stamps of the older contract that expires when the new one is created
    (default 100 and 50).
    """

    operation: str
    kind: FaultKind
    times: int = 1
    rfc: str | None = None
    account: str | None = None
    seconds: float = 0.0
    code: str | None = None
    mensaje: str | None = None
    body: str = "json"
    reply: str | None = None
    location: str | None = None
    processed: bool = False
    contratados: int | None = None
    usados: int | None = None
    case: str | None = None

    def canned_response(self) -> bytes:
        """Return the response of the fault `canned`, from the status line on."""
        return canned_path(self.case or "").read_bytes()

    def matches(self, operation: str, rfc: str | None, account: str | None) -> bool:
        """Return whether the fault applies to such a call."""
        return (
            self.operation == operation
            and self.rfc in (None, rfc)
            and self.account in (None, account)
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fault's fields as `parse_fault` reads them, without defaults."""
        payload: dict[str, Any] = {
            "operation": self.operation,
            "fault": self.kind.value,
            "times": self.times,
        }
        for name in (
            "rfc",
            "account",
            "code",
            "mensaje",
            "reply",
            "location",
            "contratados",
            "usados",
            "case",
        ):
            if getattr(self, name) is not None:
                payload[name] = getattr(self, name)
        if self.seconds:
            payload["seconds"] = self.seconds
        if self.body != "json":
            payload["body"] = self.body
        if self.processed:
            payload["processed"] = True
        return payload


@dataclass(frozen=True)
class FaultRules:
    """The faults of a PAC: kinds by operation, and codes by operation.

    A code has a `mensaje` if the PAC uses SOAP, and a `body` if it uses REST.
    """

    kinds: Mapping[str, frozenset[FaultKind]]
    codes: Mapping[str, frozenset[str]]
    soap: bool = False


_FIELDS_BY_KIND: Mapping[FaultKind, frozenset[str]] = {
    FaultKind.SLOW: frozenset({"seconds"}),
    FaultKind.SLOW_AFTER: frozenset({"seconds"}),
    FaultKind.LAGGING_READS: frozenset({"seconds"}),
    FaultKind.EXPIRING_CONTRACT: frozenset({"contratados", "usados"}),
    FaultKind.WRONG_SHAPE: frozenset({"reply"}),
    FaultKind.REDIRECT: frozenset({"location"}),
    FaultKind.CANNED: frozenset({"case"}),
}
_COMMON_FIELDS = frozenset({"operation", "fault", "times", "rfc", "account"})


class _FaultFields(Fields):
    operation: Text
    fault: Text
    times: int | None = None
    rfc: str | None = None
    account: str | None = None
    seconds: Annotated[float, Field(ge=0, le=900)] | None = None
    code: str | int | None = None
    mensaje: str | None = None
    body: Literal["json", "empty", "html"] | None = None
    reply: str | None = None
    location: str | None = None
    processed: bool | None = None
    contratados: Annotated[int, Field(ge=1)] | None = None
    usados: Annotated[int, Field(ge=0)] | None = None
    case: str | None = None


def canned_path(case: str) -> Path:
    """Return the file of a canned response."""
    return CANNED_RESPONSES / f"{case}.http"


def parse_fault(payload: object, rules: FaultRules) -> Fault:
    """Return the fault in `{"operation", "fault", "times"?, "rfc"?, "account"?, …}`.

    Raises FieldError for an unknown operation, a fault or a code that the operation does not have,
    and a field that the fault does not use.
    """
    fields = read_fields(_FaultFields, payload)
    operation = fields.operation
    if operation not in rules.kinds:
        raise FieldError(f"operation must be one of: {', '.join(sorted(rules.kinds))}")
    allowed = sorted(rules.kinds[operation])
    if fields.fault not in allowed:
        raise FieldError(f"fault of {operation} must be one of: {', '.join(allowed)}")
    kind = FaultKind(fields.fault)
    permitted = _COMMON_FIELDS | _FIELDS_BY_KIND.get(kind, frozenset())
    if kind in REPLACING_FAULTS:
        permitted |= {"processed"}
    if kind is FaultKind.CODE:
        permitted |= {"code", "mensaje" if rules.soap else "body"}
    if unknown := fields.model_fields_set - permitted:
        raise FieldError(f"unknown field: {', '.join(sorted(unknown))}")
    values = fields.model_dump(exclude={"operation", "fault"}, exclude_none=True)
    if "code" in values:
        values["code"] = str(values["code"])
    if kind is FaultKind.LAGGING_READS:
        values.setdefault("seconds", LAG_SECONDS)
    if kind is FaultKind.EXPIRING_CONTRACT:
        values.setdefault("contratados", EXPIRING_CONTRATADOS)
        values.setdefault("usados", min(EXPIRING_USADOS, values["contratados"]))
    fault = Fault(operation, kind, **values)
    codes = rules.codes.get(operation, frozenset())
    slow = kind in (FaultKind.SLOW, FaultKind.SLOW_AFTER)
    for invalid, message in (
        (fault.times < 1 and fault.times != -1, "times must be at least 1, or -1 for all calls"),
        (slow and "seconds" not in values, "seconds is required, from 0 to 900"),
        (kind is FaultKind.LAGGING_READS and not fault.seconds, "seconds must be more than 0"),
        (
            kind is FaultKind.CODE and fault.code not in codes,
            f"code must be one of: {', '.join(sorted(codes))}",
        ),
        (
            kind is FaultKind.CANNED and not canned_path(fault.case or "").is_file(),
            f"case must be the name of a file in {CANNED_RESPONSES.name}",
        ),
        ((fault.usados or 0) > (fault.contratados or 0), "usados must not exceed contratados"),
    ):
        if invalid:
            raise FieldError(message)
    return fault


class FaultQueue:
    """Faults in order of arrival; each call takes the first that matches."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def put(self, fault: Fault) -> None:
        """Append a fault."""
        with self._lock:
            self._faults.append(fault)

    def take_reply_fault(
        self, operation: str, rfc: str | None, account: str | None
    ) -> Fault | None:
        """Return the fault of a call's reply and decrement its `times`; None if none matches."""
        return self._take(operation, rfc, account, frozenset(FaultKind) - PROCESSING_FAULTS)

    def take_processing_fault(
        self, operation: str, rfc: str | None, account: str | None
    ) -> Fault | None:
        """Return the `PROCESSING_FAULTS` fault of a call and decrement its `times`, or None."""
        return self._take(operation, rfc, account, PROCESSING_FAULTS)

    def _take(
        self, operation: str, rfc: str | None, account: str | None, kinds: frozenset[FaultKind]
    ) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.kind not in kinds or not fault.matches(operation, rfc, account):
                    continue
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times > 1:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                return fault
            return None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the queued faults."""
        with self._lock:
            return [fault.as_json() for fault in self._faults]


class ConnectionCutError(ConnectionAbortedError):
    """A fault closed the connection."""


def cut(environ: Mapping[str, Any], response: bytes = b"") -> NoReturn:
    """Close the connection of a request, after sending `response` unchanged.

    Always raises ConnectionCutError, so that the server sends nothing more. Without a socket (a
    call in the same process) the caller receives the exception.
    """
    connection = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            connection.sendall(response)
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionCutError("connection closed by a fault")
