"""Create reports in the bucket and their download tokens without a PAC or a worker."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.support.events import CONTRACT_MANAGER, ApiResponse, api_gateway_event
from tests.support.fake_stack import RC, FakeStack
from timbres.aws.object_store import ReportStore
from timbres.domain.month import Month
from timbres.domain.report import READY, Report, ReportSpec
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.reports import ReportRepository

MONTH = Month(2026, 10)


def store_report(
    stack: FakeStack, content: bytes, version: int = 1, account: str = RC, form: str = "csv"
) -> Report:
    """Store a ready report, its record and its object, and return it."""
    spec = ReportSpec(account, MONTH, "statement", form)
    store = ReportStore(stack.aws.client("s3"), stack.aws.refs["ReportsBucket"])
    with store.upload(spec) as file:
        file.write(content)
    repository = ReportRepository(stack.aws.client("dynamodb"), stack.aws.refs["ReportsTable"])
    pending = repository.create(spec, version, CONTRACT_MANAGER, stack.clock(), None)
    report = replace(
        pending,
        status=READY,
        settled_at=stack.clock(),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        object_version=file.version_id,
    )
    assert repository.finalize(report)
    return report


def issue_token(stack: FakeStack, report: Report, days: float = 30) -> str:
    """Return a new download token for a ready report."""
    assert report.object_version is not None
    expires_at = stack.clock() + timedelta(days=days)
    dynamodb, table = stack.aws.client("dynamodb"), stack.aws.refs["DownloadTokensTable"]
    repository = DownloadTokenRepository(dynamodb, table)
    return repository.issue(report.spec, report.id, report.object_version, expires_at, "mail-1")


def open_link(stack: FakeStack, token: str, ip: str = "203.0.113.7", **options: Any) -> ApiResponse:
    """Open a mailed link with an unsigned request, as a browser does."""
    event = api_gateway_event("GET", "/d/x")
    event |= {"path": f"/d/{token}", "pathParameters": {"token": token}}
    identity = event["requestContext"]["identity"]
    identity |= dict.fromkeys(("accountId", "caller", "accessKey", "userArn", "user"))
    identity["sourceIp"] = ip
    return stack.parse_response(stack.invoke("download_token", event, **options))
