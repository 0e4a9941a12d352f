"""What all sandboxes share: routing, the control endpoints, and faults around an answer."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

_Model = TypeVar("_Model", bound=Fields)

CONTROL = "/_control"
CALLS_KEPT = 100_000
JSON = "application/json; charset=utf-8"
MAINTENANCE_PAGE = (
    "<!DOCTYPE html><html lang='es'><head><meta charset='utf-8'><title>Mantenimiento</title>"
    "</head><body><h1>Servicio en mantenimiento</h1>"
    "<p>Estamos trabajando para mejorar. Intente más tarde.</p></body></html>"
).encode()


@dataclass(frozen=True)
class RequestContext:
    """What a call is about, as far as it can be told before the call is judged."""

    operation: str
    account: str | None = None
    rfc: str | None = None
    month: str | None = None
    timbres: int | None = None


@dataclass
class Reply:
    """An answer before any fault has touched it.

    `outcome` is the PAC's own code for what it decided; `length` is the size of a body that
    is not a sequence, when known; `on_sent` is told True as the answer sets out and False
    if it did not go out whole.
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
    """One call seen. `outcome` is "in-progress", the PAC's code, or "not-processed"."""

    number: int
    time: str
    subject: RequestContext
    fault: FaultKind | None
    outcome: str = "in-progress"
    answered: bool = False

    def as_json(self) -> dict[str, Any]:
        """The call without any credential."""
        return {
            "number": self.number,
            "time": self.time,
            "operation": self.subject.operation,
            "account": self.subject.account,
            "rfc": self.subject.rfc,
            "month": self.subject.month,
            "timbres": self.subject.timbres,
            "fault": self.fault.value if self.fault else None,
            "outcome": self.outcome,
            "answered": self.answered,
        }


class CallLog:
    """The last calls seen, in the order in which they came."""

    def __init__(self) -> None:
        """Start empty."""
        self._calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._seen = 0
        self._lock = threading.Lock()

    def begin(self, subject: RequestContext, fault: FaultKind | None, at: str) -> Call:
        """Enter a call that has just come in; its outcome is filled in later."""
        with self._lock:
            self._seen += 1
            call = Call(self._seen, at, subject, fault)
            self._calls.append(call)
            return call

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All calls kept, oldest first."""
        with self._lock:
            return [call.as_json() for call in self._calls]


def json_reply(payload: object, outcome: str = "200", status: int = 200) -> Reply:
    """A PAC's answer in JSON, in UTF-8."""
    return Reply(status, [json.dumps(payload, ensure_ascii=False).encode()], JSON, outcome)


def json_response(payload: object, status: int = 200) -> Response:
    """A JSON answer in UTF-8."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    return Response(body, status, content_type=JSON)


def control_fields(request: Request, model: type[_Model]) -> _Model:
    """The fields of a control request's JSON object. Raises FieldError."""
    return read_fields(model, request.get_json(force=True, silent=True))


View = Callable[..., Response]


