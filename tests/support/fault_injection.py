"""Run operations with injected faults and check that nothing is lost.

An operation runs once without a fault, as the reference. After every fault and the recovery
steps, its state must be the state of the reference.
"""

from __future__ import annotations

import errno
import itertools
import json
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import moto_patches
from tests.support.clock import START
from tests.support.fake_stack import RC, SF, FakeStack, Pacs, PacServers
from tests.support.reliability_document import NOTHING, WRITES
from timbres.aws import clients
from timbres.notifications.mails import TEMPLATES, dedup_key, should_notify

# The names of boto3 and of AWS.
SERVICES = {
    "secretsmanager": "Secrets Manager",
    "dynamodb": "DynamoDB",
    "sqs": "SQS",
    "events": "EventBridge",
    "s3": "S3",
    "sns": "SNS",
}
NO_NEED = "none needed"


class Killed(BaseException):
    """The process of the function was killed."""


@dataclass(frozen=True)
class Call:
    """A call of the functions to AWS. ``pac_calls`` is the number of PAC calls before it."""

    service: str
    operation: str
    pac_calls: int


@dataclass
class AwsFaultInjector:
    """Injects faults into the calls of the functions to AWS.

    ``refused`` rejects a call and all later calls of its service. ``lost`` loses the response
    of a call, so that botocore repeats it. ``killed`` kills the function before or after a call.
    ``after`` is called with the name of each operation that AWS has responded to.
    """

    stack: FakeStack
    calls: list[Call] = field(default_factory=list)
    refused: tuple[str, int, str] | None = None
    killed: tuple[str, int] | None = None
    lost: int | None = None
    after: Callable[[str], None] | None = None
    dead: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def watch(self) -> None:
        """Intercept all calls of the functions to AWS from now on."""
        for service in SERVICES:
            events = clients.client(service).meta.events
            events.register("before-call", self._before)
            events.register("after-call", self._after)

    def stop(self) -> None:
        """Remove all faults and the recorded calls."""
        self.calls.clear()
        self.refused = self.killed = self.lost = self.after = None
        self.dead = False

    def _before(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        service = model.service_model.service_name
        with self._lock:
            if self.dead or self.killed == ("before", len(self.calls)):
                self.dead = True
                raise Killed
            number = sum(call.service == service for call in self.calls)
            if self.lost == len(self.calls):
                params["headers"][moto_patches.LOST] = str(uuid.uuid4())
            self.calls.append(Call(service, model.name, len(self.stack.pacs.calls())))
        if self.refused is None or service != self.refused[0] or number < self.refused[1]:
            return None
        error = {"Code": self.refused[2], "Message": "no"}
        return SimpleNamespace(status_code=400), {"Error": error, "ResponseMetadata": {}}

    def _after(self, model: Any, **_: Any) -> None:
        if self.killed == ("after", len(self.calls) - 1):
            self.dead = True
            raise Killed
        if self.after is not None:
            self.after(model.name)


@dataclass(frozen=True)
class ExpectedOutcome:
    """The result of an operation without a fault."""

    response: str
    facts: dict[str, Any]
    notifications: Counter[str]
    calls: list[Call]


@dataclass
class Scenario:
    """A stack in which operations run, each in its initial state.

    ``notes`` is shared by the steps of an operation, ``undo`` ends its faults.
    """

    stack: FakeStack
    injector: AwsFaultInjector
    pac_servers: PacServers
    notes: dict[str, Any] = field(default_factory=dict)
    undo: list[Callable[[], Any]] = field(default_factory=list)
    references: dict[str, ExpectedOutcome] = field(default_factory=dict)

    def reference(self, operation: Operation) -> ExpectedOutcome:
        """Return the result of an operation without a fault; it is computed once."""
        if operation.name not in self.references:
            self._begin(operation)
            response = operation.execute(self)
            calls = self.injector.calls[:]
            facts, notifications = self._settled_state(operation)
            outcome = ExpectedOutcome(response, facts, notifications, calls)
            self.references[operation.name] = outcome
        return self.references[operation.name]

    def run(self, operation: Operation, fault: Fault) -> tuple[list[str], str, str]:
        """Return the responses, the losses and the recovery steps of an operation with a fault.

        Raises AssertionError if something is lost after all recovery steps.
        """
        reference = self.reference(operation)
        self._begin(operation)
        fault(self)
        responses = []
        for _ in range(self.notes.get("times", 1)):
            try:
                responses.append(operation.execute(self))
            except Killed:
                responses.append(operation.crash_response)
        if self.injector.lost is not None:
            assert list(self.stack.sends.values()) == [2], "botocore has sent it again"
        self._end_faults()
        state = self._settled_state(operation)
        steps = []
        responses = responses or [NOTHING]
        retried = operation.retried and responses[-1].endswith(operation.crash_response)
        for name, step in operation.recovery_steps:
            if _is_complete(*state, reference) and not retried:
                break
            retried = False
            step(self)
            before, state = state, self._settled_state(operation)
            if state != before:
                steps.append(name)
        assert _is_complete(*state, reference), f"state: {state}; reference: {reference}"
        lost = NOTHING
        if max(state[1].values(), default=0) > 1:
            lost += "; published twice, mailed once"
        return responses, lost + self.notes.get("twice", ""), ", then ".join(steps) or NO_NEED

    def _begin(self, operation: Operation) -> None:
        # A reset is faster than a new stack.
        stack = self.stack
        self.notes.clear()
        self.injector.stop()
        stack.sends.clear()
        moto_patches.clear_resources()
        stack.clear_events()
        stack.clock.at = START
        stack.pacs = Pacs.start(self.pac_servers, stack.credentials, stack.clock)
        for name in (RC, SF):
            stack.accounts.delete(name)
            stack.accounts.create(name, stack.accounts.secret(name))
            stack.accounts.accept(name)
        stack.reset_warm_functions()
        operation.prepare(self)
        # Do not count the calls of the preparation.
        self.injector.stop()

    def _end_faults(self) -> None:
        if self.injector.dead:
            # After a kill, the next invocation is a cold start.
            self.stack.reset_warm_functions()
        self.injector.stop()
        while self.undo:
            self.undo.pop()()
        for fake_pac in self.stack.pacs.fakes:
            fake_pac.faults.clear()
        moto_patches.make_visible()

    def _settled_state(self, operation: Operation) -> tuple[dict[str, Any], Counter[str]]:
        """Return the facts, and how many events were published by notification."""
        operation.settle(self)
        notifications = Counter(
            dedup_key(entry["DetailType"], detail)
            for entry in self.stack.published
            if entry["DetailType"] in TEMPLATES
            and should_notify(entry["DetailType"], detail := json.loads(entry["Detail"]))
        )
        return operation.observe(self), notifications


Step = Callable[[Scenario], Any]
Fault = Callable[[Scenario], Any]
FaultsOf = Callable[[ExpectedOutcome], Iterator[Fault]]


@dataclass(frozen=True)
class Operation:
    """A request to Timbres, or a scheduled job.

    ``execute`` returns the response in short, and ``crash_response`` is the response if the
    process is killed; the default is API Gateway's (tests/e2e/test_reliability.py). ``observe``
    returns the state to compare with the reference. ``settle`` runs after each step what happens
    without a caller. ``recovery_steps`` are tried in order: a retry by AWS, the next schedule, the
    caller. If ``retried``, AWS retries after a response that ends like ``crash_response``: the
    first step then runs in any case.
    """

    name: str
    services: tuple[str, ...]
    execute: Callable[[Scenario], str]
    observe: Callable[[Scenario], dict[str, Any]]
    recovery_steps: Sequence[tuple[str, Step]]
    crash_response: str = "502 `internal-error`"
    prepare: Step = lambda _: None
    settle: Step = lambda _: None
    retried: bool = False


def _is_complete(
    facts: dict[str, Any], notifications: Counter[str], reference: ExpectedOutcome
) -> bool:
    """Return whether the state is that of the reference; ``meanwhile`` is only progress."""

    def event_types(keys: Counter[str]) -> Counter[str]:
        return Counter(key.partition("#")[0] for key in keys)

    return all(
        facts[name] == value for name, value in reference.facts.items() if name != "meanwhile"
    ) and event_types(notifications) >= event_types(reference.notifications)


def setting(name: str, value: Any) -> Fault:
    """Return a fault that sets an attribute of the injector."""
    return lambda scenario: setattr(scenario.injector, name, value)


def refusals(service: str) -> FaultsOf:
    """Let a service reject each call and all later ones: throttled or access denied."""

    def each(reference: ExpectedOutcome) -> Iterator[Fault]:
        count = sum(call.service == service for call in reference.calls)
        codes = itertools.cycle(["ThrottlingException", "AccessDeniedException"])
        for number in _sample(count, 1):
            yield setting("refused", (service, number, next(codes)))

    return each


def deaths(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill the function after each call to AWS, and before a call that follows a PAC call."""
    for number in _sample(len(reference.calls), 2):
        if number == 0 or reference.calls[number].pac_calls > reference.calls[number - 1].pac_calls:
            yield setting("killed", ("before", number))
        yield setting("killed", ("after", number))


def losses(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Lose the response to each call to AWS that AWS has applied.

    If the document is not written, lose only those of the writes and of the first read:
    a repeated read is harmless.
    """
    reads = 0
    for number, call in enumerate(reference.calls):
        is_read = call.operation.startswith(("Get", "BatchGet", "Query", "List"))
        reads += is_read
        if WRITES or not is_read or reads == 1:
            yield setting("lost", number)


def _sample(count: int, steps: int) -> list[int]:
    """Return the indexes of the calls that fail: all for the document, else a few and the last."""
    step = 1 if WRITES else -(-count // steps)
    return sorted({*range(0, count, step), count - 1})


def pac(operation: str, fault: str, *, times: int = -1, **options: Any) -> Fault:
    """Return a fault of a PAC operation, permanent unless ``times`` is given."""
    return lambda scenario: scenario.stack.pacs.fault(operation, fault, times=times, **options)


def unreachable(scenario: Scenario) -> None:
    """Refuse every new connection to both PACs, like a closed port."""
    ports = {urlsplit(url).port for url in scenario.stack.pacs.urls.values()}
    connect = socket.socket.connect

    def refuse(connecting: socket.socket, address: Any) -> None:
        if address[1] in ports:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        connect(connecting, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    scenario.undo.append(patch.undo)
