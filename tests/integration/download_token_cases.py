"""Create reports in the bucket and their download tokens without a PAC or a worker."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.integration.harness import MANAGER, RC, ApiResponse, FakeStack, proxy_event

from timbres.aws.object_store import MEDIA_TYPES
from timbres.domain.month import Month
from timbres.domain.report import READY, Report, ReportSpec
from timbres.repositories.download_tokens import DownloadTokenRepository
from timbres.repositories.reports import ReportRepository

MONTH = Month(2026, 10)


def report_repository(world: FakeStack) -> ReportRepository:
    """Return a report repository that the tests can use."""
    return ReportRepository(world.stack.client("dynamodb"), world.stack.refs["ReportsTable"])


def token_repository(world: FakeStack) -> DownloadTokenRepository:
    """Return a download token repository that the tests can use."""
    return DownloadTokenRepository(
        world.stack.client("dynamodb"), world.stack.refs["DownloadTokensTable"]
    )


def store_report(
    world: FakeStack, content: bytes, version: int = 1, account: str = RC, form: str = "csv"
) -> Report:
    """Store a ready report, its record and its object, and return it."""
    spec = ReportSpec(account, MONTH, "statement", form)
    put = world.stack.client("s3").put_object(
        Bucket=world.stack.refs["ReportsBucket"],
        Key=spec.key,
        Body=content,
        ContentType=MEDIA_TYPES[form],
    )
    pending = report_repository(world).create(spec, version, MANAGER, world.clock(), None)
    report = replace(
        pending,
        status=READY,
        settled_at=world.clock(),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        object_version=put["VersionId"],
    )
    assert report_repository(world).finalize(report)
    return report


def issue_token(world: FakeStack, report: Report, days: float = 30) -> str:
    """Return a new download token for a ready report."""
    assert report.object_version is not None
    expires_at = world.clock() + timedelta(days=days)
    return token_repository(world).issue(report.spec, report.id, report.object_version, expires_at)


def open_link(world: FakeStack, token: str, ip: str = "203.0.113.7", **options: Any) -> ApiResponse:
    """Open a mailed link with an unsigned request, as a browser does."""
    event = proxy_event("GET", "/d/x")
    event |= {"path": f"/d/{token}", "pathParameters": {"token": token}}
    identity = event["requestContext"]["identity"]
    identity |= dict.fromkeys(("accountId", "caller", "accessKey", "userArn", "user"))
    identity["sourceIp"] = ip
    return world.parse_response(world.invoke("download_token", event, **options))
