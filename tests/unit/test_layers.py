"""Problems of built layers are reported; the shared layer has the AWS SDK of the tests."""

from __future__ import annotations

import importlib.util
import marshal
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from tests.support.template import ROOT
from tools import check_layers
from tools.check_layers import LAMBDA, Runtime

RUNTIME, SOURCE = "is not for the deployment runtime, cpython-313", "is checked against its source"
LIBRARY = "ijson.libs/libyajl-bc332733.so.2.1.1"
# The Python of the tests.
RUNNING = Runtime(importlib.util.MAGIC_NUMBER, sys.implementation.cache_tag)
CACHED = "__pycache__/typing_extensions.cpython-313.pyc"


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def bytecode(magic=LAMBDA.magic, flags=0b01):
    return magic + flags.to_bytes(4, "little") + bytes(8) + b"code"


def library(machine):
    return b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little")


@pytest.fixture
def build(tmp_path):
    """A build without problems."""
    python = tmp_path / "TimbresLayer" / "python"
    for name in ("timbres/__init__", "typing_extensions"):
        path = python / f"{name}.py"
        write(path, b"x = 1\n")
        write(path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc", bytecode())
    write(python / LIBRARY, library(183))
    write(python / "zeep-4.3.3.dist-info" / "METADATA", b"Name: x\n")
    # A function's folder is not a layer.
    write(tmp_path / "BalanceFunction" / "app.py")
    return tmp_path


def problems(build, **options):
    return list(check_layers.find_problems(check_layers.find_layers(build), **options))


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("timbres/new.py", b"", "has no bytecode, __pycache__/new.cpython-313.pyc"),
        (CACHED, bytecode(magic=b"\xcb\r\r\n"), RUNTIME),
        (CACHED, b"", RUNTIME),
        (CACHED, LAMBDA.magic, f"{SOURCE}, which a zip invalidates"),
        (CACHED, bytecode(flags=0), f"{SOURCE}, which a zip invalidates"),
        ("lxml/etree.so", library(62), "is not for Lambda's processor, aarch64"),
        (LIBRARY, library(62), "is not for Lambda's processor, aarch64"),
        ("ijson/broken.so", b"\x7fELF", "is not for Lambda's processor, aarch64"),
    ],
)
def test_a_problem_of_a_file_is_reported(build, path, content, problem):
    assert problems(build) == []
    write(build / "TimbresLayer" / "python" / path, content)
    assert problems(build) == [f"TimbresLayer/python/{path}: {problem}"]


def test_layers_over_lambdas_limit_are_reported(build):
    size = sum(map(check_layers.layer_size, check_layers.find_layers(build)))
    assert problems(build, max_size=size) == []
    assert problems(build, max_size=size - 1) == ["0.0 MB together; Lambda permits 0.0 MB"]


def test_the_command_prints_the_sizes_and_fails_with_every_problem(build, capsys):
    assert check_layers.main([str(build)]) == 0
    assert capsys.readouterr() == ("TimbresLayer: 0.0 MB\n", "")
    for name in ("m0.py", "m1.py"):
        write(build / "TimbresLayer" / "python" / name)

    assert check_layers.main([str(build)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert check_layers.main([str(build / "none")]) == 1
    assert "make build" in capsys.readouterr().err


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="only Python 3.13 knows its own")
def test_the_bytecode_of_the_deployment_runtime_is_known():
    assert RUNNING == LAMBDA


@pytest.mark.parametrize("folder", ["timbres", "reports"])
def test_the_recipe_of_a_layer_compiles_and_strips(tmp_path, folder):
    # In place of what pip downloads.
    downloaded, layer = tmp_path / "downloaded", tmp_path / "built" / "Layer"
    for path in ("client.py", "client.pyi", "tests/test_client.py"):
        write(downloaded / "zeep" / path)
    for path in ("zeep-4.dist-info/METADATA", "zeep-4.dist-info/RECORD", "bin/x"):
        write(downloaded / path)

    subprocess.run(
        [
            *("make", "-C", str(ROOT / "layers" / folder), f"build-{folder.capitalize()}Layer"),
            *(f"ARTIFACTS_DIR={layer}", f"PYTHON={sys.executable}"),
            f"INSTALL=mkdir -p '{layer}/python' && cp -R '{downloaded}/.' '{layer}/python'",
        ],
        check=True,
        capture_output=True,
    )

    assert problems(layer.parent, runtime=RUNNING) == []
    assert not [*layer.rglob("RECORD"), *layer.rglob("bin")]
    (package,) = (path.parent.name for path in (ROOT / "layers" / folder).glob("*/__init__.py"))
    cached = importlib.util.cache_from_source(str(layer / "python" / package / "__init__.py"))
    with open(cached, "rb") as file:
        code = marshal.loads(file.read()[16:])
    assert code.co_filename == f"/opt/python/{package}/__init__.py"


SHARED = ROOT / "layers" / "timbres"


@pytest.mark.parametrize("package", ["boto3", "botocore", "s3transfer", "urllib3", "jmespath"])
def test_the_layer_has_the_version_that_the_tests_run_with(package):
    locked = (SHARED / "requirements.txt").read_text("utf-8")
    assert re.findall(rf"^{package}==(\S+)", locked, re.MULTILINE) == [version(package)]


def test_the_layer_keeps_the_model_of_every_service_that_is_called():
    recipe = (SHARED / "Makefile").read_text("utf-8")
    (kept,) = re.findall(r"^SERVICES = (\S+)$", recipe, re.MULTILINE)
    called = {
        name
        for folder in (SHARED / "timbres", ROOT / "layers" / "reports", ROOT / "functions")
        for path in folder.rglob("*.py")
        for name in re.findall(r"\bclient\(\"(\w+)\"\)", path.read_text("utf-8"))
    }
    # STS issues the credentials of a role where there are none in the environment.
    assert {*kept.split("|")} == called | {"sts"}
