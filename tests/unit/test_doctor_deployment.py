"""Checks of the doctor about the deployment: region, stages, alarms, mails."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from local.emulator_process import ROOT
from tools.doctor import cloud

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
REGIONS = {
    stage["deploy"]["parameters"]["region"]
    for stage in SAMCONFIG.values()
    if isinstance(stage, dict)
}


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("ENABLED", "ok"),
        ("ENABLED_BY_DEFAULT", "ok"),
        ("ENABLING", "warning"),
        ("DISABLED", "failed"),
        ("DISABLING", "failed"),
    ],
)
def test_a_region_that_is_not_enabled_is_reported_with_the_command_that_enables_it(
    status: str, level: str
) -> None:
    result = cloud.check_opt_in("mx-central-1", status)
    assert result.level == level
    command = "aws account enable-region --region-name mx-central-1"
    assert (command in result.text) == (level == "failed")


@pytest.mark.parametrize("region", sorted(REGIONS))
@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("README.md", ("enable-region --region-name {}", "get-region-opt-status --region-name {}")),
        ("docs/api.md", ("AWS_STS_REGIONAL_ENDPOINTS=regional", "{}")),
    ],
)
def test_a_page_says_what_a_region_that_is_not_enabled_by_default_needs(
    page: str, texts: tuple[str, ...], region: str
) -> None:
    text = re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))
    for expected in texts:
        assert expected.format(region) in text


@pytest.mark.parametrize(
    ("stages", "parameters", "level"),
    [
        (["dev"], {}, "ok"),
        (["prod"], {"Stage": "prod"}, "ok"),
        (["prod", "Stage"], {"Stage": "prod"}, "failed"),
        (["Stage", "dev"], {"Stage": "dev"}, "failed"),
    ],
)
def test_a_second_api_stage_is_reported_with_the_command_that_deletes_it(
    stages: list[str], parameters: dict[str, str], level: str
) -> None:
    result = cloud.check_stages("a1b2c3", stages, parameters)
    assert result.level == level
    command = "delete-stage --rest-api-id a1b2c3 --stage-name Stage"
    assert (command in result.text) == (level == "failed")


def alarm(state: str) -> dict[str, Any]:
    at = datetime(2026, 11, 26, 5, 1, tzinfo=UTC)
    return {"StateValue": state, "StateReason": "26 missing.", "StateUpdatedTimestamp": at}


def test_each_active_alarm_is_listed_with_its_start_and_reason() -> None:
    names = ["t-Run", "t-Queue", "t-Mail", "t-Api"]
    alarms = {"t-Run": alarm("ALARM"), "t-Queue": alarm("OK"), "t-Mail": alarm("ALARM")}
    results = list(cloud.check_alarms(names, {**alarms, "t-prod-Run": alarm("ALARM")}))
    assert [(result.level, result.text.partition(" ")[0]) for result in results] == [
        ("warning", "t-Run"),
        ("warning", "t-Mail"),
        ("failed", "t-Api:"),
    ]
    assert "since 2026-11-26 05:01 UTC: 26 missing." in results[0].text
    (none,) = cloud.check_alarms(["t-Run"], {"t-Run": alarm("INSUFFICIENT_DATA")})
    assert (none.level, none.text) == ("ok", "none of 1 is active")
