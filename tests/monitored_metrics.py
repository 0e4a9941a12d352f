"""What the alarms and the dashboard of template.yaml watch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[1]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of each resource of a type, by its logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind
    }


ALARMS = of_type("AWS::CloudWatch::Alarm")
DASHBOARD: str = of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]["Fn::Sub"]


@dataclass(frozen=True)
class Metric:
    """A metric as it is watched; values of dimensions are written as ``Fn::Sub`` writes them."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        return " ".join([self.namespace, self.name, *(v for _, v in sorted(self.dimensions))])


def metrics_of(alarm: dict[str, Any]) -> list[Metric]:
    """Return what an alarm watches, one metric or several."""
    stats = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one]
    return [
        Metric(
            one["Namespace"],
            one["MetricName"],
            frozenset((each["Name"], _written(each["Value"])) for each in one["Dimensions"]),
        )
        for one in stats or [alarm]
    ]


def widgets() -> list[dict[str, Any]]:
    """Return the dashboard's widgets."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD)["widgets"]
    return found


def on_the_dashboard() -> list[Metric]:
    """Return each metric that the dashboard names."""
    rows = [row for one in widgets() for row in one["properties"].get("metrics", ())]
    named = [[part for part in row if isinstance(part, str)] for row in rows]
    return [
        Metric(
            row[0],
            row[1],
            frozenset(zip(row[2::2], (_written(value) for value in row[3::2]), strict=True)),
        )
        for row in named
        if row
    ]


def searched() -> list[tuple[str, frozenset[str]]]:
    """Return each metric that the dashboard searches for: its name, its dimensions' names."""
    found = re.findall(r"SEARCH\('\{Timbres,([\w,]+)\} MetricName=\\\"(\w+)", DASHBOARD)
    return [(name, frozenset(dimensions.split(","))) for dimensions, name in found]


def _written(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Ref":
        return f"${{{argument}}}"
    if function == "Fn::GetAtt":
        return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"
    assert function == "Fn::Sub", value
    return str(argument)
