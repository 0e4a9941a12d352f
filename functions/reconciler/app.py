"""Reconciles open contracts with the PAC, every five minutes.

Another schedule, with ``{"check": "expiry"}``, publishes which contracts expire soon, and checks
that the mails have a recipient.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from timbres.aws.clients import client
from timbres.aws.notifications import MailPublisher
from timbres.domain import clock
from timbres.handlers.dependencies import (
    create_account_repository,
    create_event_publisher,
    create_pac_access,
)
from timbres.handlers.http import HttpHandler
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.observability.metrics import COUNT, metrics
from timbres.repositories.contracts import ContractRepository
from timbres.services.contract_expiry import publish_expiring_contracts
from timbres.services.reconciliation import Reconciler

api = HttpHandler()
account_repository = create_account_repository()
pac_access = create_pac_access(account_repository, "contracts")
contract_repository = ContractRepository(client("dynamodb"), get_env("CONTRACTS_TABLE"))
event_publisher = create_event_publisher()
reconciler = Reconciler(
    pac_access,
    contract_repository,
    event_publisher,
    timedelta(minutes=float(get_env("VERIFICATION_WINDOW_MINUTES"))),
)


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("check") == "expiry":
        published = publish_expiring_contracts(
            account_repository,
            contract_repository,
            event_publisher,
            clock.now().date(),
        )
        # Without a recipient in the template, nobody expects mails.
        if topic := get_env("MAIL_TOPIC"):
            missing = not MailPublisher(client("sns"), topic).has_subscriber()
            metrics.add_metric("MailSubscriptionMissing", int(missing), COUNT)
        return {"expiring": published}
    return dict(reconciler.run(api.deadline))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle the schedule."""
    return api.handle(event, context, handle_schedule)
