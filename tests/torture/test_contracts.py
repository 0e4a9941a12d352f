"""Contracts under any order of requests, faults, time and checks.

The services run over a real table (moto) and a fake PAC. Each call to DynamoDB, to the bus and to
the PAC is a point at which the function can be killed, the call fail, its response be lost, or
another request run. Hypothesis chooses them; at the end the journal must equal the PAC's contracts.
`make torture` tries ten thousand examples, each run of the tests some of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.clock import Clock
from tests.support.fakes_contracts import (
    CONTRACT_FAULTS,
    RFC,
    RFC_N,
    SECOND,
    SF,
    TABLES,
    Interruptions,
    Services,
    aws_error,
    lost_response,
    moto,
    timeout,
)
from tests.support.fault_injection import Killed
from timbres.domain import clock as timbres_clock
from timbres.domain.contract import COUNT_MISMATCH, ESCALATE_AFTER
from timbres.domain.stamps import Stamps
from timbres.errors import TimbresError

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "60"))
# Two names of one PAC login.
ACCOUNTS = (SF, SECOND)
ISSUERS = (RFC, RFC_N)
MAX_PER_DAY = 1200
# No sum of these is another of them, and none includes a change in the portal. The last exceeds
# the limit of a day.
AMOUNTS = (1, 20, 500, 1500)
PORTAL_STAMPS = 7
INITIAL = Stamps(200_000, 120_000, 80_000)
KEYS = tuple(f"key-{n}" for n in range(6))

PAC_FAULTS = (None, *CONTRACT_FAULTS, "doubled", "late", "count-fails")
SIDES = ("before", "after")
FAILURES = ("killed", "rejected", "lost", "throttled")
failure_points = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 9), st.sampled_from((*SIDES, "sent")), st.sampled_from(FAILURES)),
)
keys, issuers, sides = map(st.sampled_from, (KEYS, ISSUERS, SIDES))
others, faults = st.sampled_from((*KEYS, "reconciler")), st.sampled_from(PAC_FAULTS)
cuts = st.sampled_from((None, "cut-before", "cut-after"))
# A call of a request, and the moment before or after it.
calls = st.tuples(st.integers(0, 9), sides)
# Key, account, issuer and stamps.
Request = tuple[str, str, str, int]
requests = st.tuples(keys, st.sampled_from(ACCOUNTS), issuers, st.sampled_from(AMOUNTS))


class Contracts(RuleBasedStateMachine):
    """Requests, faults, time and the reconciler, in any order."""

    services: Any = None

    @initialize(lag=st.sampled_from((timedelta(0), timedelta(seconds=8))))
    def start(self, lag: timedelta = timedelta(0)) -> None:
        self.clock = Clock()
        self._real_clock, timbres_clock.now = timbres_clock.now, self.clock
        services = self.services = Services(self.clock)
        self.pac, self.interruptions = services.pac, services.interruptions
        self.pac.lag, self.pac.initial = lag, INITIAL
        # Secrets never fail: contracts are the subject here.
        services.secrets.interruptions = Interruptions()
        for account in ACCOUNTS:
            limits = {"max_stamps_per_contract": 2000, "max_stamps_per_day": MAX_PER_DAY}
            services.secrets.put(account, **limits)
        # Issuers whose counts somebody else has changed.
        self.disturbed: set[str] = set()
        # The account, issuer and stamps of each key; the contract of each confirmed key.
        self.requests: dict[str, tuple[Any, ...]] = {}
        self.confirmed: dict[str, str] = {}

    def request(self, key: str) -> None:
        """Send one request; a confirmed key must stay confirmed."""
        account, rfc, stamps = self.requests[key]
        outer, self.pac.key = self.pac.key, key
        try:
            contract, _ = self.services.create(key, rfc, stamps, account)
        except TimbresError as error:
            outcome = error.problem_type.code
        except (BotoCoreError, ClientError):
            return
        else:
            outcome = contract.status
            if outcome == "confirmed":
                assert self.confirmed.setdefault(key, contract.id) == contract.id
        finally:
            self.pac.key = outer
        assert outcome == "confirmed" or key not in self.confirmed, f"{key} was confirmed"

    @contextmanager
    def fault(self, fault: str | None) -> Iterator[None]:
        """Set a fault of the PAC for one request."""
        outer, self.pac.fault = self.pac.fault, fault
        yield
        self.pac.fault = outer

    @contextmanager
    def failure(self, point: tuple[int, str, str] | None, *calls: str) -> Iterator[None]:
        """Let one of the next calls fail; a failed run of the reconciler is repeated later."""
        if point is not None:
            skip, when, kind = point
            # A caller does not notice that the SDK sent a call twice.
            action = str if when == "sent" else lambda name: fail(kind, name)
            self.interruptions.plan(action, *calls, when=when, skip=skip)
        try:
            yield
        except (Killed, BotoCoreError, ClientError):
            pass
        finally:
            self.interruptions.clear()

    @rule(request=requests, fault=faults, point=failure_points)
    def one_request(
        self, request: Request, fault: str | None, point: tuple[int, str, str] | None
    ) -> None:
        key, *terms = request
        self.requests.setdefault(key, tuple(terms))
        with self.fault(fault), self.failure(point):
            self.request(key)

    @rule(request=requests, other=others, fault=faults, call=calls, minutes=st.sampled_from((0, 3)))
    def two_at_once(
        self, request: Request, other: str, fault: str | None, call: tuple[int, str], minutes: int
    ) -> None:
        """Another request, or the reconciler, runs between two calls of a request."""
        key, _, rfc, stamps = request
        for name, account in zip((key, other), ACCOUNTS, strict=True):
            self.requests.setdefault(name, (account, rfc, stamps))

        def meanwhile(_name: str) -> None:
            # After three minutes, the reconciler takes over a contract that is still pending.
            self.clock.forward(minutes=3 if other == "reconciler" else minutes)
            with self.fault(None):
                self.services.reconcile() if other == "reconciler" else self.request(other)

        self.interruptions.plan(meanwhile, skip=call[0], when=call[1])
        with self.fault(fault):
            self.request(key)
        self.interruptions.clear()

    @rule(key=keys, rfc=issuers, call=calls, fault=cuts | st.just("refused"))
    def the_reconciler_takes_over(
        self, key: str, rfc: str, call: tuple[int, str], fault: str | None
    ) -> None:
        """A request is so slow that the reconciler processes its contract between two calls."""
        self.two_at_once((key, SF, rfc, 20), "reconciler", fault, call, 0)

    @rule(
        first=st.sampled_from(KEYS[:3]),
        second=st.sampled_from(KEYS[3:]),
        rfc=issuers,
        fault=cuts | st.just("echo"),
        seconds=st.sampled_from((0, 4, 20)),
    )
    def two_equal_requests(
        self, first: str, second: str, rfc: str, fault: str | None, seconds: int
    ) -> None:
        """The same stamps for the same issuer, before a lagging count includes the first."""
        for name, account in zip((first, second), ACCOUNTS, strict=True):
            self.requests.setdefault(name, (account, rfc, 20))
        self.request(first)
        self.clock.forward(seconds=seconds)
        with self.fault(fault):
            self.request(second)

    @rule(key=keys, rfc=issuers)
    def a_request_with_a_late_effect(self, key: str, rfc: str) -> None:
        """The PAC works on for 25 minutes after the connection was lost."""
        self.one_request((key, SF, rfc, 500), "late", None)
        for _ in range(9):
            self.services.reconcile(minutes=5)

    @rule(key=keys, rfc=issuers, fault=cuts, kind=st.sampled_from(FAILURES), when=sides)
    def a_request_without_its_event(
        self, key: str, rfc: str, fault: str | None, kind: str, when: str
    ) -> None:
        self.requests.setdefault(key, (SF, rfc, 1))
        with self.fault(fault), self.failure((0, when, kind), "put_events"):
            self.request(key)

    @rule(minutes=st.sampled_from((0.2, 1, 3, 10, 40, 600)), point=failure_points)
    def time_passes(self, minutes: float, point: tuple[int, str, str] | None) -> None:
        self.clock.forward(minutes=minutes)
        with self.failure(point):
            self.services.reconcile()

    @rule(rfc=issuers, stamps=st.sampled_from((1, 20, 500)))
    def stamps_are_used(self, rfc: str, stamps: int) -> None:
        self.pac.change(rfc, 0, stamps)

    @rule(rfc=issuers)
    def somebody_contracts_in_the_portal(self, rfc: str) -> None:
        self.pac.change(rfc, PORTAL_STAMPS, 0)
        self.disturbed.add(rfc)

    @rule(rfc=issuers)
    def an_older_contract_expires(self, rfc: str) -> None:
        if rfc not in self.disturbed:
            self.pac.change(rfc, -100_000, -60_000)
            self.disturbed.add(rfc)

    @invariant()
    def no_key_is_sent_twice(self) -> None:
        assert self.services is None or len(set(self.pac.keys)) == len(self.pac.keys)

    def teardown(self) -> None:
        if self.services is None:
            return
        try:
            self.interruptions.clear()
            self.check_journal()
        finally:
            timbres_clock.now = self._real_clock
            for table in TABLES:
                self.services.dynamodb.delete_table(TableName=table)

    def check_journal(self) -> None:
        """Run the reconciler until nothing is open, and compare the journal with the PAC."""
        journal, until = self.services.journal, self.clock() + ESCALATE_AFTER + timedelta(hours=2)
        while self.clock() < until and any(journal.list_due(until)):
            self.services.reconcile(minutes=31)
        assert not any(journal.list_due(until)), "the reconciler leaves something open"
        items = {item["id"]: item for item in self.services.items("contract#")}
        found = {
            key: conflict.contract
            for key, (account, _, _) in self.requests.items()
            if (conflict := journal.find_by_key(account, key, ""))
        }
        assert {contract.id for contract in found.values()} == items.keys(), "without its key"
        assert set(self.pac.keys) <= found.keys(), "created, but not in the journal"
        for key, contract in found.items():
            self.check_contract(key, items[contract.id])
        days: dict[str, int] = {}
        for item in items.values():
            stamps = 0 if item["status"] == "rejected" else item["stamps"]
            days[item["created_at"][:10]] = days.get(item["created_at"][:10], 0) + stamps
        assert {i["entry"][4:]: i["stamps"] for i in self.services.items("day#")} == days
        assert all(stamps <= MAX_PER_DAY for stamps in days.values()), "more than the limit"
        in_flight = {item["contract_id"] for item in self.services.items("in-flight#")}
        assert in_flight == {id_ for id_, i in items.items() if i["status"] == "needs-review"}

    def check_contract(self, key: str, item: dict[str, Any]) -> None:
        created, status, rfc = self.pac.keys.count(key), item["status"], item["rfc"]
        steps = [line["step"] for line in item["history"]]
        disturbed = rfc in self.disturbed or any(
            self.requests[doubled][1] == rfc for doubled in self.pac.doubled
        )
        events = {
            name for name, detail in self.services.bus.published if detail["id"] == item["id"]
        }
        if status == "confirmed":
            assert created == 1, f"{key} is confirmed and was not created: {item}"
            assert "Contract Confirmed" in events, "not published"
            warned = "warning" in item
            assert not warned or disturbed, f"a warning without a reason: {item}"
            assert warned or key not in self.pac.doubled, f"created twice, no warning: {item}"
            assert (COUNT_MISMATCH in events) == warned
        elif status == "rejected":
            assert created == 0, f"{key} is rejected and was created: {item}"
            # The caller of any other rejection got it in the response.
            assert ("Contract Rejected" in events) == ("mark-unknown" in steps)
        else:
            assert status == "needs-review", item
            assert disturbed, f"{key} needs a review without a reason: {item}"
            assert "Contract Needs Review" in events, "not published"
        assert steps[0] == "create"
        assert steps.count("send") <= 1
        assert item["version"] == len(steps) - 1, "a step without its line"


def fail(kind: str, call: str) -> None:
    """Raise what a failed call raises, or kill the function."""
    if kind == "killed":
        raise Killed(call)
    if call in ("stamps", "create_contract"):
        raise timeout()
    if kind == "lost":
        raise lost_response()
    raise aws_error("ThrottlingException" if kind == "throttled" else "InternalServerError")


@pytest.fixture
def _aws() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with moto():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_aws")
def test_the_confirmed_contracts_are_those_that_the_pac_created() -> None:
    run_state_machine_as_test(
        Contracts,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=5,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
