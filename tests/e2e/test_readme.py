"""Every call that the README shows is made as it stands, and answered in the shape it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import pairwise
from typing import Any

import pytest
from local.aws import ROOT
from local.up import environment, write_environment
from local.world import World

from tests.e2e.test_main_job import eventually, last_month

_BLOCK = re.compile(r"```(sh|json)\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, Any]]:
    """The README's curl blocks that call the API, each with the JSON block that follows it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("2026-10", last_month())
    blocks = _BLOCK.findall(text)
    return [
        (code, json.loads(answer))
        for (kind, code), (next_kind, answer) in pairwise(blocks)
        if kind == "sh" and "$TIMBRES_API_URL" in code and next_kind == "json"
    ]


def shape(value: Any) -> Any:
    """The members and types of `value`; of a list, its first element's."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def signing() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return next(code for kind, code in _BLOCK.findall(text) if "SIGN=" in code)


@pytest.fixture(scope="module")
def shell(world: World, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("readme")
    write_environment(folder / ".local" / "env", environment(world))
    (folder / "events").symlink_to(ROOT / "events")

    def run(code: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", signing() + code],
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_calls_of_the_readme_are_answered_as_it_says(shell: Any) -> None:
    found = examples()
    assert len(found) == 14
    for code, expected in found:
        if "reports/" in code:
            answer = eventually(lambda code=code: _ready(json.loads(shell(code))))
        else:
            answer = json.loads(shell(code))
        if "status" in expected and expected["status"] != "pending":
            assert answer["status"] == expected["status"], (code, answer)
        assert shape(answer).keys() == shape(expected).keys(), code
        assert _fits(shape(answer), shape(expected)), (code, answer)


def test_a_function_is_invoked_with_a_sample_event(shell: Any) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(c for kind, c in _BLOCK.findall(text) if "/invocations" in c)
    result = json.loads(shell(code))
    assert result["status"] in ("running", "finished")
    assert result["id"] == "2026-11-19-050000"


def _ready(report: dict[str, Any]) -> dict[str, Any] | None:
    return None if report.get("status") == "pending" else report


def _fits(answer: Any, expected: Any) -> bool:
    """Whether the shapes agree; null may stand where the other has a value, and [] likewise."""
    if "NoneType" in (answer, expected):
        return True
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(
            _fits(answer[name], expected[name]) for name in expected
        )
    if isinstance(expected, list):
        return not answer or not expected or _fits(answer[0], expected[0])
    # JSON has numbers: 0 stands where another issuer's answer has 3.5.
    return answer == expected or {answer, expected} == {"int", "float"}
