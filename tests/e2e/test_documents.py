"""Every call in the documents is made unchanged, and its response is as documented."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from local.emulator_process import ROOT
from local.environment import LocalEnvironment
from local.start import shell_variables, write_env_file

from tests.support.api_calls import last_month, reconcile

# The commands of operations.md are checked by tests/unit/test_alarms.py.
DOCUMENTS = sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")} - {ROOT / "docs/operations.md"})

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CALL = re.compile(r"\$\{?(TIMBRES|AWS_ENDPOINT)_|docs/examples/|^CONTRACT=", re.MULTILINE)
VARIABLES = re.compile(r"((\. |\w+=).*\n)+")
JAVA = re.compile(r"^ *java ", re.MULTILINE)
STATUS_AND_JSON = re.compile(r"^(\d{3}) (\{.*?\})$(?=\n\d{3} \{|\n*\Z)", re.DOTALL | re.MULTILINE)
# Parts of texts that differ between environments: times, dates, IDs, digests, URLs, numbers.
VARYING_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d(T[\d:]{8}[+-]\d\d:\d\d)?"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b([0-9a-f]{64}|[0-9a-f]{32})\b"
    r"|https?://\S+"
    r"|(?<=-)\d{4}$"
)
# Fields that time and other tests change; only their type is compared, unless it is null.
VARYING_FIELDS = re.findall(
    r"\w+",
    """contracted used available consumed contracted_before used_before available_before
    contracted_after used_after available_after burn_7 burn_30 days_left alert low_stamps
    transactions amount bytes rows seconds revoked expected done low exhausted failed finished_at
    as_of""",
)
INTERCHANGEABLE = ({"ok", "low"}, {"running", "finished"})


class Example(NamedTuple):
    """Commands of a document, and the block of the expected response: its kind and its text."""

    line: int
    commands: str
    kind: str
    response: str


def examples(document: Path) -> list[Example]:
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


def difference(expected: Any, actual: Any, name: str = "") -> str | None:
    """Describe a relevant difference of two JSON values; None without one.

    A documented list may be shortened: each of its items must exist.
    """
    if name in VARYING_FIELDS and (
        None in (expected, actual) or not isinstance(expected, str | bool)
    ):
        same = None in (expected, actual) or _kind(expected) == _kind(actual)
    elif (
        isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys()
    ):
        differences = (difference(expected[key], actual[key], key) for key in expected)
        return next((f"{name}.{text}" for text in differences if text), None)
    elif isinstance(expected, list) and isinstance(actual, list) and bool(expected) == bool(actual):
        same = all(any(difference(a, b) is None for b in actual) for a in expected)
    elif isinstance(expected, str) and isinstance(actual, str):
        texts = {VARYING_TEXT.sub("…", text) for text in (expected, actual)}
        same = len(texts) == 1 or texts in INTERCHANGEABLE
    else:
        same = (type(expected), expected) == (type(actual), actual)
    return None if same else f"{name}: {expected!r} and {actual!r}"


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) else type(value).__name__


def parse(text: str) -> Any:
    """Return a JSON value; of several responses, the JSON by position and status; or the text."""
    if text.startswith("{"):
        return json.loads(text)
    pairs = STATUS_AND_JSON.findall(text)
    return {f"{n}: {status}": json.loads(body) for n, (status, body) in enumerate(pairs)} or text


class Reader:
    """Runs the examples of a document in order, with the IDs of the previous responses."""

    def __init__(self, environment: LocalEnvironment, folder: Path) -> None:
        self._environment, self._folder = environment, folder
        self._replacements = {"2026-10": last_month(), ".venv/bin/python": sys.executable}
        self._variables = ""
        write_env_file(folder / ".local" / "env", shell_variables(environment))
        for name in ("docs", "events"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, example: Example) -> None:
        """Run an example and compare its response."""
        if VARIABLES.fullmatch(example.commands):
            self._variables += example.commands
            return
        expected = parse(self._replace(example.response))
        if "needs-review" in example.response and isinstance(expected.get("id"), str):
            reconcile(self._environment, expected["id"], "needs-review", minutes=5)
        actual = parse(self._output(example.commands))
        # A document shows the final state of what is read, for example of a report.
        is_read = example.kind == "json" and not re.search("--data|--request", example.commands)
        deadline = time.monotonic() + (10 if is_read else 0)
        while expected and difference(expected, actual) and time.monotonic() < deadline:
            time.sleep(0.2)
            actual = parse(self._output(example.commands))
        assert not expected or difference(expected, actual) is None, (expected, actual)
        if isinstance(expected, dict):
            for documented, own in zip(
                *([v, *v.values()] for v in (expected, actual)), strict=True
            ):
                if isinstance(documented, dict) and isinstance(documented.get("id"), str):
                    self._replacements[documented["id"]] = own["id"]

    def _replace(self, text: str) -> str:
        for expected, actual in self._replacements.items():
            text = text.replace(expected, actual)
        return text

    def _output(self, commands: str) -> str:
        process = subprocess.run(
            ["sh", "-euc", self._replace(self._variables + commands)],
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 0, f"{commands}\n{process.stderr}"
        return process.stdout


@pytest.mark.parametrize("name", [d.name for d in DOCUMENTS if examples(d)])
def test_the_examples_of_a_document_work(
    environment: LocalEnvironment, tmp_path: Path, name: str
) -> None:
    (document,) = (path for path in DOCUMENTS if path.name == name)
    reader = Reader(environment, tmp_path)
    assert len(examples(document)) >= {"README.md": 3, "api.md": 30}.get(name, 1)
    for example in examples(document):
        # Java, a JDK of 11 or later, may not be installed.
        if not JAVA.search(example.commands) or shutil.which("java"):
            try:
                reader.run(example)
            except AssertionError as error:
                raise AssertionError(f"{name}, line {example.line}: {error}") from error


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"status": 400}, {"status": 404}),
        ({"status": "ready"}, {"status": "pending"}),
        ({"status": "confirmed"}, {"status": "unknown"}),
        ({"available": 20}, {"available": "20"}),
        ({"next": None}, {"next": "abc"}),
        ({"next": None}, {}),
        ({"rejected": []}, {"rejected": [{"line": 1}]}),
        ({"runs": [{"id": "2026-11-19-050000"}]}, {"runs": []}),
        ({"accounts": [{"name": "acme-sf"}]}, {"accounts": [{"name": "acme-rc"}]}),
        ({"id": "01a1ff69f1fa067c985b746333807b3d"}, {"id": "01a1ff69"}),
    ],
    ids=str,
)
def test_a_relevant_difference_is_reported(expected: Any, actual: Any) -> None:
    assert difference(expected, actual) is not None
