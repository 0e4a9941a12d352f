"""The metrics buffer writes each value once, by its dimensions."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from timbres.observability.metrics import metrics


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    metrics.flush()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def _service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "a-stack")
    metrics.flush()


def test_counts_are_added_and_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        metrics.add_count("Calls", pac="reachcore")
    metrics.add_count("Calls", 5, pac="solucion-factible")
    metrics.add_count("Nothing", 0)

    values = {
        (line["service"], line.get("pac"), name): line[name]
        for line in written(capsys)
        for name in ("Calls", "Nothing")
        if name in line
    }

    assert values == {
        ("a-stack", "reachcore", "Calls"): [3],
        ("a-stack", "solucion-factible", "Calls"): [5],
        ("a-stack", None, "Nothing"): [0],
    }
    assert written(capsys) == []


def test_a_line_has_at_most_100_values(
    capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with ThreadPoolExecutor(8) as pool:
        for value in range(200):
            pool.submit(metrics.add_metric, "Seconds", float(value))

    lines = written(capsys)

    assert sorted(value for line in lines for value in line["Seconds"]) == list(range(200))
    assert max(len(line["Seconds"]) for line in lines) <= 100
    units = [line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"] for line in lines]
    assert set(units) == {"Seconds"}
    assert list(recwarn) == []
