"""The services of contracts over moto's tables; a fake PAC, fake secrets and a fake bus; faults."""

from __future__ import annotations

import functools
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from unittest.mock import patch

import boto3
from botocore import UNSIGNED
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from tests.support import moto_patches
from tests.support.clock import Clock
from tests.support.template import AWS_ACCOUNT, REGION, of_type
from timbres.aws.events import EventPublisher
from timbres.deadline import Deadline
from timbres.domain import clock as timbres_clock
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.domain.trace import Trace, trace_by_count
from timbres.errors import PacError, TimbresError
from timbres.pacs.base import PacClient, PacClientDecorator, Receipt
from timbres.pacs.errors import TIMEOUT, UNREACHABLE, error_from_code
from timbres.pacs.registry import PACS
from timbres.pacs.solucion_factible.error_codes import ERRORS
from timbres.repositories.accounts import AccountRepository
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.credential_rejections import (
    CredentialRejectionRepository,
    CredentialState,
)
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.dynamodb import deserialize
from timbres.repositories.issuers import IssuerRepository
from timbres.services.contracts import ContractRequest, ContractService
from timbres.services.pac_access import PacAccess
from timbres.services.reconciliation import Reconciler

CALLER = "arn:aws:iam::111122223333:user/compras"
SF, SECOND = "acme-sf", "otra-sf"
RFC, RFC_N, RFC_NEW = Rfc("A&D061009TY8"), Rfc("ÑAN840101AB1"), Rfc("NUE200229AB3")
PASSWORD = "contraseña"
TABLES = ("ContractsTable", "IssuersTable", "SnapshotsTable", "CredentialRejectionsTable")


def create_table(dynamodb: Any, logical_id: str) -> str:
    """Create a table of template.yaml with a client for moto; return its name."""
    properties = of_type("AWS::DynamoDB::Table")[logical_id]
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    dynamodb.create_table(
        TableName=logical_id, **{name: properties[name] for name in names if name in properties}
    )
    return logical_id


def aws_error(code: str = "InternalServerError") -> ClientError:
    """Return the error of an AWS call that had no effect."""
    return ClientError({"Error": {"Code": code, "Message": ""}}, "AnyOperation")


def lost_response() -> ReadTimeoutError:
    """Return the error of an AWS call that had its effect, but no response in any attempt."""
    return ReadTimeoutError(endpoint_url="https://aws")


def pac_error(code: str, message: str = "no") -> PacError:
    """Return the error for a code of Solución Factible."""
    return error_from_code("solucion-factible", ERRORS, code, message)


def unreachable() -> PacError:
    """Return the error of a PAC that cannot be reached."""
    return PacError(UNREACHABLE, "no connection", pac="solucion-factible")


def timeout() -> PacError:
    """Return the error of a PAC's lost response."""
    return PacError(TIMEOUT, "no response", pac="solucion-factible")


