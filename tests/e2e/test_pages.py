"""Every call that the pages show is made as it stands, and answered as they show."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from local.emulator_process import ROOT
from local.environment import LocalEnvironment
from local.start import shell_variables, write_env_file

from tests.e2e.test_contracts import looked_at
from tests.e2e.test_main_job import eventually, last_month

# What an operator runs has answers of its own kind, and tests of its own.
PAGES = sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")} - {ROOT / "docs" / "operations.md"})

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RUNS = re.compile(r"\$\{?(TIMBRES|AWS_ENDPOINT)_|docs/examples/|^CONTRACT=", re.MULTILINE)
# What the examples after it stand on, and nothing else.
_SETS = re.compile(r"((\. |\w+=).*\n)+")
_STATUS_AND_JSON = re.compile(r"^(\d{3}) (\{.*?\})$(?=\n\d{3} \{|\n*\Z)", re.DOTALL | re.MULTILINE)

# Values that differ between environments, anywhere in a text.
_OWN = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d\d:\d\d"
    r"|\d{4}-\d\d-\d\d"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|\b([0-9a-f]{64}|[0-9a-f]{32})\b"
    r"|https?://\S+"
    r"|(?<=-)\d{4}$"
)
# What others that use the same world change, or that time does: of a kind, and maybe unknown.
_MOVING = {
    *("contracted", "used", "available", "consumed"),
    *(
        f"{name}_{when}"
        for name in ("contracted", "used", "available")
        for when in ("before", "after")
    ),
    *("burn_7", "burn_30", "days_left", "alert", "low_stamps"),
    *("transactions", "amount", "bytes", "rows", "seconds", "revoked"),
    *("expected", "done", "low", "exhausted", "failed", "finished_at", "as_of"),
}


class Example(NamedTuple):
    """What a page has somebody run, and what it says comes of it (None: it does not say)."""

    line: int
    code: str
    answer: tuple[str, str] | None


def examples(page: Path) -> list[Example]:
    """Return the examples of `page` that run here, each with its response: the next block."""
    text = page.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    return [
        Example(
            text[: block.start()].count("\n") + 1,
            block[2],
            (after[1], after[2]) if after and after[1] in ("json", "text") else None,
        )
        for block, after in zip_longest(blocks, blocks[1:])
        if block[1] == "sh" and _RUNS.search(block[2])
    ]


def difference(expected: Any, real: Any, name: str = "") -> str | None:
    """Say in what `real` is not as `shown`, None for nothing that matters.

    A list may be shown shortened: each that is shown must be there.
    """
    if name in _MOVING and (None in (expected, real) or not isinstance(expected, str | bool)):
        same = None in (expected, real) or _kind(expected) == _kind(real)
        return None if same else f"{name}: {expected!r} and {real!r}"
    if isinstance(expected, dict) and isinstance(real, dict) and expected.keys() == real.keys():
        found = (difference(expected[key], real[key], key) for key in expected)
        return next((f"{name}.{one}" for one in found if one), None)
    if isinstance(expected, list) and isinstance(real, list) and bool(expected) == bool(real):
        missing = (one for one in expected if all(difference(one, other) for other in real))
        return next((f"{name} without {one!r}" for one in missing), None)
    if isinstance(expected, str) and isinstance(real, str):
        same = _OWN.sub("…", expected) == _OWN.sub("…", real) or {expected, real} in (
            {"ok", "low"},
            {"running", "finished"},
        )
    else:
        same = (type(expected), expected) == (type(real), real)
    return None if same else f"{name}: {expected!r} and {real!r}"


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) else type(value).__name__


class Reader:
    """Runs a page's examples one after the other, with the ids that the answers before had."""

    def __init__(self, world: LocalEnvironment, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._own: dict[str, str] = {"2026-10": last_month()}
        self._prelude = ""
        write_env_file(folder / ".local" / "env", shell_variables(world))
        for name in ("docs", "events"):
            (folder / name).symlink_to(ROOT / name)

    def follow(self, page: Path, example: Example) -> None:
        """Run an example of `page`, and see that it is answered as it says."""
        try:
            self._follow(example)
        except AssertionError as error:
            raise AssertionError(f"{page.name}, line {example.line}: {error}") from error

    def _follow(self, example: Example) -> None:
        if _SETS.fullmatch(example.code):
            self._prelude += example.code
            return
        if example.answer is None:
            self._run(example.code)
            return
        kind, answer = example.answer
        expected = self._with_own(answer)
        if kind == "json":
            self._answers_json(example.code, json.loads(expected))
            return
        out = self._run(example.code)
        pairs = _STATUS_AND_JSON.findall(expected)
        if not pairs:
            assert out.strip() == expected.strip()
            return
        for (status, body), line in zip(pairs, out.splitlines(), strict=True):
            assert line[:3] == status, line
            self._same(json.loads(body), json.loads(line[4:]))

    def _answers_json(self, code: str, expected: dict[str, Any]) -> None:
        if expected.get("status") == "needs-review":
            looked_at(self._world, expected["id"], "needs-review", minutes=5)
        if "--data" in code or "--request" in code:
            self._same(expected, json.loads(self._run(code)))
            return
        # A page shows what is read in the end: a report that is ready, a run that has begun.
        real: dict[str, Any] = {}

        def as_documented() -> bool:
            real.clear()
            real.update(json.loads(self._run(code)))
            return difference(expected, real) is None

        with contextlib.suppress(AssertionError):
            eventually(as_documented, 10)
        self._same(expected, real)

    def _same(self, expected: dict[str, Any], real: dict[str, Any]) -> None:
        assert difference(expected, real) is None, real
        if isinstance(expected.get("id"), str):
            self._own[expected["id"]] = real["id"]

    def _with_own(self, text: str) -> str:
        for expected, own in self._own.items():
            text = text.replace(expected, own)
        return text

    def _run(self, code: str) -> str:
        code = self._with_own(self._prelude + code).replace(".venv/bin/python", sys.executable)
        done = subprocess.run(
            ["sh", "-euc", code],
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{code}\n{done.stderr}")
        return done.stdout


@pytest.fixture
def reader(world: LocalEnvironment, tmp_path: Path) -> Reader:
    return Reader(world, tmp_path)


def _of_java(example: Example) -> bool:
    return re.search(r"^ *java ", example.code, re.MULTILINE) is not None


@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page)], ids=lambda page: page.name
)
def test_what_a_page_shows_is_answered_as_it_says(reader: Reader, page: Path) -> None:
    for example in examples(page):
        if not _of_java(example):
            reader.follow(page, example)


@pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH: a JDK, 11 or later")
def test_the_program_in_java_is_answered_as_the_page_says(reader: Reader) -> None:
    page = ROOT / "docs" / "api.md"
    prelude, *_ = (one for one in examples(page) if "SIGN=" in one.code)
    (example,) = (one for one in examples(page) if _of_java(one))
    reader.follow(page, prelude)
    reader.follow(page, example)


def test_the_pages_have_examples() -> None:
    found = {page.name: len(examples(page)) for page in PAGES if examples(page)}
    assert found["README.md"] >= 3
    assert found["api.md"] >= 30


@pytest.mark.parametrize(
    ("expected", "real"),
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
def test_relevant_differences_are_found(expected: Any, real: Any) -> None:
    assert difference(expected, real) is not None
