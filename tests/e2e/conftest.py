"""One environment for all end-to-end tests: a stack on a local AWS and the fake PACs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local import demo
from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment
from local.stack import Stack
from local.start import shell_variables

from tests.support.daily_run import DailyRun, running_daily_run
from tests.support.output_recorder import OutputRecorder, recording

_HERE = Path(__file__).parent
# These wait for the daily run, and search the output of all others.
_LAST = [_HERE / name for name in ("test_daily_run.py", "test_secrets.py")]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets the tests of this folder open sockets."""
    if _HERE in item.path.parents:
        item.add_marker(pytest.mark.enable_socket)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the modules that need the others' results last."""
    items.sort(key=lambda item: _LAST.index(item.path) + 1 if item.path in _LAST else 0)


_OUTPUT: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps the output and the failures of the tests."""
    _OUTPUT.extend([report.longreprtext, *(text for _, text in report.sections)])


@pytest.fixture(scope="session")
def environment() -> Iterator[LocalEnvironment]:
    """The demo environment, started once; tests share it and must not break it for others."""
    # A log of its own, so that the tests can run beside `make up`.
    with running_environment(ROOT / ".local" / "aws-e2e.log") as environment:
        yield environment


@pytest.fixture
def run_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[LocalEnvironment], str]:
    """Run the demo in an environment, with its files in `tmp_path`; return its output."""
    monkeypatch.setattr(demo, "OUT", tmp_path)
    monkeypatch.setattr(demo, "ROOT", tmp_path.parent)

    def run(environment: LocalEnvironment) -> str:
        demo.run(environment, demo.Shell(shell_variables(environment)))
        _OUTPUT.append(output := capsys.readouterr().out)
        return output

    return run


@pytest.fixture(scope="session", autouse=True)
def recorder(environment: LocalEnvironment) -> Iterator[OutputRecorder]:
    """Records the output of Timbres from before the first test."""
    with recording(environment.stack, _OUTPUT) as recorder:
        yield recorder


@pytest.fixture(scope="session", autouse=True)
def daily_run(environment: LocalEnvironment, recorder: OutputRecorder) -> Iterator[DailyRun]:
    """A daily run over 200 issuers, started before all tests, because its PAC is slow."""
    with running_daily_run(environment.stack) as daily_run:
        yield daily_run


@pytest.fixture(scope="session")
def stack(environment: LocalEnvironment) -> Stack:
    """The stack of `environment`."""
    return environment.stack
