"""GET /accounts: the accounts there are, and what each can do."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.handlers.container import Parts
from timbres.handlers.http import Gateway, answer
from timbres.schemas.accounts import account_to_dict
from timbres.services import accounts

api = Gateway()
parts = Parts()


@api.get("/accounts")
def list_accounts() -> Response[str]:
    api.query()
    listed = accounts.list_accounts(parts.accounts)
    body = [account_to_dict(one.name, one.account, one.error) for one in listed]
    return answer(200, {"accounts": body})


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
