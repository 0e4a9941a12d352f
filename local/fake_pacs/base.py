"""Base class of the fake PACs: routing, control endpoints and fault injection."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from local.fake_pacs.fake_data import Clock, mexico_now
from local.fake_pacs.faults import (
    PROCESSING_FAULTS,
    REPLACING_FAULTS,
    REPLY_FAULTS,
    Fault,
    FaultKind,
    FaultQueue,
    FaultRules,
    Fields,
    cut,
    parse_fault,
)

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
    """A response before fault injection. `outcome` is the PAC's code."""

    status: int
    body: bytes
    content_type: str
    outcome: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """A received call. `outcome` is "in-progress", the PAC's code, or "not-processed"."""

    time: str
    context: RequestContext
    fault: FaultKind | None
    outcome: str = "in-progress"


class CallLog:
    """The newest calls, in order of arrival."""

    def __init__(self) -> None:
        """Start empty."""
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._lock = threading.Lock()

    def begin(self, context: RequestContext, fault: FaultKind | None, time: str) -> Call:
        """Add a call; its outcome is set later."""
        call = Call(time, context, fault)
        with self._lock:
            self._calls.append(call)
        return call

    def clear(self) -> None:
        """Remove all calls."""
        with self._lock:
            self._calls.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the stored calls, oldest first, without credentials."""
        with self._lock:
            return [
                {
                    "time": call.time,
                    **asdict(call.context),
                    "fault": call.fault,
                    "outcome": call.outcome,
                }
                for call in self._calls
            ]


def json_reply(payload: object, outcome: str = "200", status: int = 200) -> Reply:
    """Return a PAC's reply as JSON in UTF-8."""
    return Reply(status, json.dumps(payload, ensure_ascii=False).encode(), JSON, outcome)


def json_response(payload: object, status: int = 200) -> Response:
    """Return a JSON response in UTF-8."""
    return _to_response(json_reply(payload, status=status))


def control_fields(request: Request, model: type[_FieldsType]) -> _FieldsType:
    """Return the fields of a control request's JSON object. Raises ValueError."""
    return model.model_validate(request.get_json(force=True, silent=True))


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

    A subclass defines its fault rules. It passes its routes as (methods, path, view); a view is
    one of its methods, which takes the request and the path's variables, and returns the result
    of `respond`.
    """

    rules: ClassVar[FaultRules]

    def __init__(self, routes: Sequence[tuple[str, str, View]], clock: Clock = mexico_now) -> None:
        """Set the PAC's routes, with methods separated by blanks, and its clock."""
        self.faults = FaultQueue()
        self.calls = CallLog()
        self._clock = clock
        self._contracts: list[tuple[str, int]] = []
        all_routes = [
            ("GET", f"{CONTROL}/state", self._get_state),
            ("GET DELETE", f"{CONTROL}/<any(faults, calls):name>", self._get_or_clear),
            ("POST", f"{CONTROL}/faults", self._post_fault),
            *routes,
        ]
        self._urls = _urls(
            tuple((methods, path, view.__name__) for methods, path, view in all_routes)
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a WSGI request."""
        return self._dispatch(Request(environ))(environ, start_response)

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
        return Reply(error.code or 500, b"", "text/html", "not-processed")

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
        fault = self.faults.take(REPLY_FAULTS, *call_key)
        processing_fault = self.faults.take(PROCESSING_FAULTS, *call_key)
        kind = fault.kind if fault else None
        processing_kind = processing_fault.kind if processing_fault else None
        call = self.calls.begin(context, kind or processing_kind, self._timestamp())
        if fault and kind is FaultKind.SLOW:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_BEFORE:
            call.outcome = "not-processed"
            cut(request.environ)
        if fault and kind in REPLACING_FAULTS:
            reply = self.replacement(request, context.operation, fault)
            call.outcome = reply.outcome
            if fault.processed:
                call.outcome = process(fault, processing_fault).outcome
        else:
            reply = process(fault, processing_fault)
            call.outcome = reply.outcome
        if kind is FaultKind.CANNED:
            cut(request.environ, reply.body)
        if fault and kind is FaultKind.SLOW_AFTER:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_AFTER:
            cut(request.environ)
        if kind is FaultKind.TRUNCATED:
            return _truncate(reply, request.environ)
        return _to_response(reply)

    def replacement(self, request: Request, operation: str, fault: Fault) -> Reply:
        """Return the reply of a fault that replaces the PAC's reply."""
        if fault.kind is FaultKind.CODE:
            return self.rejection(operation, fault)
        if fault.kind is FaultKind.CANNED:
            return Reply(200, fault.canned_response(), "", "canned")
        if fault.kind is FaultKind.WRONG_SHAPE and fault.reply is None:
            return self.wrong_shape(operation)
        if fault.kind is FaultKind.REDIRECT:
            # A client that follows it makes another call.
            return Reply(302, b"", "text/html", "not-processed", {"Location": request.url})
        if fault.kind is FaultKind.HTML_200:
            return Reply(200, MAINTENANCE_PAGE, "text/html; charset=utf-8", "not-processed")
        body = (fault.reply or "").encode()
        return Reply(200, body, self.content_type(operation), "not-processed")

    # ----------------------------------------------------------------------- routing

    def _dispatch(self, request: Request) -> Response:
        try:
            name, variables = self._urls.bind_to_environ(request.environ).match()
        except HTTPException as error:
            return self._respond_to_unrouted(request, error)
        view: View = getattr(self, name)
        try:
            return view(request, **variables)
        except ValueError as error:
            if not request.path.startswith(f"{CONTROL}/"):
                raise
            return json_response({"error": str(error)}, 400)

    def _respond_to_unrouted(self, request: Request, error: HTTPException) -> Response:
        if request.path.startswith(f"{CONTROL}/"):
            response = json_response({"error": error.name}, error.code or 500)
        else:
            reply = self.not_routed(error)
            call = self.calls.begin(RequestContext("other"), None, self._timestamp())
            call.outcome = reply.outcome
            response = _to_response(reply)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    def _timestamp(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")

    # ------------------------------------------------------------- control endpoints

    def _get_state(self, _request: Request) -> Response:
        return json_response(self.state_json())

    def _get_or_clear(self, request: Request, name: str) -> Response:
        entries = self.faults if name == "faults" else self.calls
        if request.method == "GET":
            return json_response({name: entries.as_json()})
        entries.clear()
        return Response(status=204)

    def _post_fault(self, request: Request) -> Response:
        fault = parse_fault(request.get_json(force=True, silent=True), self.rules)
        self.faults.put(fault)
        return json_response(fault.as_json(), 201)


def _to_response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers, content_type=reply.content_type)


def _truncate(reply: Reply, environ: Mapping[str, Any]) -> Response:
    def body() -> Iterator[bytes]:
        yield reply.body[: len(reply.body) // 2]
        cut(environ)

    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    return Response(body(), reply.status, headers, content_type=reply.content_type)
