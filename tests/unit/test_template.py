"""Constraints between parts of template.yaml: queues, layers, roles, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from timbres.domain.run import MAX_DURATION, MAX_RETRY_SECONDS, retry_delay

TEMPLATE = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
FUNCTIONS = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}
QUEUE_OF_WORKER = {
    name: event["Properties"]["Queue"]["Fn::GetAtt"][0]
    for name, function in FUNCTIONS.items()
    for event in function.get("Events", {}).values()
    if event["Type"] == "SQS"
}


def test_only_the_report_worker_loads_the_reports_layer():
    assert TEMPLATE["Globals"]["Function"]["Layers"] == [{"Ref": "TimbresLayer"}]
    layers = {
        name: properties["Layers"]
        for name, properties in FUNCTIONS.items()
        if "Layers" in properties
    }
    assert layers == {"ReportWorkerFunction": [{"Ref": "ReportsLayer"}]}


@pytest.mark.parametrize("function", QUEUE_OF_WORKER)
def test_the_visibility_timeout_is_six_function_timeouts(function):
    queue = RESOURCES[QUEUE_OF_WORKER[function]]["Properties"]
    # AWS recommends six times the timeout of the function.
    assert queue["VisibilityTimeout"] == 6 * FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("function", QUEUE_OF_WORKER)
def test_every_worker_queue_has_a_dead_letter_queue(function):
    redrive = RESOURCES[QUEUE_OF_WORKER[function]]["Properties"]["RedrivePolicy"]
    (dead, _) = redrive["deadLetterTargetArn"]["Fn::GetAtt"]
    assert RESOURCES[dead]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_its_own_role_and_log_group(name):
    role = FUNCTIONS[name]["Role"]["Fn::GetAtt"][0]
    log = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert (role, log) == (name.replace("Function", "Role"), name.replace("Function", "LogGroup"))


def _actions(role, queue):
    (policy,) = RESOURCES[role]["Properties"]["Policies"]
    return {
        action
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }


@pytest.mark.parametrize("function", QUEUE_OF_WORKER)
def test_a_function_does_not_send_to_the_queue_that_triggers_it(function):
    # Lambda stops such a loop after 16 rounds.
    role = function.replace("Function", "Role")
    assert not {action for action in _actions(role, QUEUE_OF_WORKER[function]) if "Send" in action}


def test_the_run_worker_may_delay_messages_and_send_to_its_dead_letter_queue():
    (source,) = FUNCTIONS["RunWorkerFunction"]["Events"].values()
    assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "sqs:ChangeMessageVisibility" in _actions("RunWorkerRole", "RunsQueue")
    assert _actions("RunWorkerRole", "RunsDeadLetterQueue") == {"sqs:SendMessage"}


@pytest.mark.parametrize("base", [1, 60, 900])
def test_the_receive_count_covers_all_attempts_of_a_run(base):
    parameter = TEMPLATE["Parameters"]["RunRetryDelaySeconds"]
    assert parameter["MinValue"] <= base <= parameter["MaxValue"]
    seconds, attempts = 0.0, 1
    while seconds < MAX_DURATION.total_seconds():
        seconds += retry_delay(attempts, base)
        attempts += 1
    # The message is received once more after the run was closed.
    receives = RESOURCES["RunsQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert attempts + 1 < receives <= 1000


def test_messages_outlive_the_run_and_its_retries():
    queue = RESOURCES["RunsQueue"]["Properties"]
    max_seconds = MAX_DURATION.total_seconds() + max(MAX_RETRY_SECONDS, queue["VisibilityTimeout"])
    assert max_seconds < queue["MessageRetentionPeriod"]


def test_a_start_ends_before_its_run_is_closed():
    schedule = FUNCTIONS["RunFunction"]["Events"]["Daily"]["Properties"]["RetryPolicy"]
    start = schedule["MaximumEventAgeInSeconds"] + FUNCTIONS["RunFunction"]["Timeout"]
    assert start < MAX_DURATION.total_seconds()
