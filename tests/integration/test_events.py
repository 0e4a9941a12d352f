"""Replay each sample event of events/ in the function of its trigger."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from tests.support.events import bus_event
from tests.support.fake_stack import RC, RFC, RFC_N, SF, FakeStack
from tests.support.template import ROOT, template

EVENTS = {path.stem: path for path in sorted((ROOT / "events").glob("*"))}

# Events of each function, with their trigger in template.yaml.
TRIGGERS = {
    name: f"{function}/{event}"
    for function, events in {
        "accounts": {"accounts-list": "List"},
        "balance": {"balance-get": "Read", "balance-get-issuer": "Read"},
        "stamp_count": {"stamps-get": "Read", "stamps-list": "Read", "stamps-account": "Account",
                        "stamps-history": "History"},
        "issuers": {"issuers-list": "List", "issuers-import": "Import", "issuers-remove": "Remove"},
        "run": {"run-list": "List", "run-get": "Read", "run-failures": "Failures",
                "run-daily": "Daily", "run-close": "Close"},
        "run_worker": {"run-worker-queue": "Queue"},
        "contract": {"contract-create": "Create", "contract-list": "List", "contract-get": "Read",
                     "contract-settle": "Settle"},
        "reconciler": {"reconciler": "EveryFiveMinutes", "reconciler-expiry": "Expiry"},
        "report": {"report-request": "Ask", "report-list": "List", "report-get": "Read",
                   "report-revoke": "Revoke", "report-revocation": "RevokeMany",
                   "report-mail": "Mail", "report-monthly": "Monthly", "report-close": "Close"},
        "report_worker": {"report-worker-queue": "Queue"},
        "download_token": {"download-token-get": "Mailed", "download-token-earlier": "Open",
                           "route-unknown": "Unknown"},
        "mail": {"mail-bus": "Bus"},
    }.items()
    for name, event in events.items()
}  # fmt: skip
# Events of rules and schedules that users define, with their function.
RULES = {"balance-rule": "balance", "balance-schedule": "balance", "stamps-schedule": "stamp_count"}
UNKNOWN = ("report-mail", "report-revoke", "route-unknown", "contract-get", "contract-settle",
           "download-token-get")  # fmt: skip
STATUSES = {"contract-create": 201, "report-request": 202} | dict.fromkeys(UNKNOWN, 404)


def load_event(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(EVENTS[name].read_text())
    return event


def replay(stack: FakeStack, name: str) -> Any:
    """Replay an event; return the body of a response, or the result of the function."""
    folder = TRIGGERS[name].partition("/")[0] if name in TRIGGERS else RULES[name]
    event = load_event(name)
    result = stack.invoke(folder, event)
    if "httpMethod" not in event:
        return result
    response = stack.parse_response(result)
    assert response.status == STATUSES.get(name, 200), response.text
    return response.text if name == "download-token-get" else response.body


def test_triggers_and_files_correspond() -> None:
    assert set(EVENTS) == set(TRIGGERS) | set(RULES)
    assert all(path.suffix == ".json" for path in EVENTS.values())
    assert {trigger.label for trigger in template().triggers()} == set(TRIGGERS.values())


@pytest.mark.parametrize("name", TRIGGERS)
def test_event_matches_its_trigger(name: str) -> None:
    (trigger,) = (trigger for trigger in template().triggers() if trigger.label == TRIGGERS[name])
    properties, sample = trigger.properties, load_event(name)
    if trigger.kind == "Api":
        assert properties["Method"] in (sample["httpMethod"], "ANY")
        resource = properties["Path"]
        assert resource == sample["resource"] == sample["requestContext"]["resourcePath"]
        parameters = sample["pathParameters"] or {}
        assert list(parameters) == re.findall(r"\{(\w+)\+?\}", resource)
        path = resource.replace("+", "").format(**parameters)
        context = sample["requestContext"]
        assert (sample["path"], context["path"]) == (path, f"/{context['stage']}{path}")
        values = sample["multiValueQueryStringParameters"] or {}
        last_values = {key: value[-1] for key, value in values.items()}
        assert last_values == (sample["queryStringParameters"] or {})
    elif trigger.kind == "ScheduleV2":
        expected = json.loads(properties["Input"])
        assert list(sample) == list(expected)
        for member, value in expected.items():
            if value == "<aws.scheduler.scheduled-time>":
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", sample[member])
            else:
                assert sample[member] == value
    elif trigger.kind == "EventBridgeRule":
        entry = {"DetailType": "", "Source": "", "Detail": "{}"}
        assert sample.keys() == bus_event(entry).keys()
        assert sample["source"] in properties["Pattern"]["source"]
        assert sample["detail-type"] in properties["Pattern"]["detail-type"]
    else:
        assert trigger.kind == "SQS"
        assert 1 <= len(sample["Records"]) <= properties["BatchSize"]
        for record in sample["Records"]:
            assert record["eventSource"] == "aws:sqs"
            assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()


@pytest.mark.parametrize("name", EVENTS)
def test_event_contains_no_data_of_a_real_account(name: str) -> None:
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", EVENTS[name].read_text())

    # The account number is that of the AWS examples, and no text looks like an access key.
    assert set(re.findall(r"\b\d{12}\b", text)) <= {"111122223333"}
    assert not re.search(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", text)


CONTRACT = {"rfc": RFC, "stamps": 500, "status": "confirmed", "requested_by": ...}
REPORT = {"id": "2026-10-statement-pdf-0001", "status": "pending"}
# Events that are replayed in order, and the part of the last response that is compared.
REPLAYS: list[tuple[str, Any]] = [
    ("accounts-list", {"accounts": [{"name": RC}, {"name": SF}]}),
    ("balance-get", {"account": RC, "month": "2026-10", "by_issuer": [..., ..., ...]}),
    ("balance-get-issuer", {"by_issuer": [{"rfc": RFC}]}),
    ("balance-rule", {"done": {RC: {"month": "2026-10"}}, "failed": {}}),
    ("balance-schedule", {"done": {RC: {"month": "2026-11"}}, "failed": {}}),
    ("stamps-get", {"rfc": RFC_N, "available": 20}),
    ("stamps-get stamps-list", {"issuers": [{"rfc": RFC_N}]}),
    ("stamps-account", {"available": 8950}),
    ("stamps-schedule", {"available": 750}),
    ("issuers-import", {"account": SF, "kept": 2, "rejected": []}),
    ("issuers-import issuers-list", {"issuers": [{"rfc": RFC}, {"rfc": RFC_N}]}),
    ("issuers-import issuers-remove", {"account": SF, "rfc": RFC, "removed": True}),
    ("issuers-import issuers-remove stamps-list", {"issuers": [{"rfc": RFC_N, "low_stamps": 50}]}),
    ("run-daily run-close", {"closed": []}),
    ("contract-create", CONTRACT | {"requested_by": "arn:aws:iam::111122223333:user/compras"}),
    ("contract-create contract-create contract-list", {"contracts": [CONTRACT], "next": None}),
    ("reconciler", {}),
    ("reconciler-expiry", {"expiring": {}}),
    ("report-request", REPORT),
    ("report-request report-list", {"reports": [REPORT], "next": None}),
    ("report-monthly", {"month": "2026-10", "requested": 14, "failed": {}}),
    ("report-close", {"closed": []}),
    ("report-revocation", {"revoked": 0}),
    ("report-mail", {"code": "mail-not-found"}),
    ("download-token-get", ...),
    ("report-revoke", {"code": "report-not-found"}),
    ("mail-bus", None),
    ("route-unknown", {"code": "route-not-found"}),
    ("contract-get", {"code": "contract-not-found", "field": "id"}),
    ("contract-settle", {"code": "contract-not-found", "field": "id"}),
]


def is_part(expected: Any, value: Any) -> bool:
    """Return whether a value has the expected members; ``...`` is any value."""
    if expected is ...:
        return True
    if isinstance(expected, dict) and expected:
        return all(is_part(item, value[name]) for name, item in expected.items())
    if isinstance(expected, list):
        return len(expected) == len(value) and all(map(is_part, expected, value))
    return bool(expected == value)


@pytest.mark.parametrize(("names", "expected"), REPLAYS, ids=lambda value: str(value)[:50])
def test_a_sample_event_is_handled(stack: FakeStack, names: str, expected: Any) -> None:
    *before, last = names.split()
    for name in before:
        replay(stack, name)

    result = replay(stack, last)

    assert is_part(expected, result), result


def test_daily_run_from_its_start_to_its_mail(stack: FakeStack) -> None:
    replay(stack, "issuers-import")
    assert replay(stack, "run-daily")["id"] == load_event("run-get")["pathParameters"]["id"]
    sample = load_event("run-worker-queue")
    (record,) = sample["Records"]
    # The sample names a batch of another run.
    bodies = [message["Body"] for message in stack.receive("RunsQueue")]
    for body in bodies:
        assert json.loads(record["body"]).keys() == json.loads(body).keys()
        event = sample | {"Records": [record | {"body": body}]}
        assert stack.invoke("run_worker", event) == {"batchItemFailures": []}

    run = replay(stack, "run-get")
    assert (run["status"], run["expected"], run["done"]) == ("finished", 5, 5)
    assert is_part({"runs": [{"id": run["id"]}]}, replay(stack, "run-list"))
    assert replay(stack, "run-failures") == {"failures": [], "next": None}
    assert is_part({"snapshots": [{"available": 750}]}, replay(stack, "stamps-history"))
    # The sample has the members of the published event.
    (published,) = stack.events("Daily Run Completed")
    detail = load_event("mail-bus")["detail"]
    assert published.keys() == detail.keys()
    assert published["issuers"][0].keys() == detail["issuers"][0].keys()


def test_report_worker_queue_and_report_read(stack: FakeStack) -> None:
    stack.request_report(RC, "2026-10", "statement", "csv")

    assert replay(stack, "report-worker-queue") == {"batchItemFailures": []}

    report = replay(stack, "report-get")
    assert (report["status"], report["format"]) == ("ready", "csv")
    assert stack.download(report["url"]).content.startswith(b"Cuenta,")


def test_a_browser_sends_unsigned_requests() -> None:
    identity = load_event("download-token-get")["requestContext"]["identity"]
    assert {name for name, value in identity.items() if value} == {"sourceIp", "userAgent"}
