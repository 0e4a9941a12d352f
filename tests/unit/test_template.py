"""What holds between the parts of template.yaml, and nothing else looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

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
