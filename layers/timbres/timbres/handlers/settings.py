"""Environment variables that the template sets for a function."""

from __future__ import annotations

import os


def require_env(*names: str) -> None:
    """Raise RuntimeError, which names the missing environment variables."""
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RuntimeError(f"environment variables that are not set: {', '.join(missing)}")


def get_env(name: str) -> str:
    """Return an environment variable."""
    return os.environ[name]
