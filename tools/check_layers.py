"""`python -m tools.check_layers [.aws-sam/build]`: what the built layers weigh.

Looks at what `sam build` has made for what shows in the cloud only, and there late: bytecode that
Lambda's Python does not take, a library for another processor, more than Lambda unpacks.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

MB = 1024 * 1024
# A function's code and its layers, unpacked.
MOST = 250 * MB

# The deployment runtime's, Python 3.13: importlib.util.MAGIC_NUMBER and the name of its bytecode.
MAGIC = b"\xf3\r\r\n"
CACHE_TAG = "cpython-313"
# Found by a hash of the source, and never compared with it: a zip gives files new times.
UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# ELF's e_machine of 64-bit ARM.
AARCH64 = (183).to_bytes(2, "little")

# Lambda's Python brings the first two.
_UNWANTED_FOLDERS = frozenset({"boto3", "botocore", "test", "tests"})
_SHARED_OBJECT = re.compile(r"\.so(\.|$)")
# As wheels name the libraries they bring, each with a hash of its content.
_BUNDLED = re.compile(rb"lib[\w+.-]+?-[0-9a-f]{8}\.so[.\d]*")
_SHOWN = 20


def layers(build: Path) -> list[Path]:
    """The folders of the layers in `build`, where `sam build` puts what it makes, by name."""
    return sorted(path.parent for path in build.glob("*/python") if path.is_dir())


def size(path: Path) -> int:
    """The bytes of the file `path`, or of all the files below the folder."""
    files = _files(path) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def parts(layer: Path) -> list[tuple[str, int]]:
    """Name and bytes of each top-level package of `layer`, the biggest first.

    What describes the packages to installers, `*.dist-info`, is one part.
    """
    sizes: Counter[str] = Counter()
    for path in (layer / "python").iterdir():
        sizes["*.dist-info" if path.suffix == ".dist-info" else path.name] += size(path)
    return sorted(sizes.items(), key=lambda part: (-part[1], part[0]))


def weights(folders: Sequence[Path]) -> str:
    """The lines that say what the layers in `folders` weigh: each, its parts, all together."""
    lines: list[str] = []
    for layer in folders:
        lines.append(f"{layer.name}: {_mb(size(layer))}")
        lines += [f"{_mb(weight):>12}  {name}" for name, weight in parts(layer)]
    lines.append(f"All together: {_mb(_total(folders))} of {_mb(MOST)}")
    return "\n".join(lines)


def faults(folders: Sequence[Path]) -> Iterator[str]:
    """What keeps the layers in `folders` from being deployed: one line each, with the file."""
    for layer in folders:
        found = chain(
            _unwanted(layer), _without_bytecode(layer), _bytecode(layer), _libraries(layer)
        )
        for path, fault in found:
            yield f"{path.relative_to(layer.parent)}: {fault}"
    yield from _twice(folders)
    if (total := _total(folders)) > MOST:
        names = ", ".join(layer.name for layer in folders)
        yield f"{names}: {_mb(total)} together, and Lambda unpacks {_mb(MOST)}"


def _unwanted(layer: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(layer.rglob("*")):
        if path.is_dir() and path.name in _UNWANTED_FOLDERS:
            yield path, "does not belong into a layer"
        elif path.suffix == ".pyi":
            yield path, "type stubs do not belong into a layer"


def _without_bytecode(layer: Path) -> Iterator[tuple[Path, str]]:
    for path in _files(layer, "*.py"):
        bytecode = path.parent / "__pycache__" / f"{path.stem}.{CACHE_TAG}.pyc"
        if not bytecode.is_file():
            yield path, f"has no bytecode, __pycache__/{bytecode.name}"


def _bytecode(layer: Path) -> Iterator[tuple[Path, str]]:
    for path in _files(layer, "*.pyc"):
        header = _start(path, 8)
        if header[:4] != MAGIC:
            yield path, f"is not for the deployment runtime, {CACHE_TAG}"
        elif header[4:] != UNCHECKED_HASH:
            yield path, "is checked against its source, and a zip's times invalidate it"


def _libraries(layer: Path) -> Iterator[tuple[Path, str]]:
    shared = [path for path in _files(layer) if _SHARED_OBJECT.search(path.name)]
    there = {path.name for path in shared}
    for path in shared:
        header = _start(path, 20)
        if header[:4] != b"\x7fELF" or header[18:] != AARCH64:
            yield path, "is not for Lambda's processor, aarch64"
            continue
        needed = {name.decode() for name in _BUNDLED.findall(path.read_bytes())}
        for name in sorted(needed - there):
            yield path, f"needs {name}, which is not there"


def _twice(folders: Iterable[Path]) -> Iterator[str]:
    # Layers are unpacked over each other: two versions of a package would mix.
    where: dict[str, str] = {}
    for layer in folders:
        for name, _ in parts(layer):
            if name in where and name not in {"*.dist-info", "__pycache__"}:
                yield f"{layer.name}/python/{name}: is in {where[name]} too"
            where.setdefault(name, layer.name)


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _total(folders: Iterable[Path]) -> int:
    return sum(map(size, folders))


def _mb(count: int) -> str:
    return f"{count / MB:.1f} MB"


def main(arguments: Sequence[str]) -> int:
    """Prints what the layers weigh: 0; 1 with their faults, or when there is no layer."""
    build = Path(arguments[0] if arguments else ".aws-sam/build")
    folders = layers(build)
    if not folders:
        print(f"There is no layer in {build}: `make build` makes them.", file=sys.stderr)
        return 1
    print(weights(folders))
    found = faults(folders)
    shown = list(islice(found, _SHOWN))
    more = sum(1 for _ in found)
    for fault in shown:
        print(fault, file=sys.stderr)
    if more:
        print(f"… and {more} more", file=sys.stderr)
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
