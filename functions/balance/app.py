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
from timbres.handlers.container import Parts
from timbres.handlers.http import Gateway, answer, parse_query_rfc
from timbres.services import balances as balance

api = Gateway()
parts = Parts()


@api.get("/accounts/<account>/balance")
def read(account: str) -> Response[str]:
    query = api.query("month", "rfc")
    month = parse_month(query["month"], clock.now())
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    found = parts.accounts.get(account)
    if "balance" in found.pac.can:
        return answer(200, balance.of_month(parts.access, account, month, rfc, api.deadline))
    return answer(200, balance.of_snapshots(found, parts.snapshots, month, rfc, api.deadline))


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    def one(account: str) -> dict[str, Any]:
        month = schedule.month(wanted)
        found = balance.of_month(parts.access, account, month, None, api.deadline)
        balance.learn(parts.issuers, found)
        return {"month": str(month), "transactions": found["transactions"]}

    return schedule.each(parts.access.accounts, wanted, "balance", one)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
