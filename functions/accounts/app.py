"""GET /accounts: the accounts and their capabilities."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.handlers.dependencies import create_account_repository, create_rejection_repository
from timbres.handlers.http import HttpHandler, json_response
from timbres.handlers.invocation import logger
from timbres.schemas.accounts import account_to_dict
from timbres.services import accounts

api = HttpHandler()
account_repository = create_account_repository()
rejection_repository = create_rejection_repository()


@api.get("/accounts")
def list_accounts() -> Response[str]:
    api.query_params()
    body = [
        account_to_dict(entry.name, entry.account, entry.error)
        for entry in accounts.list_accounts(account_repository, rejection_repository)
    ]
    return json_response(200, {"accounts": body})


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway."""
    return api.handle(event, context)
