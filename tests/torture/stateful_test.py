"""A world in which everything breaks: the real handlers, a real table, a model of a PAC.

Every call to DynamoDB, to the bus and to the PAC is a point at which the function can be
killed, the call refused, its answer lost, or another request get in between. Hypothesis
chooses what happens; when the dust has settled, the books must agree.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from samtranslator.yaml_helper import yaml_parse

from timbres.aws.events import EventPublisher
from timbres.domain import clock
from timbres.domain.account import Account, parse_account
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.contract import COUNT_MISMATCH, ESCALATE_AFTER, Contract
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, trace_by_count
from timbres.errors import PacError
from timbres.pacs.base import Receipt
from timbres.pacs.errors import TIMEOUT, UNREACHABLE, error_from_code
from timbres.pacs.registry import PACS
from timbres.pacs.solucion_factible.error_codes import ERRORS
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.credential_rejections import CredentialState
from timbres.repositories.dynamodb import deserialize
from timbres.repositories.issuers import IssuerRepository
from timbres.services.contracts import ContractService
from timbres.services.pac_access import PacAccess
from timbres.services.reconciliation import Reconciler

ROOT = Path(__file__).parents[2]
# Two names of one PAC login.
ACCOUNTS = ("acme-sf", "otra-sf")
ISSUERS = ("A&D061009TY8", "ÑAN840101AB1")
PER_DAY = 1200
# No sum of these is another of them, and none is made of what changes in the portal. The last
# is more than the limit of a day.
AMOUNTS = (1, 20, 500, 1500)
PORTAL = 7
EXPIRES = Stamps(100_000, 60_000, 40_000)
KEYS = tuple(f"key-{n}" for n in range(6))
LAG = timedelta(seconds=8)


class Killed(BaseException):
    """The function's process is gone, between two lines."""


@dataclass
class Points:
    """Counts the calls to the outside and lets the one that was chosen go wrong."""

    countdown: int | None = None
    action: Callable[[str], None] | None = None
    when: str = "before"

    def arm(self, countdown: int, when: str, action: Callable[[str], None]) -> None:
        self.countdown, self.when, self.action = countdown, when, action

    def disarm(self) -> None:
        self.countdown = self.action = None

    def pass_by(self, when: str, name: str) -> bool:
        """Return whether this is the call that was chosen; its action may raise."""
        if self.countdown is None or when != self.when:
            return False
        self.countdown -= 1
        if self.countdown >= 0:
            return False
        action = self.action
        self.disarm()
        assert action is not None
        action(name)
        return True


