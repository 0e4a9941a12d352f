"""Distributes the tests to the processes of pytest-xdist."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The tests of these folders share a stack that takes seconds to start.
_SHARED_FOLDERS = ("tests/e2e/", "tests/browser/")


class _StackScheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return next((folder for folder in _SHARED_FOLDERS if module.startswith(folder)), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _StackScheduling:
    """Return a scheduler that keeps modules, and folders with a shared stack, in one process.

    The groups of pytest-xdist have no effect since pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386. It has no public hook for the grouping:
    https://github.com/pytest-dev/pytest-xdist/pull/500.
    """
    # In their order: the folders that take longest come first, and the shortest tests last.
    config.option.loadscopereorder = False
    return _StackScheduling(config, log)
