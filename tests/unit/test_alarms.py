"""Alarms: each resource is monitored, each alarm has a metric and a runbook section."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from tests.monitored_metrics import (
    ALARMS,
    RESOURCES,
    ROOT,
    TEMPLATE,
    Metric,
    metrics_of,
    of_type,
    on_the_dashboard,
    widgets,
)

FUNCTIONS = of_type("AWS::Serverless::Function")
TRIGGERS = [
    (f"{function}{name}", event["Type"], event["Properties"])
    for function, properties in FUNCTIONS.items()
    for name, event in properties.get("Events", {}).items()
]
QUEUES = of_type("AWS::SQS::Queue")
QUEUES_WITH_WORKER = {
    properties["Queue"]["Fn::GetAtt"][0] for _, kind, properties in TRIGGERS if kind == "SQS"
}
MONITORED = {metric for alarm in ALARMS.values() for metric in metrics_of(alarm)}
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

VISIBLE = "ApproximateNumberOfMessagesVisible"

# AWS's documented metrics, each with the dimensions that identify it.
DOCUMENTED = {
    "AWS/Lambda": ({"Errors", "Throttles", "Duration"}, {"FunctionName"}),
    "AWS/SQS": (
        {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
        {"QueueName"},
    ),
    "AWS/ApiGateway": ({"Count", "4XXError", "5XXError", "Latency"}, {"ApiName", "Stage"}),
    "AWS/Scheduler": (
        {
            "InvocationAttemptCount",
            "TargetErrorCount",
            "InvocationDroppedCount",
            "InvocationsFailedToBeSentToDeadLetterCount",
        },
        {"ScheduleGroup"},
    ),
    # For a custom bus; a rule of the default bus has RuleName alone.
    "AWS/Events": (
        {"FailedInvocations", "InvocationsFailedToBeSentToDlq"},
        {"EventBusName", "RuleName"},
    ),
}


def is_monitored(namespace: str, name: str, **dimensions: str) -> bool:
    return Metric(namespace, name, frozenset(dimensions.items())) in MONITORED


@pytest.mark.parametrize("metric", sorted({*MONITORED, *on_the_dashboard()}, key=str), ids=str)
def test_an_aws_metric_is_documented(metric: Metric) -> None:
    # tests/integration/test_metrics.py compares the metrics of Timbres with those it emits.
    if metric.namespace != "Timbres":
        names, dimensions = DOCUMENTED[metric.namespace]
        assert metric.name in names
        assert {name for name, _ in metric.dimensions} == dimensions


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_monitored(function: str, metric: str) -> None:
    assert is_monitored("AWS/Lambda", metric, FunctionName=f"${{{function}}}")


def test_the_duration_alarm_uses_each_functions_timeout() -> None:
    default = TEMPLATE["Globals"]["Function"]["Timeout"]
    limits: dict[str, int] = {}
    for alarm in ALARMS.values():
        ids = {
            query["Id"]: _function(query["MetricStat"]["Metric"])
            for query in alarm.get("Metrics", ())
            if "MetricStat" in query and query["MetricStat"]["Metric"]["MetricName"] == "Duration"
        }
        if not ids:
            continue
        (expression,) = (query["Expression"] for query in alarm["Metrics"] if "Expression" in query)
        pairs = re.findall(r"(\d+) - (\w+) / 1000", expression)
        maximum = re.fullmatch(r"(\d+) - MAX\(METRICS\(\)\) / 1000", expression)
        seconds = {name: int(limit) for limit, name in pairs} or dict.fromkeys(ids, int(maximum[1]))
        limits |= {ids[name]: limit for name, limit in seconds.items()}
    timeouts = {name: properties.get("Timeout", default) for name, properties in FUNCTIONS.items()}
    assert limits == timeouts


def _function(metric: dict[str, Any]) -> str:
    return str(metric["Dimensions"][0]["Value"]["Ref"])


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_is_monitored(queue: str) -> None:
    # A queue without a worker is a dead letter queue.
    metric = "ApproximateAgeOfOldestMessage" if queue in QUEUES_WITH_WORKER else VISIBLE
    assert is_monitored("AWS/SQS", metric, QueueName=f"${{{queue}.QueueName}}")


@pytest.mark.parametrize(
    ("name", "schedule"), [(name, own) for name, kind, own in TRIGGERS if kind == "ScheduleV2"]
)
def test_a_schedule_is_in_the_monitored_group(name: str, schedule: dict[str, Any]) -> None:
    group = schedule["GroupName"]["Ref"]
    assert RESOURCES[group]["Type"] == "AWS::Scheduler::ScheduleGroup"
    assert schedule["DeadLetterConfig"]
    for metric in ("InvocationDroppedCount", "InvocationsFailedToBeSentToDeadLetterCount"):
        assert is_monitored("AWS/Scheduler", metric, ScheduleGroup=f"${{{group}}}")


@pytest.mark.parametrize(
    ("name", "rule"), [(name, own) for name, kind, own in TRIGGERS if kind == "EventBridgeRule"]
)
def test_a_rule_is_monitored(name: str, rule: dict[str, Any]) -> None:
    names = {"EventBusName": "${Bus}", "RuleName": rule["RuleName"]["Fn::Sub"]}
    assert rule["EventBusName"] == {"Ref": "Bus"}
    for metric in ("FailedInvocations", "InvocationsFailedToBeSentToDlq"):
        assert is_monitored("AWS/Events", metric, **names)


def test_the_api_is_monitored_under_its_own_name() -> None:
    (api,) = of_type("AWS::Serverless::Api").values()
    assert api["Name"] == {"Ref": "AWS::StackName"}
    assert is_monitored("AWS/ApiGateway", "5XXError", ApiName="${AWS::StackName}", Stage="${Stage}")


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_valid_and_notifies_the_topic(name: str) -> None:
    alarm = ALARMS[name]
    assert name.endswith("Alarm")
    assert alarm["AlarmActions"] == [{"Ref": "AlarmsTopic"}]
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")
    assert len(metrics_of(alarm)) <= 10
    stats = [query["MetricStat"] for query in alarm.get("Metrics", ()) if "MetricStat" in query]
    (seconds,) = {query["Period"] for query in stats or [alarm]}
    days = seconds * alarm["EvaluationPeriods"] / 86_400
    assert days <= (7 if seconds >= 3600 else 1)


def test_a_comment_gives_the_reason_for_each_treatment_of_missing_data() -> None:
    lines = (ROOT / "template.yaml").read_text(encoding="utf-8").splitlines()
    places = [n for n, line in enumerate(lines) if line.strip().startswith("TreatMissingData:")]
    assert len(places) == len(ALARMS)
    assert [n for n in places if not lines[n - 1].strip().startswith("# ")] == []


def test_the_cost_estimate_counts_the_metrics_of_the_alarms() -> None:
    (documented,) = re.findall(r"\$0\.10 for each of their (\d+) metrics", RUNBOOK)
    assert int(documented) == sum(len(metrics_of(alarm)) for alarm in ALARMS.values())


def test_the_dashboard_shows_every_alarm() -> None:
    (alarms,) = (
        widget["properties"]["alarms"] for widget in widgets() if widget["type"] == "alarm"
    )
    assert sorted(alarms) == sorted(f"${{{name}.Arn}}" for name in ALARMS)


def test_the_runbook_has_a_section_for_each_alarm_and_no_other() -> None:
    assert sorted(re.findall(r"^### `(\w+Alarm)`", RUNBOOK, re.MULTILINE)) == sorted(ALARMS)


SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"\baws ([a-z]+) (wait [a-z-]+|[a-z-]+)((?:(?!\baws )(?:\\\n|.))*)", SHELL)
MODELS = botocore.session.get_session()
# Options of the AWS CLI that are not parameters of an operation.
CLI_OPTIONS = {"query", "output", "cli-binary-format"}


def test_the_runbook_uses_only_existing_outputs() -> None:
    assert set(re.findall(r"\$\{?([A-Z][a-z]\w+)", SHELL)) <= set(TEMPLATE["Outputs"])


@pytest.mark.parametrize(
    ("service", "command", "arguments"),
    COMMANDS,
    ids=[" ".join(command[:2]) for command in COMMANDS],
)
def test_a_command_of_the_runbook_is_valid(service: str, command: str, arguments: str) -> None:
    # The CLI has --no-name for a parameter that is false.
    options = set(re.findall(r"(?<=\s)--(?:no-)?([a-z-]+)", arguments)) - CLI_OPTIONS
    model = MODELS.get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if command.startswith("wait "):
        waiters = MODELS.get_waiter_model(service)
        waits = {xform_name(name, "-"): name for name in waiters.waiter_names}
        operation = waiters.get_waiter(waits[command.removeprefix("wait ")]).operation
    else:
        operation = names[command]
    shape = model.operation_model(operation).input_shape
    assert shape is not None or not options
    members = {xform_name(name, "-") for name in shape.members} if shape else set()
    required = {xform_name(name, "-") for name in shape.required_members} if shape else set()
    assert options <= members
    assert required <= options


def test_the_runbook_has_commands() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("link", re.findall(r"\]\(#([\w-]+)\)", RUNBOOK))
def test_a_link_within_the_runbook_has_a_target(link: str) -> None:
    titles = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    assert link in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
