"""The machine: what `make build`, `make deploy` and the documented calls need of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.doctor.checks import CheckResult, CheckResults, failed, ok, warning

MIN_PYTHON = (3, 11)
# --aws-sigv4.
MIN_CURL = (7, 75)
# Two built layers, their copies and a cache of wheels.
_MIN_DISK = 1024**3
_SECONDS = 10


def check_machine(root: Path) -> CheckResults:
    """Look at the tools, the disk and the folders that make writes to in `root`."""
    yield check_python(sys.version_info[:3])
    yield _check_python_313()
    yield check_curl(_run("curl", "--version"))
    yield _check_sam(root)
    yield check_disk(shutil.disk_usage(root).free)
    for name in (".local", ".aws-sam"):
        yield _check_writable(root, name)


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """The first version in a program's output, such as (7, 88, 1); None where there is none."""
    match = re.search(r"\d+(?:\.\d+)+", text or "")
    return tuple(map(int, match[0].split("."))) if match else None


def check_python(found: tuple[int, ...]) -> CheckResult:
    """The Python that runs make's commands, `found`."""
    if found < MIN_PYTHON:
        return failed(
            "python", f"{_format_version(found)}, and 3.11 or later is needed: make PYTHON=…"
        )
    return ok("python", f"{_format_version(found)} runs make")


def check_curl(output: str | None) -> CheckResult:
    """What `curl --version` said, None for no curl."""
    found = parse_version(output)
    if found is None:
        return warning("curl", "There is none: the calls of the README need it, 7.75 or later.")
    if found < MIN_CURL:
        return warning(
            "curl", f"{_format_version(found)} knows no --aws-sigv4: install 7.75 or later."
        )
    return ok("curl", f"{_format_version(found)} knows --aws-sigv4")


def check_disk(free: int) -> CheckResult:
    """The bytes that are `free` where the project lies."""
    said = f"{free / 1024**3:.1f} GB are free"
    return ok("disk", said) if free >= _MIN_DISK else failed("disk", f"{said}; make room for 1.")


def _check_python_313() -> CheckResult:
    # As the Makefile looks for it: pyenv's folders, then the PATH.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(path) for path in sorted(pyenv.glob("versions/3.13*/bin/python3.13"))[-1:]]
    for program in [*found, "python3.13"]:
        # Run, since pyenv has a python3.13 on the PATH even where that runs none.
        if (it_is := parse_version(_run(program, "--version"))) and it_is[:2] == (3, 13):
            return ok("python3.13", f"{_format_version(it_is)} is there for make build")
    return failed(
        "python3.13",
        "make build needs it, Lambda's version: pyenv install 3.13, or put it on PATH.",
    )


def _check_sam(root: Path) -> CheckResult:
    if not (root / ".venv-sam" / "installed").is_file():
        return ok("SAM", "make build will install it into .venv-sam")
    found = parse_version(_run(str(root / ".venv-sam" / "bin" / "python"), "-c", _SAM_VERSION))
    if found is None:
        return failed(
            "SAM", ".venv-sam is broken: remove the folder, and make build makes it anew."
        )
    return ok("SAM", f"{_format_version(found)} is in .venv-sam")


# sam itself takes seconds to say it.
_SAM_VERSION = "from importlib.metadata import version; print(version('aws-sam-cli'))"


def _check_writable(root: Path, name: str) -> CheckResult:
    folder = root / name
    try:
        with tempfile.TemporaryFile(dir=folder if folder.exists() else root):
            return ok(name, "can be written to")
    except OSError as error:
        return failed(name, f"{error.strerror}: make writes to it. Give its files to this user.")


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout or done.stderr


def _format_version(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
