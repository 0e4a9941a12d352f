"""Environment variables: a function requires exactly what the template sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from samtranslator.yaml_helper import yaml_parse

from timbres.handlers.container import Container

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
FUNCTIONS = {
    resource["Properties"]["CodeUri"]: resource["Properties"].get("Environment", {})
    for resource in TEMPLATE["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
}


@pytest.mark.parametrize("folder", FUNCTIONS)
def test_a_function_requires_the_variables_of_the_template(folder: str) -> None:
    code = (ROOT / folder / "app.py").read_text(encoding="utf-8")
    (required,) = re.findall(r"^(?:container = Container|require_env)\((.*?)\)$", code, re.M | re.S)
    own = set(FUNCTIONS[folder].get("Variables", {}))
    assert set(re.findall(r'"(\w+)"', required)) - {"SECRET_PREFIX"} == own


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_TABLE", "runs")
    monkeypatch.delenv("EVENT_BUS", raising=False)
    with pytest.raises(RuntimeError, match="EVENT_BUS") as caught:
        Container("RUNS_TABLE", "EVENT_BUS")
    assert "RUNS_TABLE" not in str(caught.value)
