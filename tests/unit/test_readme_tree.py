"""The tree in README.md matches the disk, and the files that CONTRIBUTING.md names exist."""

from __future__ import annotations

import re

import pytest
from local.emulator_process import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
# Prefixes of the paths in CONTRIBUTING.md.
BEGINNINGS = (
    "",
    "layers/timbres/timbres/",
    "local/fake_pacs/",
    "tests/unit/",
    "tests/integration/",
)
IGNORED = {
    line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
}


def tree() -> dict[str, str]:
    """Return the description of each path; a continuation line belongs to the path above."""
    (block,) = (
        text for text in re.findall(r"```text\n(.*?)```", README, re.S) if "layers/" in text
    )
    descriptions: dict[str, str] = {}
    for line in block.splitlines():
        if row := re.match(r"(?:  )?(\S+)  +(.*)", line):
            path = row[1]
            if line.startswith("  "):
                inner = (
                    f"{top}{path}" for top in reversed(descriptions) if (ROOT / top / path).exists()
                )
                path = next(inner, path)
            descriptions[path] = row[2]
        else:
            descriptions[path] += f" {line.strip()}"
    return descriptions


TREE = tree()


def named(path: str) -> set[str]:
    return set(re.findall(r"[\w-]+", TREE[path]))


@pytest.mark.parametrize("path", TREE)
def test_every_path_of_the_tree_exists(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_every_top_level_folder_is_listed() -> None:
    folders = {
        f"{path.name}/"
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in IGNORED
    }
    assert folders == {f"{path.split('/')[0]}/" for path in TREE if "/" in path}


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("functions/", "*/app.py"), ("tests/", "*/test_*.py"), ("docs/", "*.md")],
)
def test_the_contents_of_a_folder_are_listed(folder: str, pattern: str) -> None:
    for path in (ROOT / folder).glob(pattern):
        name = path.relative_to(ROOT / folder).parts[0].removesuffix(".md")
        assert name in named(folder), f"{folder}{name} is not in the tree of README.md"


def test_every_layer_and_package_is_listed() -> None:
    existing = {
        f"{path.parent.relative_to(ROOT).as_posix()}/"
        for path in (ROOT / "layers" / "timbres" / "timbres").glob("*/__init__.py")
    } | {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in ROOT.glob("layers/*/*.txt")}
    assert existing == {path for path in TREE if path.startswith("layers/")}


def test_the_listed_targets_and_stages_exist() -> None:
    stages = re.findall(r"^\[(\w+)\.", (ROOT / "samconfig.toml").read_text(encoding="utf-8"), re.M)
    assert named("Makefile") <= set(TARGETS)
    assert named("samconfig.toml") == set(stages)


def test_the_files_and_targets_of_contributing_exist() -> None:
    paths = set(re.findall(r"[\w./*]*\w\.(?:py|md|yaml|toml|in)\b", CONTRIBUTING))
    assert len(paths) > 30
    missing = {path for path in paths if not any(any(ROOT.glob(b + path)) for b in BEGINNINGS)}
    assert missing == set()
    assert set(re.findall(r"\bmake ([a-z-]+)`", CONTRIBUTING)) <= set(TARGETS)
    assert "make test\n" in CONTRIBUTING
