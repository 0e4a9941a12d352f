"""The daily run as deployed: scheduler, queue, workers, snapshots, mail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from local.stack import SECRET_PREFIX, Stack

from tests.support.api_calls import delete_account, eventually
from tests.support.daily_run import ACCOUNT, HEALTHY, LOW, SILENT, UNKNOWN, DailyRun

FAILED = {"pac-rejected-request": 2}
LINE = {"account": ACCOUNT, "expected": 200, "done": 198, "failed": FAILED, "problem": None}


@pytest.fixture(scope="module")
def record(daily_run: DailyRun) -> dict[str, Any]:
    """The record of the finished run."""
    return daily_run.wait(60)


def test_a_finished_run_has_counted_each_issuer_once(
    daily_run: DailyRun, record: dict[str, Any]
) -> None:
    (line,) = (line for line in record["accounts"] if line["account"] == ACCOUNT)
    assert line | LINE == line
    assert record["done"] + sum(record["failed"].values()) == record["expected"]
    assert datetime.fromisoformat(record["finished_at"]) > datetime.fromisoformat(
        record["started_at"]
    )
    # A start by another test is a second run, which queries only what has no count yet.
    runs = len(daily_run.stack.call("reader", "GET", "/runs").json()["runs"])
    queries = Counter(call["rfc"] for call in daily_run.pac.calls.as_json())
    assert {queries.pop(rfc) for rfc in [*HEALTHY, *LOW]} <= set(range(1, runs + 1))
    assert all(1 <= queries.pop(rfc) <= runs for rfc in UNKNOWN)
    assert 3 <= queries.pop(SILENT) <= 2 + runs
    # The count of the account's own stamps names no issuer.
    assert queries == {None: 1}


def test_a_run_sends_one_mail_that_lists_low_and_unknown_issuers(
    daily_run: DailyRun, record: dict[str, Any]
) -> None:
    mails: list[str] = []
    eventually(lambda: mails.extend(daily_run.read_mails()) or f"cuenta {ACCOUNT}" in str(mails))
    (mail,) = (text for text in mails if f"(cuenta {ACCOUNT})" in text)
    assert f"SIN TIMBRES (1): ya no puede facturar.\n  - {LOW[0]} " in mail
    assert f"POCOS TIMBRES (2):\n  - {LOW[1]} (cuenta {ACCOUNT}): 1 timbre" in mail
    assert f"cuenta {ACCOUNT}, 2 de 200 emisores: el PAC no los reconoce" in mail


@pytest.fixture
def unreadable_account(stack: Stack) -> Iterator[str]:
    """An account whose secret the run must not read."""
    secrets, iam = (stack.session().client(name) for name in ("secretsmanager", "iam"))
    value = secrets.get_secret_value(SecretId=f"{SECRET_PREFIX}acme-sf")["SecretString"]
    name = "night-unreadable"
    stack.create_account(name, json.loads(value))
    # AWS rejects a read without kms:Decrypt in the same way.
    secret = f"arn:aws:secretsmanager:*:*:secret:{SECRET_PREFIX}{name}*"
    deny = {"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": secret}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    policy = {"RoleName": stack.resource("RunRole"), "PolicyName": "night"}
    iam.put_role_policy(**policy, PolicyDocument=document)
    yield name
    iam.delete_role_policy(**policy)
    delete_account(stack, name)


def test_an_account_that_the_run_must_not_read_is_mailed_and_listed(
    daily_run: DailyRun, record: dict[str, Any], unreadable_account: str
) -> None:
    stack, mails = daily_run.stack, list[str]()
    functions, function = stack.session().client("lambda"), stack.resource("RunFunction")
    started = json.load(functions.invoke(FunctionName=function, Payload=b"{}")["Payload"])
    night = replace(daily_run, id=started["id"]).wait(60)
    eventually(lambda: mails.extend(daily_run.read_mails()) or night["id"] in str(mails))

    problems = {account["account"]: account["problem"] for account in night["accounts"]}
    query = {"account": unreadable_account}
    body = stack.call("reader", "GET", f"/runs/{night['id']}/failures", query).json()
    (mail,) = (text for text in mails if night["id"] in text)
    assert problems[unreadable_account] == "account-unreadable"
    assert [one["code"] for one in body["failures"]] == ["account-unreadable"]
    assert f"cuenta {unreadable_account}, " in mail
    assert problems[ACCOUNT] is None
