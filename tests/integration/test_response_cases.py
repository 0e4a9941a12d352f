"""Balances and counts of real servers, in tests/cases and of the same kinds; documented codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.documented_codes import GET_TIMBRES, SALDOS, Meaning, documented
from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import RC, RFC, SF, FakeStack
from tests.support.further_cases import Case, http
from tests.support.response_cases import CASES, EXPECTED, FILES, cases, check, inject


@pytest.fixture
def stack(shared_stack: FakeStack) -> Iterator[FakeStack]:
    """The shared stack, with an empty log."""
    shared_stack.logs.clear()
    yield shared_stack
    shared_stack.reset_warm_functions()


def read(stack: FakeStack, account: str, seconds: float = 15) -> ApiResponse:
    """Read from the PAC with a deadline that is shorter than the waits that PACs ask for."""
    if account == RC:
        path, query = f"/accounts/{RC}/balance", {"month": "2026-10"}
        return stack.call("balance", "GET", path, query, seconds=seconds)
    return stack.call("stamp_count", "GET", f"/accounts/{SF}/stamps", {"rfc": RFC}, seconds=seconds)


def test_every_file_has_an_expected_result() -> None:
    assert set(EXPECTED) == set(FILES)
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", cases("rc-"))
def test_a_balance_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "saldos", case, tmp_path)

    check(stack, case, read(stack, RC), "saldos")


@pytest.mark.parametrize("case", cases("sf-count-"))
def test_a_count_of_a_real_server(stack: FakeStack, case: Case, tmp_path: Path) -> None:
    inject(stack, "getTimbres", case, tmp_path)

    check(stack, case, read(stack, SF), "getTimbres")
    if case.expected["status"] == 200:
        (issuer,) = stack.get(f"/accounts/{SF}/stamps").body["issuers"]
        assert issuer["alert"] in ("ok", None)


def test_normalized_fields_and_negative_counts_are_logged(
    stack: FakeStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "timbres")
    stack.pacs.fault("saldos", "canned", case="rc-rfc-twins-case", times=1)
    read(stack, RC)
    stack.pacs.fault("getTimbres", "canned", case="sf-count-status-plus200", times=1)
    read(stack, SF)
    stack.pacs.fault("getTimbres", "canned", case="sf-count-contratados-minus1", times=1)
    read(stack, SF)

    assert len(stack.logs.lines("negative count")) == 2
    lines = [line for line in caplog.records if "normalized" in line.getMessage()]
    assert [(line.levelname, line.pac, line.fields) for line in lines] == [  # type: ignore[attr-defined]
        ("DEBUG", "reachcore", ["RFC"]),
        ("DEBUG", "solucion-factible", ["status"]),
    ]


def test_a_read_waits_as_long_as_the_pac_asks(stack: FakeStack, tmp_path: Path) -> None:
    busy = Case("busy", http("", status=429, Retry_After="7"), {})
    inject(stack, "saldos", busy, tmp_path, times=1)

    assert read(stack, RC).status == 200
    assert stack.time.sleeps[-1] == 7
    assert stack.pacs.calls() == ["saldos"] * 2


@pytest.mark.parametrize(
    ("account", "operation", "code", "meaning"),
    [
        (account, operation, code, meaning)
        for account, operation, page in ((RC, "saldos", SALDOS), (SF, "getTimbres", GET_TIMBRES))
        for code, meaning in documented(page).items()
    ],
)
def test_a_documented_code_is_a_problem_with_the_pac_s_message(
    stack: FakeStack, account: str, operation: str, code: str, meaning: Meaning
) -> None:
    stack.pacs.fault(operation, "code", code=code, times=-1)

    response = read(stack, account)

    pac = check_problem(response, meaning.status, meaning.code)["pac"]
    assert (pac["code"], bool(pac["message"])) == (code, True)
    assert response.headers.get("retry-after") == ("60" if meaning.wait else None)
    assert stack.pacs.calls() == [operation] * (3 if meaning.retry else 1)


@pytest.mark.parametrize("account", [RC, SF])
def test_a_deadline_too_short_to_start(stack: FakeStack, account: str) -> None:
    response = read(stack, account, seconds=3.2)

    check_problem(response, 503, "out-of-time")
    assert response.headers["retry-after"] == "5"
    assert stack.pacs.calls() == []


@pytest.mark.parametrize(("account", "operation"), [(RC, "saldos"), (SF, "getTimbres")])
def test_a_pac_that_does_not_respond_in_time(
    stack: FakeStack, account: str, operation: str
) -> None:
    stack.pacs.fault(operation, "slow", seconds=1, times=-1)

    check_problem(read(stack, account, seconds=3.6), 504, "pac-timeout")
