"""/d/{token}: redirect a mailed download token to a link that is valid for five minutes.

The only route without IAM. Its pages are for people, in Spanish. Never log or return a token.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from timbres.aws.clients import client
from timbres.aws.object_store import ReportStore
from timbres.domain import clock
from timbres.domain.download_token import LINK_SECONDS, WAIT_SECONDS
from timbres.handlers.download_pages import (
    CONTENT_SECURITY_POLICY,
    not_found_page,
    unavailable_page,
)
from timbres.handlers.http import describe_aws_error, logger
from timbres.handlers.settings import get_env, require_env
from timbres.observability.metrics import flush, metrics
from timbres.repositories.download_tokens import DownloadTokenRepository

require_env("DOWNLOAD_TOKENS_TABLE", "DOWNLOAD_TOKEN_DAYS", "REPORTS_BUCKET")
# Created in Lambda's import phase, which has a whole processor.
for service in ("dynamodb", "s3"):
    client(service)


@cache
def download_tokens() -> DownloadTokenRepository:
    return DownloadTokenRepository(client("dynamodb"), get_env("DOWNLOAD_TOKENS_TABLE"))


@cache
def report_store() -> ReportStore:
    return ReportStore(client("s3"), get_env("REPORTS_BUCKET"))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway: redirect (302) to the report, or return an error page."""
    try:
        link = _link(event["pathParameters"]["token"], event["requestContext"]["identity"])
    except (BotoCoreError, ClientError) as error:
        logger.error("an AWS service failed: %s", describe_aws_error(error))
    except Exception as error:
        logger.error("unhandled exception", exc_info=error)
    else:
        return _response(302, "", {"Location": link}) if link else _response(404, _not_found_page())
    metrics.add_count("InternalErrors")
    flush()
    return _response(503, unavailable_page(), {"Retry-After": str(WAIT_SECONDS)})


def _link(token: str, caller: dict[str, Any]) -> str | None:
    download_token = download_tokens().use(token, clock.now(), caller["sourceIp"])
    if download_token is None:
        return None
    return report_store().presign(
        download_token.key,
        download_token.object_version,
        download_token.download_name,
        LINK_SECONDS,
    )


def _not_found_page() -> str:
    return not_found_page(int(get_env("DOWNLOAD_TOKEN_DAYS")))


def _response(status: int, body: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Robots-Tag": "noindex, nofollow",
            **(headers or {}),
        },
        "body": body,
        "isBase64Encoded": False,
    }
