"""The daily run as deployed: scheduler, queue, workers, snapshots, mail."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tests.support.api_calls import eventually
from tests.support.daily_run import ACCOUNT, HEALTHY, LOW, SILENT, UNKNOWN, DailyRun

FAILED = {"pac-rejected-request": 2}
LINE = {"account": ACCOUNT, "expected": 200, "done": 198, "failed": FAILED, "problem": None}


@pytest.fixture(scope="module")
def record(daily_run: DailyRun) -> dict[str, Any]:
    """The record of the finished run."""
    return daily_run.wait(60)


def test_a_finished_run_has_counted_each_issuer_once(
    daily_run: DailyRun, record: dict[str, Any]
) -> None:
    (line,) = (line for line in record["accounts"] if line["account"] == ACCOUNT)
    assert line | LINE == line
    assert record["done"] + sum(record["failed"].values()) == record["expected"]
    assert datetime.fromisoformat(record["finished_at"]) > datetime.fromisoformat(
        record["started_at"]
    )
    # A start by another test is a second run, which queries only what has no count yet.
    runs = len(daily_run.stack.call("reader", "GET", "/runs").json()["runs"])
    queries = Counter(call["rfc"] for call in daily_run.pac.calls.as_json())

    assert {queries.pop(rfc) for rfc in [*HEALTHY, *LOW]} <= set(range(1, runs + 1))
    assert all(1 <= queries.pop(rfc) <= runs for rfc in UNKNOWN)
    assert 2 <= queries.pop(SILENT) <= 1 + runs
    # The count of the account's own stamps names no issuer.
    assert queries == {None: 1}


def test_a_run_sends_one_mail_that_lists_low_and_unknown_issuers(
    daily_run: DailyRun, record: dict[str, Any]
) -> None:
    mails: list[str] = []
    eventually(lambda: mails.extend(daily_run.read_mails()) or f"cuenta {ACCOUNT}" in str(mails))
    (mail,) = (text for text in mails if f"(cuenta {ACCOUNT})" in text)

    assert f"SIN TIMBRES (1): ya no puede facturar.\n  - {LOW[0]} " in mail
    assert f"POCOS TIMBRES (2):\n  - {LOW[1]} (cuenta {ACCOUNT}): 1 timbre" in mail
    assert f"cuenta {ACCOUNT}, 2 de 200 emisores: el PAC no los reconoce" in mail