@dataclass
class ModelPac:
    """What a PAC is to a contract: counts that follow its writes after a lag, replies or not."""

    points: Points
    lag: timedelta = timedelta(0)
    changes: dict[str, list[tuple[datetime, Stamps]]] = field(
        default_factory=lambda: {rfc: [] for rfc in ISSUERS}
    )
    created: list[str] = field(default_factory=list)
    doubled: set[str] = field(default_factory=set)
    late: list[tuple[datetime, str, int, str]] = field(default_factory=list)
    fault: str | None = None
    key: str = ""

    def stamps(self, rfc: str, _deadline: object) -> Stamps:
        self.points.pass_by("before", "getTimbres")
        if self.fault == "count-fails":
            self.fault = None
            raise PacError(UNREACHABLE, "no", pac="solucion-factible")
        counts = self.counts(rfc, clock.now() - self.lag)
        self.points.pass_by("after", "getTimbres")
        return counts

    def trace(self, sent: Contract, deadline: object) -> Trace:
        return trace_by_count(sent.before, self.stamps(sent.rfc, deadline), sent.stamps)

    def counts(self, rfc: str, at: datetime) -> Stamps:
        """Return the counts with all that was written until a time."""
        self._arrive()
        counts = (200_000, 120_000, 80_000)
        for written, change in self.changes[rfc]:
            if written <= at:
                added = (change.contracted or 0, change.used or 0, change.available or 0)
                counts = tuple(map(sum, zip(counts, added, strict=True)))  # type: ignore[assignment]
        return Stamps(*counts)

    def change(self, rfc: str, contracted: int, used: int, at: datetime | None = None) -> None:
        """Change what an issuer has contracted and used."""
        change = Stamps(contracted, used, contracted - used)
        self.changes[rfc].append((at or clock.now(), change))

    def create_contract(self, rfc: str, stamps: int, _deadline: object) -> Receipt:
        self.points.pass_by("before", "agregarContrato")
        fault, self.fault = self.fault, None
        if fault == "unreachable":
            raise PacError(UNREACHABLE, "no connection", pac="solucion-factible")
        if fault == "refused":
            raise error_from_code("solucion-factible", ERRORS, "632", "no")
        if fault == "cut-before":
            raise PacError(TIMEOUT, "cut", pac="solucion-factible")
        if fault == "late":
            self.late.append((clock.now() + timedelta(minutes=25), rfc, stamps, self.key))
            raise PacError(TIMEOUT, "late", pac="solucion-factible")
        self._create(rfc, stamps, self.key)
        if fault == "doubled":
            self.change(rfc, stamps, 0)
            self.doubled.add(self.key)
        if fault == "cut-after":
            raise PacError(TIMEOUT, "cut", pac="solucion-factible")
        if fault == "error-after":
            raise error_from_code("solucion-factible", ERRORS, "502", "no sé")
        if fault == "echo":
            raise error_from_code("solucion-factible", ERRORS, "624", "ya existe")
        self.points.pass_by("after", "agregarContrato")
        return Receipt("200", "hecho")

    def _create(self, rfc: str, stamps: int, key: str, at: datetime | None = None) -> None:
        self.change(rfc, stamps, 0, at)
        self.created.append(key)

    def _arrive(self) -> None:
        for due, rfc, stamps, key in [late for late in self.late if late[0] <= clock.now()]:
            self.late.remove((due, rfc, stamps, key))
            self._create(rfc, stamps, key, due)


@cache
def _client() -> Any:
    return boto3.client("dynamodb", region_name="mx-central-1")


class SentTwice:
    """A client for DynamoDB whose chosen call takes effect, and whose response is lost.

    The SDK sends it again, and returns the second response; DynamoDB answers a transaction of
    the same token as it did at first.
    """

    def __init__(self, client: Any, points: Points) -> None:
        self._client = client
        self._points = points

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if not name.endswith(("_item", "_items")):
            return call

        def send(**request: Any) -> Any:
            twice = self._points.pass_by("sent", name)
            response = call(**request)
            return call(**request) if twice and name != "transact_write_items" else response

        return send


def dynamodb_through(points: Points) -> Any:
    """A client for DynamoDB whose every call is one of `points`."""
    events = _client().meta.events
    for when in ("before", "after"):
        events.unregister(f"{when}-call.dynamodb", unique_id=when)
        events.register(
            f"{when}-call.dynamodb",
            # A hook that returns something answers in DynamoDB's place.
            lambda model, when=when, **_more: (points.pass_by(when, model.name), None)[1],
            unique_id=when,
        )
    return SentTwice(_client(), points)


class _Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"
    function_name = "contract"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:mx-central-1:111122223333:function:contract"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


SETTINGS = (
    *(
        "SECRET_PREFIX",
        "CONTRACTS_TABLE",
        "ISSUERS_TABLE",
        "CREDENTIAL_REJECTIONS_TABLE",
        "EVENT_BUS",
    ),
    "VERIFICATION_WINDOW_MINUTES",
)


def load(function: str) -> Any:
    """Import functions/<function>/app.py under a name of its own."""
    name = f"{function}_under_torture"
    if name not in sys.modules:
        path = ROOT / "functions" / function / "app.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        # Its dependencies are replaced; the variables need only be there.
        with patch.dict(os.environ, dict.fromkeys(SETTINGS, "unused")):
            spec.loader.exec_module(module)
    return sys.modules[name]


