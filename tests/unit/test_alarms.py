"""Alarms: each resource is monitored, each alarm has a metric and a runbook section."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from tests.support.monitored_metrics import (
    ALARMS,
    WIDGETS,
    Metric,
    metrics_of,
    on_the_dashboard,
    statistics_of,
)
from tests.support.template import ROOT, of_type, template

FUNCTIONS = of_type("AWS::Serverless::Function")
TRIGGERS = template().triggers()
QUEUES_WITH_WORKER = {t.properties["Queue"]["Fn::GetAtt"][0] for t in TRIGGERS if t.kind == "SQS"}
MONITORED = {metric for alarm in ALARMS.values() for metric in metrics_of(alarm)}
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

# AWS's documented metrics, by the dimensions that identify them.
DOCUMENTED = {
    ("AWS/Lambda", "FunctionName"): "Errors Throttles Duration",
    ("AWS/SQS", "QueueName"): "ApproximateNumberOfMessagesVisible ApproximateAgeOfOldestMessage",
    ("AWS/ApiGateway", "ApiName Stage"): "Count 4XXError 5XXError Latency",
    ("AWS/Scheduler", "ScheduleGroup"): """InvocationAttemptCount TargetErrorCount
        InvocationDroppedCount InvocationsFailedToBeSentToDeadLetterCount""",
    # For a custom bus; a rule of the default bus has only RuleName.
    ("AWS/Events", "EventBusName RuleName"): "FailedInvocations InvocationsFailedToBeSentToDlq",
}


def expected_metrics() -> dict[str, Metric]:
    """Return the metrics that the template's resources need, by a test ID."""
    apis = (("${AWS::StackName}", "${Stage}"), ("${AWS::StackName}-downloads", "d"))
    assert len(of_type("AWS::Serverless::Api")) == len(apis)
    rows = [("AWS/ApiGateway", "5XXError", {"ApiName": name, "Stage": s}) for name, s in apis]
    for function in FUNCTIONS:
        dimension = {"FunctionName": f"${{{function}}}"}
        rows += [("AWS/Lambda", name, dimension) for name in ("Errors", "Throttles", "Duration")]
    for queue in of_type("AWS::SQS::Queue"):
        # A queue without a worker is a dead letter queue.
        age = queue in QUEUES_WITH_WORKER
        name = "ApproximateAgeOfOldestMessage" if age else "ApproximateNumberOfMessagesVisible"
        rows.append(("AWS/SQS", name, {"QueueName": f"${{{queue}.QueueName}}"}))
    for group in of_type("AWS::Scheduler::ScheduleGroup"):
        dimension = {"ScheduleGroup": f"${{{group}}}"}
        names = ("InvocationDroppedCount", "InvocationsFailedToBeSentToDeadLetterCount")
        rows += [("AWS/Scheduler", name, dimension) for name in names]
    for rule in (t.properties for t in TRIGGERS if t.kind == "EventBridgeRule"):
        bus, name = f"${{{rule['EventBusName']['Ref']}}}", rule["RuleName"]["Fn::Sub"]
        dimensions = {"EventBusName": bus, "RuleName": name}
        names = ("FailedInvocations", "InvocationsFailedToBeSentToDlq")
        rows += [("AWS/Events", name, dimensions) for name in names]
    metrics = [Metric(space, name, frozenset(values.items())) for space, name, values in rows]
    return {str(metric): metric for metric in metrics}


@pytest.mark.parametrize("metric", expected_metrics().values(), ids=expected_metrics())
def test_a_resource_is_monitored(metric: Metric) -> None:
    assert metric in MONITORED


@pytest.mark.parametrize("metric", sorted({*MONITORED, *on_the_dashboard()}, key=str), ids=str)
def test_an_aws_metric_is_documented(metric: Metric) -> None:
    # tests/integration/test_metrics.py compares the metrics of Timbres with those it emits.
    if metric.namespace != "Timbres":
        dimensions = " ".join(sorted(name for name, _ in metric.dimensions))
        assert metric.name in DOCUMENTED[metric.namespace, dimensions].split()


