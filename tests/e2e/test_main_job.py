"""The main job on the true template: real HTTP, SOAP, queues, schedules, presigned links."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from local.environment import LocalEnvironment
from local.fake_pacs.fake_data import mexico_now
from local.stack import Stack


def eventually(found: Callable[[], Any], seconds: float = 20) -> Any:
    """Return the first thing found that is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if value := found():
            return value
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)


def last_month() -> str:
    now = mexico_now()
    return f"{now.year - 1}-12" if now.month == 1 else f"{now.year}-{now.month - 1:02d}"


def fault(url: str, **what: Any) -> None:
    assert requests.post(f"{url}/_control/faults", json=what, timeout=5).status_code == 201


def pac_contracts(world: LocalEnvironment) -> list[dict[str, Any]]:
    books = requests.get(f"{world.urls['solucion-factible']}/_control/state", timeout=5).json()
    return [contract for account in books["accounts"] for contract in account["contracts"]]


def create_contract(
    stack: Stack, rfc: str, stamps: Any, key: str, identity: str = "contract_manager"
) -> Any:
    return stack.call(
        identity,
        "POST",
        "/accounts/acme-sf/contracts",
        body={"rfc": rfc, "stamps": stamps},
        headers={"Idempotency-Key": key},
    )


def test_the_demo_runs_from_end_to_end(
    world: LocalEnvironment, run_demo: Callable[[LocalEnvironment], str], tmp_path: Path
) -> None:
    output = run_demo(world)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"acme-rc-{last_month()}-statement.{form}" for form in ("csv", "pdf")),
        *(
            f"{account}-{last_month()}-consumption.{form}"
            for account in ("acme-rc", "acme-sf", "night-sf", "all")
            for form in ("csv", "xlsx", "pdf", "html")
        ),
    }
    assert "byte for byte" in output
    for keys in world.stack.keys.values():
        assert keys.secret_access_key not in output


READS = (
    "/accounts",
    f"/accounts/acme-rc/balance?month={last_month()}",
    "/accounts/acme-sf/stamps?rfc=A%26D061009TY8",
    "/accounts/acme-sf/stamps/account",
    "/accounts/acme-sf/stamps/history?rfc=A%26D061009TY8",
    "/runs",
    "/runs/none",
    "/accounts/acme-sf/contracts",
    "/accounts/acme-sf/contracts/none",
)
REPORTS = ("/accounts/acme-rc/reports", "/accounts/acme-rc/reports/none")


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ("reader", True),
        ("reporter", True),
        ("contract_manager", True),
        ("nobody", False),
        (None, False),
    ],
)
def test_who_may_read(stack: Stack, identity: str | None, allowed: bool, path: str) -> None:
    answer = call(stack, identity, "GET", path)
    assert (answer.status_code in (200, 404)) is allowed
    if not allowed:
        assert answer.status_code == 403
        assert answer.json()["code"] == "access-denied"


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ("reader", False),
        ("reporter", True),
        ("contract_manager", False),
        ("nobody", False),
        (None, False),
    ],
)
def test_who_may_have_reports(stack: Stack, identity: str | None, allowed: bool) -> None:
    for path in REPORTS:
        assert (call(stack, identity, "GET", path).status_code != 403) is allowed
    # An empty body is refused behind the door, not at it.
    answer = stack.call(identity, "POST", REPORTS[0], body={})
    assert answer.status_code == (400 if allowed else 403)


@pytest.mark.parametrize("identity", ["reader", "reporter", "nobody", None])
def test_only_a_contract_manager_creates_contracts(
    world: LocalEnvironment, identity: str | None
) -> None:
    before = len(pac_contracts(world))
    answer = create_contract(world.stack, "AAA010101AAA", 1, f"not-{identity}", identity)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(pac_contracts(world)) == before


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ("reader", False),
        ("reporter", False),
        ("contract_manager", True),
        ("nobody", False),
        (None, False),
    ],
)
def test_who_may_keep_the_list_of_issuers(
    stack: Stack, identity: str | None, allowed: bool
) -> None:
    for method in ("PUT", "DELETE"):
        answer = stack.call(identity, method, "/accounts/acme-sf/issuers", body={})
        # An empty body is refused behind the door, not at it.
        assert answer.status_code == (400 if allowed else 403)


def call(stack: Stack, identity: str | None, method: str, path: str) -> requests.Response:
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=") for pair in query.split("&")) if query else None
    if pairs:
        pairs = {name: requests.utils.unquote(value) for name, value in pairs.items()}
    return stack.call(identity, method, path, query=pairs)


