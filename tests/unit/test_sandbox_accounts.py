"""An account in the environment `sandbox` needs a stack that permits such accounts."""

from __future__ import annotations

import json

import pytest
from local.build import for_local_use, read_template
from local.emulator_process import ROOT

from timbres.domain.account import parse_account
from timbres.errors import TimbresError
from timbres.pacs.registry import PACS

TEMPLATE = read_template(ROOT)
SANDBOX = json.dumps(
    {
        "pac": "reachcore",
        "environment": "sandbox",
        "endpoint": "https://elsewhere.example",
        "api_key": "a-secret-key",
    }
)


def test_a_stack_that_permits_none_rejects_the_secret_and_names_the_parameter() -> None:
    with pytest.raises(TimbresError) as caught:
        parse_account("acme", SANDBOX, PACS)
    error = caught.value

    assert (error.problem_type.code, error.field) == ("account-misconfigured", "environment")
    assert "expected one of uat, production; sandbox needs" in error.detail
    assert "AllowSandboxAccounts" in error.detail
    assert "a-secret-key" not in error.detail


def test_the_template_has_no_clause_for_a_local_aws() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8").lower()
    for word in ("127.0.0", "localhost", "loopback", "ministack", "moto"):
        assert word not in text


def test_the_local_template_differs_in_these_points_only() -> None:
    local = for_local_use(TEMPLATE)
    parameter = local["Parameters"]["AllowSandboxAccounts"]
    assert parameter["Default"] == "true"
    parameter["Default"] = "false"
    policy = local["Resources"]["ReportsBucketPolicy"]["Properties"]["PolicyDocument"]
    exception = policy["Statement"][0]["Condition"].pop("NotIpAddress")

    assert exception == {"aws:SourceIp": "127.0.0.0/8"}
    assert local == TEMPLATE
