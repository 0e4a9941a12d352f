"""GET /accounts/{account}/stamps: one issuer's stamps live, the known issuers, their history.

A schedule may start it too, with ``{"account": name, "rfc": issuer}``: the count is remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain import clock
from timbres.domain.date_range import parse_period
from timbres.domain.rfc import parse_issuer, parse_rfc
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log
from timbres.services import stamps as stamp_count

api = Gateway()
container = Container(
    "SECRET_PREFIX", "ISSUERS_TABLE", "SNAPSHOTS_TABLE", "REJECTIONS_TABLE", "EVENT_BUS"
)


@api.get("/accounts/<account>/stamps")
def read(account: str) -> Response[str]:
    query = api.query("rfc", "cursor")
    if query["rfc"] is None:
        known = stamp_count.known(container.accounts, container.issuers, account, query["cursor"])
        return answer(200, known)
    rfc = parse_issuer(query["rfc"])
    return answer(
        200, stamp_count.live(container.access, container.issuers, account, rfc, api.deadline)
    )


@api.get("/accounts/<account>/stamps/history")
def history(account: str) -> Response[str]:
    query = api.query("rfc", "from", "to")
    rfc = parse_rfc(query["rfc"])
    first, last = parse_period(query["from"], query["to"], clock.now().date())
    return answer(
        200, stamp_count.history(container.accounts, container.snapshots, account, rfc, first, last)
    )


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    rfc = parse_issuer(wanted.get("rfc"))
    return stamp_count.live(
        container.access, container.issuers, wanted["account"], rfc, api.deadline
    )


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
