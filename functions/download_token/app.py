"""/d/{token}: redirect a mailed download token to a link that is valid for five minutes.

Without IAM, as the route of all paths that do not exist. Its pages are for people, in Spanish.
Never log or return a token.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from timbres.aws.clients import client
from timbres.aws.object_store import ReportStore
from timbres.domain import clock
from timbres.domain.download_token import LINK_SECONDS, WAIT_SECONDS, Refusal
from timbres.domain.text import quote_input
from timbres.errors import ROUTE_NOT_FOUND, TimbresError
from timbres.handlers import problem_details
from timbres.handlers.download_pages import (
    CONTENT_SECURITY_POLICY,
    limit_page,
    not_found_page,
    unavailable_page,
)
from timbres.handlers.invocation import describe_aws_error, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import metrics
from timbres.repositories.download_tokens import DownloadTokenRepository

download_tokens = DownloadTokenRepository(client("dynamodb"), get_env("DOWNLOAD_TOKENS_TABLE"))
report_store = ReportStore(client("s3"), get_env("REPORTS_BUCKET"))
token_days = int(get_env("DOWNLOAD_TOKEN_DAYS"))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway: redirect (302) to the report, or return an error page.

    It also answers every route that does not exist.
    """
    if event["resource"] == "/{proxy+}":
        return _route_not_found(event)
    try:
        return _open(event["pathParameters"]["token"], event["requestContext"]["identity"])
    except (BotoCoreError, ClientError) as error:
        logger.error("an AWS service failed: %s", describe_aws_error(error))
    except Exception as error:
        logger.error("unhandled exception", exc_info=error)
    metrics.add_count("InternalErrors")
    metrics.flush()
    return _response(503, unavailable_page(), {"Retry-After": str(WAIT_SECONDS)})


def _open(token: str, caller: dict[str, Any]) -> dict[str, Any]:
    found = download_tokens.use(token, clock.now(), caller["sourceIp"])
    if not isinstance(found, Refusal):
        link = report_store.presign(
            found.key, found.object_version, found.download_name, LINK_SECONDS
        )
        return _response(302, "", {"Location": link})
    if found.retry_after is None:
        return _response(404, not_found_page(token_days))
    page = limit_page(found.retry_after, is_valid=found.is_valid)
    return _response(429, page, {"Retry-After": str(found.retry_after)})


def _route_not_found(event: dict[str, Any]) -> dict[str, Any]:
    route = f"{event['httpMethod']} {quote_input(event['path'])}"
    error = TimbresError(ROUTE_NOT_FOUND, f"Route not found: {route}.")
    document = problem_details.problem_document(error, event["requestContext"]["requestId"])
    headers = {"Content-Type": problem_details.MEDIA_TYPE, "Cache-Control": "no-store"}
    body = problem_details.to_json(document)
    return {"statusCode": 404, "headers": headers, "body": body, "isBase64Encoded": False}


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