class Interruptions:
    """Actions at chosen calls of fakes: another request, a failure, a killed function."""

    def __init__(self) -> None:
        self._planned: list[dict[str, Any]] = []

    def plan(
        self,
        action: Callable[[str], object] | BaseException,
        *names: str,
        when: str = "before",
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Run ``action`` with the call's name, or raise it, before or after some calls.

        These are ``times`` calls with one of ``names``, or with any name, after ``skip`` others.
        """
        plan = {"action": action, "names": names, "when": when, "skip": skip, "times": times}
        self._planned.append(plan)

    def clear(self) -> None:
        self._planned.clear()

    def reach(self, when: str, name: str) -> bool:
        """Run the action of this call, if any; return whether there is one."""
        for plan in self._planned:
            if plan["when"] != when or (plan["names"] and name not in plan["names"]):
                continue
            if plan["skip"]:
                plan["skip"] -= 1
                continue
            plan["times"] -= 1
            if not plan["times"]:
                self._planned.remove(plan)
            if isinstance(plan["action"], BaseException):
                raise plan["action"]
            plan["action"](name)
            return True
        return False


def _interruptible(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        self.interruptions.reach("before", method.__name__)
        result = method(self, *arguments, **options)
        self.interruptions.reach("after", method.__name__)
        return result

    return call


class FakeSecrets:
    """The secrets of accounts at Solución Factible, as a client for Secrets Manager."""

    def __init__(self, interruptions: Interruptions) -> None:
        self.interruptions = interruptions
        self._secrets: dict[str, tuple[str, str]] = {}
        self.reads: list[str] = []

    def put(self, name: str, **changes: Any) -> None:
        """Store a new version of an account's secret."""
        secret = {"pac": "solucion-factible", "environment": "testing", "password": PASSWORD}
        self.put_text(name, json.dumps(secret | {"username": "usuaria@example.com"} | changes))

    def put_text(self, name: str, text: str) -> None:
        """Store any text as a new version of an account's secret."""
        self._secrets[name] = text, str(uuid.uuid4())

    def delete(self, name: str) -> None:
        del self._secrets[name]

    @_interruptible
    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803 boto3's name
        self.reads.append(SecretId)
        if SecretId not in self._secrets:
            raise aws_error("ResourceNotFoundException")
        text, version = self._secrets[SecretId]
        return {"SecretString": text, "VersionId": version}


class FakeBus:
    """A client for EventBridge; ``published`` are the types and details of the events."""

    def __init__(self, interruptions: Interruptions) -> None:
        self.interruptions = interruptions
        self.published: list[tuple[str, dict[str, Any]]] = []

    @_interruptible
    def put_events(self, Entries: list[dict[str, str]]) -> dict[str, int]:  # noqa: N803 boto3's
        self.published += [(entry["DetailType"], json.loads(entry["Detail"])) for entry in Entries]
        return {"FailedEntryCount": 0}

    @property
    def event_types(self) -> list[str]:
        return [event_type for event_type, _ in self.published]


# When the fault occurs, relative to the contract's effect, and the error.
CONTRACT_FAULTS = {
    "unreachable": ("before", unreachable),
    "refused": ("before", lambda: pac_error("632")),
    "cut-before": ("before", timeout),
    "cut-after": ("after", timeout),
    "error-after": ("after", lambda: pac_error("502")),
    "echo": ("after", lambda: pac_error("624")),
}


@dataclass
class FakePac:
    """A PAC: counts that follow its writes after ``lag``, contracts, sign-ins and faults.

    ``fault`` affects the next contract: one of ``CONTRACT_FAULTS``, ``doubled`` (created twice)
    or ``late`` (created 25 minutes after the connection was lost). ``count-fails`` affects the
    next count. ``key`` is the Idempotency-Key of the current request; ``keys`` has one for each of
    ``contracts``. ``new_issuers`` are unknown until their first contract.
    """

    interruptions: Interruptions = field(default_factory=Interruptions)
    initial: Stamps = field(default_factory=lambda: Stamps(1000, 250, 750))
    lag: timedelta = timedelta(0)
    fault: str | None = None
    key: str = ""
    password: str = PASSWORD
    sign_in_seconds: float = 0.0
    calls: list[str] = field(default_factory=list)
    contracts: list[tuple[str, int]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    doubled: set[str] = field(default_factory=set)
    new_issuers: set[str] = field(default_factory=set)
    # Whether the sign-in succeeded, and the number of concurrent ones.
    sign_ins: list[tuple[bool, int]] = field(default_factory=list)
    _changes: list[tuple[datetime, str, Stamps]] = field(default_factory=list)
    _late: list[tuple[datetime, str, int, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _in_progress: int = 0

    def client(self, account: Account) -> PacClient:
        """Return a client whose calls sign in with the account's password."""
        return _SigningClient(self, account)

    def sign_in(self, account: Account) -> None:
        """Raise ``pac-credentials-rejected`` for a wrong password."""
        with self._lock:
            self._in_progress += 1
            concurrent = self._in_progress
        time.sleep(self.sign_in_seconds)
        with self._lock:
            self._in_progress -= 1
            accepted = account.credentials["password"] == self.password
            self.sign_ins.append((accepted, concurrent))
        if not accepted:
            raise pac_error("601", f"wrong: {account.credentials['password']}")

    @property
    def failed_sign_ins(self) -> int:
        return sum(not accepted for accepted, _ in self.sign_ins)

    @_interruptible
    def stamps(self, rfc: str, _deadline: object) -> Stamps:
        """Return an issuer's counts, which do not include what was written within the lag."""
        self.calls.append("stamps")
        if self.fault == "count-fails":
            self.fault = None
            raise unreachable()
        self._process_late_requests()
        changes = [(at, change) for at, changed, change in self._changes if changed == rfc]
        if rfc in self.new_issuers and not changes:
            raise pac_error("611")
        counts = (0, 0, 0) if rfc in self.new_issuers else _as_tuple(self.initial)
        for written, change in changes:
            if written <= timbres_clock.now() - self.lag:
                counts = tuple(map(sum, zip(counts, _as_tuple(change), strict=True)))
        return Stamps(*counts)

    def trace(self, sent: Contract, deadline: object) -> Trace:
        return trace_by_count(sent.before, self.stamps(sent.rfc, deadline), sent.stamps)

    @_interruptible
    def create_contract(self, rfc: str, stamps: int, _deadline: object) -> Receipt:
        self.calls.append("create_contract")
        fault, self.fault = self.fault, None
        when, error = CONTRACT_FAULTS.get(fault or "", ("", timeout))
        if when == "before":
            raise error()
        if fault == "late":
            due = timbres_clock.now() + timedelta(minutes=25)
            self._late.append((due, rfc, stamps, self.key))
            raise error()
        self._create(rfc, stamps, self.key, timbres_clock.now())
        if fault == "doubled":
            self.change(rfc, stamps, 0)
            self.doubled.add(self.key)
        if when == "after":
            raise error()
        return Receipt("200", "hecho")

    def change(self, rfc: str, contracted: int, used: int) -> None:
        """Change an issuer's counts, as contracts in the portal and issued invoices do."""
        change = Stamps(contracted, used, contracted - used)
        self._changes.append((timbres_clock.now(), rfc, change))

    def _create(self, rfc: str, stamps: int, key: str, at: datetime) -> None:
        self._changes.append((at, rfc, Stamps(stamps, 0, stamps)))
        self.contracts.append((rfc, stamps))
        self.keys.append(key)

    def _process_late_requests(self) -> None:
        for request in [late for late in self._late if late[0] <= timbres_clock.now()]:
            self._late.remove(request)
            due, rfc, stamps, key = request
            self._create(rfc, stamps, key, due)


def _as_tuple(stamps: Stamps) -> tuple[int, ...]:
    return stamps.contracted or 0, stamps.used or 0, stamps.available or 0


class _SigningClient(PacClientDecorator):
    def __init__(self, pac: FakePac, account: Account) -> None:
        self._pac = pac
        self._account = account

    def _read(self, capability: str, call: Callable[[Any], Any]) -> Any:
        self._pac.sign_in(self._account)
        return call(self._pac)

    _write = _read


class AcceptedCredentials:
    """The part of a :class:`CredentialRejectionRepository` whose credentials are all accepted."""

    def get_state(self, _account: Account) -> CredentialState:
        return CredentialState(accepted=True)


@cache
def _client() -> Any:
    session = boto3.Session("testing", "testing", region_name=REGION)
    # moto verifies no signature.
    session.events.register("choose-signer.dynamodb", lambda **_: UNSIGNED)
    return session.client("dynamodb")


class _RepeatingClient:
    """A DynamoDB client that repeats a write, as the SDK does after a lost response.

    That is a planned interruption with ``when="sent"``. A repeated transaction has the same token.
    """

    def __init__(self, client: Any, interruptions: Interruptions) -> None:
        self._client = client
        self._interruptions = interruptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if not name.endswith(("_item", "_items")):
            return call

        def send(**request: Any) -> Any:
            is_repeated = self._interruptions.reach("sent", name)
            response = call(**request)
            return call(**request) if is_repeated else response

        return send


def dynamodb_client(interruptions: Interruptions) -> Any:
    """Return a client for moto whose calls can be interrupted, by their names in boto3's model."""
    events = _client().meta.events
    for when in ("before", "after"):
        events.unregister(f"{when}-call.dynamodb", unique_id=when)
        events.register(
            f"{when}-call.dynamodb",
            # A hook that returns a value would replace the response.
            lambda model, when=when, **_: (interruptions.reach(when, model.name), None)[1],
            unique_id=when,
        )
    return _RepeatingClient(_client(), interruptions)


class Services:
    """The services of contracts over tables in moto, one fake PAC and two accounts of one login.

    :meth:`create` returns a contract, :meth:`outcome` its status or the code of the error.
    """

    def __init__(self, clock: Clock, *, accepted: bool = True) -> None:
        self.clock = clock
        self.interruptions = Interruptions()
        self.pac = FakePac(self.interruptions)
        self.secrets = FakeSecrets(self.interruptions)
        self.bus = FakeBus(self.interruptions)
        self.dynamodb = dynamodb_client(self.interruptions)
        for logical_id in TABLES:
            create_table(self.dynamodb, logical_id)
        self.journal = ContractRepository(self.dynamodb, "ContractsTable", pause=lambda _: None)
        self.issuers = IssuerRepository(self.dynamodb, "IssuersTable")
        self.snapshots = SnapshotRepository(self.dynamodb, "SnapshotsTable")
        self.rejections: Any = AcceptedCredentials()
        if not accepted:
            self.rejections = CredentialRejectionRepository(
                self.dynamodb, "CredentialRejectionsTable"
            )
        for name in (SF, SECOND):
            self.secrets.put(name)
        self._publisher = EventPublisher(lambda: self.bus, "bus")
        process = self.new_process()
        self.access, self.contracts = process.access, process.contracts
        self.reconciler = Reconciler(self.access, self.journal, self._publisher)

    def new_process(self, trial_wait_seconds: float = 5.0) -> Process:
        """Return the services of another process, with its own cache of secrets."""
        access = PacAccess(
            AccountRepository(
                self.secrets, "", PACS, lambda: self.clock().timestamp(), allow_sandbox=True
            ),
            self.rejections,
            self._publisher,
            self.pac.client,
            trial_wait_seconds=trial_wait_seconds,
            poll_seconds=(0.001, 0.005),
        )
        contracts = ContractService(
            access, self.journal, self.issuers, self.snapshots, self._publisher
        )
        return Process(access, contracts)

    def create(
        self,
        key: str = "order-1",
        rfc: Rfc = RFC,
        stamps: int = 500,
        account: str = SF,
        seconds: float = 25,
    ) -> tuple[Contract, bool]:
        """Request a contract; return it, and whether the request was a replay."""
        request = ContractRequest(rfc, stamps, key, CALLER, new_issuer=True)
        return self.contracts.create(account, request, Deadline(seconds))

    def outcome(self, key: str = "order-1", rfc: Rfc = RFC, **values: Any) -> str:
        """Request a contract; return its status, or the code of the error."""
        try:
            return str(self.create(key, rfc, **values)[0].status)
        except TimbresError as error:
            return error.problem_type.code

    def reconcile(self, time_left: float = 25, **later: float) -> dict[str, int]:
        """Run the reconciler later; return the number of contracts by new state."""
        self.clock.forward(**later)
        return self.reconciler.run(Deadline(time_left))

    def contract(self, key: str = "order-1", account: str = SF) -> Contract:
        """Return the stored contract of an Idempotency-Key."""
        conflict = self.journal.find_by_key(account, key, "")
        assert conflict is not None
        return conflict.contract

    def steps(self, key: str = "order-1") -> list[str]:
        """Return the steps of the stored contract of a key."""
        contract = self.contract(key)
        _, history = self.contracts.get_with_history(contract.account, contract.id)
        return [line["step"] for line in history]

    def items(self, prefix: str) -> list[dict[str, Any]]:
        """Return the items of the journal whose sort key has a prefix."""
        items = map(deserialize, self.dynamodb.scan(TableName="ContractsTable")["Items"])
        return [item for item in items if item["entry"].startswith(prefix)]


@dataclass(frozen=True)
class Process:
    """The services of one process."""

    access: PacAccess
    contracts: ContractService


@contextmanager
def moto() -> Iterator[None]:
    """Run AWS in moto."""
    with (
        patch.dict(os.environ, {"MOTO_ACCOUNT_ID": AWS_ACCOUNT}),
        mock_aws(),
        moto_patches.patched([], Counter()),
    ):
        yield


@contextmanager
def running_services(**options: Any) -> Iterator[Services]:
    """Yield the services in moto, with a clock that stands still."""
    clock = Clock()
    with moto(), patch.object(timbres_clock, "now", clock):
        yield Services(clock, **options)