def test_the_duration_alarms_use_the_timeout_of_each_function() -> None:
    limits: dict[str, int] = {}
    for alarm in ("ApiFunctionsSlowAlarm", "BackgroundFunctionsSlowAlarm"):
        judged, *metrics = ALARMS[alarm]["Metrics"]
        found = re.findall(r"(\d+) - (\w+)", judged["Expression"])
        seconds = {name: int(limit) for limit, name in found}
        for metric in metrics:
            (dimension,) = metric["MetricStat"]["Metric"]["Dimensions"]
            limits[dimension["Value"]["Ref"]] = seconds.get(metric["Id"], seconds.get("MAX", 0))
    default = template().text["Globals"]["Function"]["Timeout"]
    assert limits == {name: own.get("Timeout", default) for name, own in FUNCTIONS.items()}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_valid_and_notifies_the_topic(name: str) -> None:
    alarm = ALARMS[name]
    (seconds,) = {statistic["Period"] for statistic in statistics_of(alarm)}
    days = seconds * alarm["EvaluationPeriods"] / 86_400

    assert name.endswith("Alarm")
    assert alarm["AlarmActions"] == [{"Ref": "AlarmsTopic"}]
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")
    assert len(metrics_of(alarm)) <= 10
    assert days <= (7 if seconds >= 3600 else 1)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_that_starts_active_reports_its_end(name: str) -> None:
    # Its first mail may be sent before the subscription is confirmed, and is not repeated.
    breaching = ALARMS[name]["TreatMissingData"] == "breaching"
    first_hour = RUNBOOK.partition("\n## First hour\n")[2].partition("\n## ")[0]
    assert ALARMS[name].get("OKActions") == ([{"Ref": "AlarmsTopic"}] if breaching else None)
    assert (f"`{name}`" in first_hour) == breaching


def test_dashboard_and_runbook_include_each_alarm() -> None:
    (alarms,) = (w["properties"]["alarms"] for w in WIDGETS if w["type"] == "alarm")
    assert sorted(alarms) == sorted(f"${{{name}.Arn}}" for name in ALARMS)
    assert sorted(re.findall(r"^### `(\w+Alarm)`", RUNBOOK, re.MULTILINE)) == sorted(ALARMS)


SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"\baws ([a-z]+) (wait [a-z-]+|[a-z-]+)((?:(?!\baws )(?:\\\n|.))*)", SHELL)
MODELS = botocore.session.get_session()
# Options of the AWS CLI that are not parameters of an operation, or have another name.
CLI_OPTIONS = {"query", "output", "cli-binary-format", "notification-endpoint"}


def with_hyphens(names: Any) -> dict[str, str]:
    return {xform_name(name, "-"): name for name in names}


@pytest.mark.parametrize(("service", "command", "arguments"), COMMANDS, ids=lambda text: text[:20])
def test_a_command_of_the_runbook_is_valid(service: str, command: str, arguments: str) -> None:
    # The CLI has --no-name for a parameter that is false.
    options = set(re.findall(r"(?<=\s)--(?:no-)?([a-z-]+)", arguments)) - CLI_OPTIONS
    model = MODELS.get_service_model(service)
    if command.startswith("wait "):
        waiters = MODELS.get_waiter_model(service)
        name = with_hyphens(waiters.waiter_names)[command.removeprefix("wait ")]
        operation = waiters.get_waiter(name).operation
    else:
        operation = with_hyphens(model.operation_names)[command]
    shape = model.operation_model(operation).input_shape

    assert options <= with_hyphens(shape.members if shape else ()).keys()
    assert with_hyphens(shape.required_members if shape else ()).keys() <= options


def test_the_commands_of_the_runbook_use_existing_outputs() -> None:
    assert len(COMMANDS) > 30
    names = set(re.findall(r"\$\{?([A-Z][a-z]\w+)", SHELL))
    assert names <= template().text["Outputs"].keys()
