"""What is found in built layers, before Lambda finds it."""

from __future__ import annotations

import importlib.util
import marshal
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from tools import check_layers as artefact

LAYERS = Path(__file__).parents[2] / "layers"
X86_64 = (62).to_bytes(2, "little")
BROUGHT = "libyajl-bc332733.so.2.1.1"


def bytecode(source: Path, *, magic: bytes = artefact.MAGIC, flags: int = 0b01) -> Path:
    target = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(magic + flags.to_bytes(4, "little") + bytes(8) + b"code")
    return target


def module(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\n", encoding="utf-8")
    bytecode(path)
    return path


def library(path: Path, *, machine: bytes = artefact.AARCH64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF".ljust(18, b"\0") + machine)
    return path


@pytest.fixture
def build(tmp_path: Path) -> Path:
    first, second = (tmp_path / name / "python" for name in ("TimbresLayer", "ReportsLayer"))
    module(first / "timbres" / "__init__.py")
    module(first / "timbres" / "domain" / "clock.py")
    module(first / "typing_extensions.py")
    library(first / "ijson" / "_yajl2.cpython-313-aarch64-linux-gnu.so")
    library(first / "ijson.libs" / BROUGHT)
    module(second / "timbres_reports" / "__init__.py")
    for layer, name in ((first, "zeep-4.3.3"), (second, "reportlab-5.1.0")):
        (layer / f"{name}.dist-info").mkdir()
        (layer / f"{name}.dist-info" / "METADATA").write_text("Name: x\n", encoding="utf-8")
    # A function's folder, not a layer.
    (tmp_path / "BalanceFunction").mkdir()
    (tmp_path / "BalanceFunction" / "app.py").touch()
    return tmp_path


@pytest.fixture
def python(build: Path) -> Path:
    return build / "TimbresLayer" / "python"


def found(build: Path) -> list[str]:
    return list(artefact.find_problems(artefact.find_layers(build)))


def the_fault(build: Path) -> str:
    (fault,) = found(build)
    return fault


def test_good_layers_pass(build, capsys):
    assert found(build) == []
    assert artefact.main([str(build)]) == 0
    out, err = capsys.readouterr()
    assert out == "ReportsLayer: 0.0 MB\nTimbresLayer: 0.0 MB\n"
    assert err == ""


def test_a_source_without_bytecode(build, python):
    (python / "timbres" / "domain" / "__pycache__" / "clock.cpython-313.pyc").unlink()
    assert the_fault(build) == (
        "TimbresLayer/python/timbres/domain/clock.py: "
        "has no bytecode, __pycache__/clock.cpython-313.pyc"
    )


def test_bytecode_of_another_python_under_the_right_name(build, python):
    bytecode(python / "typing_extensions.py", magic=b"\xcb\r\r\n")
    assert the_fault(build) == (
        "TimbresLayer/python/__pycache__/typing_extensions.cpython-313.pyc: "
        "is not for the deployment runtime, cpython-313"
    )


@pytest.mark.parametrize("content", [b"", artefact.MAGIC[:2], artefact.MAGIC])
def test_bytecode_that_breaks_off(build, python, content):
    (python / "__pycache__" / "typing_extensions.cpython-313.pyc").write_bytes(content)
    assert "typing_extensions.cpython-313.pyc" in the_fault(build)


@pytest.mark.parametrize("flags", [0b00, 0b11])
def test_bytecode_that_is_compared_with_its_source(build, python, flags):
    bytecode(python / "typing_extensions.py", flags=flags)
    assert the_fault(build) == (
        "TimbresLayer/python/__pycache__/typing_extensions.cpython-313.pyc: "
        "is checked against its source, which a zip invalidates"
    )


@pytest.mark.parametrize(
    ("mode", "passes"),
    [
        (py_compile.PycInvalidationMode.TIMESTAMP, False),
        (py_compile.PycInvalidationMode.CHECKED_HASH, False),
        (py_compile.PycInvalidationMode.UNCHECKED_HASH, True),
    ],
)
def test_what_this_python_compiles(build, python, monkeypatch, mode, passes):
    monkeypatch.setattr(artefact, "MAGIC", importlib.util.MAGIC_NUMBER)
    monkeypatch.setattr(artefact, "CACHE_TAG", sys.implementation.cache_tag)
    for cached in build.rglob("*.pyc"):
        cached.unlink()
    for source in build.glob("*/python/**/*.py"):
        py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
    assert (found(build) == []) is passes


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="only Python 3.13 knows its own")
def test_the_deployment_runtimes_bytecode_is_known():
    assert importlib.util.MAGIC_NUMBER == artefact.MAGIC
    assert sys.implementation.cache_tag == artefact.CACHE_TAG


def test_a_library_for_another_processor(build, python):
    library(python / "lxml" / "etree.cpython-313-x86_64-linux-gnu.so", machine=X86_64)
    assert the_fault(build) == (
        "TimbresLayer/python/lxml/etree.cpython-313-x86_64-linux-gnu.so: "
        "is not for Lambda's processor, aarch64"
    )


def test_a_versioned_library_for_another_processor(build, python):
    library(python / "ijson.libs" / BROUGHT, machine=X86_64)
    assert BROUGHT in the_fault(build)


def test_what_is_no_library_at_all(build, python):
    (python / "ijson" / "broken.so").write_bytes(b"\x7fELF")
    assert "ijson/broken.so: is not for" in the_fault(build)


def test_more_than_lambda_unpacks(build, python, monkeypatch):
    weight = sum(map(artefact.layer_size, artefact.find_layers(build)))
    monkeypatch.setattr(artefact, "MAX_SIZE", weight)
    assert found(build) == []
    monkeypatch.setattr(artefact, "MAX_SIZE", weight - 1)
    assert the_fault(build).endswith("MB together; Lambda permits 0.0 MB")


def test_the_command_fails_with_every_fault(build, python, capsys):
    for number in range(2):
        (python / f"m{number}.py").touch()
    assert artefact.main([str(build)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"TimbresLayer/python/m{number}.py: has no bytecode, __pycache__/m{number}.cpython-313.pyc"
        for number in range(2)
    ]


def test_the_command_without_a_build(tmp_path, capsys):
    assert artefact.main([str(tmp_path / "none")]) == 1
    assert "make build" in capsys.readouterr().err


def test_the_layers_are_built_by_the_same_recipe():
    recipes = {
        path.parent.name: path.read_text(encoding="utf-8").partition("# From here on")[2]
        for path in LAYERS.glob("*/Makefile")
    }
    assert recipes["timbres"]
    assert recipes["timbres"] == recipes["reports"]


@pytest.mark.parametrize("folder", ["timbres", "reports"])
def test_the_recipe_of_a_layer_compiles_and_strips(tmp_path, monkeypatch, folder):
    """`sam build` calls this recipe; what pip would have downloaded is laid in its place."""
    monkeypatch.setattr(artefact, "MAGIC", importlib.util.MAGIC_NUMBER)
    monkeypatch.setattr(artefact, "CACHE_TAG", sys.implementation.cache_tag)
    downloaded = tmp_path / "downloaded"
    (downloaded / "zeep-4.3.3.dist-info").mkdir(parents=True)
    (downloaded / "zeep-4.3.3.dist-info" / "METADATA").touch()
    (downloaded / "zeep-4.3.3.dist-info" / "RECORD").touch()
    module(downloaded / "zeep" / "client.py")
    module(downloaded / "zeep" / "tests" / "test_client.py")
    (downloaded / "zeep" / "client.pyi").touch()
    (downloaded / "bin").mkdir()
    (downloaded / "bin" / "normalizer").touch()
    built = tmp_path / "built" / "Layer"

    subprocess.run(
        [
            "make",
            *("-C", str(LAYERS / folder), f"build-{folder.capitalize()}Layer"),
            *(f"ARTIFACTS_DIR={built}", f"PYTHON={sys.executable}"),
            f"INSTALL=mkdir -p '{built}/python' && cp -R '{downloaded}/.' '{built}/python'",
        ],
        check=True,
        capture_output=True,
    )

    assert found(built.parent) == []
    assert not list(built.rglob("RECORD")) + list(built.rglob("bin"))
    (package,) = (path.parent.name for path in (LAYERS / folder).glob("*/__init__.py"))
    compiled = importlib.util.cache_from_source(str(built / "python" / package / "__init__.py"))
    code = marshal.loads(Path(compiled).read_bytes()[16:])
    assert code.co_filename == f"/opt/python/{package}/__init__.py"


def test_the_artefact_of_this_checkout():
    built = artefact.find_layers(LAYERS.parent / ".aws-sam" / "build")
    if not built:
        pytest.skip("nothing has been built here: `make build` looks into what it builds")
    assert list(artefact.find_problems(built)) == []
