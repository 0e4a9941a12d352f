"""`python -m tools.transform`: print template.yaml after SAM's transform.

`make lint` checks the result too, because SAM can generate invalid resources from a valid template.
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
    """Return the template after SAM's transform, with placeholder locations of the code in S3."""
    # SAM writes boto3's region into ARNs.
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    template = place_artifacts(ROOT, lambda folder, _layer: f"s3://artifacts/{folder.name}.zip")
    result: dict[str, Any] = transform(template, {}, ManagedPolicies())
    return result


class ManagedPolicies:
    """No managed policies; the template's roles contain all statements."""

    def load(self) -> dict[str, str]:
        """Return the ARNs by name, as SAM requires them: none."""
        return {}


if __name__ == "__main__":
    json.dump(transform_template(), sys.stdout, indent=2)