@pytest.mark.parametrize("rfc", ["A&D061009TY8", "ÑAN840101AB1", " a&d061009ty8 ", "Ñan840101ab1"])
def test_an_rfc_arrives_whole_however_it_is_written(stack: Stack, rfc: str) -> None:
    answer = stack.call("reader", "GET", "/accounts/acme-sf/stamps", {"rfc": rfc})
    assert answer.status_code == 200
    assert answer.json()["rfc"] in ("A&D061009TY8", "ÑAN840101AB1")
    assert isinstance(answer.json()["available"], int)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("GET", "/accounts/acme-rc/balance?month=2026-13", None, 400, "month-invalid", "month"),
        ("GET", "/accounts/acme-rc/balance?month=2999-01", None, 400, "month-invalid", "month"),
        ("GET", "/accounts/acme-rc/balance", None, 400, "month-invalid", "month"),
        ("GET", "/accounts/none/stamps", None, 404, "account-unknown", "account"),
        ("GET", "/accounts/acme-sf/stamps?rfc=A", None, 400, "rfc-invalid", "rfc"),
        (
            "GET",
            "/accounts/acme-rc/stamps?rfc=AAA010101AAA",
            None,
            422,
            "operation-unsupported",
            "account",
        ),
        ("POST", "/accounts/acme-sf/contracts", "{", 400, "body-invalid", "body"),
        ("POST", "/accounts/acme-sf/contracts", "x" * 2_000_000, 413, "body-too-large", "body"),
        (
            "POST",
            "/accounts/acme-sf/contracts",
            {"rfc": "AAA010101AAA", "stamps": 1.5},
            400,
            "stamps-invalid",
            "stamps",
        ),
        (
            "POST",
            "/accounts/acme-sf/contracts",
            {"rfc": "XAXX010101000", "stamps": 1},
            422,
            "rfc-generic",
            "rfc",
        ),
    ],
)
def test_bad_input_is_named_and_reaches_no_pac(
    world: LocalEnvironment, method: str, path: str, body: Any, status: int, code: str, field: str
) -> None:
    for url in (world.urls["reachcore"], world.urls["solucion-factible"]):
        requests.delete(f"{url}/_control/calls", timeout=5)
    path, _, query = path.partition("?")
    answer = world.stack.call(
        "contract_manager",
        method,
        path,
        query=dict([query.split("=")]) if query else None,
        body=body,
        headers={"Idempotency-Key": "bad-input"} if method == "POST" else None,
    )
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (problem["code"], problem["field"], problem["status"]) == (code, field, status)
    for url in (world.urls["reachcore"], world.urls["solucion-factible"]):
        assert requests.get(f"{url}/_control/calls", timeout=5).json() == {"calls": []}


def test_a_lost_reply_leaves_the_contract_unknown_and_is_never_sent_again(
    world: LocalEnvironment,
) -> None:
    before = len(pac_contracts(world))
    fault(world.urls["solucion-factible"], operation="agregarContrato", fault="cut-after")
    first = create_contract(world.stack, "ACM010203XY9", 70, "lost-reply")
    again = create_contract(world.stack, "ACM010203XY9", 70, "lost-reply")
    other = create_contract(world.stack, "ACM010203XY9", 70, "lost-reply-2")
    assert (first.status_code, first.json()["status"]) == (202, "unknown")
    assert again.status_code == 202
    assert again.json() == first.json()
    assert other.status_code == 409
    assert other.json()["code"] == "contract-in-flight"
    assert other.json()["contract"]["id"] == first.json()["id"]
    assert len(pac_contracts(world)) == before + 1


def test_a_rejection_has_the_pac_message_and_the_next_key_works(
    world: LocalEnvironment,
) -> None:
    fault(world.urls["solucion-factible"], operation="agregarContrato", fault="code", code="632")
    refused = create_contract(world.stack, "GOMP800101QX2", 10, "refused")
    assert refused.status_code == 422
    assert refused.json()["code"] == "transaction-limit-exceeded"
    assert refused.json()["pac"]["code"] == "632"
    assert refused.json()["pac"]["message"]
    assert create_contract(world.stack, "GOMP800101QX2", 10, "refused").json()["code"] == (
        "transaction-limit-exceeded"
    )
    assert create_contract(world.stack, "GOMP800101QX2", 10, "refused-then-not").status_code == 201


def test_an_account_is_added_with_one_secret(world: LocalEnvironment) -> None:
    world.stack.create_account(
        "norte-rc",
        {
            "pac": "reachcore",
            "environment": "sandbox",
            "endpoint": world.urls["reachcore"],
            "api_key": world.fakes["reachcore"].spare["api_key"],
        },
    )
    balance = world.stack.call(
        "reader", "GET", "/accounts/norte-rc/balance", {"month": last_month()}
    ).json()
    assert balance["plan"] == "prepaid"
    assert [line["rfc"] for line in balance["by_issuer"]] == ["GOMP800101QX2"]
    names = [a["name"] for a in world.stack.call("reader", "GET", "/accounts").json()["accounts"]]
    assert names == ["acme-rc", "acme-sf", "night-sf", "norte-rc"]


def ready(stack: Stack, account: str, kind: str, form: str) -> dict[str, Any]:
    requested = stack.call(
        "reporter",
        "POST",
        f"/accounts/{account}/reports",
        body={"month": last_month(), "kind": kind, "format": form},
    )
    assert requested.status_code == 202
    path = f"/accounts/{account}/{requested.headers['Location']}"

    def settled() -> dict[str, Any] | None:
        report: dict[str, Any] = stack.call("reporter", "GET", path, {"redirect": "false"}).json()
        return None if report["status"] == "pending" else report

    report: dict[str, Any] = eventually(settled)
    return report


