"""GET /accounts/{account}/balance: one account's consumption in one month.

The source is the PAC, or the daily snapshots if the PAC offers no balance.

A schedule may also start it, with ``{"account": name or null for every account, "month":
"YYYY-MM", "current" or "previous"}``: it registers the issuers in the balance.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.domain import clock
from timbres.domain.balance import AccountBalance
from timbres.domain.month import Month, parse_month, parse_months
from timbres.domain.rfc import Rfc
from timbres.errors import PARAMETER_INVALID, TimbresError
from timbres.handlers import schedule
from timbres.handlers.dependencies import create_account_repository, create_pac_access
from timbres.handlers.http import HttpHandler, json_response, parse_query_rfc
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.schemas.balances import balance_to_dict, months_to_dict
from timbres.services import balances

api = HttpHandler()
account_repository = create_account_repository()
pac_access = create_pac_access(account_repository, "balance")
issuer_repository = IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE"))
snapshot_repository = SnapshotRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE"))


@api.get("/accounts/<account>/balance")
def get_balance(account: str) -> Response[str]:
    query = api.query_params("month", "rfc", "from", "to")
    if query["from"] is not None or query["to"] is not None:
        return json_response(200, list_months(account, query))
    month = parse_month(query["month"], clock.now())
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    balance = read_balance(account, month, rfc)
    if rfc is None and balance.summary is not None:
        balances.register_issuers(issuer_repository, balance)
    return json_response(200, balance_to_dict(balance))


def read_balance(account: str, month: Month, rfc: Rfc | None = None) -> AccountBalance:
    return balances.get_balance(
        account_repository, pac_access, snapshot_repository, account, month, rfc, api.deadline
    )


def list_months(account: str, query: dict[str, str | None]) -> dict[str, Any]:
    for name in ("month", "rfc"):
        if query[name] is not None:
            detail = f"{name} is not possible with from and to."
            raise TimbresError(PARAMETER_INVALID, detail, field=name)
    months = parse_months(query["from"], query["to"], clock.now())
    return months_to_dict([read_balance(account, month) for month in months])


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    def refresh_account(account: str) -> dict[str, Any]:
        month = schedule.resolve_month(payload)
        balance = balances.balance_from_pac(pac_access, account, month, None, api.deadline)
        balances.register_issuers(issuer_repository, balance)
        return {"month": str(month), "transactions": balance_to_dict(balance)["transactions"]}

    return schedule.for_each_account(account_repository, payload, "balance", refresh_account)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway, or a schedule."""
    return api.handle(event, context, handle_schedule)
