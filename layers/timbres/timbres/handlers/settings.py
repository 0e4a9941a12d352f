"""Environment variables that the template sets for a function."""

from __future__ import annotations

import os


def get_env(name: str) -> str:
    """Return an environment variable. Raises RuntimeError, which names a missing one."""
    try:
        return os.environ[name]
    except KeyError:
        raise RuntimeError(f"the environment variable {name} is not set") from None
