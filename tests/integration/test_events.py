"""Replay each sample event of events/ in the function of its trigger."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from unittest.mock import patch

import pytest
from tests.support.download_token_cases import issue_token, store_report
from tests.support.events import bus_event
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.template import ROOT, template

EVENTS = {path.stem: path for path in sorted((ROOT / "events").glob("*"))}

# Trigger in template.yaml of each event: function and event name.
TRIGGERS = {
    "accounts-list": "accounts/List",
    "balance-get": "balance/Read",
    "balance-get-issuer": "balance/Read",
    "stamps-get": "stamp_count/Read",
    "stamps-list": "stamp_count/Read",
    "stamps-history": "stamp_count/History",
    "issuers-import": "issuers/Import",
    "issuers-remove": "issuers/Remove",
    "run-list": "run/List",
    "run-get": "run/Read",
    "run-daily": "run/Daily",
    "run-close": "run/Close",
    "run-worker-queue": "run_worker/Queue",
    "contract-create": "contract/Create",
    "contract-list": "contract/List",
    "contract-get": "contract/Read",
    "contract-settle": "contract/Settle",
    "reconciler": "reconciler/EveryFiveMinutes",
    "reconciler-expiry": "reconciler/Expiry",
    "report-request": "report/Ask",
    "report-list": "report/List",
    "report-get": "report/Read",
    "report-revoke": "report/Revoke",
    "report-monthly": "report/Monthly",
    "report-close": "report/Close",
    "report-worker-queue": "report_worker/Queue",
    "download-token-get": "download_token/Open",
    "mail-bus": "mail/Bus",
}
# Events of rules and schedules that users define, with their function.
RULES = {
    "balance-rule": "balance",
    "balance-schedule": "balance",
    "stamps-schedule": "stamp_count",
}


ENTRY = {"DetailType": "", "Source": "", "Detail": "{}"}


def load_event(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return event


def replay(stack: FakeStack, name: str) -> Any:
    folder = TRIGGERS[name].partition("/")[0] if name in TRIGGERS else RULES[name]
    return stack.invoke(folder, load_event(name))


def replay_request(stack: FakeStack, name: str, status: int) -> Any:
    response = stack.parse_response(replay(stack, name))
    assert response.status == status, response.text
    return response.body


# ------------------------------------------------------------------------- completeness


def test_triggers_and_files_correspond() -> None:
    assert set(EVENTS) == set(TRIGGERS) | set(RULES)
    assert all(path.suffix == ".json" for path in EVENTS.values())
    assert {trigger.label for trigger in template().triggers()} == set(TRIGGERS.values())


@pytest.mark.parametrize("name", TRIGGERS)
def test_event_matches_its_trigger(name: str) -> None:
    (trigger,) = (trigger for trigger in template().triggers() if trigger.label == TRIGGERS[name])
    sample = load_event(name)
    if trigger.kind == "Api":
        assert sample["httpMethod"] == trigger.properties["Method"]
        assert sample["resource"] == trigger.properties["Path"]
        assert sample["requestContext"]["resourcePath"] == trigger.properties["Path"]
        names = re.findall(r"\{(\w+)\}", trigger.properties["Path"])
        parameters = sample["pathParameters"] or {}
        assert list(parameters) == names
        path = trigger.properties["Path"]
        for parameter, value in parameters.items():
            path = path.replace(f"{{{parameter}}}", value)
        assert sample["path"] == path
        assert sample["requestContext"]["path"] == f"/dev{path}"
        multi_values = sample["multiValueQueryStringParameters"] or {}
        assert {key: values[-1] for key, values in multi_values.items()} == (
            sample["queryStringParameters"] or {}
        )
    elif trigger.kind == "ScheduleV2":
        template_input = json.loads(trigger.properties["Input"])
        assert list(sample) == list(template_input)
        for member, value in template_input.items():
            if value == "<aws.scheduler.scheduled-time>":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", sample[member])
            else:
                assert sample[member] == value
    elif trigger.kind == "EventBridgeRule":
        assert sample.keys() == bus_event(ENTRY).keys()
        assert sample["source"] in trigger.properties["Pattern"]["source"]
        assert sample["detail-type"] in trigger.properties["Pattern"]["detail-type"]
    else:
        assert trigger.kind == "SQS"
        assert 1 <= len(sample["Records"]) <= trigger.properties["BatchSize"]
        assert {record["eventSource"] for record in sample["Records"]} == {"aws:sqs"}
        for record in sample["Records"]:
            assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()


@pytest.mark.parametrize("name", EVENTS)
def test_event_contains_no_data_of_a_real_account(name: str) -> None:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", EVENTS[name].read_text())
    # The account number is that of the AWS examples, and no text looks like an access key.
    assert set(re.findall(r"\b\d{12}\b", text)) <= {"111122223333"}
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", text)


# -------------------------------------------------------------------------------- replay


def test_accounts_list(stack: FakeStack) -> None:
    assert [
        account["name"] for account in replay_request(stack, "accounts-list", 200)["accounts"]
    ] == [RC, SF]


def test_balance_read(stack: FakeStack) -> None:
    body = replay_request(stack, "balance-get", 200)
    assert (body["account"], body["month"]) == (RC, "2026-10")
    assert len(body["by_issuer"]) == 3


def test_balance_read_issuer(stack: FakeStack) -> None:
    body = replay_request(stack, "balance-get-issuer", 200)
    assert [line["rfc"] for line in body["by_issuer"]] == [RFC]


def test_balance_schedule(stack: FakeStack) -> None:
    result = replay(stack, "balance-schedule")
    assert result["done"][RC]["month"] == "2026-11"
    assert result["failed"] == {}


def test_balance_rule(stack: FakeStack) -> None:
    assert replay(stack, "balance-rule")["done"][RC]["month"] == "2026-10"


def test_stamps_read(stack: FakeStack) -> None:
    body = replay_request(stack, "stamps-get", 200)
    assert (body["rfc"], body["available"]) == (RFC_N, 20)


def test_stamps_list(stack: FakeStack) -> None:
    replay_request(stack, "stamps-get", 200)
    assert [issuer["rfc"] for issuer in replay_request(stack, "stamps-list", 200)["issuers"]] == [
        RFC_N
    ]


def test_stamps_schedule(stack: FakeStack) -> None:
    assert replay(stack, "stamps-schedule")["available"] == 750


def test_issuers_import_and_remove(stack: FakeStack) -> None:
    assert replay_request(stack, "issuers-import", 200) == {
        "account": SF,
        "kept": 2,
        "rejected": [],
    }
    assert replay_request(stack, "issuers-remove", 200) == {
        "account": SF,
        "rfc": RFC,
        "removed": True,
    }
    (line,) = replay_request(stack, "stamps-list", 200)["issuers"]
    assert (line["rfc"], line["low_stamps"]) == (RFC_N, 50)


def test_daily_run_from_its_start_to_its_mail(stack: FakeStack) -> None:
    replay_request(stack, "issuers-import", 200)
    started = replay(stack, "run-daily")
    assert started["id"] == load_event("run-get")["pathParameters"]["id"]
    assert stack.queued_messages("RunsQueue") == 2

    sample = load_event("run-worker-queue")
    (record,) = sample["Records"]
    # The sample names a batch of another run.
    (body,) = (
        message["Body"]
        for message in stack.receive("RunsQueue")
        if json.loads(message["Body"])["account"] == SF
    )
    assert json.loads(record["body"]).keys() == json.loads(body).keys()
    assert stack.invoke("run_worker", sample | {"Records": [record | {"body": body}]}) == {
        "batchItemFailures": []
    }
    stack.advance_to_delayed()
    stack.run_worker_until_idle()

    body = replay_request(stack, "run-get", 200)
    assert (body["status"], body["expected"], body["done"]) == ("finished", 5, 5)
    assert [run["id"] for run in replay_request(stack, "run-list", 200)["runs"]] == [body["id"]]
    history = replay_request(stack, "stamps-history", 200)
    assert [snapshot["available"] for snapshot in history["snapshots"]] == [750]
    # The sample has the members of the published event.
    (published,) = stack.events("Daily Run Completed")
    sample = load_event("mail-bus")["detail"]
    assert published.keys() == sample.keys()
    assert published["issuers"][0].keys() == sample["issuers"][0].keys()
    (mail,) = stack.mails()
    assert RFC_N in mail


def test_run_close(stack: FakeStack) -> None:
    assert replay(stack, "run-close") == {"closed": []}


def test_mail_bus(stack: FakeStack) -> None:
    assert replay(stack, "mail-bus") is None
    (mail,) = stack.mails()
    assert RFC_N in mail
    assert "20 timbres" in mail


def test_contract_create(stack: FakeStack) -> None:
    contract = replay_request(stack, "contract-create", 201)
    assert (contract["rfc"], contract["stamps"], contract["status"]) == (RFC, 500, "confirmed")
    assert contract["requested_by"] == "arn:aws:iam::111122223333:user/compras"

    assert replay_request(stack, "contract-create", 201) == contract
    assert stack.pacs.contracts() == [(RFC, 500)]


def test_contract_list(stack: FakeStack) -> None:
    contract = replay_request(stack, "contract-create", 201)
    assert replay_request(stack, "contract-list", 200) == {"contracts": [contract], "next": None}


def test_contract_read(stack: FakeStack) -> None:
    contract = replay_request(stack, "contract-create", 201)
    contract_id = load_event("contract-get")["pathParameters"]["id"]
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["ContractsTable"]
    key = {"account": {"S": SF}, "entry": {"S": f"contract#{contract['id']}"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    item |= {"id": {"S": contract_id}, "entry": {"S": f"contract#{contract_id}"}}
    dynamodb.put_item(TableName=table, Item=item)

    body = replay_request(stack, "contract-get", 200)
    assert body.pop("history")[0]["step"] == "create"
    assert body == contract | {"id": contract_id}


def test_contract_settle(stack: FakeStack) -> None:
    problem = replay_request(stack, "contract-settle", 404)
    assert (problem["code"], problem["field"]) == ("contract-not-found", "id")


def test_reconciler(stack: FakeStack) -> None:
    stack.pacs.fault("agregarContrato", "cut-after")
    replay_request(stack, "contract-create", 202)
    stack.clock.forward(minutes=2)
    assert replay(stack, "reconciler") == {"confirmed": 1}


def test_reconciler_expiry(stack: FakeStack) -> None:
    assert replay(stack, "reconciler-expiry") == {"expiring": {}}


def test_report_request(stack: FakeStack) -> None:
    assert replay_request(stack, "report-request", 202)["id"] == "2026-10-statement-pdf-0001"
    assert stack.queued_messages() == 1


def test_report_list(stack: FakeStack) -> None:
    report = replay_request(stack, "report-request", 202)
    assert replay_request(stack, "report-list", 200) == {"reports": [report], "next": None}


def test_report_worker_queue_and_report_read(stack: FakeStack) -> None:
    stack.request_report(RC, "2026-10", "statement", "csv")

    assert replay(stack, "report-worker-queue") == {"batchItemFailures": []}

    body = replay_request(stack, "report-get", 200)
    assert (body["status"], body["format"]) == ("ready", "csv")
    assert stack.download(body["url"]).content.startswith(b"Cuenta,")


def test_report_monthly(stack: FakeStack) -> None:
    result = replay(stack, "report-monthly")
    assert (result["month"], len(result["asked"]), result["failed"]) == ("2026-10", 14, [])
    assert stack.queued_messages() == 14


def test_report_close(stack: FakeStack) -> None:
    assert replay(stack, "report-close") == {"closed": []}
    replay(stack, "report-monthly")
    stack.clock.forward(hours=6)
    assert replay(stack, "report-close") == {"closed": ["2026-11-01 for 2026-10"]}


def test_download_token_get(stack: FakeStack) -> None:
    # A browser sends unsigned requests.
    identity = load_event("download-token-get")["requestContext"]["identity"]
    assert {value for name, value in identity.items() if name not in ("sourceIp", "userAgent")} == {
        None
    }
    assert stack.parse_response(replay(stack, "download-token-get")).status == 404

    token = load_event("download-token-get")["pathParameters"]["token"]
    with patch("timbres.repositories.download_tokens.new_download_token", return_value=token):
        issue_token(stack, store_report(stack, b"uno"))

    response = stack.parse_response(replay(stack, "download-token-get"))
    assert response.status == 302
    assert stack.download(response.headers["location"]).content == b"uno"


def test_report_revoke(stack: FakeStack) -> None:
    report = store_report(stack, b"uno")
    assert report.id == load_event("report-revoke")["pathParameters"]["id"]
    issue_token(stack, report)

    expected = {"account": RC, "id": report.id, "revoked": 1}
    assert replay_request(stack, "report-revoke", 200) == expected