@cache
def journal_properties() -> dict[str, Any]:
    """The journal's keys and index as template.yaml has them."""
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    properties = template["Resources"]["ContractsTable"]["Properties"]
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in names}


class _Accounts:
    """Two names of one login, whose secrets never fail: contracts are the subject here."""

    def get(self, name: str, fresh: bool = False) -> Account:
        return _account(name)


@cache
def _account(name: str) -> Account:
    secret = {
        "pac": "solucion-factible",
        "environment": "testing",
        "username": "u",
        "password": "p",
        "max_stamps_per_contract": 2000,
        "max_stamps_per_day": PER_DAY,
    }
    return parse_account(name, json.dumps(secret), PACS, "1", allow_sandbox=True)


class _NoRejections:
    """No credential is ever rejected here."""

    def get_state(self, _account: Account) -> CredentialState:
        return CredentialState(accepted=True)


FAULT_KINDS = ("killed", "refused", "lost", "throttled")
FAULTY_CALLS = ("before", "after", "sent")
PAC_FAULTS = (
    None,
    "unreachable",
    "refused",
    "cut-before",
    "cut-after",
    "error-after",
    "echo",
    "doubled",
    "late",
    "count-fails",
)
points_of_failure = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 9), st.sampled_from(FAULTY_CALLS), st.sampled_from(FAULT_KINDS)),
)


