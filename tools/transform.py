"""`python -m tools.transform`: print template.yaml after SAM's transform.

`make lint` checks the result too, because SAM can generate invalid resources from a valid template.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from local.build import place_artifacts
from local.emulator_process import REGION, ROOT
from samtranslator.translator.transform import transform

Template = dict[str, Any]


def transform_template(change: Callable[[Template], Template] | None = None) -> Template:
    """Return the template after ``change`` and SAM's transform, with placeholders for the code."""
    # SAM writes boto3's region into ARNs.
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
    template = place_artifacts(ROOT, lambda folder, _layer: f"s3://artifacts/{folder.name}.zip")
    result: Template = transform(change(template) if change else template, {}, _NoPolicies())
    return result


class _NoPolicies:
    """SAM's source of managed policies; the template's roles contain all statements."""

    def load(self) -> dict[str, str]:
        return {}


if __name__ == "__main__":
    json.dump(transform_template(), sys.stdout, indent=2)
