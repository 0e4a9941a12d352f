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
from tests.support.documents import DOCUMENTS

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


def names(nodes):
    """Yield line numbers and names that a module defines."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def module_texts(source, nodes, *, prints):
    """Yield line numbers and texts of a module: comments, docstrings and, if it prints, strings."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in nodes:
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno
            yield from enumerate(source.splitlines()[first - 1 : last], first)
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
    # Most files have none of the words, and need not be parsed.
    if not PHRASES.search(text) and NAMES.isdisjoint(map(str.lower, WORDS.findall(text))):
        return
    lines = text.splitlines()
    texts, defined = enumerate(lines, 1), ()
    if path.suffix == ".py":
        nodes = list(ast.walk(ast.parse(text)))
        texts = module_texts(text, nodes, prints=path.relative_to(ROOT).parts[0] in PRINTING)
        defined = names(nodes)
    elif path.suffix == ".md":
        texts = document_texts(text)
    for number, name in defined:
        if KEEP not in lines[number - 1] and NAMES & set(map(str.lower, WORDS.findall(name))):
            yield f"{path.relative_to(ROOT)}:{number}: {name}"
    for number, line in texts:
        if KEEP not in lines[number - 1]:
            for match in PHRASES.finditer(QUOTED.sub("", line)):
                yield f"{path.relative_to(ROOT)}:{number}: {match[0]}"


@pytest.mark.parametrize("folder", sorted({path.relative_to(ROOT).parts[0] for path in FILES}))
def test_the_files_of_a_folder_use_standard_terms(folder):
    files = (path for path in FILES if path.relative_to(ROOT).parts[0] == folder)
    assert [one for path in files for one in violations(path)] == []
