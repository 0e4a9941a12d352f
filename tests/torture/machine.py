"""A world in which everything breaks: the real handlers, a real table, a model of a PAC.

Every call to DynamoDB, to the bus and to the PAC is a point at which the function can be
killed, the call refused, its answer lost, or another request get in between. Hypothesis
chooses what happens; when the dust has settled, the books must agree.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

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

from timbres.aws.bus import Bus
from timbres.aws.issuers import Issuers
from timbres.aws.items import unpacked
from timbres.aws.journal import Journal
from timbres.aws.rejections import CredentialState
from timbres.domain import clock
from timbres.domain.account import Account, parse_account
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.contract import GIVE_UP_AFTER
from timbres.domain.stamps import Stamps
from timbres.errors import PacError
from timbres.pacs.base import Reply
from timbres.pacs.codes import SOLUCION_FACTIBLE, TIMEOUT, UNREACHABLE, said
from timbres.work.access import Access
from timbres.work.contract import Contracts, Reconciler

ROOT = Path(__file__).parents[2]
ACCOUNT = "acme-sf"
ISSUERS = ("A&D061009TY8", "ÑAN840101AB1")
# No sum of these is another of them, and none is what the portal sells.
AMOUNTS = (1, 20, 500)
PORTAL = 7
KEYS = tuple(f"key-{n}" for n in range(6))


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

    def pass_by(self, when: str, name: str) -> None:
        if self.countdown is None or when != self.when:
            return
        self.countdown -= 1
        if self.countdown < 0:
            action = self.action
            self.disarm()
            assert action is not None
            action(name)


@dataclass
class ModelPac:
    """What a PAC is to a contract: a count that grows by what was bought, and replies or not."""

    points: Points
    contracted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ISSUERS, 1000))
    purchases: list[str] = field(default_factory=list)
    late: list[tuple[datetime, str, int, str]] = field(default_factory=list)
    fault: str | None = None
    key: str = ""

    def stamps(self, rfc: str, _deadline: object) -> Stamps:
        self.points.pass_by("before", "getTimbres")
        if self.fault == "count-fails":
            self.fault = None
            raise PacError(UNREACHABLE, "no", pac="solucion-factible")
        self._arrive()
        contracted = self.contracted[rfc]
        self.points.pass_by("after", "getTimbres")
        return Stamps(contracted, 0, contracted)

    def buy(self, rfc: str, stamps: int, _deadline: object) -> Reply:
        self.points.pass_by("before", "agregarContrato")
        fault, self.fault = self.fault, None
        if fault == "unreachable":
            raise PacError(UNREACHABLE, "no connection", pac="solucion-factible")
        if fault == "refused":
            raise said("solucion-factible", SOLUCION_FACTIBLE, "632", "no")
        if fault == "cut-before":
            raise PacError(TIMEOUT, "cut", pac="solucion-factible")
        if fault == "late":
            self.late.append((clock.now() + timedelta(minutes=25), rfc, stamps, self.key))
            raise PacError(TIMEOUT, "late", pac="solucion-factible")
        self._sell(rfc, stamps, self.key)
        if fault == "cut-after":
            raise PacError(TIMEOUT, "cut", pac="solucion-factible")
        if fault == "error-after":
            raise said("solucion-factible", SOLUCION_FACTIBLE, "502", "no sé")
        self.points.pass_by("after", "agregarContrato")
        return Reply("200", "hecho")

    def _sell(self, rfc: str, stamps: int, key: str) -> None:
        self.contracted[rfc] += stamps
        self.purchases.append(key)

    def _arrive(self) -> None:
        for due, rfc, stamps, key in [late for late in self.late if late[0] <= clock.now()]:
            self.late.remove((due, rfc, stamps, key))
            self._sell(rfc, stamps, key)


@cache
def _client() -> Any:
    return boto3.client("dynamodb", region_name="mx-central-1")


def dynamodb_through(points: Points) -> Any:
    """A client for DynamoDB whose every call is one of `points`."""
    events = _client().meta.events
    for when in ("before", "after"):
        events.unregister(f"{when}-call.dynamodb", unique_id=when)
        events.register(
            f"{when}-call.dynamodb",
            lambda model, when=when, **_more: points.pass_by(when, model.name),
            unique_id=when,
        )
    return _client()


class _Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"
    function_name = "contract"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:mx-central-1:111122223333:function:contract"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


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
        spec.loader.exec_module(module)
    return sys.modules[name]


@cache
def journal_properties() -> dict[str, Any]:
    """The journal's keys and index as template.yaml has them."""
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    properties = template["Resources"]["JournalTable"]["Properties"]
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in wanted}


class _Accounts:
    """One account, whose secret never fails: what happens to contracts is the subject here."""

    def __init__(self) -> None:
        self._account = parse_account(
            ACCOUNT,
            json.dumps(
                {
                    "pac": "solucion-factible",
                    "environment": "testing",
                    "username": "u",
                    "password": "p",
                    "max_stamps_per_contract": 1000,
                    "max_stamps_per_day": 1200,
                }
            ),
            "1",
        )

    def get(self, _name: str, fresh: bool = False) -> Account:
        return self._account


class _NoRejections:
    """No credential is ever rejected here."""

    def state(self, _account: Account) -> CredentialState:
        return CredentialState(accepted=True)


FAULT_KINDS = ("killed", "refused", "lost", "throttled")
PAC_FAULTS = (
    None,
    "unreachable",
    "refused",
    "cut-before",
    "cut-after",
    "error-after",
    "late",
    "count-fails",
)
points_of_failure = st.one_of(
    st.none(),
    st.tuples(
        st.integers(0, 9), st.sampled_from(("before", "after")), st.sampled_from(FAULT_KINDS)
    ),
)


