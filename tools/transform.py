"""`python -m tools.transform`: template.yaml as CloudFormation gets it, on standard output.

Lint looks at this too: what SAM makes of a template can be wrong where the template is not.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from local.build import place_artifacts
from local.emulator_process import REGION, ROOT
from samtranslator.translator.transform import transform


def transform_template() -> dict[str, Any]:
    """Return the template with SAM's transform applied, its code at made-up places in S3."""
    # SAM asks boto3 for the region it writes into ARNs.
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    template = place_artifacts(ROOT, lambda folder, _layer: f"s3://artifacts/{folder.name}.zip")
    result: dict[str, Any] = transform(template, {}, _ManagedPolicies())
    return result


class _ManagedPolicies:
    """None by name: every role of the template is written out."""

    def load(self) -> dict[str, str]:
        return {}


if __name__ == "__main__":
    json.dump(transform_template(), sys.stdout, indent=2)