class FakePac(ABC):
    """A WSGI application that answers as one PAC does and can be steered under `/_control/`.

    A subclass names its fault rules and the header that carries credentials, if any, and
    passes its routes as (method or methods, path, view); views take the request and the
    path's variables, and answer by `answer`.
    """

    rules: ClassVar[FaultRules]
    credential_header: ClassVar[str | None] = None

    def __init__(self, routes: Sequence[tuple[str, str, View]], clock: Clock = mexico_now) -> None:
        """Take the routes of the PAC, methods separated by blanks, and the clock."""
        self.faults = FaultQueue()
        self.calls = CallLog()
        self._clock = clock
        self._contracts: list[tuple[str, int]] = []
        everything = [
            ("GET", f"{CONTROL}/state", self._get_state),
            ("GET", f"{CONTROL}/faults", self._get_faults),
            ("POST", f"{CONTROL}/faults", self._post_fault),
            ("DELETE", f"{CONTROL}/faults", self._delete_faults),
            ("GET", f"{CONTROL}/calls", self._get_calls),
            ("DELETE", f"{CONTROL}/calls", self._delete_calls),
            ("GET POST", f"{CONTROL}/elsewhere", self._redirect_target),
            *routes,
        ]
        self._urls = Map(
            [
                Rule(path, methods=methods.split(), endpoint=view)
                for methods, path, view in everything
            ],
            strict_slashes=True,
            merge_slashes=False,
            redirect_defaults=False,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        return self._dispatch(request)(environ, start_response)

    # ------------------------------------------------------------- for the subclasses

    @abstractmethod
    def rejection(self, operation: str, fault: Fault) -> Reply:
        """The PAC's answer with the code of a fault of the kind `CODE`."""

    def wrong_shape(self, operation: str) -> Reply:  # noqa: ARG002 a subclass tells them apart
        """A well-formed answer that is not what the PAC documents."""
        return json_reply({"estado": "correcto", "saldo": {"timbres": "tres"}}, "not-processed")

    def content_type(self, operation: str) -> str:  # noqa: ARG002 as above
        """The content type of the PAC's answers to an operation."""
        return JSON

    def state_json(self) -> dict[str, Any]:
        """The sandbox's memory without credentials."""
        return {"contracts": self.contracts()}

    def not_routed(self, error: HTTPException) -> Reply:
        """The PAC's answer to a path or method that it does not have."""
        return Reply(error.code or 500, [], "text/html", "not-processed")

    def contracts(self) -> list[tuple[str, int]]:
        """The contracts that took effect, as RFC and stamps, oldest first."""
        return list(self._contracts)

    def statements(self, month: str, file_format: str) -> list[bytes]:  # noqa: ARG002 as above
        """The statement of a month that each account was last sent."""
        return []

    def answer(
        self,
        request: Request,
        subject: RequestContext,
        process: Callable[[Fault | None, Fault | None], Reply],
    ) -> Response:
        """Answer a call, with the faults that wait for it, if any.

        `process` does the PAC's work, as its second argument, a fault of `CHANGING_WORK`,
        changes it, and words the answer, which it may spoil as its first says.
        """
        call_key = (subject.operation, subject.rfc, subject.account)
        fault, work = self.faults.take(*call_key), self.faults.take_work(*call_key)
        kind = fault.kind if fault else None
        call = self.calls.begin(subject, kind or (work.kind if work else None), self._stamp())
        if fault and kind is FaultKind.SLOW:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_BEFORE:
            call.outcome = "not-processed"
            cut(request.environ)
        if fault and kind in REPLACING_FAULTS:
            reply = self.replacement(request, subject.operation, fault)
            call.outcome = reply.outcome
            if fault.processed:
                call.outcome = process(fault, work).outcome
        else:
            reply = process(fault, work)
            call.outcome = reply.outcome
        if fault and kind is FaultKind.SLOW_AFTER:
            time.sleep(fault.seconds)
        if kind is FaultKind.CUT_AFTER:
            cut(request.environ)
        if kind is FaultKind.TRUNCATED:
            return _truncate(reply, request.environ)
        return _count_sent(reply, call)

    def replacement(self, request: Request, operation: str, fault: Fault) -> Reply:
        """The answer of a fault that stands in the PAC's place."""
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
            view, variables = self._urls.bind_to_environ(request.environ).match()
        except HTTPException as error:
            return self._unrouted(request, error)
        if not request.path.startswith(f"{CONTROL}/"):
            routed: Response = view(request, **variables)
            return routed
        try:
            controlled: Response = view(request, **variables)
        except (FieldError, FakePacStateError) as problem:
            return json_response({"error": str(problem)}, 400)
        return controlled

    def _unrouted(self, request: Request, error: HTTPException) -> Response:
        allowed = {}
        if isinstance(error, MethodNotAllowed):
            allowed["Allow"] = ", ".join(sorted(error.valid_methods or ()))
        if request.path.startswith(f"{CONTROL}/"):
            response = json_response({"error": error.name}, error.code or 500)
            response.headers.update(allowed)
            return response
        call = self.calls.begin(RequestContext("other"), None, self._stamp())
        reply = self.not_routed(error)
        reply.headers = {**reply.headers, **allowed}
        call.outcome = reply.outcome
        return _count_sent(reply, call)

    def _stamp(self) -> str:
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
        """Where the `redirect` fault leads: the log then tells who came, and with what."""
        call = self.calls.begin(RequestContext("elsewhere"), None, self._stamp())
        carried = request.get_data() or (
            self.credential_header and request.headers.get(self.credential_header)
        )
        call.outcome = "with-credentials-or-body" if carried else "followed"
        return _count_sent(Reply(200, [MAINTENANCE_PAGE], "text/html; charset=utf-8", "200"), call)


def _count_sent(reply: Reply, call: Call) -> Response:
    headers = dict(reply.headers)
    length = reply.length
    if length is None and isinstance(reply.body, list):
        length = sum(map(len, reply.body))
    if length is not None:
        headers["Content-Length"] = str(length)
    body = _notify_sent(reply, call)
    return Response(body, reply.status, headers, content_type=reply.content_type)


def _notify_sent(reply: Reply, call: Call) -> Iterator[bytes]:
    """The body, marked as sent from the start so that no client can outrun the mark."""

    def mark(sent: bool) -> None:
        call.answered = sent
        if reply.on_sent:
            reply.on_sent(sent)

    mark(True)
    whole = False
    try:
        yield from reply.body
        whole = True
    finally:
        if not whole:
            mark(False)


def _truncate(reply: Reply, environ: Mapping[str, Any]) -> Response:
    whole = b"".join(reply.body)

    def body() -> Iterator[bytes]:
        yield whole[: len(whole) // 2]
        cut(environ)

    headers = {**reply.headers, "Content-Length": str(len(whole))}
    return Response(body(), reply.status, headers, content_type=reply.content_type)
