"""Credentials: rotated under warm functions, and searched for in all output of the session.

These tests run after all others.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import (
    Plan,
    ReachcoreAccount,
    ReachcoreState,
    SolucionFactibleAccount,
    SolucionFactibleState,
    bulk_rfc,
)
from local.fake_pacs.faults import FaultKind, parse_fault
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL
from local.stack import SECRET_PREFIX, Stack

from tests.support.api_calls import generate_report, last_month
from tests.support.credential_search import Search
from tests.support.output_recorder import OutputRecorder

RC, SF = "escaped-rc", "escaped-sf"
RFC = bulk_rfc(0)
# Tested elsewhere, because each lasts seconds.
TOO_SLOW = {FaultKind.SLOW, FaultKind.SLOW_AFTER}


def new_credential(marks: str = 'ñ&<"/+ %') -> str:
    """Return a new credential that every encoding writes in another way throughout."""
    return "".join(mark + secrets.token_hex(2) for mark in marks)


@dataclass
class Accounts:
    """An account at each of two fake PACs of these tests, with credentials hard to escape."""

    stack: Stack
    reachcore: FakeReachcore
    factible: FakeSolucionFactible
    rc_state: ReachcoreState
    sf_state: SolucionFactibleState
    secrets: dict[str, dict[str, Any]] = field(repr=False)

    def change_secret(self, account: str, **changes: str) -> None:
        self.secrets[account] |= changes
        self.stack.session().client("secretsmanager").put_secret_value(
            SecretId=SECRET_PREFIX + account, SecretString=json.dumps(self.secrets[account])
        )

    def stamps(self, account: str = SF) -> Any:
        return self.stack.call("reader", "GET", f"/accounts/{account}/stamps", {"rfc": RFC})

    def balance(self, account: str = RC) -> Any:
        path = f"/accounts/{account}/balance"
        return self.stack.call("reader", "GET", path, {"month": last_month()})

    def contract(self, rfc: str = RFC) -> Any:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        body, path = {"rfc": rfc, "stamps": 3}, f"/accounts/{SF}/contracts"
        return self.stack.call("contract_manager", "POST", path, body=body, headers=key)

    def report(self) -> dict[str, Any]:
        return generate_report(self.stack, RC, "statement", "csv")

    def credentials(self, *names: str) -> set[str]:
        fields = ("api_key", "username", "password")
        return {v for name in names for k, v in self.secrets[name].items() if k in fields}


@pytest.fixture(scope="module")
def accounts(stack: Stack) -> Iterator[Accounts]:
    """Both accounts, and for each one whose TLS fails and one whose PAC is down."""
    # An API key is an ASCII header.
    user, password, key = new_credential(), new_credential(), new_credential('&<"/+ %')
    sf_state = SolucionFactibleState([SolucionFactibleAccount(user, password)])
    sf_state.load_issuers(20)
    rc_state = ReachcoreState({key: ReachcoreAccount("Escaped", Plan.POSTPAID, {RFC: True})})
    reachcore, factible = FakeReachcore(rc_state), FakeSolucionFactible(sf_state, wsdl=WSDL)
    login = {"username": user, "password": password}
    values: dict[str, dict[str, Any]] = {
        RC: {"pac": "reachcore", "environment": "sandbox", "api_key": key},
        SF: {"pac": "solucion-factible", "environment": "sandbox", **login},
    }
    with ExitStack() as servers:
        for name, server in ((RC, reachcore), (SF, factible)):
            url = servers.enter_context(serve(server))
            endpoints = {
                f"{name}-tls": url.replace("http:", "https:"),
                f"{name}-down": "http://127.0.0.1:9",
                name: url,
            }
            for account, endpoint in endpoints.items():
                values[name]["endpoint"] = endpoint
                stack.create_account(account, values[name])
        yield Accounts(stack, reachcore, factible, rc_state, sf_state, values)


@pytest.mark.parametrize("first", ["secret", "PAC"])
def test_no_request_fails_while_credentials_are_rotated(accounts: Accounts, first: str) -> None:
    assert accounts.stamps().status_code == accounts.balance().status_code == 200
    assert accounts.contract().status_code == 201
    password, key = (f'&<"/+ %{secrets.token_hex(8)}' for _ in range(2))
    accounts.factible.calls.clear()

    def change_at_the_pacs() -> None:
        accounts.sf_state.set_account(password=password)
        accounts.rc_state.set_key("Escaped", key)

    if first == "PAC":
        change_at_the_pacs()
    accounts.change_secret(SF, password=password)
    accounts.change_secret(RC, api_key=key)
    if first == "secret":
        assert accounts.stamps().status_code == 200
        change_at_the_pacs()

    assert accounts.contract().status_code == 201
    assert accounts.stamps().status_code == accounts.balance().status_code == 200
    assert accounts.report()["status"] == "ready"
    outcomes = [call["outcome"] for call in accounts.factible.calls.as_json()]
    assert outcomes.count("601") <= 1


def test_every_fault_meets_every_operation(accounts: Accounts) -> None:
    """The PACs' messages contain the credentials, for the search of the output."""
    sf, rc = accounts.factible, accounts.reachcore
    messages = {pac: " ".join(accounts.credentials(name)) for pac, name in ((sf, SF), (rc, RC))}
    rfcs = map(bulk_rfc, range(1, 20))
    operations: dict[str, tuple[FakePac, Callable[[], Any]]] = {
        "getTimbres": (sf, accounts.stamps),
        "agregarContrato": (sf, lambda: accounts.contract(next(rfcs))),
        "saldos": (rc, accounts.balance),
        "csv": (rc, accounts.report),
    }

    def run(operation: str) -> int:
        pac, call = operations[operation]
        faults = _faults(pac, operation, messages[pac])
        for fault in faults:
            pac.faults.put(parse_fault(fault, pac.rules))
            call()
        return len(faults)

    with ThreadPoolExecutor(len(operations)) as pool:
        counts = list(pool.map(run, operations))
    assert min(counts) >= 8
    assert sf.faults.as_json() == rc.faults.as_json() == []
    for suffix in ("-tls", "-down"):
        for response in (accounts.stamps(SF + suffix), accounts.balance(RC + suffix)):
            assert response.json()["code"] == "pac-unreachable"
    # Last, because no function signs in afterwards.
    for operation, fault in (
        ("getTimbres", {"code": "604", "mensaje": messages[sf]}),
        ("saldos", {"code": "401"}),
    ):
        pac, call = operations[operation]
        rejection = {"operation": operation, "fault": "code", **fault}
        pac.faults.put(parse_fault(rejection, pac.rules))
        assert call().json()["code"] == "pac-credentials-rejected"


