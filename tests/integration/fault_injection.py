"""Operations that are made to fail, and watched until they have come right.

An operation is played once without a fault. What it has left behind then is what it must
leave behind after every fault, once what failed works again and what brings it to rights has
been done: else something is lost.
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
from local.fake_pacs.fake_data import demo_state
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from tests.integration.conftest import PacServers
from tests.integration.harness import AWS_ACCOUNT, LOST, RC, REGION, SF, START, WSDL, FakeStack
from tests.reliability import NOTHING, WRITES

from timbres.aws import clients as session
from timbres.notifications.mails import TEMPLATES, dedup_key, should_notify

# As boto3 names a service, and as AWS does.
SERVICES = {
    "secretsmanager": "Secrets Manager",
    "dynamodb": "DynamoDB",
    "sqs": "SQS",
    "events": "EventBridge",
    "s3": "S3",
    "sns": "SNS",
}
# botocore's own names of two of them, in its events.
_ALIASES = {"secrets-manager": "secretsmanager", "eventbridge": "events"}


NO_NEED = "none needed"


class Killed(BaseException):
    """The function's process is gone, between two lines."""


@dataclass(frozen=True)
class Call:
    """A call of the functions to AWS; ``asked`` is how often a PAC had been asked before it."""

    service: str
    operation: str
    asked: int

    @property
    def reads(self) -> bool:
        """Tell whether the call changes nothing."""
        return self.operation.startswith(("Get", "BatchGet", "Query", "List"))


@dataclass
class AwsFaultInjector:
    """What the functions send to AWS. One call can be refused, with all that follow it of its
    service; or its response be lost, so that botocore sends it again; or the function be killed
    before a call, or after it: then nothing of it goes on.
    """

    world: FakeStack
    calls: list[Call] = field(default_factory=list)
    refused: tuple[str, int, str] | None = None
    killed: tuple[str, int] | None = None
    lost: int | None = None
    after: Callable[[str], None] | None = None
    dead: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def watch(self) -> None:
        """Stand between the functions and AWS from now on."""
        for service in SERVICES:
            events = session.client(service).meta.events
            events.register("before-call", self._before)
            events.register("after-call", self._after)

    def stop(self) -> None:
        """Let everything work again."""
        self.calls.clear()
        self.refused = self.killed = self.lost = self.after = None
        self.dead = False

    def _before(self, event_name: str, params: dict[str, Any], **_: Any) -> Any:
        _, service, operation = event_name.split(".")
        service = _ALIASES.get(service, service)
        with self._lock:
            if self.dead or self.killed == ("before", len(self.calls)):
                self.dead = True
                raise Killed
            number = sum(call.service == service for call in self.calls)
            if self.lost == len(self.calls):
                params["headers"][LOST] = str(uuid.uuid4())
            self.calls.append(Call(service, operation, len(self.world.calls())))
        if self.refused is None or service != self.refused[0] or number < self.refused[1]:
            return None
        error = {"Code": self.refused[2], "Message": "no"}
        return SimpleNamespace(status_code=400), {"Error": error, "ResponseMetadata": {}}

    def _after(self, event_name: str, **_: Any) -> None:
        if self.killed == ("after", len(self.calls) - 1):
            self.dead = True
            raise Killed
        if self.after is not None:
            self.after(event_name.rpartition(".")[2])