@pytest.mark.parametrize("form", ["csv", "pdf"])
def test_a_statement_is_the_pacs_own_byte_for_byte(world: LocalEnvironment, form: str) -> None:
    report = ready(world.stack, "acme-rc", "statement", form)
    path = f"/accounts/acme-rc/reports/{report['id']}"
    redirect = world.stack.call("reporter", "GET", path)
    assert redirect.status_code == 302
    # No key, no signature: the link alone opens it.
    opened = requests.get(redirect.headers["Location"], timeout=10)
    served = requests.get(
        f"{world.urls['reachcore']}/_control/served/{quote('Acme Timbrado')}/{last_month()}/{form}",
        timeout=10,
    )
    assert opened.content == served.content
    assert len(opened.content) == report["bytes"]
    assert f"acme-rc-{last_month()}-statement.{form}" in opened.headers["Content-Disposition"]


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf", "html"])
def test_a_report_of_every_account_opens(world: LocalEnvironment, form: str) -> None:
    report = ready(world.stack, "all", "consumption", form)
    assert (report["status"], report["error"]) == ("ready", None)
    opened = requests.get(report["url"], timeout=10)
    assert hashlib.sha256(opened.content).hexdigest() == report["sha256"]
    assert f"all-{last_month()}-consumption.{form}" in opened.headers["Content-Disposition"]


def test_a_link_opens_its_own_report_only(world: LocalEnvironment) -> None:
    link = ready(world.stack, "acme-rc", "consumption", "csv")["url"]
    assert requests.get(link, timeout=10).status_code == 200
    elsewhere = link.replace("consumption.csv", "statement.csv", 1)
    assert requests.get(elsewhere, timeout=10).status_code == 403
    assert requests.get(link.partition("?")[0], timeout=10).status_code == 403


def test_what_happens_is_mailed_in_spanish(world: LocalEnvironment) -> None:
    stack = world.stack
    stack.queue_mails()
    contract = create_contract(stack, "AAA010101AAA", 25, "mailed").json()
    ready(stack, "acme-rc", "statement", "csv")
    fault(world.urls["reachcore"], operation="pdf", fault="code", code="404", body="html")
    failed = ready(stack, "acme-rc", "statement", "pdf")
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "pac-endpoint-not-found"
    arrived: list[str] = []

    def all_there() -> bool:
        arrived.extend(stack.mails())
        return len(arrived) >= 3

    eventually(all_there)
    text = "\n".join(arrived)
    assert "Se contrataron 25 timbres para el emisor AAA010101AAA" in text
    assert contract["id"] in text
    assert "está listo" in text
    assert "No se pudo hacer el estado de cuenta (PDF)" in text
    assert "pac-endpoint-not-found" in text


def test_a_rejected_key_is_reported_once_and_used_once(
    world: LocalEnvironment,
) -> None:
    stack = world.stack
    stack.queue_mails()
    stack.mails()
    secret = {"pac": "reachcore", "environment": "sandbox", "endpoint": world.urls["reachcore"]}
    stack.create_account("sur-rc", secret | {"api_key": "no-such-key"})
    query = {"month": last_month()}
    requests.delete(f"{world.urls['reachcore']}/_control/calls", timeout=5)

    answers = [stack.call("reader", "GET", "/accounts/sur-rc/balance", query) for _ in range(3)]

    assert {answer.json()["code"] for answer in answers} == {"pac-credentials-rejected"}
    calls = requests.get(f"{world.urls['reachcore']}/_control/calls", timeout=5).json()["calls"]
    assert [call["outcome"] for call in calls] == ["401"]
    mails: list[str] = []
    eventually(lambda: mails.extend(stack.mails()) or mails)
    assert sum("rechazó las credenciales de la cuenta sur-rc" in mail for mail in mails) == 1

    stack.session().client("secretsmanager").put_secret_value(
        SecretId="timbres/accounts/sur-rc",
        SecretString=json.dumps(secret | {"api_key": world.fakes["reachcore"].spare["api_key"]}),
    )
    answer = stack.call("reader", "GET", "/accounts/sur-rc/balance", query)
    assert (answer.status_code, answer.json()["plan"]) == (200, "prepaid")
    stack.session().client("secretsmanager").delete_secret(
        SecretId="timbres/accounts/sur-rc", ForceDeleteWithoutRecovery=True
    )


def test_a_twice_delivered_message_makes_one_report(world: LocalEnvironment) -> None:
    stack = world.stack
    report = ready(stack, "acme-rc", "statement", "csv")
    sqs = stack.session().client("sqs")
    sqs.send_message(
        QueueUrl=stack.outputs["ReportsQueueUrl"],
        MessageBody=json.dumps({"account": "acme-rc", "report": report["id"]}),
    )
    eventually(
        lambda: any(
            "nothing to generate" in line for line in stack.function_logs("ReportWorkerFunction")
        )
    )
    path = f"/accounts/acme-rc/reports/{report['id']}"
    after = stack.call("reporter", "GET", path, {"redirect": "false"}).json()
    assert after["settled_at"] == report["settled_at"]
    assert after["sha256"] == report["sha256"]
