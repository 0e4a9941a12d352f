"""Reconciles open contracts with the PAC, every five minutes.

Another schedule, with ``{"check": "expiry"}``, publishes which contracts expire soon, and checks
that the mails have a recipient.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from timbres.aws.clients import client
from timbres.aws.notifications import MailPublisher
from timbres.domain import clock
from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import COUNT, metrics
from timbres.services.contract_expiry import publish_expiring_contracts
from timbres.services.reconciliation import Reconciler

api = HttpHandler()
container = Container(
    "SECRET_PREFIX",
    "CONTRACTS_TABLE",
    "CREDENTIAL_REJECTIONS_TABLE",
    "EVENT_BUS",
    "VERIFICATION_WINDOW_MINUTES",
    "MAIL_TOPIC",
    calls=("contracts",),
)


@cache
def reconciler() -> Reconciler:
    return Reconciler(
        container.pac_access,
        container.contract_repository,
        container.event_publisher,
        timedelta(minutes=float(get_env("VERIFICATION_WINDOW_MINUTES"))),
    )


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("check") == "expiry":
        published = publish_expiring_contracts(
            container.account_repository,
            container.contract_repository,
            container.event_publisher,
            clock.now().date(),
        )
        # Without a recipient in the template, nobody expects mails.
        if topic := get_env("MAIL_TOPIC"):
            missing = not MailPublisher(client("sns"), topic).has_subscriber()
            metrics.add_metric("MailSubscriptionMissing", int(missing), COUNT)
        return {"expiring": published}
    return dict(reconciler().run(api.deadline))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle the schedule."""
    return api.handle(event, context, handle_schedule)
