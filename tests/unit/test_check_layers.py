"""Problems of built layers are reported before a deployment."""

from __future__ import annotations

import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools import check_layers

LAYERS = Path(__file__).parents[2] / "layers"
X86_64 = (62).to_bytes(2, "little")
LIBRARY = "ijson.libs/libyajl-bc332733.so.2.1.1"
CACHED = "__pycache__/typing_extensions.cpython-313.pyc"
MODULES = ("TimbresLayer/python/timbres/__init__", "TimbresLayer/python/timbres/domain/clock",
           "TimbresLayer/python/typing_extensions", "ReportsLayer/python/timbres_reports/__init__",
           "zeep/client", "zeep/tests/test_client")  # fmt: skip


def write(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def bytecode(magic: bytes = check_layers.MAGIC, flags: int = 0b01) -> bytes:
    return magic + flags.to_bytes(4, "little") + bytes(8) + b"code"


def library(machine: bytes = check_layers.AARCH64) -> bytes:
    return b"\x7fELF".ljust(18, b"\0") + machine


def write_modules(folder: Path, modules: tuple[str, ...]) -> None:
    for module in modules:
        path = write(folder / f"{module}.py", b"x = 1\n")
        write(path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc", bytecode())


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The folder of the Timbres layer in a build without problems."""
    write_modules(tmp_path, MODULES[:4])
    python = tmp_path / "TimbresLayer" / "python"
    write(python / "ijson" / "_yajl2.cpython-313-aarch64-linux-gnu.so", library())
    write(python / LIBRARY, library())
    write(python / "zeep-4.3.3.dist-info" / "METADATA", b"Name: x\n")
    # A function's folder is not a layer.
    write(tmp_path / "BalanceFunction" / "app.py")
    return python


def problems(python: Path) -> list[str]:
    return list(check_layers.find_problems(check_layers.find_layers(python.parents[1])))


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("timbres/new.py", b"", "has no bytecode, __pycache__/new.cpython-313.pyc"),
        (CACHED, bytecode(magic=b"\xcb\r\r\n"), "is not for the deployment runtime, cpython-313"),
        (CACHED, b"", "is not for the deployment runtime, cpython-313"),
        (CACHED, check_layers.MAGIC[:2], "is not for the deployment runtime, cpython-313"),
        (CACHED, check_layers.MAGIC, "is checked against its source, which a zip invalidates"),
        (CACHED, bytecode(flags=0), "is checked against its source, which a zip invalidates"),
        (CACHED, bytecode(flags=3), "is checked against its source, which a zip invalidates"),
        ("lxml/etree.so", library(X86_64), "is not for Lambda's processor, aarch64"),
        (LIBRARY, library(X86_64), "is not for Lambda's processor, aarch64"),
        ("ijson/broken.so", b"\x7fELF", "is not for Lambda's processor, aarch64"),
    ],
)
def test_a_problem_of_a_file_is_reported(
    python: Path, path: str, content: bytes, problem: str
) -> None:
    assert problems(python) == []
    write(python / path, content)
    assert problems(python) == [f"TimbresLayer/python/{path}: {problem}"]


def test_layers_over_lambdas_limit_are_reported(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(map(check_layers.layer_size, check_layers.find_layers(python.parents[1])))
    monkeypatch.setattr(check_layers, "MAX_SIZE", size)
    assert problems(python) == []
    monkeypatch.setattr(check_layers, "MAX_SIZE", size - 1)
    assert problems(python) == ["0.0 MB together; Lambda permits 0.0 MB"]


def test_the_command_prints_the_sizes_and_fails_with_every_problem(
    python: Path, capsys: pytest.CaptureFixture[Any]
) -> None:
    build = str(python.parents[1])
    assert check_layers.main([build]) == 0
    assert capsys.readouterr() == ("ReportsLayer: 0.0 MB\nTimbresLayer: 0.0 MB\n", "")
    write(python / "m0.py")
    write(python / "m1.py")
    assert check_layers.main([build]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert check_layers.main([f"{build}/none"]) == 1
    assert "make build" in capsys.readouterr().err


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="only Python 3.13 knows its own")
def test_the_bytecode_of_the_deployment_runtime_is_known() -> None:
    assert importlib.util.MAGIC_NUMBER == check_layers.MAGIC
    assert sys.implementation.cache_tag == check_layers.CACHE_TAG


@pytest.mark.parametrize("folder", ["timbres", "reports"])
def test_the_recipe_of_a_layer_compiles_and_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(check_layers, "MAGIC", importlib.util.MAGIC_NUMBER)
    monkeypatch.setattr(check_layers, "CACHE_TAG", sys.implementation.cache_tag)
    # In place of what pip downloads.
    downloaded, layer = tmp_path / "downloaded", tmp_path / "built" / "Layer"
    write_modules(downloaded, MODULES[4:])
    for path in (
        "zeep-4.dist-info/METADATA",
        "zeep-4.dist-info/RECORD",
        "zeep/client.pyi",
        "bin/x",
    ):
        write(downloaded / path)

    subprocess.run(
        [
            *("make", "-C", str(LAYERS / folder), f"build-{folder.capitalize()}Layer"),
            *(f"ARTIFACTS_DIR={layer}", f"PYTHON={sys.executable}"),
            f"INSTALL=mkdir -p '{layer}/python' && cp -R '{downloaded}/.' '{layer}/python'",
        ],
        check=True,
        capture_output=True,
    )

    assert problems(layer / "python") == []
    assert not [*layer.rglob("RECORD"), *layer.rglob("bin")]
    (package,) = (path.parent.name for path in (LAYERS / folder).glob("*/__init__.py"))
    cached = importlib.util.cache_from_source(str(layer / "python" / package / "__init__.py"))
    code = marshal.loads(Path(cached).read_bytes()[16:])
    assert code.co_filename == f"/opt/python/{package}/__init__.py"
