"""Mails in Spanish: one for each event that a person should know of, once."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from timbres.api.gateway import log
from timbres.api.parts import setting
from timbres.aws.session import client
from timbres.aws.topic import Topic
from timbres.domain.mail import Mail, compose, key

# Longer than any event is delivered again, or told again by whoever published it.
_REMEMBERED_SECONDS = 14 * 24 * 3600


@cache
def store() -> DynamoDBPersistenceLayer:
    return DynamoDBPersistenceLayer(setting("MAILS_TABLE"), boto3_client=client("dynamodb"))


def send(*, told: dict[str, str], mail: Mail) -> dict[str, str]:
    Topic(client("sns"), setting("MAIL_TOPIC")).send(mail)
    log.info("mail sent", extra=told)
    return told


def handler(event: dict[str, Any], context: Any) -> None:
    """Send the mail that tells of an event of the bus, unless it was told before."""
    log.clear_state()
    log.append_keys(request_id=context.aws_request_id)
    kind, detail = event["detail-type"], event["detail"]
    mail = compose(kind, detail)
    if mail is None:
        return
    config = IdempotencyConfig(
        event_key_jmespath="key",
        expires_after_seconds=_REMEMBERED_SECONDS,
        lambda_context=context,
    )
    once = idempotent_function(
        send,
        data_keyword_argument="told",
        persistence_store=store(),
        config=config,
        key_prefix="mail",
    )
    once(told={"key": key(kind, detail)}, mail=mail)
