"""Every sample event in events/, replayed through the function whose trigger it stands for."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from unittest.mock import patch

import pytest
from tests.integration.download_token_cases import issue_token, store_report
from tests.integration.harness import RC, RFC, RFC_N, ROOT, SF, FakeStack, bus_event, template

EVENTS = {path.stem: path for path in sorted((ROOT / "events").glob("*"))}

# The trigger of template.yaml that each event stands for: function and name of the event.
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
    "contract-create": "contract/Buy",
    "contract-list": "contract/List",
    "contract-get": "contract/Read",
    "contract-settle": "contract/Settle",
    "reconciler": "reconciler/EveryFiveMinutes",
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
# Events of rules and schedules that users write themselves, by the function that these start.
RULES = {
    "balance-rule": "balance",
    "balance-schedule": "balance",
    "stamps-schedule": "stamp_count",
}


ENTRY = {"DetailType": "", "Source": "", "Detail": "{}"}


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return loaded


def replayed(world: FakeStack, name: str) -> Any:
    folder = TRIGGERS[name].partition("/")[0] if name in TRIGGERS else RULES[name]
    return world.invoke(folder, event(name))


def answered(world: FakeStack, name: str, status: int) -> Any:
    answer = world.parse_response(replayed(world, name))
    assert answer.status == status, answer.text
    return answer.body


# ------------------------------------------------------------------------- all are there


def test_every_file_stands_for_a_trigger_and_every_trigger_has_a_file() -> None:
    assert set(EVENTS) == set(TRIGGERS) | set(RULES)
    assert all(path.suffix == ".json" for path in EVENTS.values())
    assert {trigger.label for trigger in template().triggers()} == set(TRIGGERS.values())


@pytest.mark.parametrize("name", TRIGGERS)
def test_an_event_fits_its_trigger(name: str) -> None:
    (trigger,) = (one for one in template().triggers() if one.label == TRIGGERS[name])
    sample = event(name)
    if trigger.kind == "Api":
        assert sample["httpMethod"] == trigger.properties["Method"]
        assert sample["resource"] == trigger.properties["Path"]
        assert sample["requestContext"]["resourcePath"] == trigger.properties["Path"]
        names = re.findall(r"\{(\w+)\}", trigger.properties["Path"])
        parameters = sample["pathParameters"] or {}
        assert list(parameters) == names
        path = trigger.properties["Path"]
        for one, value in parameters.items():
            path = path.replace(f"{{{one}}}", value)
        assert sample["path"] == path
        assert sample["requestContext"]["path"] == f"/dev{path}"
        many = sample["multiValueQueryStringParameters"] or {}
        assert {key: values[-1] for key, values in many.items()} == (
            sample["queryStringParameters"] or {}
        )
    elif trigger.kind == "ScheduleV2":
        meant = json.loads(trigger.properties["Input"])
        assert list(sample) == list(meant)
        for member, value in meant.items():
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
        assert {one["eventSource"] for one in sample["Records"]} == {"aws:sqs"}
        for record in sample["Records"]:
            assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_holds_nothing_of_a_real_account(name: str) -> None:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", EVENTS[name].read_text())
    # The account number is that of AWS's own examples, and no key has the form of one.
    assert set(re.findall(r"\b\d{12}\b", text)) <= {"111122223333"}
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", text)


# ------------------------------------------------------------------------------ replayed


def test_accounts_list(world: FakeStack) -> None:
    assert [one["name"] for one in answered(world, "accounts-list", 200)["accounts"]] == [RC, SF]


def test_balance_read(world: FakeStack) -> None:
    body = answered(world, "balance-get", 200)
    assert (body["account"], body["month"]) == (RC, "2026-10")
    assert len(body["by_issuer"]) == 3


def test_balance_read_issuer(world: FakeStack) -> None:
    body = answered(world, "balance-get-issuer", 200)
    assert [line["rfc"] for line in body["by_issuer"]] == [RFC]


def test_balance_schedule(world: FakeStack) -> None:
    result = replayed(world, "balance-schedule")
    assert result["done"][RC]["month"] == "2026-11"
    assert result["failed"] == {}


def test_balance_rule(world: FakeStack) -> None:
    assert replayed(world, "balance-rule")["done"][RC]["month"] == "2026-10"


def test_stamps_read(world: FakeStack) -> None:
    body = answered(world, "stamps-get", 200)
    assert (body["rfc"], body["available"]) == (RFC_N, 20)


def test_stamps_known(world: FakeStack) -> None:
    answered(world, "stamps-get", 200)
    assert [one["rfc"] for one in answered(world, "stamps-list", 200)["issuers"]] == [RFC_N]


def test_stamps_schedule(world: FakeStack) -> None:
    assert replayed(world, "stamps-schedule")["available"] == 750


def test_issuers_import_and_remove(world: FakeStack) -> None:
    assert answered(world, "issuers-import", 200) == {"account": SF, "kept": 2, "rejected": []}
    assert answered(world, "issuers-remove", 200) == {"account": SF, "rfc": RFC, "removed": True}
    (line,) = answered(world, "stamps-list", 200)["issuers"]
    assert (line["rfc"], line["low_stamps"]) == (RFC_N, 50)


def test_a_run_from_its_start_to_its_mail(world: FakeStack) -> None:
    answered(world, "issuers-import", 200)
    started = replayed(world, "run-daily")
    assert started["id"] == event("run-get")["pathParameters"]["id"]
    assert world.queued_messages("RunsQueue") == 2

    sample = event("run-worker-queue")
    (record,) = sample["Records"]
    # The sample names a batch of a plan that was made another time.
    (body,) = (
        message["Body"]
        for message in world.receive("RunsQueue")
        if json.loads(message["Body"])["account"] == SF
    )
    assert json.loads(record["body"]).keys() == json.loads(body).keys()
    assert world.invoke("run_worker", sample | {"Records": [record | {"body": body}]}) == {
        "batchItemFailures": []
    }
    world.advance_to_delayed()
    world.run_worker_until_idle()

    body = answered(world, "run-get", 200)
    assert (body["status"], body["expected"], body["done"]) == ("finished", 5, 5)
    assert [one["id"] for one in answered(world, "run-list", 200)["runs"]] == [body["id"]]
    history = answered(world, "stamps-history", 200)
    assert [one["available"] for one in history["snapshots"]] == [750]
    # The sample has the shape of what such a run tells.
    (told,) = world.events("Daily Run Completed")
    sample = event("mail-bus")["detail"]
    assert told.keys() == sample.keys()
    assert told["issuers"][0].keys() == sample["issuers"][0].keys()
    (mail,) = world.mails()
    assert RFC_N in mail


def test_run_close(world: FakeStack) -> None:
    assert replayed(world, "run-close") == {"closed": []}


def test_mail_bus(world: FakeStack) -> None:
    assert replayed(world, "mail-bus") is None
    (mail,) = world.mails()
    assert RFC_N in mail
    assert "20 timbres" in mail


def test_contract_buy(world: FakeStack) -> None:
    bought = answered(world, "contract-create", 201)
    assert (bought["rfc"], bought["stamps"], bought["status"]) == (RFC, 500, "confirmed")
    assert bought["requested_by"] == "arn:aws:iam::111122223333:user/compras"

    assert answered(world, "contract-create", 201) == bought
    assert world.pac_contracts() == [(RFC, 500)]


def test_contract_list(world: FakeStack) -> None:
    bought = answered(world, "contract-create", 201)
    assert answered(world, "contract-list", 200) == {"contracts": [bought], "next": None}


def test_contract_read(world: FakeStack) -> None:
    bought = answered(world, "contract-create", 201)
    wanted = event("contract-get")["pathParameters"]["id"]
    dynamodb, table = world.stack.client("dynamodb"), world.stack.refs["ContractsTable"]
    key = {"account": {"S": SF}, "entry": {"S": f"contract#{bought['id']}"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    item |= {"id": {"S": wanted}, "entry": {"S": f"contract#{wanted}"}}
    dynamodb.put_item(TableName=table, Item=item)

    shown = answered(world, "contract-get", 200)
    assert shown.pop("history")[0]["step"] == "create"
    assert shown == bought | {"id": wanted}


def test_contract_settle(world: FakeStack) -> None:
    problem = answered(world, "contract-settle", 404)
    assert (problem["code"], problem["field"]) == ("contract-not-found", "id")


def test_reconciler(world: FakeStack) -> None:
    world.fault("agregarContrato", "cut-after")
    answered(world, "contract-create", 202)
    world.clock.forward(minutes=2)
    assert replayed(world, "reconciler") == {"confirmed": 1}


def test_report_ask(world: FakeStack) -> None:
    assert answered(world, "report-request", 202)["id"] == "2026-10-statement-pdf-0001"
    assert world.queued_messages() == 1


def test_report_list(world: FakeStack) -> None:
    asked = answered(world, "report-request", 202)
    assert answered(world, "report-list", 200) == {"reports": [asked], "next": None}


def test_report_worker_queue_and_report_read(world: FakeStack) -> None:
    world.request_report(RC, "2026-10", "statement", "csv")

    assert replayed(world, "report-worker-queue") == {"batchItemFailures": []}

    body = answered(world, "report-get", 200)
    assert (body["status"], body["format"]) == ("ready", "csv")
    assert world.download(body["url"]).content.startswith(b"Cuenta,")


def test_report_monthly(world: FakeStack) -> None:
    result = replayed(world, "report-monthly")
    assert (result["month"], len(result["asked"]), result["failed"]) == ("2026-10", 14, [])
    assert world.queued_messages() == 14


def test_report_close(world: FakeStack) -> None:
    assert replayed(world, "report-close") == {"closed": []}
    replayed(world, "report-monthly")
    world.clock.forward(hours=6)
    assert replayed(world, "report-close") == {"closed": ["2026-11-01 for 2026-10"]}


def test_ticket_read(world: FakeStack) -> None:
    # A person's browser signs nothing.
    identity = event("download-token-get")["requestContext"]["identity"]
    assert {value for name, value in identity.items() if name not in ("sourceIp", "userAgent")} == {
        None
    }
    assert world.parse_response(replayed(world, "download-token-get")).status == 404

    token = event("download-token-get")["pathParameters"]["token"]
    with patch("timbres.repositories.download_tokens.new_download_token", return_value=token):
        issue_token(world, store_report(world, b"uno"))

    answer = world.parse_response(replayed(world, "download-token-get"))
    assert answer.status == 302
    assert world.download(answer.headers["location"]).content == b"uno"


def test_report_revoke(world: FakeStack) -> None:
    report = store_report(world, b"uno")
    assert report.id == event("report-revoke")["pathParameters"]["id"]
    issue_token(world, report)

    said = {"account": RC, "id": report.id, "revoked": 1}
    assert answered(world, "report-revoke", 200) == said