@dataclass
class Scenario:
    """A world in which one operation is played; ``notes`` are what its steps remember."""

    world: FakeStack
    injector: AwsFaultInjector
    notes: dict[str, Any] = field(default_factory=dict)
    undo: list[Callable[[], Any]] = field(default_factory=list)

    def restart(self, pac_servers: PacServers) -> None:
        """Forget all that was: a new world, without the time that one takes."""
        world = self.world
        self.notes.clear()
        self.injector.stop()
        world.sends.clear()
        for table in dynamodb_backends[AWS_ACCOUNT][REGION].tables.values():
            table.items.clear()
        for queue in sqs_backends[AWS_ACCOUNT][REGION].queues.values():
            queue._messages = []
            queue._pending_messages = set()
        for bucket in s3_backends[AWS_ACCOUNT]["aws"].buckets.values():
            bucket.keys.clear()
            bucket.multiparts.clear()
        for topic in sns_backends[AWS_ACCOUNT][REGION].topics.values():
            topic.sent_notifications.clear()
        world.forget_events()
        world.clock.at = START
        some = world.credentials
        world.books = demo_state(
            START.date(),
            acme_api_key=some.api_key,
            norte_api_key=some.norte_api_key,
            username=some.username,
            password=some.password,
        )
        world.reachcore = FakeReachcore(world.books.reachcore, clock=world.clock)
        books = world.books.solucion_factible
        world.factible = FakeSolucionFactible(books, wsdl=WSDL, clock=world.clock)
        pac_servers["reachcore"][0].app = world.reachcore
        pac_servers["factible"][0].app = world.factible
        self.point_at_the_pacs()

    def point_at_the_pacs(self, **changes: Any) -> None:
        """Give both accounts the secrets they should have, but for ``changes``."""
        for name in (RC, SF):
            secret = self.world.secret(name, **changes)
            if self.notes.get(name) != secret:
                self.notes[name] = secret
                self.world.change_account(name, secret)
                self.world.accept(name)
        self.world.reset_warm_functions()

    def recover(self) -> None:
        """Let all that fails work again. A process that was killed is followed by another."""
        if self.injector.dead:
            self.world.reset_warm_functions()
        self.injector.stop()
        while self.undo:
            self.undo.pop()()
        for sandbox in (self.world.reachcore, self.world.factible):
            sandbox.faults.clear()
        for queue in sqs_backends[AWS_ACCOUNT][REGION].queues.values():
            for message in queue._messages:
                message.visible_at = 0
            queue._pending_messages = set()

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return every item of a table, without a call: as moto keeps them."""
        kept = dynamodb_backends[AWS_ACCOUNT][REGION].tables[self.world.stack.refs[table]]
        return [item.to_regular_json() for item in kept.all_items()]

    def notifications(self) -> Counter[str]:
        """Return how often each thing was told that a person gets a mail of, a mail each."""
        return Counter(
            dedup_key(entry["DetailType"], detail)
            for entry in self.world.published
            if entry["DetailType"] in TEMPLATES
            and should_notify(entry["DetailType"], detail := json.loads(entry["Detail"]))
        )


@dataclass(frozen=True)
class Operation:
    """Something that is asked of Timbres, or that it does by itself.

    ``act`` returns what its caller sees, and ``broken`` is what that is when the process is
    gone. ``facts`` are what is to be in the end, ``goes_on`` is what happens by itself after
    each step, and ``repairs`` are the steps that bring it to rights, in their order: what AWS
    does again, what the next schedule does, what the caller does. The first is taken in any
    case after what AWS does again by itself: where what was seen ends on ``retried_on``.
    """

    name: str
    services: tuple[str, ...]
    execute: Callable[[Scenario], str]
    observe: Callable[[Scenario], dict[str, Any]]
    crash_response: str
    recovery_steps: Sequence[tuple[str, Callable[[Scenario], Any]]]
    prepare: Callable[[Scenario], Any] = lambda _: None
    settle: Callable[[Scenario], Any] = lambda _: None
    retried_on: str | None = None


@dataclass(frozen=True)
class ExpectedOutcome:
    """What an operation did without a fault."""

    seen: str
    facts: dict[str, Any]
    told: Counter[str]
    calls: list[Call]


Fault = Callable[[Scenario], Any]


@dataclass
class FaultRunner:
    """Plays operations in a world that begins anew for each."""

    scenario: Scenario
    pac_servers: PacServers
    references: dict[str, ExpectedOutcome] = field(default_factory=dict)

    def reference(self, operation: Operation) -> ExpectedOutcome:
        """Return what an operation does without a fault, played once."""
        if operation.name not in self.references:
            scenario = self.scenario
            self._begin(operation)
            seen = operation.execute(scenario)
            calls = scenario.injector.calls[:]
            operation.settle(scenario)
            self.references[operation.name] = ExpectedOutcome(
                seen, operation.observe(scenario), scenario.notifications(), calls
            )
        return self.references[operation.name]

    def run(self, operation: Operation, fault: Fault) -> tuple[list[str], str, str]:
        """Return what the caller saw, what was lost, and what brought it to rights."""
        wanted = self.reference(operation)
        scenario = self.scenario
        self._begin(operation)
        fault(scenario)
        seen = []
        for _ in range(scenario.notes.get("times", 1)):
            try:
                seen.append(operation.execute(scenario))
            except Killed:
                seen.append(operation.crash_response)
        if scenario.injector.lost is not None:
            assert list(scenario.world.sends.values()) == [2], "botocore has sent it again"
        scenario.recover()
        operation.settle(scenario)
        found = operation.observe(scenario), scenario.notifications()
        done = []
        seen = seen or [NOTHING]
        again = operation.retried_on is not None and seen[-1].endswith(operation.retried_on)
        for name, step in operation.recovery_steps:
            if _complete(*found, wanted) and not again:
                break
            again = False
            step(scenario)
            operation.settle(scenario)
            before, found = found, (operation.observe(scenario), scenario.notifications())
            if found != before:
                done.append(name)
        assert _complete(*found, wanted), f"lost: {found}; wanted: {wanted}"
        lost = NOTHING
        if max(found[1].values(), default=0) > 1:
            lost += "; published twice, mailed once"
        return seen, lost + scenario.notes.get("twice", ""), ", then ".join(done) or NO_NEED

    def _begin(self, operation: Operation) -> None:
        self.scenario.restart(self.pac_servers)
        operation.prepare(self.scenario)
        # Only what the operation itself sends is counted.
        self.scenario.injector.stop()


def _complete(facts: dict[str, Any], told: Counter[str], wanted: ExpectedOutcome) -> bool:
    """Tell whether all is there that is to be; ``meanwhile`` only shows how far it has come."""
    kinds = Counter(one.partition("#")[0] for one in told)
    return all(
        facts[name] == value for name, value in wanted.facts.items() if name != "meanwhile"
    ) and kinds >= Counter(one.partition("#")[0] for one in wanted.told)


# ----------------------------------------------------------------------------- faults


def refusals(service: str) -> Callable[[ExpectedOutcome], Iterator[Fault]]:
    """Let a service refuse from any of an operation's calls on; throttled or forbidden."""

    def each(reference: ExpectedOutcome) -> Iterator[Fault]:
        count = sum(call.service == service for call in reference.calls)
        codes = itertools.cycle(["ThrottlingException", "AccessDeniedException"])
        for number in _some(count, 1):
            yield setting("refused", (service, number, next(codes)))

    return each


