"""Shared code uses the declarations of a PAC, never its name."""

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
FILES = {
    str(path.relative_to(ROOT)): path
    for folder in ("layers", "functions", "local", "tools")
    for suffix in ("py", "j2", "html")
    for path in sorted((ROOT / folder).rglob(f"*.{suffix}"))
    if path not in LISTS
}
TABLES = (reachcore.ERRORS, reachcore.STATEMENT_ERRORS, solucion_factible.ERRORS)
# The PACs' codes that are not HTTP statuses.
CODES = {code for table in TABLES for code in table.by_code} - {str(s.value) for s in HTTPStatus}


def package_of(path: Path) -> str | None:
    """Return the PAC's package that a file is in, None for shared code."""
    if PACKAGES not in path.parents or path.parent == PACKAGES:
        return None
    return path.relative_to(PACKAGES).parts[0]


@pytest.mark.parametrize("name", FILES)
def test_only_a_pacs_own_package_contains_its_name_and_codes(name: str) -> None:
    text, package = FILES[name].read_text(encoding="utf-8"), package_of(FILES[name])
    names = {
        name
        for pac in PACS.values()
        if (module := pac.name.replace("-", "_")) != package
        for name in (pac.name, module, pac.display_name.casefold())
    }
    assert [name for name in names if name in text.casefold()] == []
    if name.endswith(".py") and package is None:
        nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        assert {str(node.value) for node in nodes} & CODES == set()
