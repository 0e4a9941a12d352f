"""Faults on command: what they are, and the queue that hands them to calls.

A fault waits for an operation (and, when told so, for one RFC or account). Those that
spoil a genuine answer let the PAC do its work first; those that put another answer in its
place do so without any work, unless `processed` says that the work was done all the same.
Those that change the work (`CHANGING_WORK`) leave the answer alone: a call can suffer one of
them and one of the others.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from local.fake_pacs.fields import FieldError, Fields, Text, read_fields


class FaultKind(StrEnum):
    """Everything that can be made to go wrong."""

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
    }
)
PROCESSING_FAULTS = frozenset(
    {FaultKind.LAGGING_READS, FaultKind.DOUBLED_CONTRACT, FaultKind.EXPIRING_CONTRACT}
)
"""The kinds that change what the PAC reads or writes, and not how it answers."""
REPLACING_FAULTS = frozenset(
    {
        FaultKind.HTML_200,
        FaultKind.WRONG_SHAPE,
        FaultKind.EMPTY_BODY,
        FaultKind.CODE,
        FaultKind.REDIRECT,
        FaultKind.SOAP_FAULT,
    }
)
"""The kinds that answer in the PAC's place."""

LAG_SECONDS = 8.0
EXPIRING_CONTRATADOS, EXPIRING_USADOS = 100, 50


@dataclass(frozen=True)
class Fault:
    """One fault for the next `times` calls of an operation, or for all where `times` is -1.

    `seconds` goes with the slow kinds and with `lagging-reads`, whose answers do not include
    what was written in the last `seconds` (8 by default); `code`, `mensaje` (SOAP) and `body`
    (REST: json, empty or html) with `code`; `reply`, sent verbatim, with `wrong-shape`;
    `location` with `redirect`; `processed` with the kinds that answer in the PAC's place;
    `contratados` and `usados` with `expiring-contract`: the stamps of the older contract that
    expires while the new contract takes effect (100, 50 of them used, by default).
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

    def matches(self, operation: str, rfc: str | None, account: str | None) -> bool:
        """Whether the fault waits for such a call."""
        return (
            self.operation == operation
            and self.rfc in (None, rfc)
            and self.account in (None, account)
        )

    def as_json(self) -> dict[str, Any]:
        """What is set of the fault, under the names that `parse_fault` reads."""
        shown: dict[str, Any] = {
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
        ):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        if self.seconds:
            shown["seconds"] = self.seconds
        if self.body != "json":
            shown["body"] = self.body
        if self.processed:
            shown["processed"] = True
        return shown


@dataclass(frozen=True)
class FaultRules:
    """What one PAC's operations can suffer: kinds by operation, codes by operation.

    A PAC that speaks SOAP words its codes with a `mensaje`, one that speaks REST with a
    `body`.
    """

    kinds: Mapping[str, frozenset[FaultKind]]
    codes: Mapping[str, frozenset[str]]
    soap: bool = False


_FIELDS_OF_KIND: Mapping[FaultKind, frozenset[str]] = {
    FaultKind.SLOW: frozenset({"seconds"}),
    FaultKind.SLOW_AFTER: frozenset({"seconds"}),
    FaultKind.LAGGING_READS: frozenset({"seconds"}),
    FaultKind.EXPIRING_CONTRACT: frozenset({"contratados", "usados"}),
    FaultKind.WRONG_SHAPE: frozenset({"reply"}),
    FaultKind.REDIRECT: frozenset({"location"}),
}
_FIELDS_OF_ALL = frozenset({"operation", "fault", "times", "rfc", "account"})


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


def parse_fault(payload: object, rules: FaultRules) -> Fault:
    """Read a fault from `{"operation", "fault", "times"?, "rfc"?, "account"?, …}`.

    Raises FieldError for an unknown operation, a fault or a code that the operation does
    not have, and fields that the fault has no use for.
    """
    fields = read_fields(_FaultFields, payload)
    operation = fields.operation
    if operation not in rules.kinds:
        raise FieldError(f"operation must be one of: {', '.join(sorted(rules.kinds))}")
    allowed = sorted(rules.kinds[operation])
    if fields.fault not in allowed:
        raise FieldError(f"fault of {operation} must be one of: {', '.join(allowed)}")
    kind = FaultKind(fields.fault)
    known = _FIELDS_OF_ALL | _FIELDS_OF_KIND.get(kind, frozenset())
    if kind in REPLACING_FAULTS:
        known |= {"processed"}
    if kind is FaultKind.CODE:
        known |= {"code", "mensaje" if rules.soap else "body"}
    if unknown := fields.model_fields_set - known:
        raise FieldError(f"unknown field: {', '.join(sorted(unknown))}")
    given = fields.model_dump(exclude={"operation", "fault"}, exclude_none=True)
    if "code" in given:
        given["code"] = str(given["code"])
    if kind is FaultKind.LAGGING_READS:
        given.setdefault("seconds", LAG_SECONDS)
    if kind is FaultKind.EXPIRING_CONTRACT:
        given.setdefault("contratados", EXPIRING_CONTRATADOS)
        given.setdefault("usados", min(EXPIRING_USADOS, given["contratados"]))
    fault = Fault(operation, kind, **given)
    codes = rules.codes.get(operation, frozenset())
    slow = kind in (FaultKind.SLOW, FaultKind.SLOW_AFTER)
    for wrong, complaint in (
        (fault.times < 1 and fault.times != -1, "times must be at least 1, or -1 for all calls"),
        (slow and "seconds" not in given, "seconds is required, from 0 to 900"),
        (kind is FaultKind.LAGGING_READS and not fault.seconds, "seconds must be more than 0"),
        (
            kind is FaultKind.CODE and fault.code not in codes,
            f"code must be one of: {', '.join(sorted(codes))}",
        ),
        ((fault.usados or 0) > (fault.contratados or 0), "usados must not exceed contratados"),
    ):
        if wrong:
            raise FieldError(complaint)
    return fault


class FaultQueue:
    """Faults in the order they were set; each call takes the first that fits it."""

    def __init__(self) -> None:
        """Start without faults."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def put(self, fault: Fault) -> None:
        """Add a fault behind those already waiting."""
        with self._lock:
            self._faults.append(fault)

    def take(self, operation: str, rfc: str | None, account: str | None) -> Fault | None:
        """The fault of a call's answer, one use of it spent, or None."""
        return self._take(operation, rfc, account, frozenset(FaultKind) - PROCESSING_FAULTS)

    def take_work(self, operation: str, rfc: str | None, account: str | None) -> Fault | None:
        """The fault of a call's work (`CHANGING_WORK`), one use of it spent, or None."""
        return self._take(operation, rfc, account, PROCESSING_FAULTS)

    def _take(
        self, operation: str, rfc: str | None, account: str | None, kinds: frozenset[FaultKind]
    ) -> Fault | None:
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.kind not in kinds or not fault.matches(operation, rfc, account):
                    continue
                if fault.times == 1:
                    del self._faults[place]
                elif fault.times > 1:
                    self._faults[place] = replace(fault, times=fault.times - 1)
                return fault
            return None

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """The faults still waiting."""
        with self._lock:
            return [fault.as_json() for fault in self._faults]


class ConnectionCutError(ConnectionAbortedError):
    """The connection was closed on command; no more bytes can follow."""


def cut(environ: Mapping[str, Any]) -> NoReturn:
    """Close the connection of a request under the client's feet.

    Always raises ConnectionCutError, by which the server knows to send nothing more; without a
    socket (a call made in the same process) that exception is all the caller sees.
    """
    connection = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionCutError("connection cut on command")
