"""One environment for all end-to-end tests: a stack on a local AWS and the fake PACs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local import demo
from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment
from local.stack import Stack
from local.start import shell_variables

from tests.support.daily_run import NightlyRun, running_daily_run
from tests.support.output_recorder import OutputRecorder, watching

_HERE = Path(__file__).parent
# The night's end is waited for; what all the others have left behind is searched at the end.
_LAST = [_HERE / name for name in ("test_monitoring.py", "test_alarms.py", "test_secrets.py")]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets the tests of this folder open sockets."""
    if _HERE in item.path.parents:
        item.add_marker(pytest.mark.enable_socket)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts in order what has one."""
    items.sort(key=lambda item: _LAST.index(item.path) + 1 if item.path in _LAST else 0)


_OUTPUT: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps what the tests have written, and how they failed."""
    _OUTPUT.extend([report.longreprtext, *(text for _, text in report.sections)])


@pytest.fixture(scope="session")
def world() -> Iterator[LocalEnvironment]:
    """The demo's world, started once; a test leaves it as fit for the others as it found it."""
    # A log of its own, so that the tests can run beside `make up`.
    with running_environment(ROOT / ".local" / "aws-e2e.log") as world:
        yield world


@pytest.fixture
def run_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[LocalEnvironment], str]:
    """Run the demo in an environment, with its files in `tmp_path`; return its output."""
    monkeypatch.setattr(demo, "OUT", tmp_path)
    monkeypatch.setattr(demo, "ROOT", tmp_path.parent)

    def run(local_env: LocalEnvironment) -> str:
        demo.run(local_env, demo.Shell(shell_variables(local_env)))
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session", autouse=True)
def recorder(world: LocalEnvironment) -> Iterator[OutputRecorder]:
    """Sees, from before the first test, what leaves Timbres."""
    with watching(world.stack, _OUTPUT) as recorder:
        yield recorder


@pytest.fixture(scope="session", autouse=True)
def night(world: LocalEnvironment, recorder: OutputRecorder) -> Iterator[NightlyRun]:
    """A daily run over 200 issuers, begun before all tests and looked at by the last of them.

    It waits for a PAC's time-outs meanwhile.
    """
    with running_daily_run(world.stack) as night:
        yield night


@pytest.fixture(scope="session")
def stack(world: LocalEnvironment) -> Stack:
    """The stack of `world`."""
    return world.stack
