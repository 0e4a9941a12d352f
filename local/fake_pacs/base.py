"""Base class of the fake PACs: routing, control endpoints and fault injection."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urljoin

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from local.fake_pacs.fake_data import Clock, FakePacStateError, mexico_now
from local.fake_pacs.faults import (
    REPLACING_FAULTS,
    Fault,
    FaultKind,
    FaultQueue,
    FaultRules,
    cut,
    parse_fault,
)
from local.fake_pacs.fields import FieldError, Fields, read_fields

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_FieldsType = TypeVar("_FieldsType", bound=Fields)

CONTROL = "/_control"
MAX_CALLS = 100_000
JSON = "application/json; charset=utf-8"
MAINTENANCE_PAGE = (
    "<!DOCTYPE html><html lang='es'><head><meta charset='utf-8'><title>Mantenimiento</title>"
    "</head><body><h1>Servicio en mantenimiento</h1>"
    "<p>Estamos trabajando para mejorar. Intente más tarde.</p></body></html>"
).encode()


@dataclass(frozen=True)
class RequestContext:
    """The properties of a call, as sent, before validation."""

    operation: str
    account: str | None = None
    rfc: str | None = None
    month: str | None = None
    timbres: int | None = None


@dataclass
class Reply:
    """A response before fault injection.

    `outcome` is the PAC's code. `length` is the size of a body that is an iterator, None if
    unknown. `on_sent` is called with True when sending starts, and with False if sending fails.
    """

    status: int
    body: Iterable[bytes]
    content_type: str
    outcome: str
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    on_sent: Callable[[bool], None] | None = None


@dataclass
class Call:
    """A received call. `outcome` is "in-progress", the PAC's code, or "not-processed"."""

    number: int
    time: str
    context: RequestContext
    fault: FaultKind | None
    outcome: str = "in-progress"
    answered: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the call without credentials."""
        return {
            "number": self.number,
            "time": self.time,
            "operation": self.context.operation,
            "account": self.context.account,
            "rfc": self.context.rfc,
            "month": self.context.month,
            "timbres": self.context.timbres,
            "fault": self.fault.value if self.fault else None,
            "outcome": self.outcome,
            "answered": self.answered,
        }


class CallLog:
    """The newest calls, in order of arrival."""

    def __init__(self) -> None:
        """Start empty."""
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._count = 0
        self._lock = threading.Lock()

    def begin(self, context: RequestContext, fault: FaultKind | None, time: str) -> Call:
        """Add a call; its outcome is set later."""
        with self._lock:
            self._count += 1
            call = Call(self._count, time, context, fault)
            self._calls.append(call)
            return call

    def clear(self) -> None:
        """Remove all calls."""
        with self._lock:
            self._calls.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the stored calls, oldest first."""
        with self._lock:
            return [call.as_json() for call in self._calls]


def json_reply(payload: object, outcome: str = "200", status: int = 200) -> Reply:
    """Return a PAC's reply as JSON in UTF-8."""
    return Reply(status, [json.dumps(payload, ensure_ascii=False).encode()], JSON, outcome)


def json_response(payload: object, status: int = 200) -> Response:
    """Return a JSON response in UTF-8."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    return Response(body, status, content_type=JSON)


def control_fields(request: Request, model: type[_FieldsType]) -> _FieldsType:
    """Return the fields of a control request's JSON object. Raises FieldError."""
    return read_fields(model, request.get_json(force=True, silent=True))


View = Callable[..., Response]


@cache
def _urls(routes: tuple[tuple[str, str, str], ...]) -> Map:
    """The map from paths to names of views; it takes longer to make than a fake PAC."""
    return Map(
        [Rule(path, methods=methods.split(), endpoint=view) for methods, path, view in routes],
        strict_slashes=True,
        merge_slashes=False,
        redirect_defaults=False,
    )


