"""Reconciles open contracts with the PAC, every five minutes."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, logger
from timbres.handlers.settings import get_env
from timbres.services.reconciliation import Reconciler

api = HttpHandler()
container = Container(
    "SECRET_PREFIX",
    "CONTRACTS_TABLE",
    "CREDENTIAL_REJECTIONS_TABLE",
    "EVENT_BUS",
    "VERIFICATION_WINDOW_MINUTES",
)


@cache
def reconciler() -> Reconciler:
    return Reconciler(
        container.pac_access,
        container.contract_repository,
        container.event_publisher,
        timedelta(minutes=float(get_env("VERIFICATION_WINDOW_MINUTES"))),
    )


def handle_schedule(_payload: dict[str, Any]) -> dict[str, Any]:
    return dict(reconciler().run(api.deadline))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle the schedule."""
    return api.handle(event, context, handle_schedule)
