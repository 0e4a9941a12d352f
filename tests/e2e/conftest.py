"""One environment for all end-to-end tests: a stack on a local AWS and the fake PACs."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local.emulator_process import ROOT
from local.environment import LocalEnvironment, running_environment
from local.fakes import FAKES, DemoPac
from local.stack import Stack
from local.start import shell_variables, write_env_file

from tests.support import libre
from tests.support.api_calls import delete_account
from tests.support.daily_run import DailyRun, running_daily_run
from tests.support.libre.fake import LibreFake
from tests.support.output_recorder import OutputRecorder, recording

RunShell = Callable[..., subprocess.CompletedProcess[str]]
_HERE = Path(__file__).parent
# These wait for the daily run, and the last one searches the output of all others.
_LAST = [_HERE / f"test_{name}.py" for name in ("client", "daily_run", "secrets")]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets the tests of this folder open sockets."""
    if _HERE in item.path.parents:
        item.add_marker(pytest.mark.enable_socket)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the modules that wait for the daily run last."""
    items.sort(key=lambda item: _LAST.index(item.path) + 1 if item.path in _LAST else 0)


_OUTPUT: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps the output and the failures of the tests."""
    _OUTPUT.extend([report.longreprtext, *(text for _, text in report.sections)])


def create_libre() -> DemoPac:
    """Return a third PAC, which is not in the product: its package and its row."""
    login = {"user": f"acme-{secrets.token_hex(4)}", "token": secrets.token_urlsafe(24)}
    package, server = Path(libre.__file__).parent, LibreFake(**login)
    return DemoPac(libre.PAC, "acme-libre", server, login, ("A&D061009TY8",), package=package)


@pytest.fixture(scope="session")
def environment() -> Iterator[LocalEnvironment]:
    """The demo environment with a third PAC; tests share it and must not break it for others."""
    # A log of its own, so that the tests can run beside `make up`.
    log = ROOT / ".local" / "aws-e2e.log"
    with running_environment(log, (*FAKES, create_libre)) as environment:
        # The description of the API does not list this PAC.
        delete_account(environment.stack, "acme-libre")
        yield environment


@pytest.fixture
def run_shell(environment: LocalEnvironment, tmp_path: Path) -> RunShell:
    """Runs commands of a shell as a user does, in a folder where `make up` runs."""
    write_env_file(tmp_path / ".local" / "env", shell_variables(environment))
    timbres = tmp_path / "bin" / "timbres"
    timbres.parent.mkdir()
    timbres.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m timbres_client "$@"\n')
    timbres.chmod(0o755)
    own = {"PYTHONPATH": str(ROOT / "client"), "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    own["PATH"] = f"{timbres.parent}:{os.environ['PATH']}"

    def run(commands: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-euc", commands],
            cwd=tmp_path,
            env=own | variables,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def libre_account(environment: LocalEnvironment) -> Iterator[None]:
    """The account at the third PAC."""
    secret = environment.fakes["libre"].secret(environment.urls["libre"])
    environment.stack.create_account("acme-libre", secret)
    yield
    delete_account(environment.stack, "acme-libre")


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
