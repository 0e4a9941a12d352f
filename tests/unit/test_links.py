"""Every link of the documents has a target, and every program in them is a file that tests run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from local.emulator_process import ROOT
from tests.support.documents import DOCUMENTS

LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    seen: Counter[str] = Counter()
    result = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        result.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return result


def broken_links(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    broken = []
    for groups in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))):
        link = "".join(groups)
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_a_document_have_targets(path):
    assert broken_links(path) == []


@pytest.mark.parametrize(("name", "language"), [("call.py", "python"), ("Call.java", "java")])
def test_the_programs_in_the_text_equal_the_files(name, language):
    program = (ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    assert f"```{language}\n{program}```\n" in (ROOT / "docs" / "api.md").read_text("utf-8")
