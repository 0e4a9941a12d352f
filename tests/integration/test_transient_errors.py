"""Transient errors of PACs: reads wait and retry, and runs count every issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support import runs
from tests.support.events import check_problem
from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.further_cases import http

PATH, QUERY = f"/accounts/{RC}/balance", {"month": "2026-10"}


def test_a_read_waits_as_long_as_the_pac_asks(stack: FakeStack, tmp_path: Path) -> None:
    (tmp_path / "429.http").write_bytes(http("x", "text/plain", 429, Retry_After="1"))
    stack.pacs.fault("saldos", "canned", case=str(tmp_path / "429"))

    assert stack.get(PATH, **QUERY).status == 200
    assert max(stack.time.sleeps) >= 1
    assert stack.pacs.calls() == ["saldos"] * 2


def test_after_an_interim_response_the_connection_is_not_used_again(stack: FakeStack) -> None:
    stack.pacs.fault("saldos", "canned", case="rc-103-early-hints")
    check_problem(stack.get(PATH, **QUERY), 502, "pac-protocol-error")

    assert stack.get(PATH, **QUERY).body["transactions"] != 3


# test_any_pac.py has every fault and code that a read retries.
TRANSIENT: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "429 for the first 25 of 30": (
        {"fault": "canned", "case": "sf-count-429"}, {"fault": "canned", "case": "rc-429"}, 25),
    "a page for the first 25 of 30": ({"fault": "html-200"}, {"fault": "html-200"}, 25),
    "a reset": ({"fault": "cut-before"}, {"fault": "cut-before"}, 3),
    "a code": ({"fault": "code", "code": "503"}, {"fault": "code", "code": "500"}, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_run_counts_every_issuer_after_a_transient_error(stack: FakeStack, name: str) -> None:
    count_fault, balance_fault, times = TRANSIENT[name]
    runs.add_many_issuers(stack, 30)
    stack.pacs.fault("getTimbres", times=times, **count_fault)
    stack.pacs.fault("saldos", times=2, **balance_fault)

    run = stack.run()

    (account,) = (account for account in run["accounts"] if account["account"] == SF)
    assert (account["expected"], account["done"], account["failed"]) == (30, 30, {})
    status, expected, done, failed = runs.sums(run)
    assert (status, failed) == ("finished", {})
    assert done == expected > 30
