"""Build the functions and layers for this machine, and package the template.

Replaces `sam build` and `aws cloudformation package`, without a Lambda image: every `CodeUri` and
`ContentUri` of the template becomes a zip of its folder.
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
# The PACs' folder in a layer.
_PACS = Path("timbres", "pacs")


class BuildError(Exception):
    """A file is missing or does not build; the message names it."""


def package(root: Path, upload: Callable[[str, bytes], str], pacs: Sequence[Path] = ()) -> str:
    """Return the template of the project at `root` as JSON, with uploaded artifacts.

    `upload(key, zip)` uploads an artifact and returns its `s3://` location. `pacs` are packages of
    additional PACs, for the layer that contains PACs. Raises `BuildError`.
    """

    def place(folder: Path, layer: bool) -> str:
        content = _build_layer(root, folder, pacs) if layer else _build_function(folder)
        digest = hashlib.sha256(content).hexdigest()[:32]
        return upload(f"{folder.relative_to(root)}/{digest}.zip", content)

    return json.dumps(for_local_use(place_artifacts(root, place)), ensure_ascii=False)


def for_local_use(template: dict[str, Any]) -> dict[str, Any]:
    """Return a template that works on a local AWS: http on loopback, and accounts at fake PACs."""
    template = copy.deepcopy(template)
    template["Parameters"]["AllowSandboxAccounts"]["Default"] = "true"
    policy = template["Resources"]["ReportsBucketPolicy"]["Properties"]["PolicyDocument"]
    (tls_only,) = (one for one in policy["Statement"] if one["Sid"] == "TlsOnly")
    tls_only["Condition"]["NotIpAddress"] = {"aws:SourceIp": "127.0.0.0/8"}
    return template


def place_artifacts(root: Path, place: Callable[[Path, bool], str]) -> dict[str, Any]:
    """Return the template of the project at `root`, with each local folder replaced.

    `place(folder, is_layer)` returns the `s3://` location of a folder; called once per folder.
    Raises `BuildError` if a folder does not exist.
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
    """Return the template of the project at `root`, with intrinsics in their long form."""
    _require(root / "template.yaml")
    template: dict[str, Any] = yaml_parse((root / "template.yaml").read_text(encoding="utf-8"))
    return template


def _build_function(folder: Path) -> bytes:
    """Return the zip of a function's folder. Raises `BuildError` if it has no app.py."""
    _require(folder / "app.py")
    return _zip(folder)


def _require(path: Path) -> None:
    if not path.is_file():
        raise BuildError(f"{path} does not exist")


def _build_layer(root: Path, folder: Path, pacs: Sequence[Path]) -> bytes:
    """Return the zip of a layer: `python/` with its locked requirements and its packages.

    The requirements are installed once per lock file and Python version, under `.local/build` of
    `root`. The packages are copied every time; `pacs` are added to the layer that contains PACs.
    Raises `BuildError`.
    """
    _require(folder / "requirements.txt")
    installed = _install(folder / "requirements.txt", root / ".local" / "build")
    with tempfile.TemporaryDirectory(prefix="timbres-layer-") as temporary:
        python = Path(temporary) / "python"
        for source in folder.glob("*/__init__.py"):
            shutil.copytree(source.parent, python / source.parent.name, ignore=_NOT_COPIED)
        if (python / _PACS).is_dir():
            for pac in pacs:
                _add_pac(python / _PACS, pac)
        _compile(python)
        return _zip(installed.parent, Path(temporary))


def _add_pac(folder: Path, package: Path) -> None:
    """Copy a PAC's package into `folder` and add it to the registry."""
    name = package.name
    shutil.copytree(package, folder / name, ignore=_NOT_COPIED)
    with (folder / "registry.py").open("a", encoding="utf-8") as registry:
        registry.write(f"\nfrom timbres.pacs import {name}\nPACS[{name}.PAC.name] = {name}.PAC\n")


def _install(requirements: Path, cache: Path) -> Path:
    """Return the folder `…/python` with `requirements`, which pip installs if it does not exist."""
    machine = f"{sys.implementation.cache_tag} {platform.system()} {platform.machine()}"
    digest = hashlib.sha256(requirements.read_bytes() + machine.encode()).hexdigest()[:16]
    folder = cache / f"layer-{digest}"
    if folder.is_dir():
        return folder / "python"
    cache.mkdir(parents=True, exist_ok=True)
    logger.info("installing the libraries of layers/%s (once)", requirements.parent.name)
    with tempfile.TemporaryDirectory(prefix="installing-", dir=cache) as temporary:
        target = Path(temporary) / "layer" / "python"
        options = "--quiet --no-input --disable-pip-version-check --no-compile --require-hashes"
        command = [sys.executable, "-m", "pip", "install", *options.split(), "--no-deps"]
        command += ["--target", str(target), "--requirement", str(requirements)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            reason = process.stderr.strip() or process.stdout.strip()
            raise BuildError(f"pip could not install {requirements}:\n{reason}")
        _compile(target)
        try:
            target.parent.rename(folder)
        except OSError:
            # Another process may have created the same folder meanwhile.
            if not folder.is_dir():
                raise
    return folder / "python"


def _compile(folder: Path) -> None:
    # Unpacking a zip changes the files' times; only unchecked hashes remain valid.
    compileall.compile_dir(
        folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, stripdir=str(folder)
    )


def _zip(*folders: Path) -> bytes:
    """Return a zip of the files in `folders`; equal files give equal bytes.

    Not compressed, because it stays on this machine.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()
