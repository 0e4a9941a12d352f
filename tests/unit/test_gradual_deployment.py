"""A gradual deployment publishes a version each time, and returns to the last one on an alarm."""

from __future__ import annotations

from functools import cache

import pytest
from tests.support.template import of_type, transformed
from tools.gradual import GRADUAL, add_gradual_deployment
from tools.transform import transform_template


@cache
def resources(release):
    """Return the transformed template's resources for a release."""
    return transform_template(lambda text: add_gradual_deployment(text, release))["Resources"]


def test_each_release_publishes_a_new_version():
    first, second = (of_type("AWS::Lambda::Version", resources(release)) for release in ("1", "2"))
    assert len(first) == len(second) == len(GRADUAL)
    assert not first.keys() & second.keys()
    kinds = {one["Type"].split("::")[2] for one in transformed().values()}
    assert not {"Alias", "Version", "DeploymentGroup"} & kinds


@pytest.mark.parametrize("name", GRADUAL)
def test_an_alarm_returns_a_function_to_its_version(name):
    group = resources("1")[f"{name}DeploymentGroup"]["Properties"]
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    alarms = [one["Name"]["Ref"] for one in group["AlarmConfiguration"]["Alarms"]]
    assert tuple(alarms) == GRADUAL[name]
    assert {resources("1")[alarm]["Type"] for alarm in alarms} == {"AWS::CloudWatch::Alarm"}


def test_the_api_and_the_schedules_call_the_alias():
    body = resources("1")["Api"]["Properties"]["Body"]
    assert "ContractFunctionAliaslive" in str(body["paths"]["/accounts/{account}/contracts"])
    schedule = resources("1")["ReconcilerFunctionEveryFiveMinutes"]["Properties"]["Target"]
    assert schedule["Arn"] == {"Ref": "ReconcilerFunctionAliaslive"}
    (policy,) = resources("1")["SchedulerRole"]["Properties"]["Policies"]
    allowed = policy["PolicyDocument"]["Statement"][0]["Resource"]
    assert {"Fn::Sub": "${ReconcilerFunction.Arn}:live"} in allowed
