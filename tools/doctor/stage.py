"""A stage of samconfig.toml: what `make deploy` would deploy, and where."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class StageError(Exception):
    """samconfig.toml has no such stage, or cannot be read; the message says which and why."""


@dataclass(frozen=True)
class Stage:
    """`region` and `profile` are None where the environment decides."""

    name: str
    stack_name: str
    region: str | None
    profile: str | None
    parameters: dict[str, str]


def read_stage(path: Path, name: str) -> Stage:
    """The stage `name` of the samconfig.toml at `path`. Raises `StageError`."""
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{path.name} cannot be read: {error}.") from None
    stages = [key for key, value in config.items() if isinstance(value, dict)]
    if name not in stages:
        raise StageError(f"{path.name} has no stage {name}: it has {', '.join(stages)}.")
    said: dict[str, Any] = {}
    for command in ("global", "deploy"):
        said |= config[name].get(command, {}).get("parameters", {})
    if not said.get("stack_name"):
        raise StageError(f"{path.name} names no stack_name for the stage {name}.")
    return Stage(
        name=name,
        stack_name=said["stack_name"],
        region=said.get("region"),
        profile=said.get("profile"),
        parameters=_parameters(said.get("parameter_overrides", "")),
    )


def _parameters(overrides: str | Iterable[str]) -> dict[str, str]:
    words = shlex.split(overrides) if isinstance(overrides, str) else overrides
    pairs = (word.partition("=") for word in words)
    return {name: value for name, _, value in pairs}
