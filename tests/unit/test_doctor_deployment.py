"""Checks of the doctor about the deployment: region, stages, alarms, mails."""

from __future__ import annotations

import pytest
from tools.doctor import cloud


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
