"""Builds the functions and layers for the machine this runs on, and packages the template.

What `sam build` and `aws cloudformation package` do for AWS, without a Lambda image: every
`CodeUri` and `ContentUri` of the template becomes a zip of the folder it names.
"""

from __future__ import annotations

import compileall
import copy
import hashlib
import io
import json
import logging
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from samtranslator.yaml_helper import yaml_parse

logger = logging.getLogger("local")

_ARTIFACT_PROPERTIES = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
}

_NOT_COPIED = shutil.ignore_patterns("__pycache__")
# Where a layer has its PACs, if any.
_PACS = Path("timbres", "pacs")


class BuildError(Exception):
    """Something the build needs is missing or does not build; the message says what."""


def package(root: Path, upload: Callable[[str, bytes], str], pacs: Sequence[Path] = ()) -> str:
    """The template of the project at `root` as JSON, its local folders replaced.

    Each artifact goes once through `upload(key, zip)`, which answers the `s3://` location that
    the template then names. `pacs` are packages of further PACs, for the layer that has PACs.
    Raises `BuildError`.
    """

    def place(folder: Path, layer: bool) -> str:
        content = build_layer(root, folder, pacs) if layer else build_function(folder)
        digest = hashlib.sha256(content).hexdigest()[:32]
        return upload(f"{folder.relative_to(root)}/{digest}.zip", content)

    return json.dumps(place_artifacts(root, place), ensure_ascii=False)


def place_artifacts(root: Path, place: Callable[[Path, bool], str]) -> dict[str, Any]:
    """The template of the project at `root`, each local folder replaced by where it is put.

    `place(folder, is it a layer's)` answers the `s3://` location, once for each folder.
    Raises `BuildError` for a folder that is not there.
    """
    template = copy.deepcopy(read_template(root))
    locations: dict[str, str] = {}
    for name, resource in template["Resources"].items():
        attribute = _ARTIFACT_PROPERTIES.get(resource["Type"])
        source = resource.get("Properties", {}).get(attribute) if attribute else None
        if not isinstance(source, str) or source.startswith("s3://"):
            continue
        if source not in locations:
            folder = root / source
            if not folder.is_dir():
                raise BuildError(f"{name}: its {attribute} {source} is not a folder of {root}")
            locations[source] = place(folder, attribute == "ContentUri")
        resource["Properties"][attribute] = locations[source]
    return template


def read_template(root: Path) -> dict[str, Any]:
    """The template of the project at `root`, short-form intrinsics written out."""
    path = root / "template.yaml"
    if not path.is_file():
        raise BuildError(f"there is no {path}")
    template: dict[str, Any] = yaml_parse(path.read_text(encoding="utf-8"))
    return template


def build_function(folder: Path) -> bytes:
    """The zip of one function's folder. Raises `BuildError` when it has no app.py."""
    if not (folder / "app.py").is_file():
        raise BuildError(f"{folder} has no app.py")
    return _zip(folder)


def build_layer(root: Path, folder: Path, pacs: Sequence[Path] = ()) -> bytes:
    """The zip of one layer: `python/` with its locked requirements and the packages beside them.

    The requirements are installed once per lock file and Python, under `.local/build` of
    `root`; the packages are copied every time, those of further `pacs` into the layer that has
    PACs.
    """
    requirements = folder / "requirements.txt"
    if not requirements.is_file():
        raise BuildError(f"{requirements} is missing: the layer's requirements are locked there")
    packages = [path.parent for path in folder.glob("*/__init__.py")]
    if not packages:
        raise BuildError(f"{folder} has no package")
    installed = _install(requirements, root / ".local" / "build")
    with tempfile.TemporaryDirectory(prefix="timbres-layer-") as temporary:
        python = Path(temporary) / "python"
        for source in packages:
            shutil.copytree(source, python / source.name, ignore=_NOT_COPIED)
        if (python / _PACS).is_dir():
            for pac in pacs:
                _add_pac(python / _PACS, pac)
        _compile(python)
        return _zip(installed.parent, Path(temporary))


def _add_pac(folder: Path, package: Path) -> None:
    """Copies a PAC's package to those in `folder` and adds its declaration to the registry."""
    name = package.name
    shutil.copytree(package, folder / name, ignore=_NOT_COPIED)
    with (folder / "registry.py").open("a", encoding="utf-8") as registry:
        registry.write(f"\nfrom timbres.pacs import {name}\nPACS[{name}.PAC.name] = {name}.PAC\n")


def _install(requirements: Path, cache: Path) -> Path:
    """The folder `…/python` with `requirements` installed, made by pip when it is not there yet."""
    machine = f"{sys.implementation.cache_tag} {platform.system()} {platform.machine()}"
    digest = hashlib.sha256(requirements.read_bytes() + machine.encode()).hexdigest()[:16]
    folder = cache / f"layer-{digest}"
    if folder.is_dir():
        return folder / "python"
    cache.mkdir(parents=True, exist_ok=True)
    logger.info("installing the libraries of layers/%s (once)", requirements.parent.name)
    with tempfile.TemporaryDirectory(prefix="installing-", dir=cache) as temporary:
        target = Path(temporary) / "layer" / "python"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--no-compile", "--require-hashes", "--no-deps"]
        command += ["--target", str(target), "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = done.stderr.strip() or done.stdout.strip()
            raise BuildError(f"pip could not install {requirements}:\n{why}")
        _compile(target)
        try:
            target.parent.rename(folder)
        except OSError:
            # Another run has put the same folder there in the meantime.
            if not folder.is_dir():
                raise
    return folder / "python"


def _compile(folder: Path) -> None:
    # Unpacking a zip gives files new times; only unchecked hashes stay valid then.
    compileall.compile_dir(
        folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, stripdir=str(folder)
    )


def _zip(*folders: Path) -> bytes:
    """One zip of what is in `folders`, equal bytes for equal files.

    Stored, not deflated: it goes no further than this machine.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()
