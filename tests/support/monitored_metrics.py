"""The metrics of the alarms and the dashboard of template.yaml."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.support.template import of_type

ALARMS = of_type("AWS::CloudWatch::Alarm")
(_DASHBOARD,) = of_type("AWS::CloudWatch::Dashboard").values()
_BODY: str = _DASHBOARD["DashboardBody"]["Fn::Sub"]
WIDGETS: list[dict[str, Any]] = json.loads(_BODY)["widgets"]


class Metric(NamedTuple):
    """A monitored metric; dimension values are in the syntax of ``Fn::Sub``."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        """Return a test ID."""
        return " ".join([self.namespace, self.name, *(v for _, v in sorted(self.dimensions))])


def statistics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each statistic of an alarm with metric math; the alarm itself without."""
    queries = alarm.get("Metrics", ())
    return [query["MetricStat"] for query in queries if "MetricStat" in query] or [alarm]


def metrics_of(alarm: dict[str, Any]) -> list[Metric]:
    """Return the metrics of an alarm."""
    return [
        Metric(
            metric["Namespace"],
            metric["MetricName"],
            frozenset((item["Name"], _as_sub(item["Value"])) for item in metric["Dimensions"]),
        )
        for metric in (statistic.get("Metric", statistic) for statistic in statistics_of(alarm))
    ]


def on_the_dashboard() -> list[Metric]:
    """Return each metric that the dashboard names."""
    rows = [row for widget in WIDGETS for row in widget["properties"].get("metrics", ())]
    texts = [[part for part in row if isinstance(part, str)] for row in rows]
    return [
        Metric(row[0], row[1], frozenset(zip(row[2::2], row[3::2], strict=True)))
        for row in texts
        if row
    ]


def searched() -> list[tuple[str, frozenset[str]]]:
    """Return the name and the dimension names of each metric that the dashboard searches for."""
    matches = re.findall(r"SEARCH\('\{Timbres,([\w,]+)\} MetricName=\\\"(\w+)", _BODY)
    return [(name, frozenset(dimensions.split(","))) for dimensions, name in matches]


def _as_sub(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Fn::Sub":
        return str(argument)
    return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"
