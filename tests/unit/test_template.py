"""What holds between the parts of template.yaml, and nothing else looks at."""

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
BEHIND_A_QUEUE = {
    name: event["Properties"]["Queue"]["Fn::GetAtt"][0]
    for name, function in FUNCTIONS.items()
    for event in function.get("Events", {}).values()
    if event["Type"] == "SQS"
}


def test_the_report_writers_are_loaded_by_the_report_worker_alone():
    assert TEMPLATE["Globals"]["Function"]["Layers"] == [{"Ref": "TimbresLayer"}]
    layers = {name: own["Layers"] for name, own in FUNCTIONS.items() if "Layers" in own}
    assert layers == {"ReportWorkerFunction": [{"Ref": "ReportsLayer"}]}


@pytest.mark.parametrize("function", BEHIND_A_QUEUE)
def test_a_message_is_not_handed_out_twice_while_it_is_worked_on(function):
    queue = RESOURCES[BEHIND_A_QUEUE[function]]["Properties"]
    # Six times the time-out, as AWS advises for a queue in front of a function.
    assert queue["VisibilityTimeout"] == 6 * FUNCTIONS[function]["Timeout"]


@pytest.mark.parametrize("function", BEHIND_A_QUEUE)
def test_what_a_worker_cannot_do_ends_in_a_queue_of_its_own(function):
    redrive = RESOURCES[BEHIND_A_QUEUE[function]]["Properties"]["RedrivePolicy"]
    (dead, _) = redrive["deadLetterTargetArn"]["Fn::GetAtt"]
    assert RESOURCES[dead]["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_a_role_and_a_log_of_its_own(name):
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


@pytest.mark.parametrize("function", BEHIND_A_QUEUE)
def test_a_function_does_not_send_to_the_queue_that_triggers_it(function):
    # Lambda stops such a loop after 16 rounds.
    role = function.replace("Function", "Role")
    assert not {action for action in _actions(role, BEHIND_A_QUEUE[function]) if "Send" in action}


def test_the_run_worker_sets_when_a_message_is_retried_and_puts_aside_what_it_gives_up():
    (source,) = FUNCTIONS["RunWorkerFunction"]["Events"].values()
    assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "sqs:ChangeMessageVisibility" in _actions("RunWorkerRole", "RunsQueue")
    assert _actions("RunWorkerRole", "RunsDeadLetterQueue") == {"sqs:SendMessage"}


@pytest.mark.parametrize("base", [1, 60, 900])
def test_a_message_may_be_received_as_often_as_a_run_retries_it(base):
    parameter = TEMPLATE["Parameters"]["RunRetryDelaySeconds"]
    assert parameter["MinValue"] <= base <= parameter["MaxValue"]
    seconds, attempts = 0.0, 1
    while seconds < MAX_DURATION.total_seconds():
        seconds += retry_delay(attempts, base)
        attempts += 1
    # The message is received once more after the run was closed.
    receives = RESOURCES["RunsQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert attempts + 1 < receives <= 1000


def test_a_message_of_a_run_outlives_the_run_and_its_retries():
    queue = RESOURCES["RunsQueue"]["Properties"]
    longest = MAX_DURATION.total_seconds() + max(MAX_RETRY_SECONDS, queue["VisibilityTimeout"])
    assert longest < queue["MessageRetentionPeriod"]


def test_a_start_is_over_before_its_run_is_closed():
    schedule = FUNCTIONS["RunFunction"]["Events"]["Daily"]["Properties"]["RetryPolicy"]
    start = schedule["MaximumEventAgeInSeconds"] + FUNCTIONS["RunFunction"]["Timeout"]
    assert start < MAX_DURATION.total_seconds()
