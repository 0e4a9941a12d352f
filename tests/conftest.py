"""How the tests are dealt out where many run at once."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# What shares a world that takes seconds to make; other worlds are a module's own.
_TOGETHER = ("tests/e2e/", "tests/browser/")


class _ByWorld(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return next((folder for folder in _TOGETHER if module.startswith(folder)), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByWorld:
    """Deals out whole modules, and whole folders that share a world.

    pytest-xdist's groups would do it, but change a test's id, which pytest no longer lets them.
    """
    # In their order: the folders that take longest come first, and the shortest tests last.
    config.option.loadscopereorder = False
    return _ByWorld(config, log)
