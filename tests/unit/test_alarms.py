"""The alarms: each watches what there is, whatever there is is watched, and each is explained."""

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
BEHIND = {properties["Queue"]["Fn::GetAtt"][0] for _, kind, properties in TRIGGERS if kind == "SQS"}
WATCHED = {metric for alarm in ALARMS.values() for metric in metrics_of(alarm)}
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

VISIBLE = "ApproximateNumberOfMessagesVisible"

# What AWS's documentation says of its metrics: which dimensions name one together.
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
    # Of a bus of one's own; a rule of the default bus has RuleName alone.
    "AWS/Events": (
        {"FailedInvocations", "InvocationsFailedToBeSentToDlq"},
        {"EventBusName", "RuleName"},
    ),
}


def watches(namespace: str, name: str, **dimensions: str) -> bool:
    return Metric(namespace, name, frozenset(dimensions.items())) in WATCHED


@pytest.mark.parametrize("metric", sorted({*WATCHED, *on_the_dashboard()}, key=str), ids=str)
def test_a_metric_of_aws_is_one_that_aws_documents(metric: Metric) -> None:
    # Those of Timbres are compared with what it emits, in tests/integration/test_metrics.py.
    if metric.namespace != "Timbres":
        names, dimensions = DOCUMENTED[metric.namespace]
        assert metric.name in names
        assert {name for name, _ in metric.dimensions} == dimensions


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_watched(function: str, metric: str) -> None:
    assert watches("AWS/Lambda", metric, FunctionName=f"${{{function}}}")


def test_a_function_is_late_by_its_own_time_out() -> None:
    default = TEMPLATE["Globals"]["Function"]["Timeout"]
    found: dict[str, int] = {}
    for alarm in ALARMS.values():
        ids = {
            one["Id"]: _function(one["MetricStat"]["Metric"])
            for one in alarm.get("Metrics", ())
            if "MetricStat" in one and one["MetricStat"]["Metric"]["MetricName"] == "Duration"
        }
        if not ids:
            continue
        (expression,) = (one["Expression"] for one in alarm["Metrics"] if "Expression" in one)
        each = re.findall(r"(\d+) - (\w+) / 1000", expression)
        every = re.fullmatch(r"(\d+) - MAX\(METRICS\(\)\) / 1000", expression)
        seconds = {name: int(of) for of, name in each} or dict.fromkeys(ids, int(every[1]))
        found |= {ids[name]: of for name, of in seconds.items()}
    timeouts = {name: own.get("Timeout", default) for name, own in FUNCTIONS.items()}
    assert found == timeouts


def _function(metric: dict[str, Any]) -> str:
    return str(metric["Dimensions"][0]["Value"]["Ref"])


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_is_watched(queue: str) -> None:
    # Whatever has no worker is where messages are put aside.
    metric = "ApproximateAgeOfOldestMessage" if queue in BEHIND else VISIBLE
    assert watches("AWS/SQS", metric, QueueName=f"${{{queue}.QueueName}}")


@pytest.mark.parametrize(
    ("name", "schedule"), [(name, own) for name, kind, own in TRIGGERS if kind == "ScheduleV2"]
)
def test_a_schedule_is_in_the_group_that_is_watched(name: str, schedule: dict[str, Any]) -> None:
    group = schedule["GroupName"]["Ref"]
    assert RESOURCES[group]["Type"] == "AWS::Scheduler::ScheduleGroup"
    assert schedule["DeadLetterConfig"]
    for metric in ("InvocationDroppedCount", "InvocationsFailedToBeSentToDeadLetterCount"):
        assert watches("AWS/Scheduler", metric, ScheduleGroup=f"${{{group}}}")


@pytest.mark.parametrize(
    ("name", "rule"), [(name, own) for name, kind, own in TRIGGERS if kind == "EventBridgeRule"]
)
def test_a_rule_is_watched(name: str, rule: dict[str, Any]) -> None:
    names = {"EventBusName": "${Bus}", "RuleName": rule["RuleName"]["Fn::Sub"]}
    assert rule["EventBusName"] == {"Ref": "Bus"}
    for metric in ("FailedInvocations", "InvocationsFailedToBeSentToDlq"):
        assert watches("AWS/Events", metric, **names)


