"""Check the machine for the requirements of `make build`, `make deploy` and the README's calls."""

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
# The first version with --aws-sigv4.
MIN_CURL = (7, 75)
# Bytes for two built layers, their copies and a cache of wheels.
_MIN_DISK = 1024**3
_TIMEOUT_SECONDS = 10


def check_machine(root: Path) -> CheckResults:
    """Check the tools, the disk and the folders in `root` that make writes to."""
    yield check_python(sys.version_info[:3])
    yield _check_python_313()
    yield check_curl(_run("curl", "--version"))
    yield _check_sam(root)
    yield check_disk(shutil.disk_usage(root).free)
    for name in (".local", ".aws-sam"):
        yield _check_writable(root, name)


def check_python(installed: tuple[int, ...]) -> CheckResult:
    """Check the version of the Python that runs make's commands."""
    version = _format_version(installed)
    if installed < MIN_PYTHON:
        return failed("python", f"{version}; 3.11 or later is required: make PYTHON=…")
    return ok("python", f"{version} runs make")


def check_curl(output: str | None) -> CheckResult:
    """Check the output of `curl --version`, None without curl."""
    installed = _parse_version(output)
    if installed is None:
        return warning("curl", "Not installed; the README's calls require 7.75 or later.")
    version = _format_version(installed)
    if installed < MIN_CURL:
        return warning("curl", f"{version} has no --aws-sigv4: install 7.75 or later.")
    return ok("curl", f"{version} has --aws-sigv4")


def check_disk(free: int) -> CheckResult:
    """Check the `free` bytes of the project's disk."""
    text = f"{free / 1024**3:.1f} GB are free"
    return ok("disk", text) if free >= _MIN_DISK else failed("disk", f"{text}; 1 GB is required.")


def _check_python_313() -> CheckResult:
    # The Makefile's order: pyenv's folders, then the PATH.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [str(path) for path in sorted(pyenv.glob("versions/3.13*/bin/python3.13"))[-1:]]
    for program in [*candidates, "python3.13"]:
        # Executed, because pyenv's shim exists even if no Python 3.13 is installed.
        installed = _parse_version(_run(program, "--version"))
        if installed and installed[:2] == (3, 13):
            return ok("python3.13", f"{_format_version(installed)} is available for make build")
    fix = "Not installed; make build requires Lambda's version: pyenv install 3.13."
    return failed("python3.13", fix)


def _check_sam(root: Path) -> CheckResult:
    if not (root / ".venv-sam" / "installed").is_file():
        return ok("SAM", "make build will install it into .venv-sam")
    # `sam --version` takes seconds.
    script = "from importlib.metadata import version; print(version('aws-sam-cli'))"
    installed = _parse_version(_run(str(root / ".venv-sam" / "bin" / "python"), "-c", script))
    if installed is None:
        fix = ".venv-sam is damaged: remove the folder; make build creates it again."
        return failed("SAM", fix)
    return ok("SAM", f"{_format_version(installed)} is in .venv-sam")


def _check_writable(root: Path, name: str) -> CheckResult:
    folder = root / name
    try:
        with tempfile.TemporaryFile(dir=folder if folder.exists() else root):
            return ok(name, "can be written to")
    except OSError as error:
        fix = "make writes to it. Change the owner of its files to this user."
        return failed(name, f"{error.strerror}: {fix}")


def _run(*command: str) -> str | None:
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout or process.stderr


def _parse_version(text: str | None) -> tuple[int, ...] | None:
    """Return the first version in a program's output, such as (7, 88, 1), or None."""
    match = re.search(r"\d+(?:\.\d+)+", text or "")
    return tuple(map(int, match[0].split("."))) if match else None


def _format_version(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
