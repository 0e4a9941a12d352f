"""Shared code asks what a PAC declares, never which PAC it is."""

from __future__ import annotations

import ast
from http import HTTPStatus
from pathlib import Path

import pytest
from local.emulator_process import ROOT

from timbres.pacs.reachcore import error_codes as reachcore
from timbres.pacs.registry import PACS
from timbres.pacs.solucion_factible import error_codes as solucion_factible

PACKAGES = ROOT / "layers" / "timbres" / "timbres" / "pacs"
# The lists of all PACs, their fakes, and the examples of the API.
LISTS = {
    PACKAGES / "registry.py",
    ROOT / "local" / "fakes.py",
    ROOT / "tools" / "openapi" / "examples.py",
    *(ROOT / "local" / "fake_pacs").iterdir(),
}
FILES = [
    path
    for folder in ("layers", "functions", "local", "tools")
    for suffix in ("py", "j2", "html")
    for path in sorted((ROOT / folder).rglob(f"*.{suffix}"))
    if path not in LISTS
]
HTTP = {str(status.value) for status in HTTPStatus}
TABLES = (reachcore.ERRORS, reachcore.STATEMENT_ERRORS, solucion_factible.ERRORS)
# The codes of the PACs without HTTP statuses.
CODES = {code for table in TABLES for code in table.by_code} - HTTP


def package_of(path: Path) -> str | None:
    """Return the name of the PAC's package that a file is in, None for shared code."""
    if PACKAGES not in path.parents or path.parent == PACKAGES:
        return None
    return path.relative_to(PACKAGES).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_a_pacs_own_package_names_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8").casefold()
    package = package_of(path)
    for pac in PACS.values():
        module = pac.name.replace("-", "_")
        if module == package:
            continue
        named = {name for name in (pac.name, module, pac.display_name.casefold()) if name in text}
        assert named == set()


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.suffix == ".py" and package_of(path) is None],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_shared_code_knows_no_code_of_a_pac(path: Path) -> None:
    constants = {
        str(node.value)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
    }
    assert constants & CODES == set()


def test_the_checked_files_and_codes_are_complete() -> None:
    assert {"layers/timbres/timbres/pacs/soap.py", "functions/contract/app.py"} <= {
        str(path.relative_to(ROOT)) for path in FILES
    }
    assert {"611", "400-001"} <= CODES
    assert {package_of(path) for path in FILES} == {None, "reachcore", "solucion_factible"}
