"""A gradual deployment publishes a version each time, and returns to the last one on an alarm."""

from __future__ import annotations

from typing import Any

import pytest
from local.build import place_artifacts
from local.emulator_process import ROOT
from samtranslator.translator.transform import transform
from tools.gradual import GRADUAL, add_gradual_deployment
from tools.transform import ManagedPolicies


def resources(release: str | None) -> dict[str, dict[str, Any]]:
    """Return the transformed template's resources, without gradual deployment for None."""
    template = place_artifacts(ROOT, lambda folder, _layer: f"s3://artifacts/{folder.name}.zip")
    if release is not None:
        template = add_gradual_deployment(template, release)
    result: dict[str, Any] = transform(template, {}, ManagedPolicies())
    found: dict[str, dict[str, Any]] = result["Resources"]
    return found


@pytest.fixture(scope="module")
def first() -> dict[str, dict[str, Any]]:
    return resources("20261126T050000Z")


def versions(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, one in found.items() if one["Type"] == "AWS::Lambda::Version"}


def test_the_template_itself_has_none() -> None:
    kinds = {one["Type"] for one in resources(None).values()}
    assert not [kind for kind in kinds if "CodeDeploy" in kind]
    assert not {"AWS::Lambda::Alias", "AWS::Lambda::Version"} & kinds


def test_each_release_publishes_a_new_version(first: dict[str, dict[str, Any]]) -> None:
    second = resources("20261127T050000Z")
    assert len(versions(first)) == len(versions(second)) == len(GRADUAL)
    assert not versions(first) & versions(second)


@pytest.mark.parametrize("name", GRADUAL)
def test_an_alarm_returns_a_function_to_its_version(
    first: dict[str, dict[str, Any]], name: str
) -> None:
    group = first[f"{name}DeploymentGroup"]["Properties"]
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    alarms = [one["Name"]["Ref"] for one in group["AlarmConfiguration"]["Alarms"]]
    assert tuple(alarms) == GRADUAL[name]
    assert {first[alarm]["Type"] for alarm in alarms} == {"AWS::CloudWatch::Alarm"}


def test_the_api_and_the_schedules_call_the_alias(first: dict[str, dict[str, Any]]) -> None:
    contracts = str(first["Api"]["Properties"]["Body"]["paths"]["/accounts/{account}/contracts"])
    assert "ContractFunctionAliaslive" in contracts
    schedule = first["ReconcilerFunctionEveryFiveMinutes"]["Properties"]["Target"]
    assert schedule["Arn"] == {"Ref": "ReconcilerFunctionAliaslive"}
    (policy,) = first["SchedulerRole"]["Properties"]["Policies"]
    allowed = policy["PolicyDocument"]["Statement"][0]["Resource"]
    assert {"Fn::Sub": "${ReconcilerFunction.Arn}:live"} in allowed
