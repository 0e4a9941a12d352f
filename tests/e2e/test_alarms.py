"""The alarms as deployed: each watches a name that there is, and what the functions logged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from local.stack import STACK_NAME, Stack

from tests.support.daily_run import NightlyRun
from tests.support.monitored_metrics import ALARMS, of_type, on_the_dashboard, searched


@pytest.fixture(scope="module")
def names(stack: Stack) -> dict[str, Callable[[], set[str]]]:
    """The existing values of each dimension of AWS's metrics, by name."""

    def of(service: str, operation: str, what: str, name: str, **more: Any) -> set[str]:
        answer = getattr(stack.session().client(service), operation)(**more)
        return {one if name == "" else one[name] for one in answer[what]}

    return {
        "FunctionName": lambda: of("lambda", "list_functions", "Functions", "FunctionName"),
        "QueueName": lambda: {
            url.rpartition("/")[2] for url in of("sqs", "list_queues", "QueueUrls", "")
        },
        "ScheduleGroup": lambda: of("scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
        "EventBusName": lambda: of("events", "list_event_buses", "EventBuses", "Name"),
        "RuleName": lambda: of(
            "events", "list_rules", "Rules", "Name", EventBusName=stack.outputs["BusName"]
        ),
        "ApiName": lambda: of("apigateway", "get_rest_apis", "items", "name"),
        "Stage": lambda: of(
            "apigateway", "get_stages", "item", "stageName", restApiId=stack.outputs["ApiId"]
        ),
        "service": lambda: {STACK_NAME},
        "status": lambda: {"failed"},
    }


def test_deployed_alarms_use_existing_metrics_and_notify(
    stack: Stack, names: dict[str, Callable[[], set[str]]]
) -> None:
    cloudwatch = stack.session().client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{STACK_NAME}-")
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    assert len(alarms) == len(ALARMS)
    for alarm in alarms:
        assert alarm["AlarmActions"] == [stack.outputs["AlarmsTopicArn"]]
        for dimension in alarm["Dimensions"]:
            assert dimension["Value"] in names[dimension["Name"]](), alarm["AlarmName"]


def test_metrics_of_a_run_have_the_stack_and_are_on_the_dashboard(
    stack: Stack, night: NightlyRun
) -> None:
    night.finished(night.run, 60)
    known = {one.name for one in on_the_dashboard()} | {name for name, _ in searched()}
    lines = [
        json.loads(line)
        for function in of_type("AWS::Serverless::Function")
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
    assert {"RunsStarted", "RunsFinished", "IssuersCounted", "PacCalls", "PacErrors"} <= emitted
    assert emitted <= known


def test_the_dashboard_names_what_there_is(
    stack: Stack, names: dict[str, Callable[[], set[str]]]
) -> None:
    cloudwatch = stack.session().client("cloudwatch")
    body = cloudwatch.get_dashboard(DashboardName=stack.outputs["DashboardName"])["DashboardBody"]
    functions, queues = names["FunctionName"](), names["QueueName"]()
    rows = [
        row
        for widget in json.loads(body)["widgets"]
        for row in widget["properties"].get("metrics", ())
    ]
    assert {row[3] for row in rows if row[0] == "AWS/Lambda"} == functions
    assert {row[3] for row in rows if row[0] == "AWS/SQS"} <= queues
