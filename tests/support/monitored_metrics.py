"""The metrics of the alarms and the dashboard of template.yaml."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
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
    """A monitored metric; dimension values are in the syntax of ``Fn::Sub``."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        return " ".join([self.namespace, self.name, *(v for _, v in sorted(self.dimensions))])


def metrics_of(alarm: dict[str, Any]) -> list[Metric]:
    """Return the metrics of an alarm."""
    stats = [
        query["MetricStat"]["Metric"] for query in alarm.get("Metrics", ()) if "MetricStat" in query
    ]
    return [
        Metric(
            metric["Namespace"],
            metric["MetricName"],
            frozenset(
                (dimension["Name"], _as_sub(dimension["Value"]))
                for dimension in metric["Dimensions"]
            ),
        )
        for metric in stats or [alarm]
    ]


def widgets() -> list[dict[str, Any]]:
    """Return the dashboard's widgets."""
    items: list[dict[str, Any]] = json.loads(DASHBOARD)["widgets"]
    return items


def on_the_dashboard() -> list[Metric]:
    """Return each metric that the dashboard names."""
    rows = [row for widget in widgets() for row in widget["properties"].get("metrics", ())]
    names = [[part for part in row if isinstance(part, str)] for row in rows]
    return [
        Metric(
            row[0],
            row[1],
            frozenset(zip(row[2::2], (_as_sub(value) for value in row[3::2]), strict=True)),
        )
        for row in names
        if row
    ]


def searched() -> list[tuple[str, frozenset[str]]]:
    """Return the name and the dimension names of each metric that the dashboard searches for."""
    matches = re.findall(r"SEARCH\('\{Timbres,([\w,]+)\} MetricName=\\\"(\w+)", DASHBOARD)
    return [(name, frozenset(dimensions.split(","))) for dimensions, name in matches]


def _as_sub(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Ref":
        return f"${{{argument}}}"
    if function == "Fn::GetAtt":
        return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"
    assert function == "Fn::Sub", value
    return str(argument)
