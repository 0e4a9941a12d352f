"""Balances and counts of real servers, in tests/cases and of the same kinds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.events import ApiResponse
from tests.support.fake_stack import RC, RFC, SF, FakeStack
from tests.support.further_cases import FURTHER_CASES, Case
from tests.support.response_cases import CASES, EXPECTED, FILES, cases, check, inject


@pytest.fixture
def stack(shared_stack: FakeStack) -> Iterator[FakeStack]:
    """The shared stack, with an empty log."""
    shared_stack.logs.clear()
    yield shared_stack
    shared_stack.reset_warm_functions()


def read(stack: FakeStack, function: str, account: str, **query: str) -> ApiResponse:
    """Read from the PAC with a deadline that is shorter than the waits that PACs ask for."""
    path = f"/accounts/{account}/{'balance' if account == RC else 'stamps'}"
    return stack.call(function, "GET", path, query, seconds=15)


def test_every_file_has_an_expected_result() -> None:
    assert set(EXPECTED) == set(FILES)
    assert len(FURTHER_CASES) >= len(FILES)
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", cases("rc-"))
def test_a_balance_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "saldos", case, tmp_path)

    check(stack, case, read(stack, "balance", RC, month="2026-10"), "saldos")


@pytest.mark.parametrize("case", cases("sf-count-"))
def test_a_count_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "getTimbres", case, tmp_path)

    response = read(stack, "stamp_count", SF, rfc=RFC)

    check(stack, case, response, "getTimbres")
    if case.expected["status"] == 200:
        (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
        assert issuer["alert"] in ("ok", None)


def test_normalized_fields_are_logged_once_for_a_response(
    stack: FakeStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "timbres")
    stack.pacs.fault("saldos", "canned", case="rc-rfc-twins-case", times=1)
    stack.get(f"/accounts/{RC}/balance", month="2026-10")
    stack.pacs.fault("getTimbres", "canned", case="sf-count-status-plus200", times=1)
    stack.get(f"/accounts/{SF}/stamps", rfc=RFC)

    lines = [line for line in caplog.records if "normalized" in line.getMessage()]
    assert [(line.levelname, line.pac, line.fields) for line in lines] == [  # type: ignore[attr-defined]
        ("DEBUG", "reachcore", ["RFC"]),
        ("DEBUG", "solucion-factible", ["status"]),
    ]
