"""`python -m tools.check_layers [.aws-sam/build]`: what the built layers weigh.

Looks at what `sam build` has made for what shows in the cloud only, and there late: bytecode that
Lambda's Python does not take, a library for another processor, more than Lambda unpacks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

MB = 1024 * 1024
# A function's code and its layers, unpacked.
MAX_SIZE = 250 * MB

# The deployment runtime's, Python 3.13: importlib.util.MAGIC_NUMBER and the name of its bytecode.
MAGIC = b"\xf3\r\r\n"
CACHE_TAG = "cpython-313"
# Found by a hash of the source, and never compared with it: a zip gives files new times.
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# ELF's e_machine of 64-bit ARM.
AARCH64 = (183).to_bytes(2, "little")

_SHARED_OBJECT = re.compile(r"\.so(\.|$)")


def find_layers(build: Path) -> list[Path]:
    """The folders of the layers in `build`, where `sam build` puts what it makes, by name."""
    return sorted(path.parent for path in build.glob("*/python") if path.is_dir())


def layer_size(layer: Path) -> int:
    """The bytes of all files of `layer`."""
    return sum(file.stat().st_size for file in _files(layer))


def find_problems(folders: Sequence[Path]) -> Iterator[str]:
    """What keeps the layers in `folders` from being deployed: one line each, with the file."""
    for layer in folders:
        for path in _files(layer):
            if fault := _problem(path):
                yield f"{path.relative_to(layer.parent)}: {fault}"
    if (total := sum(map(layer_size, folders))) > MAX_SIZE:
        yield f"{_mb(total)} together, and Lambda unpacks {_mb(MAX_SIZE)}"


def _problem(path: Path) -> str | None:
    if path.suffix == ".py":
        bytecode = path.parent / "__pycache__" / f"{path.stem}.{CACHE_TAG}.pyc"
        return None if bytecode.is_file() else f"has no bytecode, __pycache__/{bytecode.name}"
    if path.suffix == ".pyc":
        header = _read_header(path, 8)
        if header[:4] != MAGIC:
            return f"is not for the deployment runtime, {CACHE_TAG}"
        if header[4:] != UNCHECKED_HASH:
            return "is checked against its source, and a zip's times invalidate it"
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
    """Prints what the layers weigh: 0; 1 with their faults, or when there is no layer."""
    build = Path(arguments[0] if arguments else ".aws-sam/build")
    folders = find_layers(build)
    if not folders:
        print(f"There is no layer in {build}: `make build` makes them.", file=sys.stderr)
        return 1
    print(*(f"{layer.name}: {_mb(layer_size(layer))}" for layer in folders), sep="\n")
    found = list(find_problems(folders))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
