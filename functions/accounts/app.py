"""GET /accounts: the accounts there are, and what each can do."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.handlers.container import Parts
from timbres.handlers.http import Gateway, answer
from timbres.services import accounts as account

api = Gateway()
parts = Parts()


@api.get("/accounts")
def list_accounts() -> Response[str]:
    api.query()
    return answer(200, account.listed(parts.accounts))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
