"""Code and documents use the standard terms of the field, in plain English.

The stop list has words that earlier versions used with another meaning. A line that must keep one
has ``language: keep`` in a comment; in a document, the comment is on the line before.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

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
# In docstrings, comments, printed texts and documents.
PHRASES = re.compile(
    r"\b(told|tells|heard|whoever|whomever|whosoever"
    r"|(?<!there )is no(?! longer\b| more than\b| later than\b)"
    r"|(?<!there )are (?-i:none)|is none of|what became of|what becomes of|stands in|what there is"
    r"|buyer|bought|purchase[ds]?|buys|buying|sandbox(?:es)?|knob|walls)\b",
    re.IGNORECASE,
)
KEEP = "language: keep"
PRINTING = ("local", "tools", "bench")
PYTHON = ("layers", "functions", "client", "tests", *PRINTING)
MODULES = [path for folder in PYTHON for path in sorted((ROOT / folder).rglob("*.py"))]
PROSE = [path for path in DOCUMENTS if path.name != "README.es.md"]
CONFIGURATION = [ROOT / name for name in ("template.yaml", "Makefile", "pyproject.toml")]
FILES = [*MODULES, *PROSE, *CONFIGURATION, *sorted((ROOT / "events").glob("*.json"))]
QUOTED = re.compile(r"`+[^`]*`+")
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def names(source):
    """Yield line numbers and names that a module defines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def module_texts(source, *, prints):
    """Yield line numbers and texts of a module: comments, docstrings and, if it prints, strings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                docstring = node.body[0]
                lines = source.splitlines()[docstring.lineno - 1 : docstring.end_lineno]
                yield from enumerate(lines, docstring.lineno)
        elif prints and isinstance(node, ast.Constant) and " " in str(node.value):
            yield node.lineno, str(node.value)


def document_texts(text):
    """Yield line numbers and lines of a document without code and URLs."""
    fenced, previous = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and KEEP not in previous:
            yield number, re.sub(r"\]\([^)]*\)", "", line)
        previous = line


def violations(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    texts = enumerate(lines, 1)
    if path.suffix == ".py":
        prints = path.relative_to(ROOT).parts[0] in PRINTING
        texts = module_texts(text, prints=prints)
        for number, name in names(text):
            words = {word.lower() for word in WORDS.findall(name)}
            if NAMES & words and KEEP not in lines[number - 1]:
                yield f"{number}: {name}"
    elif path.suffix == ".md":
        texts = document_texts(text)
    for number, line in texts:
        if KEEP not in lines[number - 1]:
            for match in PHRASES.finditer(QUOTED.sub("", line)):
                yield f"{number}: {match[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_uses_standard_terms(path):
    assert list(violations(path)) == []
