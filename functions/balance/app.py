"""GET /accounts/{account}/balance: one account's consumption in one month.

Its PAC tells it, or the daily snapshots do where the PAC keeps no balance.

A schedule may start it too, with ``{"account": name or null for every one, "month":
"YYYY-MM", "current" or "previous"}``: the issuers that the balance names are remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain import clock
from timbres.domain.month import parse_month
from timbres.handlers import schedule
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log, parse_query_rfc
from timbres.schemas.balances import balance_to_dict
from timbres.services import balances

api = Gateway()
container = Container(
    "SECRET_PREFIX", "ISSUERS_TABLE", "SNAPSHOTS_TABLE", "REJECTIONS_TABLE", "EVENT_BUS"
)


@api.get("/accounts/<account>/balance")
def read(account: str) -> Response[str]:
    query = api.query("month", "rfc")
    month = parse_month(query["month"], clock.now())
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    found = balances.get_balance(
        container.accounts, container.access, container.snapshots, account, month, rfc, api.deadline
    )
    return answer(200, balance_to_dict(found))


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    def refresh_account(account: str) -> dict[str, Any]:
        month = schedule.month(wanted)
        balance = balances.balance_from_pac(container.access, account, month, None, api.deadline)
        balances.learn(container.issuers, balance)
        return {"month": str(month), "transactions": balance_to_dict(balance)["transactions"]}

    return schedule.each(container.accounts, wanted, "balance", refresh_account)


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
