"""Steps of reports and monthly runs in the integration tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.fake_stack import RC, SF, FakeStack
from tests.support.report_readers import sheets_of
from timbres.domain.report import FORMATS


def get_report(stack: FakeStack, report: dict[str, Any]) -> dict[str, Any]:
    path = f"/accounts/{report['account']}/reports/{report['id']}"
    response = stack.get(path, redirect="false")
    assert response.status == 200
    body: dict[str, Any] = response.body
    return body


def make_report(stack: FakeStack, *args: str) -> dict[str, Any]:
    """Request a report, let the worker generate it, and return it."""
    report = stack.request_report(*args).body
    assert stack.deliver() == (1, 0)
    return get_report(stack, report)


def fail_report(stack: FakeStack, *args: str) -> dict[str, Any]:
    """Request a report, retry it until the third and last attempt, and return it."""
    report = stack.request_report(*args).body
    assert [stack.deliver() for _ in range(4)] == [(0, 1), (0, 1), (1, 0), (0, 0)]
    return get_report(stack, report)


def sheets(
    stack: FakeStack, account: str, month: str, make: Callable[..., dict[str, Any]] = make_report
) -> dict[str, list[list[str]]]:
    """Return the sheets of a new workbook of consumption."""
    body = make(stack, account, month, "consumption", "xlsx")
    return sheets_of(stack.download(body["url"]).content)


def days_of(summary: list[list[str]]) -> dict[str, str]:
    """Return the stamps of each day in the summary of a workbook."""
    return dict(row[8:10] for row in summary[4:35] if row[8:10])


def monthly_reports(*formats: str) -> list[tuple[str, str]]:
    """Return the reports of a monthly run in October in these formats, (account, id)."""
    kinds = [(RC, "statement", form) for form in FORMATS["statement"] if form in formats]
    kinds += [(name, "consumption", form) for name in (RC, SF, "all") for form in formats]
    return [(name, f"2026-10-{kind}-{form}-0001") for name, kind, form in kinds]


def run_monthly(stack: FakeStack, day: int = 1, minute: int = 0, **options: str) -> Any:
    """Start the monthly run of October as its schedule does in November."""
    due = f"2026-11-{day:02d}T12:{minute:02d}:00Z"
    return stack.invoke("report", {"month": "previous", "scheduled_time": due, **options})


def run_workers(stack: FakeStack) -> None:
    """Deliver requested reports until none is left."""
    while stack.deliver() != (0, 0):
        pass
