"""GET /accounts: the accounts there are, and what each can do."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.api.gateway import Gateway, answer, setting
from timbres.aws.accounts import Accounts
from timbres.aws.session import client
from timbres.work import account

api = Gateway()


@cache
def accounts() -> Accounts:
    return Accounts(client("secretsmanager"), setting("SECRET_PREFIX"))


@api.get("/accounts")
def list_accounts() -> Response[str]:
    api.query()
    return answer(200, account.listed(accounts()))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