class Contracts(RuleBasedStateMachine):
    """Requests, faults, time and the reconciler, in any order."""

    @initialize(lag=st.sampled_from((timedelta(0), LAG)))
    def begin(self, lag: timedelta = timedelta(0)) -> None:
        self.points = Points()
        self.pac = ModelPac(self.points, lag)
        self.now = datetime(2026, 11, 21, 9, 0, tzinfo=MEXICO_CITY)
        # Issuers whose counts somebody else has changed.
        self.disturbed: set[str] = set()
        self.confirmed: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.bodies: dict[str, tuple[str, str, int]] = {}
        self._clock = clock.now
        clock.now = lambda: self.now
        self.dynamodb = dynamodb_through(self.points)
        for table, properties in (
            ("journal", journal_properties()),
            (
                "issuers",
                {
                    "AttributeDefinitions": [
                        {"AttributeName": "account", "AttributeType": "S"},
                        {"AttributeName": "rfc", "AttributeType": "S"},
                    ],
                    "KeySchema": [
                        {"AttributeName": "account", "KeyType": "HASH"},
                        {"AttributeName": "rfc", "KeyType": "RANGE"},
                    ],
                    "BillingMode": "PAY_PER_REQUEST",
                },
            ),
        ):
            self.dynamodb.create_table(TableName=table, **properties)
        bus = EventPublisher(self, "bus")
        # A model in the account's place and in the PAC's: typed as what they stand for.
        access = PacAccess(_Accounts(), _NoRejections(), bus, lambda _account: self.pac)  # type: ignore[arg-type]
        self.journal = ContractRepository(self.dynamodb, "journal")
        contracts = ContractService(
            access, self.journal, IssuerRepository(self.dynamodb, "issuers"), bus
        )
        reconciler = Reconciler(access, self.journal, bus)
        self.contract_app, self.reconciler_app = load("contract"), load("reconciler")
        self.contract_app.contract_service = lambda: contracts
        self.reconciler_app.reconciler = lambda: reconciler

    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, int]:  # noqa: N803 boto3's
        """Stand in for the bus, whose failing is a point like any other."""
        self.points.pass_by("before", "PutEvents")
        for entry in Entries:
            self.events.append((entry["DetailType"], json.loads(entry["Detail"])["id"]))
        self.points.pass_by("after", "PutEvents")
        return {"FailedEntryCount": 0}

    @contextmanager
    def breaking(self, failure: tuple[int, str, str] | None) -> Iterator[None]:
        if failure is not None:
            countdown, when, kind = failure
            # A call that is sent twice fails in no way that its caller sees.
            self.points.arm(countdown, when, _failing(kind) if when != "sent" else str)
        try:
            yield
        except (Killed, BotoCoreError, ClientError):
            pass  # A start of the reconciler that failed; the next is five minutes away.
        finally:
            self.points.disarm()

    def order(self, key: str) -> int:
        """One request, as API Gateway sends it; a confirmation must hold for ever."""
        account, rfc, stamps = self.bodies[key]
        event = {
            "httpMethod": "POST",
            "path": f"/accounts/{account}/contracts",
            "resource": "/accounts/{account}/contracts",
            "headers": {"Idempotency-Key": key},
            "multiValueHeaders": {},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": {"account": account},
            "requestContext": {"identity": {"userArn": "arn:aws:iam::111122223333:user/erp"}},
            "body": json.dumps({"rfc": rfc, "stamps": stamps}),
            "isBase64Encoded": False,
        }
        outer, self.pac.key = self.pac.key, key
        try:
            answer = self.contract_app.handler(event, _Context())
        finally:
            self.pac.key = outer
        status, body = answer["statusCode"], json.loads(answer["body"])
        assert status != 500, body
        if status == 201:
            assert body["status"] == "confirmed"
            assert self.confirmed.setdefault(key, body["id"]) == body["id"]
        elif body.get("code") != "storage-unavailable":
            assert key not in self.confirmed, f"{key} was confirmed, now {status} {body}"
        return int(status)

    def look(self) -> None:
        """One start of the reconciler."""
        self.reconciler_app.handler({"scheduled_time": self.now.isoformat()}, _Context())

    @rule(
        key=st.sampled_from(KEYS),
        account=st.sampled_from(ACCOUNTS),
        rfc=st.sampled_from(ISSUERS),
        stamps=st.sampled_from(AMOUNTS),
        fault=st.sampled_from(PAC_FAULTS),
        failure=points_of_failure,
    )
    def create(
        self,
        key: str,
        account: str,
        rfc: str,
        stamps: int,
        fault: str | None,
        failure: tuple[int, str, str] | None,
    ) -> None:
        self.bodies.setdefault(key, (account, rfc, stamps))
        self.pac.fault = fault
        with self.breaking(failure):
            self.order(key)
        self.pac.fault = None

    @rule(
        key=st.sampled_from(KEYS),
        other=st.sampled_from((*KEYS, "reconciler")),
        rfc=st.sampled_from(ISSUERS),
        stamps=st.sampled_from(AMOUNTS),
        fault=st.sampled_from(PAC_FAULTS),
        point=st.integers(0, 9),
        when=st.sampled_from(("before", "after")),
        minutes=st.sampled_from((0, 0, 3)),
    )
    def two_at_once(
        self,
        key: str,
        other: str,
        rfc: str,
        stamps: int,
        fault: str | None,
        point: int,
        when: str,
        minutes: int,
    ) -> None:
        """Another request, or the reconciler, in between two calls of the first."""
        for name, account in zip((key, other), ACCOUNTS, strict=True):
            self.bodies.setdefault(name, (account, rfc, stamps))

        def meanwhile(_name: str) -> None:
            mine, self.pac.fault = self.pac.fault, None
            self.now += timedelta(minutes=minutes)
            self.look() if other == "reconciler" else self.order(other)
            self.pac.fault = mine

        self.pac.fault = fault
        self.points.arm(point, when, meanwhile)
        self.order(key)
        self.points.disarm()
        self.pac.fault = None

    @rule(
        key=st.sampled_from(KEYS),
        rfc=st.sampled_from(ISSUERS),
        fault=st.sampled_from((None, "cut-after", "cut-before", "refused")),
        point=st.integers(0, 9),
        when=st.sampled_from(("before", "after")),
    )
    def the_reconciler_takes_over(
        self, key: str, rfc: str, fault: str | None, point: int, when: str
    ) -> None:
        """A function is so slow that the reconciler takes it for dead between two of its calls."""
        self.bodies.setdefault(key, (ACCOUNTS[0], rfc, 20))

        def three_minutes_later(_name: str) -> None:
            mine, self.pac.fault = self.pac.fault, None
            self.now += timedelta(minutes=3)
            self.look()
            self.pac.fault = mine

        self.pac.fault = fault
        self.points.arm(point, when, three_minutes_later)
        self.order(key)
        self.points.disarm()
        self.pac.fault = None

    @rule(
        first=st.sampled_from(KEYS[:3]),
        second=st.sampled_from(KEYS[3:]),
        rfc=st.sampled_from(ISSUERS),
        fault=st.sampled_from((None, "cut-before", "cut-after", "echo")),
        seconds=st.sampled_from((0, 4, 20)),
    )
    def one_right_after_the_other(
        self, first: str, second: str, rfc: str, fault: str | None, seconds: int
    ) -> None:
        """The same stamps for the same issuer again, before a lagging count shows the first."""
        for name, account in zip((first, second), ACCOUNTS, strict=True):
            self.bodies.setdefault(name, (account, rfc, 20))
        self.order(first)
        self.now += timedelta(seconds=seconds)
        self.pac.fault = fault
        self.order(second)
        self.pac.fault = None

    @rule(key=st.sampled_from(KEYS), rfc=st.sampled_from(ISSUERS))
    def one_that_takes_effect_late(self, key: str, rfc: str) -> None:
        """The PAC works on for 25 minutes after the connection broke; the reconciler looks on."""
        self.bodies.setdefault(key, (ACCOUNTS[0], rfc, 500))
        self.pac.fault = "late"
        self.order(key)
        self.pac.fault = None
        for _ in range(9):
            self.now += timedelta(minutes=5)
            self.look()

    @rule(
        key=st.sampled_from(KEYS),
        rfc=st.sampled_from(ISSUERS),
        fault=st.sampled_from((None, "cut-before", "cut-after")),
        kind=st.sampled_from(FAULT_KINDS),
        when=st.sampled_from(("before", "after")),
    )
    def one_whose_event_fails(
        self, key: str, rfc: str, fault: str | None, kind: str, when: str
    ) -> None:
        """The bus fails, or the function is killed at it."""
        self.bodies.setdefault(key, (ACCOUNTS[0], rfc, 1))

        def fail_at_the_bus(name: str) -> None:
            if name == "PutEvents":
                _failing(kind)(name)
            self.points.arm(0, when, fail_at_the_bus)

        self.pac.fault = fault
        with self.breaking(None):
            self.points.arm(0, when, fail_at_the_bus)
            self.order(key)
        self.points.disarm()
        self.pac.fault = None

    @rule(minutes=st.sampled_from((0.2, 1, 3, 10, 40, 600)), failure=points_of_failure)
    def time_passes(self, minutes: float, failure: tuple[int, str, str] | None) -> None:
        self.now += timedelta(minutes=minutes)
        with self.breaking(failure):
            self.look()

    @rule(rfc=st.sampled_from(ISSUERS), stamps=st.sampled_from((1, 20, 500)))
    def stamps_are_used(self, rfc: str, stamps: int) -> None:
        """The usual work of an issuer, which proves and disturbs nothing."""
        self.pac.change(rfc, 0, stamps)

    @rule(rfc=st.sampled_from(ISSUERS))
    def somebody_contracts_in_the_portal(self, rfc: str) -> None:
        self.pac.change(rfc, PORTAL, 0)
        self.disturbed.add(rfc)

    @rule(rfc=st.sampled_from(ISSUERS))
    def an_older_contract_expires(self, rfc: str) -> None:
        assert EXPIRES.contracted is not None
        assert EXPIRES.used is not None
        if rfc not in self.disturbed:
            self.pac.change(rfc, -EXPIRES.contracted, -EXPIRES.used)
            self.disturbed.add(rfc)

    @invariant()
    def no_key_is_sent_twice(self) -> None:
        pac = getattr(self, "pac", None)
        assert pac is None or len(set(pac.created)) == len(pac.created), pac.created

    def teardown(self) -> None:
        if not hasattr(self, "pac"):
            return
        try:
            self.points.disarm()
            self.check_the_books()
        finally:
            clock.now = self._clock
            for table in ("journal", "issuers"):
                self.dynamodb.delete_table(TableName=table)

    def check_the_books(self) -> None:
        """Let the reconciler come to rest, then compare the journal with the PAC's books."""
        until = self.now + ESCALATE_AFTER + timedelta(hours=2)
        while self.now < until and any(self.journal.list_due(until)):
            self.now += timedelta(minutes=31)
            self.look()
        items = [deserialize(item) for item in self.dynamodb.scan(TableName="journal")["Items"]]
        contracts = {i["id"]: i for i in items if i["entry"].startswith("contract#")}
        ids = {(i["account"], i["entry"]): i["contract_id"] for i in items if "contract_id" in i}
        keys = {
            key: ids[account, self.journal._key_entry(key)]
            for key, (account, _rfc, _stamps) in self.bodies.items()
            if (account, self.journal._key_entry(key)) in ids
        }
        login = f"login#{_account(ACCOUNTS[0]).login}"
        assert not any(self.journal.list_due(until)), "the reconciler leaves something open"
        assert len(keys) == len(contracts), "a contract without its key"
        assert set(self.pac.created) <= set(keys), "a contract that no journal knows"
        for key, contract_id in keys.items():
            self._check_contract(key, contracts[contract_id])
            held = (login, f"in-flight#{contracts[contract_id]['rfc']}") in ids
            assert held or contracts[contract_id]["status"] != "needs-review"
        days: dict[str, int] = {}
        for contract in contracts.values():
            day = contract["created_at"][:10]
            counted = 0 if contract["status"] == "rejected" else contract["stamps"]
            days[day] = days.get(day, 0) + counted
        stored = {i["entry"][4:]: i["stamps"] for i in items if i["entry"].startswith("day#")}
        assert stored == days
        assert all(stamps <= PER_DAY for stamps in days.values()), "more than the limit of a day"

    def _check_contract(self, key: str, contract: dict[str, Any]) -> None:
        created = self.pac.created.count(key)
        status, rfc, contract_id = contract["status"], contract["rfc"], contract["id"]
        steps = [line["step"] for line in contract["history"]]
        disturbed = rfc in self.disturbed or any(
            doubled in self.pac.doubled
            for doubled, (_account, of_rfc, _stamps) in self.bodies.items()
            if of_rfc == rfc
        )
        events = {event for event, published in self.events if published == contract_id}
        assert status in ("confirmed", "rejected", "needs-review"), contract
        if status == "confirmed":
            assert created == 1, f"{key} is confirmed and was not created: {contract}"
            assert "Contract Confirmed" in events, "not published"
            warned = "warning" in contract
            assert not warned or disturbed, f"a warning without a reason: {contract}"
            assert warned or key not in self.pac.doubled, f"created twice, no warning: {contract}"
            assert (COUNT_MISMATCH in events) == warned
        elif status == "rejected":
            assert created == 0, f"{key} is rejected and was created: {contract}"
            # Who was left in doubt is to hear of the end; others have it in the response.
            assert ("Contract Rejected" in events) == ("mark-unknown" in steps)
        else:
            assert disturbed, f"{key} needs a review without a reason: {contract}"
            assert "Contract Needs Review" in events, "not published"
        assert steps[0] == "create"
        assert steps.count("send") <= 1
        assert contract["version"] == len(steps) - 1, "a step without its line"


def _failing(kind: str) -> Callable[[str], None]:
    def fail(name: str) -> None:
        if kind == "killed":
            raise Killed(name)
        if name in ("getTimbres", "agregarContrato"):
            raise PacError(TIMEOUT, "the connection broke", pac="solucion-factible")
        if kind == "lost":
            raise ReadTimeoutError(endpoint_url="https://dynamodb")
        code = "ThrottlingException" if kind == "throttled" else "InternalServerError"
        raise ClientError({"Error": {"Code": code, "Message": ""}}, name)

    return fail