class Purchases(RuleBasedStateMachine):
    """Orders, faults, time and the reconciler, in any order."""

    @initialize()
    def begin(self) -> None:
        self.points = Points()
        self.pac = ModelPac(self.points)
        self.now = datetime(2026, 11, 21, 9, 0, tzinfo=MEXICO_CITY)
        self.portal: set[str] = set()
        self.told: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.bodies: dict[str, tuple[str, int]] = {}
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
        bus = Bus(self, "bus")
        # A model in the account's place and in the PAC's: typed as what they stand for.
        access = Access(_Accounts(), _NoRejections(), bus, lambda _account: self.pac)  # type: ignore[arg-type]
        self.journal = Journal(self.dynamodb, "journal")
        contracts = Contracts(access, self.journal, Issuers(self.dynamodb, "issuers"), bus)
        reconciler = Reconciler(access, self.journal, bus)
        self.contract_app, self.reconciler_app = load("contract"), load("reconciler")
        self.contract_app.contracts = lambda: contracts
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
            self.points.arm(countdown, when, _failing(kind))
        try:
            yield
        except (Killed, BotoCoreError, ClientError):
            pass  # A start of the reconciler that failed; the next is five minutes away.
        finally:
            self.points.disarm()

    def order(self, key: str) -> None:
        """One request, as API Gateway sends it; what it is answered must hold for ever."""
        rfc, stamps = self.bodies[key]
        event = {
            "httpMethod": "POST",
            "path": f"/accounts/{ACCOUNT}/contracts",
            "resource": "/accounts/{account}/contracts",
            "headers": {"Idempotency-Key": key},
            "multiValueHeaders": {},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": {"account": ACCOUNT},
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
            assert self.told.setdefault(key, body["id"]) == body["id"]
        elif body.get("code") != "storage-unavailable":
            assert key not in self.told, f"{key} was confirmed and is answered {status} {body}"

    def look(self) -> None:
        """One start of the reconciler."""
        self.reconciler_app.handler({"scheduled_time": self.now.isoformat()}, _Context())

    @rule(
        key=st.sampled_from(KEYS),
        rfc=st.sampled_from(ISSUERS),
        stamps=st.sampled_from(AMOUNTS),
        fault=st.sampled_from(PAC_FAULTS),
        failure=points_of_failure,
    )
    def buy(
        self,
        key: str,
        rfc: str,
        stamps: int,
        fault: str | None,
        failure: tuple[int, str, str] | None,
    ) -> None:
        self.bodies.setdefault(key, (rfc, stamps))
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
        for name in (key, other):
            self.bodies.setdefault(name, (rfc, stamps))

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

    @rule(minutes=st.sampled_from((1, 3, 10, 40, 600)), failure=points_of_failure)
    def time_passes(self, minutes: int, failure: tuple[int, str, str] | None) -> None:
        self.now += timedelta(minutes=minutes)
        with self.breaking(failure):
            self.look()

    @rule(rfc=st.sampled_from(ISSUERS))
    def somebody_buys_in_the_portal(self, rfc: str) -> None:
        self.pac.contracted[rfc] += PORTAL
        self.portal.add(rfc)

    @invariant()
    def no_key_is_bought_twice(self) -> None:
        pac = getattr(self, "pac", None)
        assert pac is None or len(set(pac.purchases)) == len(pac.purchases), pac.purchases

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
        """Let the reconciler come to rest, then hold the journal against the PAC's books."""
        until = self.now + GIVE_UP_AFTER + timedelta(hours=2)
        while self.now < until and self.journal.due(until):
            self.now += timedelta(minutes=31)
            self.look()
        items = [unpacked(item) for item in self.dynamodb.scan(TableName="journal")["Items"]]
        entries = {item["entry"]: item for item in items}
        contracts = {n: i for n, i in entries.items() if n.startswith("contract#")}
        keys = {
            key: entries[self.journal._key_entry(key)]["contract_id"]
            for key in self.bodies
            if self.journal._key_entry(key) in entries
        }
        assert not self.journal.due(until), "the reconciler leaves something open"
        assert len(keys) == len(contracts), "a contract without its key"
        assert set(self.pac.purchases) <= set(keys), "a purchase that no journal knows"
        for key, contract_id in keys.items():
            contract = contracts[f"contract#{contract_id}"]
            bought = self.pac.purchases.count(key)
            status, rfc = contract["status"], contract["rfc"]
            assert status in ("confirmed", "rejected", "needs-review"), contract
            if status == "confirmed":
                assert bought == 1, f"{key} is confirmed and was not bought: {contract}"
                assert ("Contract Confirmed", contract_id) in self.events, "nobody was told"
            elif status == "rejected":
                assert bought == 0, f"{key} is rejected and was bought: {contract}"
            else:
                assert rfc in self.portal, f"{key} needs a review for nothing: {contract}"
                assert ("Contract Needs Review", contract_id) in self.events, "nobody was told"
            assert ((f"in-flight#{rfc}") in entries) or status != "needs-review"
            steps = [line["step"] for line in contract["history"]]
            assert steps[0] == "open"
            assert steps.count("send") <= 1
            assert contract["version"] == len(steps) - 1, "a step without its line"
        days: dict[str, int] = {}
        for contract in contracts.values():
            day = contract["created_at"][:10]
            wanted = 0 if contract["status"] == "rejected" else contract["stamps"]
            days[day] = days.get(day, 0) + wanted
        assert {n[4:]: i["stamps"] for n, i in entries.items() if n.startswith("day#")} == days
        assert all(stamps <= 1200 for stamps in days.values())


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
