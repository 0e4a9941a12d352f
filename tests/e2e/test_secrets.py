"""Credentials: rotated under warm functions, and searched for in all that the run has left.

These run after all other end-to-end tests.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from collections.abc import Iterator
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

from tests.e2e.test_main_job import eventually, last_month
from tests.support.credential_search import Search
from tests.support.output_recorder import OutputRecorder

RC, SF = "odd-rc", "odd-sf"
RFC = bulk_rfc(0)
# One at a time they are rare enough to wait for, and cost what they last.
TOO_SLOW = {FaultKind.SLOW, FaultKind.SLOW_AFTER}


def odd(ascii_only: bool = False) -> str:
    """Return a new credential that every encoding writes in another way, from end to end."""
    marks = '&<"/+ %' if ascii_only else 'ñ&<"/+ %'
    pairs = [secrets.token_hex(2) for _ in range(len(marks))]
    return "".join(mark + pair for mark, pair in zip(marks, pairs, strict=True))


@dataclass
class Odd:
    """Two PACs of these tests alone, and accounts whose credentials are hard to write."""

    stack: Stack
    reachcore: FakeReachcore
    factible: FakeSolucionFactible
    sf_books: SolucionFactibleState
    rc_books: ReachcoreState
    values: dict[str, dict[str, Any]] = field(repr=False)

    def change(self, account: str, **changes: str) -> None:
        """Give an account's secret a new version."""
        self.values[account] |= changes
        self.stack.session().client("secretsmanager").put_secret_value(
            SecretId=SECRET_PREFIX + account, SecretString=json.dumps(self.values[account])
        )

    def works(self, function: str, **more: Any) -> Any:
        """Ask for one thing; return the answer."""
        method, path, query, body = {
            "stamps": ("GET", f"/accounts/{SF}/stamps", {"rfc": RFC}, None),
            "balance": ("GET", f"/accounts/{RC}/balance", {"month": last_month()}, None),
            "contract": ("POST", f"/accounts/{SF}/contracts", None, {"rfc": RFC, "stamps": 3}),
        }[function]
        if body is not None:
            body |= more
        key = {"Idempotency-Key": secrets.token_hex(8)} if body else None
        return self.stack.call("contract_manager", method, path, query, body=body, headers=key)

    def report(self) -> dict[str, Any]:
        """Ask for a statement; return it when it is ready or has failed."""
        body = {"month": last_month(), "kind": "statement", "format": "csv"}
        path = f"/accounts/{RC}/reports"
        id_ = self.stack.call("reporter", "POST", path, body=body).json()["id"]

        def settled() -> Any:
            found = self.stack.call("reporter", "GET", f"{path}/{id_}", {"redirect": "false"})
            return found.json() if found.json()["status"] != "pending" else None

        report: dict[str, Any] = eventually(settled)
        return report


@pytest.fixture(scope="module")
def accounts(stack: Stack) -> Iterator[Odd]:
    """Both accounts, and one more of each PAC that is not reached: by TLS, and at all."""
    user, password, key = odd(), odd(), odd(ascii_only=True)
    sf_books = SolucionFactibleState([SolucionFactibleAccount(user, password)])
    sf_books.load_issuers(20)
    rc_account = ReachcoreAccount("Odd", Plan.POSTPAID, {RFC: True})
    rc_books = ReachcoreState({key: rc_account})
    reachcore = FakeReachcore(rc_books)
    factible = FakeSolucionFactible(sf_books, wsdl=WSDL)
    with ExitStack() as servers:
        urls = {
            RC: servers.enter_context(serve(reachcore)),
            SF: servers.enter_context(serve(factible)),
        }
        values: dict[str, dict[str, Any]] = {
            RC: {"pac": "reachcore", "environment": "sandbox", "api_key": key},
            SF: {
                "pac": "solucion-factible",
                "environment": "sandbox",
                "username": user,
                "password": password,
            },
        }
        for name, value in values.items():
            stack.create_account(
                f"{name}-tls", value | {"endpoint": urls[name].replace("http:", "https:")}
            )
            stack.create_account(f"{name}-off", value | {"endpoint": "http://127.0.0.1:9"})
            value["endpoint"] = urls[name]
            stack.create_account(name, value)
        yield Odd(stack, reachcore, factible, sf_books, rc_books, values)


@pytest.mark.parametrize("first", ["the secret", "the PAC"])
def test_rotated_under_warm_functions_no_answer_is_an_error(accounts: Odd, first: str) -> None:
    assert accounts.works("stamps").status_code == 200
    assert accounts.works("contract").status_code == 201
    assert accounts.works("balance").status_code == 200
    password, key = (f'&<"/+ %{secrets.token_hex(8)}' for _ in range(2))
    accounts.factible.calls.clear()

    def at_the_pacs() -> None:
        accounts.sf_books.set_account(password=password)
        accounts.rc_books.set_key("Odd", key)

    if first == "the PAC":
        at_the_pacs()
    accounts.change(SF, password=password)
    accounts.change(RC, api_key=key)
    if first == "the secret":
        assert accounts.works("stamps").status_code == 200
        at_the_pacs()

    assert accounts.works("contract").status_code == 201
    assert accounts.works("stamps").status_code == 200
    assert accounts.works("balance").status_code == 200
    assert accounts.report()["status"] == "ready"
    outcomes = [call["outcome"] for call in accounts.factible.calls.as_json()]
    # One function found out; the other learned of it without a sign-in of its own.
    assert outcomes.count("601") <= 1


