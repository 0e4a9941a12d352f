"""Properties of template.yaml that only a deployment to AWS would show.

The local AWS accepts templates that AWS rejects, and does not throttle, bill or detect loops.
"""

from __future__ import annotations

from typing import Any

from local.build import read_template
from local.emulator_process import ROOT
from tools.transform import transform_template

TEMPLATE = read_template(ROOT)
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
TRANSFORMED: dict[str, dict[str, Any]] = transform_template()["Resources"]


def of_type(kind: str, resources: dict[str, dict[str, Any]] = RESOURCES) -> dict[str, Any]:
    """Return the properties of each resource of a type, by its logical ID."""
    return {
        name: resource.get("Properties", {})
        for name, resource in resources.items()
        if resource["Type"] == kind
    }


# ==============================================================================
# API: one stage, with throttling on every route
# ==============================================================================


def test_the_api_has_a_single_stage():
    # Without OpenApiVersion, SAM's deployment creates a second stage named Stage.
    (stage,) = of_type("AWS::ApiGateway::Stage", TRANSFORMED).values()
    assert stage["StageName"] == {"Ref": "Stage"}
    for deployment in of_type("AWS::ApiGateway::Deployment", TRANSFORMED).values():
        assert "StageName" not in deployment


def test_the_stage_throttles_every_route_and_the_open_route_more():
    (stage,) = of_type("AWS::ApiGateway::Stage", TRANSFORMED).values()
    rates = {
        (setting["HttpMethod"], setting["ResourcePath"]): setting["ThrottlingRateLimit"]
        for setting in stage["MethodSettings"]
    }
    assert rates == {("*", "/*"): 200, ("GET", "/~1d~1{token}"): 5}