class FakePac(ABC):
    """A WSGI application that behaves as a PAC; `/_control/` controls it.

    A subclass defines its fault rules and the header with its credentials, if any. It passes its
    routes as (methods, path, view); a view is one of its methods, which takes the request and the
    path's variables, and returns the result of `respond`.
    """

    rules: ClassVar[FaultRules]
    credential_header: ClassVar[str | None] = None

    def __init__(self, routes: Sequence[tuple[str, str, View]], clock: Clock = mexico_now) -> None:
        """Set the PAC's routes, with methods separated by blanks, and its clock."""
        self.faults = FaultQueue()
        self.calls = CallLog()
        self._clock = clock
        self._contracts: list[tuple[str, int]] = []
        all_routes = [
            ("GET", f"{CONTROL}/state", self._get_state),
            ("GET", f"{CONTROL}/faults", self._get_faults),
            ("POST", f"{CONTROL}/faults", self._post_fault),
            ("DELETE", f"{CONTROL}/faults", self._delete_faults),
            ("GET", f"{CONTROL}/calls", self._get_calls),
            ("DELETE", f"{CONTROL}/calls", self._delete_calls),
            ("GET POST", f"{CONTROL}/elsewhere", self._redirect_target),
            *routes,
        ]
        self._urls = _urls(
            tuple((methods, path, view.__name__) for methods, path, view in all_routes)
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a WSGI request."""
        request = Request(environ)
        return self._dispatch(request)(environ, start_response)

    # ------------------------------------------------------------- for the subclasses

    @abstractmethod
    def rejection(self, operation: str, fault: Fault) -> Reply:
        """Return the PAC's reply for a fault of the kind `CODE`."""

    def wrong_shape(self, operation: str) -> Reply:  # noqa: ARG002 for subclasses
        """Return a well-formed reply that differs from the PAC's documentation."""
        return json_reply({"estado": "correcto", "saldo": {"timbres": "tres"}}, "not-processed")

    def content_type(self, operation: str) -> str:  # noqa: ARG002 as above
        """Return the content type of the PAC's replies to an operation."""
        return JSON

    def state_json(self) -> dict[str, Any]:
        """Return the fake PAC's state without credentials."""
        return {"contracts": self.contracts()}

    def not_routed(self, error: HTTPException) -> Reply:
        """Return the PAC's reply to an unknown path or method."""
        return Reply(error.code or 500, [], "text/html", "not-processed")

    def contracts(self) -> list[tuple[str, int]]:
        """Return the created contracts as RFC and stamps, oldest first."""
        return list(self._contracts)

    def statements(self, month: str, file_format: str) -> list[bytes]:  # noqa: ARG002 as above
        """Return the last sent statement of a month for each account."""
        return []

    def respond(
        self,
        request: Request,
        context: RequestContext,
        process: Callable[[Fault | None, Fault | None], Reply],
    ) -> Response:
        """Return the response to a call, after injecting the queued faults that match it.

        `process` processes the call and returns the reply. Its first argument is the fault of the
        reply, its second the fault of the processing (`PROCESSING_FAULTS`); each may be None.
        """
        call_key = (context.operation, context.rfc, context.account)
        fault = self.faults.take_reply_fault(*call_key)
        processing_fault = self.faults.take_processing_fault(*call_key)
        kind = fault.kind if fault else None
        processing_kind = processing_fault.kind if processing_fault else None
        call = self.calls.begin(context, kind or processing_kind, self._timestamp())
        if fault and kind is FaultKind.SLOW:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_BEFORE:
            call.outcome = "not-processed"
            cut(request.environ)
        if fault and kind is FaultKind.CANNED:
            call.outcome = process(fault, processing_fault).outcome if fault.processed else "canned"
            call.answered = True
            cut(request.environ, fault.canned_response())
        if fault and kind in REPLACING_FAULTS:
            reply = self.replacement(request, context.operation, fault)
            call.outcome = reply.outcome
            if fault.processed:
                call.outcome = process(fault, processing_fault).outcome
        else:
            reply = process(fault, processing_fault)
            call.outcome = reply.outcome
        if fault and kind is FaultKind.SLOW_AFTER:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_AFTER:
            cut(request.environ)
        if kind is FaultKind.TRUNCATED:
            return _truncate(reply, request.environ)
        return _to_response(reply, call)

    def replacement(self, request: Request, operation: str, fault: Fault) -> Reply:
        """Return the reply of a fault that replaces the PAC's reply."""
        if fault.kind is FaultKind.CODE:
            return self.rejection(operation, fault)
        if fault.kind is FaultKind.WRONG_SHAPE and fault.reply is None:
            return self.wrong_shape(operation)
        if fault.kind is FaultKind.REDIRECT:
            location = fault.location or urljoin(request.host_url, f"{CONTROL}/elsewhere")
            return Reply(302, [], "text/html", "not-processed", {"Location": location})
        if fault.kind is FaultKind.HTML_200:
            return Reply(200, [MAINTENANCE_PAGE], "text/html; charset=utf-8", "not-processed")
        body = (fault.reply or "").encode()
        return Reply(200, [body], self.content_type(operation), "not-processed")

    # ----------------------------------------------------------------------- routing

    def _dispatch(self, request: Request) -> Response:
        try:
            name, variables = self._urls.bind_to_environ(request.environ).match()
        except HTTPException as error:
            return self._respond_to_unrouted(request, error)
        view: View = getattr(self, name)
        if not request.path.startswith(f"{CONTROL}/"):
            response: Response = view(request, **variables)
            return response
        try:
            control_response: Response = view(request, **variables)
        except (FieldError, FakePacStateError) as error:
            return json_response({"error": str(error)}, 400)
        return control_response

    def _respond_to_unrouted(self, request: Request, error: HTTPException) -> Response:
        headers = {}
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        if request.path.startswith(f"{CONTROL}/"):
            response = json_response({"error": error.name}, error.code or 500)
            response.headers.update(headers)
            return response
        call = self.calls.begin(RequestContext("other"), None, self._timestamp())
        reply = self.not_routed(error)
        reply.headers = {**reply.headers, **headers}
        call.outcome = reply.outcome
        return _to_response(reply, call)

    def _timestamp(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")

    # ------------------------------------------------------------- control endpoints

    def _get_state(self, _request: Request) -> Response:
        return json_response(self.state_json())

    def _get_faults(self, _request: Request) -> Response:
        return json_response({"faults": self.faults.as_json()})

    def _post_fault(self, request: Request) -> Response:
        payload = request.get_json(force=True, silent=True)
        fault = parse_fault(payload, self.rules)
        self.faults.put(fault)
        return json_response(fault.as_json(), 201)

    def _delete_faults(self, _request: Request) -> Response:
        self.faults.clear()
        return Response(status=204)

    def _get_calls(self, _request: Request) -> Response:
        return json_response({"calls": self.calls.as_json()})

    def _delete_calls(self, _request: Request) -> Response:
        self.calls.clear()
        return Response(status=204)

    def _redirect_target(self, request: Request) -> Response:
        """Log a call that followed the `redirect` fault, and whether it sent secrets or a body."""
        call = self.calls.begin(RequestContext("elsewhere"), None, self._timestamp())
        sent = request.get_data() or (
            self.credential_header and request.headers.get(self.credential_header)
        )
        call.outcome = "with-credentials-or-body" if sent else "followed"
        return _to_response(Reply(200, [MAINTENANCE_PAGE], "text/html; charset=utf-8", "200"), call)


def _to_response(reply: Reply, call: Call) -> Response:
    headers = dict(reply.headers)
    length = reply.length
    if length is None and isinstance(reply.body, list):
        length = sum(map(len, reply.body))
    if length is not None:
        headers["Content-Length"] = str(length)
    body = _notify_sent(reply, call)
    return Response(body, reply.status, headers, content_type=reply.content_type)


def _notify_sent(reply: Reply, call: Call) -> Iterator[bytes]:
    """Yield the body. The call is marked as sent first, so no client can see an unmarked call."""

    def mark(sent: bool) -> None:
        call.answered = sent
        if reply.on_sent:
            reply.on_sent(sent)

    mark(True)
    complete = False
    try:
        yield from reply.body
        complete = True
    finally:
        if not complete:
            mark(False)


def _truncate(reply: Reply, environ: Mapping[str, Any]) -> Response:
    content = b"".join(reply.body)

    def body() -> Iterator[bytes]:
        yield content[: len(content) // 2]
        cut(environ)

    headers = {**reply.headers, "Content-Length": str(len(content))}
    return Response(body(), reply.status, headers, content_type=reply.content_type)
