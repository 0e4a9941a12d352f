"""`python -m tools.check_layers [.aws-sam/build]`: check the built layers and print their sizes.

Finds errors in the output of `sam build` that would appear only after deployment: bytecode that
Lambda's Python does not use, libraries for another processor, layers above Lambda's size limit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MB = 1024 * 1024
# Lambda's limit for a function's code and layers, unpacked, in bytes.
MAX_SIZE = 250 * MB


@dataclass(frozen=True)
class Runtime:
    """A Python: its ``importlib.util.MAGIC_NUMBER`` and its ``sys.implementation.cache_tag``."""

    magic: bytes
    cache_tag: str


# The deployment runtime, Python 3.13.
LAMBDA = Runtime(b"\xf3\r\r\n", "cpython-313")
# Unchecked, because a zip changes the files' times.
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# ELF's e_machine of 64-bit ARM.
AARCH64 = (183).to_bytes(2, "little")

_SHARED_OBJECT = re.compile(r"\.so(\.|$)")


def find_layers(build: Path) -> list[Path]:
    """Return the folders of the layers in `build`, the output of `sam build`, by name."""
    return sorted(path.parent for path in build.glob("*/python") if path.is_dir())


def layer_size(layer: Path) -> int:
    """Return the size of all files of `layer` in bytes."""
    return sum(file.stat().st_size for file in _files(layer))


def find_problems(
    folders: Sequence[Path], max_size: int = MAX_SIZE, runtime: Runtime = LAMBDA
) -> Iterator[str]:
    """Yield one line per problem that prevents a deployment of the layers in `folders`.

    `max_size` is that of all layers together, in bytes; `runtime` is the Python that imports them.
    """
    for layer in folders:
        for path in _files(layer):
            if problem := _find_problem(path, runtime):
                yield f"{path.relative_to(layer.parent)}: {problem}"
    if (total := sum(map(layer_size, folders))) > max_size:
        yield f"{_mb(total)} together; Lambda permits {_mb(max_size)}"


def _find_problem(path: Path, runtime: Runtime) -> str | None:
    if path.suffix == ".py":
        bytecode = path.parent / "__pycache__" / f"{path.stem}.{runtime.cache_tag}.pyc"
        return None if bytecode.is_file() else f"has no bytecode, __pycache__/{bytecode.name}"
    if path.suffix == ".pyc":
        header = _read_header(path, 8)
        if header[:4] != runtime.magic:
            return f"is not for the deployment runtime, {runtime.cache_tag}"
        if header[4:] != UNCHECKED_HASH:
            return "is checked against its source, which a zip invalidates"
    elif _SHARED_OBJECT.search(path.name):
        header = _read_header(path, 20)
        if header[:4] != b"\x7fELF" or header[18:] != AARCH64:
            return "is not for Lambda's processor, aarch64"
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _read_header(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _mb(count: int) -> str:
    return f"{count / MB:.1f} MB"


def main(arguments: Sequence[str]) -> int:
    """Print the layers' sizes. Return 0, or 1 with the problems, or if no layer exists."""
    build = Path(arguments[0] if arguments else ".aws-sam/build")
    folders = find_layers(build)
    if not folders:
        print(f"{build} contains no layer; run `make build`.", file=sys.stderr)
        return 1
    print(*(f"{layer.name}: {_mb(layer_size(layer))}" for layer in folders), sep="\n")
    problems = list(find_problems(folders))
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
