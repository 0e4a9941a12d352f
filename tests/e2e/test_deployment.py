"""The deployed stack: properties that depend on the deployment and not on an operation."""

from __future__ import annotations

from local.stack import Stack


def test_the_api_has_only_the_stage_of_the_parameter(stack: Stack) -> None:
    gateway = stack.session().client("apigateway")
    stages = gateway.get_stages(restApiId=stack.outputs["ApiId"])["item"]
    assert [stage["stageName"] for stage in stages] == ["dev"]