def _faults(pac: FakePac, operation: str, message: str) -> list[dict[str, Any]]:
    faults = []
    for kind in sorted(pac.rules.kinds[operation] - TOO_SLOW):
        fault: dict[str, Any] = {"operation": operation, "fault": kind.value}
        if operation == "getTimbres":
            # A contract of another issuer calls getTimbres, too.
            fault["rfc"] = RFC
        if kind is FaultKind.CODE:
            fault |= {"code": "633", "mensaje": message} if pac.rules.soap else {"code": "500"}
        if kind is FaultKind.WRONG_SHAPE:
            fault["reply"] = f"<p>{message}</p>"
        if kind is FaultKind.REDIRECT:
            fault["location"] = "http://127.0.0.1:9/"
        faults.append(fault)
    return faults


def test_no_output_of_the_session_contains_a_credential(
    accounts: Accounts, recorder: OutputRecorder
) -> None:
    places = _write_credential(accounts.stack, planted := new_credential())
    credentials = recorder.credentials()
    assert accounts.credentials(SF, RC) <= set(credentials.values())
    search = Search(credentials | {"planted": planted})
    matches: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    tokens: list[str] = []
    stored: list[tuple[str, str]] = []

    for place, content in recorder.all_output():
        kind = place.partition(" ")[0]
        sizes[kind] = sizes.get(kind, 0) + len(content)
        if names := search.found(content):
            matches.setdefault(place, set()).update(name.split(" (")[0] for name in names)
        if kind == "mails":
            tokens += re.findall(r"/d/([A-Za-z0-9_-]{20,})", str(content))
        if kind in ("table", "events", "schedule") or place.startswith("log group"):
            stored.append((place, str(content)))

    assert matches == {place: {"planted"} for place in places}
    functions = ("stamp-count", "balance", "contract", "issuers", "report", "report-worker", "mail")
    logs = {place.rpartition("/")[2] for place, text in stored if "RequestId" in text}
    assert logs >= {f"timbres-{name}" for name in (*functions, "run", "run-worker")}
    assert {kind for kind, size in sizes.items() if size > 100} >= {
        *("response", "events", "mails", "output", "log", "table", "object", "schedule"),
        *("lambda", "cloudformation", "secretsmanager"),
    }
    # A download token is only in its mail; its hash is stored.
    assert tokens
    assert [place for place, text in stored for token in tokens if token in text] == []


def _write_credential(stack: Stack, credential: str) -> list[str]:
    """Write a credential to some places, in a different form each; return the places."""
    client = stack.session().client
    logs, sqs, dynamodb = client("logs"), client("sqs"), client("dynamodb")
    logs.create_log_group(logGroupName="planted")
    logs.create_log_stream(logGroupName="planted", logStreamName="1")
    basic = base64.b64encode(f"user@example.com:{credential}".encode()).decode()
    event = {"timestamp": 1_700_000_000_000, "message": f"Authorization: Basic {basic}"}
    logs.put_log_events(logGroupName="planted", logStreamName="1", logEvents=[event])
    content, bucket = gzip.compress(json.dumps({"x": credential}).encode()), "ReportsBucketName"
    client("s3").put_object(Bucket=stack.outputs[bucket], Key="planted.gz", Body=content)
    queue = sqs.create_queue(QueueName="planted")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=credential.encode().hex())
    dynamodb.create_table(
        TableName="planted",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="planted", Item={"k": {"S": "1"}, "v": {"S": credential}})
    return ["log group planted", "object planted.gz", "queue planted", "table planted"]
