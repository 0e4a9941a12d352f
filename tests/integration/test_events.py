"""Every sample event in events/, replayed through the function whose trigger it stands for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.integration.harness import RC, RFC, RFC_N, ROOT, SF, World, template

EVENTS = {path.stem: path for path in sorted((ROOT / "events").glob("*"))}

# The trigger of template.yaml that each event stands for: function and name of the event.
TRIGGERS = {
    "accounts-list": "accounts/List",
    "balance-read": "balance/Read",
    "balance-read-issuer": "balance/Read",
    "balance-daily": "balance/Daily",
    "stamps-read": "stamp_count/Read",
    "stamps-known": "stamp_count/Read",
    "stamps-daily": "stamp_count/Daily",
    "contract-buy": "contract/Buy",
    "contract-list": "contract/List",
    "contract-read": "contract/Read",
    "contract-settle": "contract/Settle",
    "reconciler": "reconciler/EveryFiveMinutes",
    "report-ask": "report/Ask",
    "report-list": "report/List",
    "report-read": "report/Read",
    "report-monthly": "report/Monthly",
    "report-worker-queue": "report_worker/Queue",
}
# Events of rules that users write themselves, by the function that these start.
RULES = {"balance-rule": "balance"}


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return loaded


def replayed(world: World, name: str) -> Any:
    folder = TRIGGERS[name].partition("/")[0] if name in TRIGGERS else RULES[name]
    return world.invoke(folder, event(name))


def answered(world: World, name: str, status: int) -> Any:
    answer = world.answer(replayed(world, name))
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
    else:
        assert trigger.kind == "SQS"
        assert len(sample["Records"]) == trigger.properties["BatchSize"]
        assert {one["eventSource"] for one in sample["Records"]} == {"aws:sqs"}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_holds_nothing_of_a_real_account(name: str) -> None:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", EVENTS[name].read_text())
    # The account number is that of AWS's own examples, and no key has the form of one.
    assert set(re.findall(r"\b\d{12}\b", text)) <= {"111122223333"}
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", text)


# ------------------------------------------------------------------------------ replayed


def test_accounts_list(world: World) -> None:
    assert [one["name"] for one in answered(world, "accounts-list", 200)["accounts"]] == [RC, SF]


def test_balance_read(world: World) -> None:
    body = answered(world, "balance-read", 200)
    assert (body["account"], body["month"]) == (RC, "2026-10")
    assert len(body["by_issuer"]) == 3


def test_balance_read_issuer(world: World) -> None:
    body = answered(world, "balance-read-issuer", 200)
    assert [line["rfc"] for line in body["by_issuer"]] == [RFC]


def test_balance_daily(world: World) -> None:
    result = replayed(world, "balance-daily")
    assert result["done"][RC]["month"] == "2026-11"
    assert result["failed"] == {}


def test_balance_rule(world: World) -> None:
    assert replayed(world, "balance-rule")["done"][RC]["month"] == "2026-10"


def test_stamps_read(world: World) -> None:
    body = answered(world, "stamps-read", 200)
    assert (body["rfc"], body["available"]) == (RFC_N, 20)


def test_stamps_known(world: World) -> None:
    answered(world, "stamps-read", 200)
    assert [one["rfc"] for one in answered(world, "stamps-known", 200)["issuers"]] == [RFC_N]


def test_stamps_daily(world: World) -> None:
    answered(world, "stamps-read", 200)
    result = replayed(world, "stamps-daily")
    assert result["done"] == {
        SF: {"account": SF, "counted": 1, "failed": {}, "left_out": 0},
    }


def test_contract_buy(world: World) -> None:
    bought = answered(world, "contract-buy", 201)
    assert (bought["rfc"], bought["stamps"], bought["status"]) == (RFC, 500, "confirmed")
    assert bought["requested_by"] == "arn:aws:iam::111122223333:user/compras"

    assert answered(world, "contract-buy", 201) == bought
    assert world.purchases() == [(RFC, 500)]


def test_contract_list(world: World) -> None:
    bought = answered(world, "contract-buy", 201)
    assert answered(world, "contract-list", 200) == {"contracts": [bought], "next": None}


def test_contract_read(world: World) -> None:
    bought = answered(world, "contract-buy", 201)
    wanted = event("contract-read")["pathParameters"]["id"]
    dynamodb, table = world.stack.client("dynamodb"), world.stack.refs["JournalTable"]
    key = {"account": {"S": SF}, "entry": {"S": f"contract#{bought['id']}"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    item |= {"id": {"S": wanted}, "entry": {"S": f"contract#{wanted}"}}
    dynamodb.put_item(TableName=table, Item=item)

    shown = answered(world, "contract-read", 200)
    assert shown.pop("history")[0]["step"] == "open"
    assert shown == bought | {"id": wanted}


def test_contract_settle(world: World) -> None:
    problem = answered(world, "contract-settle", 404)
    assert (problem["code"], problem["field"]) == ("contract-not-found", "id")


def test_reconciler(world: World) -> None:
    world.fault("agregarContrato", "cut-after")
    answered(world, "contract-buy", 202)
    world.clock.forward(minutes=2)
    assert replayed(world, "reconciler") == {"confirmed": 1}


def test_report_ask(world: World) -> None:
    assert answered(world, "report-ask", 202)["id"] == "2026-10-statement-pdf-0001"
    assert world.waiting() == 1


def test_report_list(world: World) -> None:
    asked = answered(world, "report-ask", 202)
    assert answered(world, "report-list", 200) == {"reports": [asked], "next": None}


def test_report_worker_queue_and_report_read(world: World) -> None:
    world.ask(RC, "2026-10", "statement", "csv")

    assert replayed(world, "report-worker-queue") == {"batchItemFailures": []}

    body = answered(world, "report-read", 200)
    assert (body["status"], body["format"]) == ("ready", "csv")
    assert world.download(body["url"]).content.startswith(b"Cuenta,")


def test_report_monthly(world: World) -> None:
    result = replayed(world, "report-monthly")
    assert (result["month"], len(result["asked"]), result["failed"]) == ("2026-10", 4, [])
    assert world.waiting() == 4
