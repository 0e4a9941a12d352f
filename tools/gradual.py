"""`python -m tools.gradual > FILE`: print template.yaml for a gradual deployment.

SAM publishes a version of a function when the function's own code has changed. The code of Timbres
is in a layer, so that each deployment names a release, which publishes a version in any case.
"""

from __future__ import annotations

import copy
import json
import sys
from datetime import UTC, datetime
from typing import Any

from local.build import read_template
from local.emulator_process import ROOT

ALIAS = "live"
# The functions that act on contracts, and the alarms that return them to their previous version.
GRADUAL = {
    "ContractFunction": ("ApiFunctionsFailedAlarm", "InternalErrorsAlarm"),
    "ReconcilerFunction": ("BackgroundFunctionsFailedAlarm", "ContractUnresolvedAlarm"),
}


def add_gradual_deployment(template: dict[str, Any], release: str) -> dict[str, Any]:
    """Return `template` with gradual deployment; `release` differs in each deployment."""
    template = copy.deepcopy(template)
    for name, alarms in GRADUAL.items():
        template["Resources"][name]["Properties"] |= {
            "AutoPublishAlias": ALIAS,
            "AutoPublishCodeSha256": release,
            "DeploymentPreference": {
                "Type": "Canary10Percent10Minutes",
                "Alarms": [{"Ref": alarm} for alarm in alarms],
            },
        }
    # A schedule starts the alias; the permission on the function does not include it.
    (policy,) = template["Resources"]["SchedulerRole"]["Properties"]["Policies"]
    (invoke,) = (
        one
        for one in policy["PolicyDocument"]["Statement"]
        if one["Action"] == "lambda:InvokeFunction"
    )
    invoke["Resource"] += [{"Fn::Sub": f"${{{name}.Arn}}:{ALIAS}"} for name in GRADUAL]
    return template


if __name__ == "__main__":
    json.dump(
        add_gradual_deployment(read_template(ROOT), f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"),
        sys.stdout,
        indent=2,
    )
