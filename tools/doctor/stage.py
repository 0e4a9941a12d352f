"""Read a stage of samconfig.toml: the stack of `make deploy`, its region and its parameters."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The template's default of the parameter Stage.
DEFAULT_STAGE = "dev"


class StageError(Exception):
    """samconfig.toml cannot be read or does not contain the stage; the message gives the reason."""


@dataclass(frozen=True)
class Stage:
    """A stage; `region` and `profile` are None if the environment sets them."""

    name: str
    stack_name: str
    region: str | None
    profile: str | None
    parameters: dict[str, str]


def read_stage(path: Path, name: str) -> Stage:
    """Return the stage `name` of the samconfig.toml at `path`. Raises `StageError`."""
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{path.name} cannot be read: {error}.") from None
    stages = [key for key, value in config.items() if isinstance(value, dict)]
    if name not in stages:
        raise StageError(f"{path.name} has no stage {name}; it has {', '.join(stages)}.")
    values: dict[str, Any] = {}
    for command in ("global", "deploy"):
        values |= config[name].get(command, {}).get("parameters", {})
    if not values.get("stack_name"):
        raise StageError(f"{path.name} has no stack_name for the stage {name}.")
    return Stage(
        name=name,
        stack_name=values["stack_name"],
        region=values.get("region"),
        profile=values.get("profile"),
        parameters=_parse_parameters(values.get("parameter_overrides", "")),
    )


def _parse_parameters(overrides: str | Iterable[str]) -> dict[str, str]:
    assignments = shlex.split(overrides) if isinstance(overrides, str) else overrides
    pairs = (assignment.partition("=") for assignment in assignments)
    return {name: value for name, _, value in pairs}
