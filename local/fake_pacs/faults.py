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
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


class Fields(BaseModel):
    """The fields of a JSON object, with strict types and no additional fields.

    A ValidationError, which is a ValueError, names each invalid field.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, populate_by_name=True
    )


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
    MISSING_COMMA = "missing-comma"
    LAGGING_READS = "lagging-reads"
    DOUBLED_CONTRACT = "doubled-contract"
    EXPIRING_CONTRACT = "expiring-contract"
    CANNED = "canned"


PROCESSING_FAULTS = frozenset(
    {FaultKind.LAGGING_READS, FaultKind.DOUBLED_CONTRACT, FaultKind.EXPIRING_CONTRACT}
)
"""Faults that change what the PAC reads or writes, not its reply."""
REPLY_FAULTS = frozenset(FaultKind) - PROCESSING_FAULTS
_REPLACING_ANY = frozenset(
    {
        FaultKind.HTML_200,
        FaultKind.WRONG_SHAPE,
        FaultKind.EMPTY_BODY,
        FaultKind.CODE,
        FaultKind.REDIRECT,
        FaultKind.CANNED,
    }
)
REPLACING_FAULTS = _REPLACING_ANY | {FaultKind.SOAP_FAULT}
"""Faults that replace the PAC's reply."""
ANY_OPERATION = _REPLACING_ANY | {
    FaultKind.SLOW,
    FaultKind.SLOW_AFTER,
    FaultKind.CUT_BEFORE,
    FaultKind.CUT_AFTER,
    FaultKind.TRUNCATED,
}

CANNED_RESPONSES = Path(__file__).parents[2] / "tests" / "cases"
"""Folder of the responses of `canned`: complete HTTP responses, from the status line on."""


class Fault(Fields):
    """A fault of the next `times` calls of an operation, or of all calls if `times` is -1.

    `seconds` applies to the slow kinds and to `lagging-reads`, whose replies omit the writes of the
    last `seconds`. `code`, `mensaje` (SOAP) and `body` (REST) apply to `code`. `reply`, sent
    unchanged, applies to `wrong-shape`, and `processed` to `REPLACING_FAULTS`. `case` applies to
    `canned`: the name of a file in `CANNED_RESPONSES` without `.http`, or a path. `contratados` and
    `usados` apply to `expiring-contract`: the stamps of the older contract that expires when the
    new one is created.
    """

    operation: Text
    kind: Annotated[FaultKind, Field(alias="fault", strict=False)]
    times: int = 1
    rfc: str | None = None
    account: str | None = None
    seconds: Annotated[float, Field(ge=0, le=900)] = 8.0
    code: str | None = None
    mensaje: str | None = None
    body: Literal["json", "empty", "html"] = "json"
    reply: str | None = None
    processed: bool = False
    contratados: Annotated[int, Field(ge=1)] = 100
    usados: Annotated[int, Field(ge=0)] = 50
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
        """Return the given fields, as `parse_fault` reads them, and `times`."""
        fields = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {**fields, "times": self.times}


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
    FaultKind.CANNED: frozenset({"case"}),
}
_COMMON_FIELDS = frozenset({"operation", "kind", "times", "rfc", "account"})


def canned_path(case: str) -> Path:
    """Return the file of a canned response."""
    return CANNED_RESPONSES / f"{case}.http"


def parse_fault(payload: object, rules: FaultRules) -> Fault:
    """Return the fault in `{"operation", "fault", "times"?, "rfc"?, "account"?, …}`.

    Raises ValueError for an unknown operation, a fault or a code that the operation does not have,
    and a field that the fault does not use.
    """
    fault = Fault.model_validate(payload)
    operation, kind, given = fault.operation, fault.kind, fault.model_fields_set
    if operation not in rules.kinds:
        raise ValueError(f"operation must be one of: {', '.join(sorted(rules.kinds))}")
    permitted = _COMMON_FIELDS | _FIELDS_BY_KIND.get(kind, frozenset())
    if kind in REPLACING_FAULTS:
        permitted |= {"processed"}
    if kind is FaultKind.CODE:
        permitted |= {"code", "mensaje" if rules.soap else "body"}
    kinds, codes = rules.kinds[operation], rules.codes.get(operation, frozenset())
    slow = kind in (FaultKind.SLOW, FaultKind.SLOW_AFTER)
    for invalid, message in (
        (kind not in kinds, f"fault of {operation} must be one of: {', '.join(sorted(kinds))}"),
        (given - permitted, f"unknown field: {', '.join(sorted(given - permitted))}"),
        (fault.times < 1 and fault.times != -1, "times must be at least 1, or -1 for all calls"),
        (slow and "seconds" not in given, "seconds is required, from 0 to 900"),
        (
            kind is FaultKind.CODE and fault.code not in codes,
            f"code must be one of: {', '.join(sorted(codes))}",
        ),
        (
            kind is FaultKind.CANNED and not canned_path(fault.case or "").is_file(),
            f"case must be the name of a file in {CANNED_RESPONSES.name}",
        ),
        (fault.usados > fault.contratados, "usados must not exceed contratados"),
    ):
        if invalid:
            raise ValueError(message)
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

    def take(
        self,
        kinds: frozenset[FaultKind],
        operation: str,
        rfc: str | None,
        account: str | None,
    ) -> Fault | None:
        """Return a call's fault of these kinds and decrement its `times`; None if none matches."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.kind not in kinds or not fault.matches(operation, rfc, account):
                    continue
                if fault.times == 1:
                    del self._faults[index]
                elif fault.times > 1:
                    self._faults[index] = fault.model_copy(update={"times": fault.times - 1})
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
