"""The layer has the AWS SDK that the tests run with, and the models of the services it calls."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from local.emulator_process import ROOT

LAYER = ROOT / "layers" / "timbres"
LOCKED = dict(
    re.findall(r"^([\w-]+)==(\S+)", (LAYER / "requirements.txt").read_text("utf-8"), re.MULTILINE)
)
(SERVICES,) = re.findall(
    r"^SERVICES = (\S+)$", (LAYER / "Makefile").read_text("utf-8"), re.MULTILINE
)


@pytest.mark.parametrize("package", ["boto3", "botocore", "s3transfer", "urllib3", "jmespath"])
def test_the_layer_has_the_version_that_the_tests_run_with(package):
    assert LOCKED[package] == version(package)


def test_the_layer_keeps_the_model_of_every_service_that_is_called():
    called = {
        name
        for folder in (LAYER / "timbres", ROOT / "layers" / "reports", ROOT / "functions")
        for path in folder.rglob("*.py")
        for name in re.findall(r"\bclient\(\"(\w+)\"\)", path.read_text("utf-8"))
    }
    assert "dynamodb" in called
    # STS issues the credentials of a role where there are none in the environment.
    assert {*SERVICES.split("|")} == called | {"sts"}