def test_every_fault_of_both_pacs(accounts: Odd) -> None:
    """Each fault meets each operation; the credentials are in whatever the PAC repeats."""
    message = {
        accounts.factible: " ".join(_credentials(accounts, SF)),
        accounts.reachcore: " ".join(_credentials(accounts, RC)),
    }
    jobs = {
        "getTimbres": (accounts.factible, lambda: accounts.works("stamps")),
        "agregarContrato": (accounts.factible, lambda: accounts.works("contract", rfc=rfc())),
        "saldos": (accounts.reachcore, lambda: accounts.works("balance")),
        "csv": (accounts.reachcore, accounts.report),
    }
    others = iter(range(1, 20))

    def rfc() -> str:
        return bulk_rfc(next(others))

    def meet(operation: str) -> int:
        sandbox, work = jobs[operation]
        faults = _faults(sandbox, operation, message[sandbox])
        for fault in faults:
            sandbox.faults.put(parse_fault(fault, sandbox.rules))
            work()
        return len(faults)

    with ThreadPoolExecutor(len(jobs)) as pool:
        met = list(pool.map(meet, jobs))
    assert min(met) >= 8
    assert accounts.factible.faults.as_json() == accounts.reachcore.faults.as_json() == []
    for way in ("tls", "off"):
        for account, path, query in (
            (SF, "stamps", {"rfc": RFC}),
            (RC, "balance", {"month": last_month()}),
        ):
            answer = accounts.stack.call(
                "reader", "GET", f"/accounts/{account}-{way}/{path}", query
            )
            assert answer.json()["code"] == "pac-unreachable"
    # The last of all, since nobody signs in afterwards.
    for operation, code in (("getTimbres", "604"), ("saldos", "401")):
        sandbox, work = jobs[operation]
        fault = {"operation": operation, "fault": "code", "code": code}
        if operation == "getTimbres":
            fault["mensaje"] = message[sandbox]
        sandbox.faults.put(parse_fault(fault, sandbox.rules))
        assert work().json()["code"] == "pac-credentials-rejected"


def _faults(sandbox: FakePac, operation: str, message: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in sorted(sandbox.rules.kinds[operation] - TOO_SLOW):
        fault: dict[str, Any] = {"operation": operation, "fault": kind.value}
        if operation == "getTimbres":
            # A contract is followed by a count, too, but of another issuer.
            fault["rfc"] = RFC
        if kind is FaultKind.CODE:
            fault["code"] = "500"
            if sandbox.rules.soap:
                fault |= {"code": "633", "mensaje": message}
        if kind is FaultKind.WRONG_SHAPE:
            fault["reply"] = f"<p>{message}</p>"
        if kind is FaultKind.REDIRECT:
            fault["location"] = "http://127.0.0.1:9/"
        found.append(fault)
    return found


def test_no_credential_has_left(accounts: Odd, recorder: OutputRecorder) -> None:
    """Runs over everything; what is planted shows that it would be found."""
    planted = odd()
    _plant(accounts.stack, planted)
    credentials = recorder.search()
    missing = _credentials(accounts, SF, RC) - set(credentials.values())
    assert len(missing) == 0
    search = Search(credentials | {"planted": planted})

    found: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    mailed: list[str] = []
    stored: list[tuple[str, str]] = []
    for where, content in recorder.left():
        kind = where.partition(" ")[0]
        sizes[kind] = sizes.get(kind, 0) + len(content)
        if names := search.found(content):
            found.setdefault(where, set()).update(name.split(" (")[0] for name in names)
        if kind == "mails":
            mailed += re.findall(r"/d/([A-Za-z0-9_-]{20,})", str(content))
        if kind in ("table", "events", "schedule") or where.startswith("log group"):
            stored.append((where, str(content)))

    assert found == {place: {"planted"} for place in PLANTED}
    logs = {where.rpartition("/")[2] for where, text in stored if "RequestId" in text}
    ran = ("stamp-count", "balance", "contract", "issuers", "report", "report-worker", "mail")
    assert logs >= {f"timbres-{name}" for name in (*ran, "run", "run-worker")}
    # Every kind of place had something in it.
    assert {kind for kind, size in sizes.items() if size > 100} >= {
        *("answer", "events", "mails", "output", "log", "table", "object", "schedule"),
        *("lambda", "cloudformation", "secretsmanager"),
    }
    # A ticket is in its mail alone; what is kept of it is a digest.
    assert mailed
    assert [where for where, text in stored for token in mailed if token in text] == []


PLANTED = ("log group planted", "object planted.gz", "queue planted", "table planted")


def _plant(stack: Stack, secret: str) -> None:
    """Leave a credential in some places, each time in another form."""
    session = stack.session()
    logs = session.client("logs")
    logs.create_log_group(logGroupName="planted")
    logs.create_log_stream(logGroupName="planted", logStreamName="1")
    line = base64.b64encode(f"user@example.com:{secret}".encode()).decode()
    event = {"timestamp": 1_700_000_000_000, "message": f"Authorization: Basic {line}"}
    logs.put_log_events(logGroupName="planted", logStreamName="1", logEvents=[event])
    s3 = session.client("s3")
    content = gzip.compress(json.dumps({"x": secret}).encode())
    s3.put_object(Bucket=stack.outputs["ReportsBucketName"], Key="planted.gz", Body=content)
    sqs = session.client("sqs")
    queue = sqs.create_queue(QueueName="planted")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=secret.encode().hex())
    dynamodb = session.client("dynamodb")
    dynamodb.create_table(
        TableName="planted",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="planted", Item={"k": {"S": "1"}, "v": {"S": secret}})


def _credentials(accounts: Odd, *names: str) -> set[str]:
    return {
        value[name]
        for value in (accounts.values[one] for one in names)
        for name in ("api_key", "username", "password")
        if name in value
    }
