"""Writes the tables of docs/reliability.md, and compares them with what the tests observe.

Each heading of the document is an operation; each row of its table is one test. With
RELIABILITY=write in the environment, as `make reliability` sets it, faults are injected at every
call and the rows are written. Otherwise faults are injected at some calls, and a test fails if it
observes something that its row does not list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
WRITES = os.environ.get("RELIABILITY") == "write"
NOTHING = "none"
_HEAD = "| Fault | Response | Data loss | Recovery |\n|---|---|---|---|"
_OR = "; or "


@dataclass
class Row:
    """One fault and every distinct response, loss and recovery that was observed."""

    fails: str
    seen: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    rights: list[str] = field(default_factory=list)

    def add(self, seen: Sequence[str], lost: str, rights: str) -> None:
        """Add one observation; repeated values are ignored."""
        for column, values in ((self.seen, seen), (self.lost, [lost]), (self.rights, [rights])):
            column.extend(value for value in dict.fromkeys(values) if value not in column)

    def __str__(self) -> str:
        """Return the row's line in the document."""
        worst = max(self.lost, key=len)
        return f"| {self.fails} | {_OR.join(self.seen)} | {worst} | {_OR.join(self.rights)} |"


def agree(heading: str, row: Row, order: Sequence[str]) -> None:
    """Compare a row with the document's, or write it; ``order`` names the rows of its table.

    The document may list more than the row, because it also has the faults at the other calls.
    """
    lines = read(heading)
    if WRITES:
        lines[row.fails] = str(row)
        before, _, after = _parts(heading)
        table = "\n".join([_HEAD, *(lines[fails] for fails in order if fails in lines)])
        DOCUMENT.write_text(f"{before}\n\n{table}\n{after}", encoding="utf-8")
        return
    cells = [cell.strip() for cell in lines.get(row.fails, "||||").split("|")[2:5]]
    seen, lost, rights = cells[0].split(_OR), [NOTHING, cells[1]], cells[2].split(_OR)
    is_listed = {*row.seen} <= {*seen} and {*row.lost} <= {*lost} and {*row.rights} <= {*rights}
    assert is_listed, (
        f"docs/reliability.md, {heading}: the test observed\n{row}\nthe document has\n"
        f"{lines.get(row.fails)}\nIf the test is right, `make reliability` writes the row."
    )


def read(heading: str) -> dict[str, str]:
    """Return the rows of an operation's table by their fault."""
    _, table, _ = _parts(heading)
    return {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}


def headings() -> list[str]:
    """Return the operations that have a table."""
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n## ")[1:]
    return [section.partition("\n")[0] for section in sections if "\n| " in section]


def _parts(heading: str) -> tuple[str, str, str]:
    """Return the document before an operation's table, the table, and what follows."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, heading_line, section = text.partition(f"\n## {heading}\n")
    assert heading_line, f"docs/reliability.md has no heading {heading}"
    section, separator, after = section.partition("\n## ")
    prose, _, table = section.partition("\n| ")
    before = (before + heading_line + prose).rstrip()
    return before, f"| {table}".strip() if table else "", separator + after
