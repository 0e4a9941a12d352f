"""A search for credentials in all output of the session, after all other tests."""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from contextlib import ExitStack

import pytest
from local.fake_pacs.fake_data import (
    Plan,
    ReachcoreAccount,
    ReachcoreState,
    SolucionFactibleAccount,
    SolucionFactibleState,
    bulk_rfc,
)
from local.fake_pacs.faults import parse_fault
from local.fake_pacs.reachcore import FakeReachcore
from local.fake_pacs.server import serve
from local.fake_pacs.solucion_factible import FakeSolucionFactible
from local.fakes import WSDL

from tests.support.api_calls import create_contract, eventually, generate_report, last_month
from tests.support.credential_search import Search

RC, SF = "escaped-rc", "escaped-sf"
RFC = bulk_rfc(0)


def new_credential(marks='ñ&<"/+ %'):
    """Return a new credential with marks that every encoding writes in another way."""
    return marks + secrets.token_hex(12)


@pytest.fixture
def mailed_report(stack):
    """A contract, a report, and the mail with its link, so that all functions have written."""
    read_mails, mails = stack.mailbox("secrets"), list[str]()
    assert create_contract(stack, "AAA010101AAA", 1, "secrets").status_code == 201
    generate_report(stack, "acme-rc", "consumption", "csv")
    eventually(lambda: mails.extend(read_mails()) or "/d/" in "\n".join(mails))


@pytest.fixture
def pacs(stack):
    """The PAC and the credentials of two accounts that are hard to escape."""
    # An API key is an ASCII header.
    user, password, key = new_credential(), new_credential(), new_credential('&<"/+ %')
    rc_state = ReachcoreState({key: ReachcoreAccount("Escaped", Plan.POSTPAID, {RFC: True})})
    sf_state = SolucionFactibleState([SolucionFactibleAccount(user, password)])
    sf_state.load_issuers(2)
    reachcore, factible = FakeReachcore(rc_state), FakeSolucionFactible(sf_state, wsdl=WSDL)
    with ExitStack() as servers:
        rc_url, sf_url = (servers.enter_context(serve(pac)) for pac in (reachcore, factible))
        login = {"username": user, "password": password, "endpoint": sf_url}
        rc_secret = {"pac": "reachcore", "api_key": key, "endpoint": rc_url}
        stack.create_account(RC, rc_secret | {"environment": "sandbox"})
        stack.create_account(SF, {"pac": "solucion-factible", "environment": "sandbox"} | login)
        yield {RC: (reachcore, [key]), SF: (factible, [user, password])}


@pytest.mark.usefixtures("mailed_report")
def test_no_output_of_the_session_contains_a_credential(stack, pacs, recorder):
    # The PAC's messages repeat the credentials. The last code rejects them.
    stamps = ("stamps", {"rfc": RFC}, "getTimbres")
    balance = ("balance", {"month": last_month()}, "saldos")
    for account, (name, query, operation), code in (
        (SF, stamps, "633"),
        (RC, balance, "500"),
        (SF, stamps, "604"),
        (RC, balance, "401"),
    ):
        pac, credentials = pacs[account]
        path = f"/accounts/{account}/{name}"
        assert stack.call("reader", "GET", path, query).status_code == 200
        fault = {"operation": operation, "fault": "code", "code": code, "times": -1}
        message = {"mensaje": " ".join(credentials)} if account == SF else {}
        pac.faults.put(parse_fault(fault | message, pac.rules))
        assert not stack.call("reader", "GET", path, query).ok
        pac.faults.clear()
    places = write_credential(stack, planted := new_credential())
    known = recorder.credentials()
    assert {value for _, values in pacs.values() for value in values} <= set(known.values())
    search = Search(known | {"planted": planted})
    matches: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    tokens: list[str] = []
    stored: list[tuple[str, str]] = []

    for place, content in recorder.all_output():
        kind = place.partition(" ")[0]
        sizes[kind] = sizes.get(kind, 0) + len(content)
        if names := search.found(content):
            matches.setdefault(place, set()).update(names)
        if kind == "mails":
            tokens += re.findall(r"/d/([A-Za-z0-9_-]{20,})", str(content))
        if kind in ("table", "schedule") or place.startswith("log group"):
            stored.append((place, str(content)))

    assert matches == {place: {"planted"} for place in places}
    functions = ("stamp-count", "balance", "contract", "issuers", "report", "report-worker", "mail")
    logs = {place.rpartition("/")[2] for place, text in stored if "RequestId" in text}
    assert logs >= {f"timbres-{name}" for name in (*functions, "run", "run-worker")}
    assert {kind for kind, size in sizes.items() if size > 100} >= {
        *("response", "mails", "log", "table", "object", "schedule"),
        *("lambda", "cloudformation", "secretsmanager"),
    }
    # A download token is only in its mail; its hash is stored.
    assert tokens
    assert [place for place, text in stored for token in tokens if token in text] == []


def write_credential(stack, credential):
    """Write a credential to some places, in a different form each; return the places."""
    client = stack.session().client
    group = {"logGroupName": "planted"}
    client("logs").create_log_group(**group)
    client("logs").create_log_stream(**group, logStreamName="1")
    basic = base64.b64encode(f"user@example.com:{credential}".encode()).decode()
    event = {"timestamp": 1_700_000_000_000, "message": f"Authorization: Basic {basic}"}
    client("logs").put_log_events(**group, logStreamName="1", logEvents=[event])
    bucket, content = stack.outputs["ReportsBucketName"], json.dumps({"x": credential}).encode()
    client("s3").put_object(Bucket=bucket, Key="planted.gz", Body=gzip.compress(content))
    queue = client("sqs").create_queue(QueueName="planted")["QueueUrl"]
    client("sqs").send_message(QueueUrl=queue, MessageBody=credential.encode().hex())
    table, item = stack.resource("RunsTable"), {"run": "planted", "entry": "1", "v": credential}
    item_of_strings = {name: {"S": value} for name, value in item.items()}
    client("dynamodb").put_item(TableName=table, Item=item_of_strings)
    return ["log group planted", "object planted.gz", "queue planted", f"table {table}"]