def test_the_api_is_watched_under_its_own_name() -> None:
    (api,) = of_type("AWS::Serverless::Api").values()
    assert api["Name"] == {"Ref": "AWS::StackName"}
    assert watches("AWS/ApiGateway", "5XXError", ApiName="${AWS::StackName}", Stage="${Stage}")


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_one_that_cloudwatch_takes_and_tells(name: str) -> None:
    alarm = ALARMS[name]
    assert name.endswith("Alarm")
    assert alarm["AlarmActions"] == [{"Ref": "AlarmsTopic"}]
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching")
    assert len(metrics_of(alarm)) <= 10
    stats = [one["MetricStat"] for one in alarm.get("Metrics", ()) if "MetricStat" in one]
    (seconds,) = {one["Period"] for one in stats or [alarm]}
    days = seconds * alarm["EvaluationPeriods"] / 86_400
    assert days <= (7 if seconds >= 3600 else 1)


def test_a_line_says_why_missing_data_is_treated_as_it_is() -> None:
    lines = (ROOT / "template.yaml").read_text(encoding="utf-8").splitlines()
    places = [n for n, line in enumerate(lines) if line.strip().startswith("TreatMissingData:")]
    assert len(places) == len(ALARMS)
    assert [n for n in places if not lines[n - 1].strip().startswith("# ")] == []


def test_the_bill_counts_the_metrics_of_the_alarms() -> None:
    (told,) = re.findall(r"\$0\.10 for each of their (\d+) metrics", RUNBOOK)
    assert int(told) == sum(len(metrics_of(alarm)) for alarm in ALARMS.values())


def test_the_dashboard_shows_every_alarm() -> None:
    (shown,) = (one["properties"]["alarms"] for one in widgets() if one["type"] == "alarm")
    assert sorted(shown) == sorted(f"${{{name}.Arn}}" for name in ALARMS)


def test_the_runbook_has_a_section_for_each_alarm_and_no_other() -> None:
    assert sorted(re.findall(r"^### `(\w+Alarm)`", RUNBOOK, re.MULTILINE)) == sorted(ALARMS)


SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"\baws ([a-z]+) (wait [a-z-]+|[a-z-]+)((?:(?!\baws )(?:\\\n|.))*)", SHELL)
MODELS = botocore.session.get_session()
# What the command line takes beside the parameters of a call.
OF_THE_COMMAND_LINE = {"query", "output", "cli-binary-format"}


def test_the_runbook_uses_only_outputs_that_there_are() -> None:
    assert set(re.findall(r"\$\{?([A-Z][a-z]\w+)", SHELL)) <= set(TEMPLATE["Outputs"])


@pytest.mark.parametrize(
    ("service", "command", "rest"), COMMANDS, ids=[" ".join(one[:2]) for one in COMMANDS]
)
def test_a_command_of_the_runbook_is_one_that_aws_has(
    service: str, command: str, rest: str
) -> None:
    given = set(re.findall(r"(?<=\s)--([a-z-]+)", rest)) - OF_THE_COMMAND_LINE
    model = MODELS.get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if command.startswith("wait "):
        waiters = MODELS.get_waiter_model(service)
        waits = {xform_name(name, "-"): name for name in waiters.waiter_names}
        operation = waiters.get_waiter(waits[command.removeprefix("wait ")]).operation
    else:
        operation = names[command]
    shape = model.operation_model(operation).input_shape
    assert shape is not None or not given
    members = {xform_name(name, "-") for name in shape.members} if shape else set()
    required = {xform_name(name, "-") for name in shape.required_members} if shape else set()
    assert given <= members
    assert required <= given


def test_the_runbook_has_commands() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("link", re.findall(r"\]\(#([\w-]+)\)", RUNBOOK))
def test_a_link_within_the_runbook_leads_somewhere(link: str) -> None:
    titles = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    assert link in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles}
