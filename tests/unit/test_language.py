"""Code and documents use the standard terms of the field, in plain English.

The stop list holds words of an old dialect. A line that must keep one is marked: ``language: keep``
in a comment on the line, or on the line before in a document.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from local.emulator_process import ROOT
from tests.unit.test_links import DOCUMENTS

# In identifiers, as whole words of the name: buy_stamps, OrderBook.
NAMES = set(
    re.findall(
        r"\w+",
        """told tells shown heard said packed dumped wanted asked bought buy buyer
        purchase purchases ticket tickets whoever witness""",
    )
)
# In docstrings, comments and documents.
PHRASES = re.compile(
    r"\b(told|tells|heard|whoever|whomever|whosoever"
    r"|(?<!there )is no(?! longer\b| more than\b| later than\b)"
    r"|(?<!there )are (?-i:none)|is none of|what became of|what becomes of|stands in|what there is"
    r"|buyer|bought|purchase[ds]?|buys|buying|sandbox(?:es)?|knob|walls)\b",
    re.IGNORECASE,
)
KEEP = "language: keep"
CODE = ("layers", "functions", "local", "tools", "bench", "tests")
PYTHON = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
IN_ENGLISH = [path for path in DOCUMENTS if path.name != "README.es.md"]
QUOTED = re.compile(r"`+[^`]*`+")
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines of a module's comments and docstrings."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            lines = source.splitlines()[docstring.lineno - 1 : docstring.end_lineno]
            yield from enumerate(lines, docstring.lineno)


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers and names that a module defines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def without_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines of a document without code, URLs and quoted names."""
    fenced = False
    previous = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and KEEP not in previous:
            yield number, re.sub(r"\]\([^)]*\)", "", QUOTED.sub("", line))
        previous = line


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_uses_standard_terms(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    violations = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for number, name in names(path)
        if NAMES & {word.lower() for word in WORDS.findall(name)} and KEEP not in lines[number - 1]
    ]
    violations += [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for number, text in texts(path)
        for match in PHRASES.finditer(QUOTED.sub("", text))
        if KEEP not in lines[number - 1]
    ]
    assert violations == []


@pytest.mark.parametrize("path", IN_ENGLISH, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_uses_standard_terms(path: Path) -> None:
    violations = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for number, line in without_code(path.read_text(encoding="utf-8"))
        for match in PHRASES.finditer(line)
    ]
    assert violations == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the caller is told", True),
        ("A buyer may do it", True),
        ("it is no number", True),
        ("it is no longer than that", False),
        ("the record is stored", False),
    ],
)
def test_the_stop_list_finds_the_dialect(text: str, expected: bool) -> None:
    assert bool(PHRASES.search(text)) is expected
