"""GET /accounts/{account}/stamps: one issuer's stamps live, the known issuers, their history.

A schedule may start it too, with ``{"account": name, "rfc": issuer}``: the count is remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain import clock
from timbres.domain.date_range import parse_period
from timbres.domain.rfc import parse_issuer
from timbres.handlers.container import Parts
from timbres.handlers.http import Gateway, answer, parse_query_rfc
from timbres.services import stamps as stamp_count

api = Gateway()
parts = Parts()


@api.get("/accounts/<account>/stamps")
def read(account: str) -> Response[str]:
    query = api.query("rfc", "cursor")
    if query["rfc"] is None:
        known = stamp_count.known(parts.accounts, parts.issuers, account, query["cursor"])
        return answer(200, known)
    rfc = parse_query_rfc(query["rfc"], parse_issuer)
    return answer(200, stamp_count.live(parts.access, parts.issuers, account, rfc, api.deadline))


@api.get("/accounts/<account>/stamps/history")
def history(account: str) -> Response[str]:
    query = api.query("rfc", "from", "to")
    rfc = parse_query_rfc(query["rfc"])
    first, last = parse_period(query["from"], query["to"], clock.now().date())
    return answer(
        200, stamp_count.history(parts.accounts, parts.snapshots, account, rfc, first, last)
    )


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    rfc = parse_issuer(wanted.get("rfc"))
    return stamp_count.live(parts.access, parts.issuers, wanted["account"], rfc, api.deadline)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
