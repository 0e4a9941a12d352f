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
from timbres.domain.rfc import parse_rfc
from timbres.handlers import schedule
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log
from timbres.services import balances as balance

api = Gateway()
container = Container(
    "SECRET_PREFIX", "ISSUERS_TABLE", "SNAPSHOTS_TABLE", "REJECTIONS_TABLE", "EVENT_BUS"
)


@api.get("/accounts/<account>/balance")
def read(account: str) -> Response[str]:
    query = api.query("month", "rfc")
    month = parse_month(query["month"], clock.now())
    rfc = None if query["rfc"] is None else parse_rfc(query["rfc"])
    found = container.accounts.get(account)
    if "balance" in found.pac.can:
        return answer(200, balance.of_month(container.access, account, month, rfc, api.deadline))
    return answer(200, balance.of_snapshots(found, container.snapshots, month, rfc, api.deadline))


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    def one(account: str) -> dict[str, Any]:
        month = schedule.month(wanted)
        found = balance.of_month(container.access, account, month, None, api.deadline)
        balance.learn(container.issuers, found)
        return {"month": str(month), "transactions": found["transactions"]}

    return schedule.each(container.access.accounts, wanted, "balance", one)


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
