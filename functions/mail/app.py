"""Sends a mail in Spanish for each event that requires one, once per event."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
)

from timbres.aws.clients import client
from timbres.aws.notifications import MailPublisher
from timbres.domain import clock
from timbres.domain.month import period_from_text
from timbres.domain.report import ReportSpec
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.notifications.mails import compose, dedup_key, should_notify
from timbres.repositories.download_tokens import DownloadTokenRepository

# Longer than EventBridge redelivers an event, or its publisher repeats it.
_IDEMPOTENCY_SECONDS = 14 * 24 * 3600


class RepeatableWrites:
    """A DynamoDB client whose conditional ``put_item`` recognizes its own item.

    If the response to a put is lost, the SDK repeats the put, and the condition fails because of
    the item that the first one wrote. Powertools would take that for another execution.
    """

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    def put_item(self, **request: Any) -> Any:
        """Put an item with the id of this write. Raises ClientError like the client itself."""
        write_id = {"write": {"S": str(uuid.uuid4())}}
        try:
            return self._dynamodb.put_item(**request | {"Item": request["Item"] | write_id})
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            if write_id.items() <= error.response.get("Item", {}).items():
                return {}
            raise


repeatable_writes: Any = RepeatableWrites(client("dynamodb"))
idempotency_store = DynamoDBPersistenceLayer(
    get_env("MAIL_IDEMPOTENCY_TABLE"), boto3_client=repeatable_writes
)
download_tokens = DownloadTokenRepository(client("dynamodb"), get_env("DOWNLOAD_TOKENS_TABLE"))
download_url = get_env("DOWNLOAD_URL")
token_days = int(get_env("DOWNLOAD_TOKEN_DAYS"))
mails = MailPublisher(client("sns"), get_env("MAIL_TOPIC"))


def link(report: Mapping[str, Any], mail: str) -> str:
    """Return the URL of a new download token for a report, given as events contain it.

    ``mail`` is the key of the mail, by which all of its links can be revoked.
    """
    period = period_from_text(report["month"])
    spec = ReportSpec(report["account"], period, report["kind"], report["format"])
    expires_at = clock.now() + timedelta(days=token_days)
    version = report["object_version"]
    token = download_tokens.issue(spec, report["id"], version, expires_at, mail)
    return download_url + token


def send(*, notification: dict[str, str], detail: dict[str, Any]) -> dict[str, str]:
    create_link = partial(link, mail=notification["key"])
    mails.send(compose(notification["kind"], detail, create_link, token_days))
    logger.info("mail sent", extra=notification)
    return notification


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Send the mail for an event, unless it was sent before."""
    event_type, detail = event["detail-type"], event["detail"]
    if not should_notify(event_type, detail):
        return
    config = IdempotencyConfig(
        event_key_jmespath="key",
        expires_after_seconds=_IDEMPOTENCY_SECONDS,
        lambda_context=context,
    )
    send_once = idempotent_function(
        send,
        data_keyword_argument="notification",
        persistence_store=idempotency_store,
        config=config,
        key_prefix="mail",
    )
    notification = {"key": dedup_key(event_type, detail), "kind": event_type}
    try:
        send_once(notification=notification, detail=detail)
    except IdempotencyAlreadyInProgressError:
        # If the other delivery fails, Lambda retries it a minute later, when its lock has expired.
        logger.info("another delivery of the event sends the mail", extra=notification)
