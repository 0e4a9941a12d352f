"""The cases of tests/cases and the further ones, and how a test serves and checks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from local.fake_pacs.faults import CANNED_RESPONSES

from tests.support.events import ApiResponse, check_problem
from tests.support.fake_stack import FakeStack
from tests.support.further_cases import FURTHER_CASES, Case

EXPECTED: dict[str, dict[str, Any]] = json.loads((CANNED_RESPONSES / "expected.json").read_text())
FILES = {
    path.name.removesuffix(".http"): path
    for path in CANNED_RESPONSES.iterdir()
    if path.name not in ("expected.json", "README.md")
}
CASES = (
    *(Case(name, path.read_bytes(), EXPECTED.get(name, {})) for name, path in FILES.items()),
    *FURTHER_CASES,
)


def cases(*prefixes: str) -> list[Any]:
    """Return the cases whose names begin with one of these."""
    chosen = sorted(
        (case for case in CASES if case.name.startswith(prefixes)), key=lambda case: case.name
    )
    return [pytest.param(case, id=case.name) for case in chosen]


def inject(stack: FakeStack, operation: str, case: Case, folder: Path, times: int = -1) -> None:
    """Let an operation return the case's response."""
    path = folder / "response.http"
    path.write_bytes(case.response)
    stack.pacs.fault(operation, "canned", case=str(path.with_suffix("")), times=times)


def assert_contains(actual: Any, expected: Any, at: str = "") -> None:
    """Check that ``actual`` has the members of ``expected``, at any depth."""
    if isinstance(expected, Mapping) and expected:
        for name, value in expected.items():
            assert name in actual, f"{at}/{name} is missing in {actual}"
            assert_contains(actual[name], value, f"{at}/{name}")
    else:
        assert actual == expected, at


def check(stack: FakeStack, case: Case, response: ApiResponse, operation: str) -> None:
    expected = case.expected
    if response.status >= 400:
        body = check_problem(response, expected["status"], expected["body"]["code"])
        assert expected.get("says", "") in body["detail"]
    assert response.status == expected["status"], response.text
    assert_contains(response.body, expected["body"])
    if "retry_after" in expected:
        assert response.headers["retry-after"] == expected["retry_after"]
    assert stack.pacs.calls().count(operation) == expected.get("calls", 1)
