"""docs/performance.md: each part of the benchmark updates only its own block."""

from __future__ import annotations

import pytest
from bench.__main__ import PAGE, PARTS, update_page

PROSE = "# Page\n\n<!-- cold -->\n```text\n{}```\n\nWords.\n\n<!-- warm -->\n```text\nold\n```\n"
RESULTS = {"when": "2026-11-21", "where": "here", "measurements": {}}


@pytest.mark.parametrize("before", ["", "old\n", "old\n\nolder\n"])
def test_only_the_block_of_the_part_is_updated(before: str) -> None:
    page = update_page(PROSE.format(before), "cold", RESULTS)

    table = PARTS["cold"][1]({})
    assert page == PROSE.format(f"2026-11-21, here\n\n{table}\n")


@pytest.mark.parametrize("part", PARTS)
def test_the_page_has_a_table_for_each_part(part: str) -> None:
    _, _, remainder = PAGE.read_text(encoding="utf-8").partition(f"<!-- {part} -->\n```text\n")
    table, end, _ = remainder.partition("\n```\n")
    assert end
    assert table.startswith("20")
    assert len(table.splitlines()) > 5
