"""Every call in the documents is made unchanged, and its response is as documented."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from itertools import zip_longest
from typing import NamedTuple

import pytest
from local.emulator_process import ROOT

from tests.support.api_calls import last_month, reconcile

# The commands of operations.md are checked by tests/unit/test_alarms.py.
DOCUMENTS = sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")} - {ROOT / "docs/operations.md"})

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CALL = re.compile(
    r"\$\{?(TIMBRES|AWS_ENDPOINT)_|docs/examples/|^(CONTRACT=|timbres )", re.MULTILINE
)
VARIABLES = re.compile(r"((\. |\w+=).*\n)+")
JAVA = re.compile(r"^ *java ", re.MULTILINE)
STATUS_AND_JSON = re.compile(
    r"^(\d{3} |)(\{.*?\})$(?=\n(?:\d{3} )?\{|\n*\Z)", re.DOTALL | re.MULTILINE
)
# Parts of texts that differ between environments: times, dates, IDs, digests, URLs, numbers.
VARYING_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d(T[\d:]{8}[+-]\d\d:\d\d)?"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b([0-9a-f]{64}|[0-9a-f]{32})\b"
    r"|https?://\S+"
    r"|(?<=-)\d{4}$"
)
INTERCHANGEABLE = ({"ok", "low"}, {"running", "finished"})
# Numbers that are the same in every environment; others are compared by their type.
FIXED_NUMBERS = {"status", "stamps"}
# Values that may be unknown in one environment, and counts of failures by code.
VARYING = re.compile(
    r"(contracted|used|available)(_before|_after)?|consumed|burn_7|burn_30|days_left|bytes|rows"
    r"|finished_at|per_minute|expected_end|expires_on|expiring_stamps|as_of|amount|low_stamps|alert|expected|done|low|exhausted|failed"
)


class Example(NamedTuple):
    """Commands of a document, and the block of the expected response: its kind and its text."""

    line: int
    commands: str
    kind: str
    response: str


def examples(document):
    """Return the examples of a document that run here."""
    text = document.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    return [
        Example(
            text[: block.start()].count("\n") + 1,
            block[2],
            *((after[1], after[2]) if after and after[1] in ("json", "text") else ("", "")),
        )
        for block, after in zip_longest(blocks, blocks[1:])
        if block[1] == "sh" and CALL.search(block[2])
    ]


def differs(expected, actual, name=""):
    """Return whether two JSON values differ, except in what varies between environments.

    A documented list may be shortened: each of its items must exist.
    """
    kinds = (type(expected), type(actual))
    if VARYING.fullmatch(name) and (None in (expected, actual) or kinds == (dict, dict)):
        return False
    if kinds == (dict, dict):
        keys = expected.keys()
        return keys != actual.keys() or any(differs(expected[k], actual[k], k) for k in keys)
    if kinds == (list, list):
        missing = [a for a in expected if all(differs(a, b) for b in actual)]
        return bool(missing) or bool(expected) != bool(actual)
    if kinds == (str, str):
        texts = {VARYING_TEXT.sub("…", text) for text in (expected, actual)}
        return len(texts) > 1 and texts not in INTERCHANGEABLE
    is_number = set(kinds) <= {int, float} and name not in FIXED_NUMBERS
    return not is_number and (kinds[0] is not kinds[1] or expected != actual)


def parse(kind, text):
    """Return a JSON value; of several responses, the JSON by position and status; or the text."""
    if kind == "json":
        return json.loads(text)
    pairs = STATUS_AND_JSON.findall(text) if kind == "text" else []
    values = {f"{n}: {status}": json.loads(body) for n, (status, body) in enumerate(pairs)}
    return values or text.strip()


class Reader:
    """Runs the examples of a document in order, with the IDs of the previous responses."""

    def __init__(self, environment, run_shell):
        self._environment, self._run_shell = environment, run_shell
        self._replacements = {"2026-10": last_month(), ".venv/bin/python": sys.executable}
        self._variables = ""

    def run(self, example):
        """Run an example and compare its response."""
        if VARIABLES.fullmatch(example.commands):
            self._variables += example.commands
            return
        expected = parse(example.kind, self._replace(example.response))
        if isinstance(expected, dict) and expected.get("status") == "needs-review":
            reconcile(self._environment, expected["id"], "needs-review", minutes=5)
        actual = parse(example.kind, self._output(example.commands))
        # A document shows the final state of what is read, for example of a report.
        is_read = example.kind == "json" and not re.search("--data|--request", example.commands)
        deadline = time.monotonic() + (10 if is_read else 0)
        while expected and differs(expected, actual) and time.monotonic() < deadline:
            time.sleep(0.2)
            actual = parse(example.kind, self._output(example.commands))
        assert not expected or not differs(expected, actual), (expected, actual)
        if isinstance(expected, dict):
            for documented, own in zip(
                *([v, *v.values()] for v in (expected, actual)), strict=True
            ):
                if isinstance(documented, dict) and isinstance(documented.get("id"), str):
                    self._replacements[documented["id"]] = own["id"]

    def _replace(self, text):
        for expected, actual in self._replacements.items():
            text = text.replace(expected, actual)
        return text

    def _output(self, commands):
        process = self._run_shell(self._replace(self._variables + commands))
        assert process.returncode == 0, f"{commands}\n{process.stderr}"
        return process.stdout


@pytest.mark.parametrize("name", [d.name for d in DOCUMENTS if examples(d)])
def test_the_examples_of_a_document_work(environment, run_shell, tmp_path, name):
    (document,) = (path for path in DOCUMENTS if path.name == name)
    for folder in ("docs", "events"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    reader = Reader(environment, run_shell)
    assert len(examples(document)) >= {"README.md": 3, "api.md": 30}.get(name, 1)
    for example in examples(document):
        # Java, a JDK of 11 or later, may not be installed.
        if not JAVA.search(example.commands) or shutil.which("java"):
            try:
                reader.run(example)
            except AssertionError as error:
                raise AssertionError(f"{name}, line {example.line}: {error}") from error