def deaths(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Kill the function after any of its calls to AWS, and before those that follow a PAC's."""
    for number in _some(len(reference.calls), 2):
        if number == 0 or reference.calls[number].asked > reference.calls[number - 1].asked:
            yield setting("killed", ("before", number))
        yield setting("killed", ("after", number))


def losses(reference: ExpectedOutcome) -> Iterator[Fault]:
    """Lose the response to any of the operation's calls to AWS, which has been applied.

    Not for the document, to each write and to the first read: a repeated read is harmless.
    """
    reads = 0
    for number, call in enumerate(reference.calls):
        reads += call.reads
        if WRITES or not call.reads or reads == 1:
            yield setting("lost", number)


def _some(count: int, steps: int) -> list[int]:
    """Return which of so many calls fail: all for the document, or else so many and the last."""
    step = 1 if WRITES else -(-count // steps)
    return sorted({*range(0, count, step), count - 1})


def setting(name: str, value: Any) -> Fault:
    """Set what goes wrong on the wire."""
    return lambda scenario: setattr(scenario.injector, name, value)


def pac(operation: str, fault: str, *, times: int = -1, **more: Any) -> Fault:
    """Let a PAC's operation go wrong until it is mended."""
    return lambda scenario: scenario.world.fault(operation, fault, times=times, **more)


def unreachable(scenario: Scenario) -> None:
    """Refuse every new connection to both PACs, as where nobody listens."""
    ports = {urlsplit(url).port for url in scenario.world.urls.values()}
    connect = socket.socket.connect

    def refuse(connecting: socket.socket, address: Any) -> None:
        if address[1] in ports:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        connect(connecting, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", refuse)
    scenario.undo.append(patch.undo)
