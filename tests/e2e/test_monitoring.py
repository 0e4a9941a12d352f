"""The daily run as deployed: scheduler, queue, workers, snapshots, mail, metrics, alarms."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from local.stack import STACK_NAME, Stack

from tests.support.api_calls import eventually
from tests.support.daily_run import ACCOUNT, HEALTHY, LOW, SILENT, UNKNOWN, DailyRun, start_run
from tests.support.monitored_metrics import ALARMS, on_the_dashboard, searched

LINE = {
    "account": ACCOUNT,
    "expected": 200,
    "done": 198,
    "failed": {"pac-rejected-request": 2},
    "problem": None,
}


@pytest.fixture(scope="module")
def record(daily_run: DailyRun) -> dict[str, Any]:
    """The record of the finished run."""
    return daily_run.wait(daily_run.id, 60)


@pytest.fixture(scope="module")
def mails(daily_run: DailyRun, record: dict[str, Any]) -> list[str]:
    """All mails about the run's issuers."""
    mails: list[str] = []
    eventually(lambda: mails.extend(new_mails(daily_run)) or mails)
    return mails


def new_mails(daily_run: DailyRun) -> list[str]:
    return [mail for mail in daily_run.read_mails() if f"(cuenta {ACCOUNT})" in mail]


def count_queries(daily_run: DailyRun) -> Counter[str]:
    return Counter(call["rfc"] for call in daily_run.pac.calls.as_json())


def issuers(stack: Stack) -> list[dict[str, Any]]:
    body = stack.call("reader", "GET", f"/accounts/{ACCOUNT}/stamps").json()
    assert body["next"] is None
    return list(body["issuers"])


def test_a_finished_run_has_counted_each_issuer_once(
    daily_run: DailyRun, record: dict[str, Any]
) -> None:
    assert LINE in record["accounts"]
    assert record["done"] + sum(record["failed"].values()) == record["expected"]
    assert datetime.fromisoformat(record["finished_at"]) > datetime.fromisoformat(
        record["started_at"]
    )
    # A start by another test is a second run, which queries only what has no count yet.
    runs = daily_run.stack.call("reader", "GET", "/runs").json()["runs"]
    finished = sum(run["status"] == "finished" for run in runs)
    queries = count_queries(daily_run)
    assert {queries.pop(rfc) for rfc in [*HEALTHY, *LOW]} <= set(range(1, len(runs) + 1))
    assert all(finished <= queries.pop(rfc) <= len(runs) for rfc in UNKNOWN)
    assert 3 <= queries.pop(SILENT) <= 2 + len(runs)
    assert queries == {}


def test_a_run_sends_one_mail_that_lists_low_and_unknown_issuers(mails: list[str]) -> None:
    (mail,) = mails
    for text in (
        "SIN TIMBRES (1)",
        f"{LOW[0]} (cuenta {ACCOUNT}): 0 timbres",
        "POCOS TIMBRES (2)",
        f"{LOW[1]} (cuenta {ACCOUNT}): 1 timbre",
        f"{LOW[2]} (cuenta {ACCOUNT}): 2 timbres",
        "2 emisores: el PAC no los reconoce",
    ):
        assert text in mail


def test_issuers_are_listed_by_urgency(stack: Stack, record: dict[str, Any]) -> None:
    listed = issuers(stack)
    assert len(listed) == 200
    assert [(issuer["rfc"], issuer["alert"]) for issuer in listed[:3]] == list(
        zip(LOW, ["exhausted", "low", "low"], strict=True)
    )
    not_counted = [issuer for issuer in listed if issuer["as_of"] is None]
    assert {issuer["rfc"] for issuer in not_counted} == {*UNKNOWN}
    assert {issuer["available"] for issuer in not_counted} == {None}


def test_a_second_run_of_a_day_repeats_no_count_and_no_mail(
    daily_run: DailyRun, record: dict[str, Any], mails: list[str]
) -> None:
    stack = daily_run.stack
    daily_run.pac.faults.clear()
    queries, counted = count_queries(daily_run), issuers(stack)

    second = daily_run.wait(start_run(stack), 30)

    assert LINE in second["accounts"]
    assert set(count_queries(daily_run) - queries) == {*UNKNOWN}
    assert issuers(stack) == counted
    path = f"/accounts/{ACCOUNT}/stamps/history"
    history = stack.call("reader", "GET", path, {"rfc": LOW[1]}).json()["snapshots"]
    assert [(snapshot["available"], snapshot["used"]) for snapshot in history] == [(1, 499)]
    assert new_mails(daily_run) == []


def test_the_metrics_of_a_run_name_the_stack_and_are_on_the_dashboard(
    stack: Stack, record: dict[str, Any]
) -> None:
    lines = [
        json.loads(line)
        for function in ("RunFunction", "RunWorkerFunction", "StampCountFunction")
        for line in stack.function_logs(function)
        if '"_aws"' in line
    ]

    assert {line["service"] for line in lines} == {STACK_NAME}
    emitted = {
        metric["Name"]
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert {"RunsStarted", "RunsFinished", "IssuersCounted", "StampsLow", "PacCalls"} <= emitted
    assert emitted <= {metric.name for metric in on_the_dashboard()} | {n for n, _ in searched()}


def test_alarms_and_dashboard_refer_to_existing_resources(stack: Stack) -> None:
    def values(service: str, operation: str, member: str, name: str, **more: Any) -> set[str]:
        response = getattr(stack.session().client(service), operation)(**more)
        return {item[name] if name else item for item in response[member]}

    bus, api = {"EventBusName": stack.outputs["BusName"]}, {"restApiId": stack.outputs["ApiId"]}
    queues = values("sqs", "list_queues", "QueueUrls", "")
    existing = {
        "FunctionName": values("lambda", "list_functions", "Functions", "FunctionName"),
        "QueueName": {url.rpartition("/")[2] for url in queues},
        "ScheduleGroup": values("scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
        "EventBusName": values("events", "list_event_buses", "EventBuses", "Name"),
        "RuleName": values("events", "list_rules", "Rules", "Name", **bus),
        "ApiName": values("apigateway", "get_rest_apis", "items", "name"),
        "Stage": values("apigateway", "get_stages", "item", "stageName", **api),
        "service": {STACK_NAME},
        "status": {"failed"},
    }
    cloudwatch = stack.session().client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{STACK_NAME}-")
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    dashboard = cloudwatch.get_dashboard(DashboardName=stack.outputs["DashboardName"])
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", ())]

    assert len(alarms) == len(ALARMS)
    for alarm in alarms:
        assert alarm["AlarmActions"] == [stack.outputs["AlarmsTopicArn"]]
        for dimension in alarm["Dimensions"]:
            assert dimension["Value"] in existing[dimension["Name"]], alarm["AlarmName"]
    assert {row[3] for row in rows if row[0] == "AWS/Lambda"} == existing["FunctionName"]
    assert {row[3] for row in rows if row[0] == "AWS/SQS"} <= existing["QueueName"]
