"""docs/performance.md: each part of the benchmark updates only its own block."""

from __future__ import annotations

import pytest
from bench.__main__ import PARTS, update_page

PAGE = "# Page\n\n<!-- cold -->\n```text\n{}```\n\nText.\n\n<!-- warm -->\n```text\nold\n```\n"
RESULTS = {"when": "2026-11-21", "where": "here", "measurements": {}}


@pytest.mark.parametrize("before", ["", "old\n", "old\n\nolder\n"])
def test_only_the_block_of_the_part_is_updated(before: str) -> None:
    page = update_page(PAGE.format(before), "cold", RESULTS)

    table = PARTS["cold"][1]({})
    assert page == PAGE.format(f"2026-11-21, here\n\n{table}\n")
