"""GET /accounts/{account}/stamps: one issuer's stamps live, or the known issuers.

A schedule may start it too, with ``{"account": name or null for every one, "rfc": one
issuer or null for all known}``: the counts are remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.api import schedule
from timbres.api.gateway import Gateway, answer
from timbres.api.parts import Parts
from timbres.domain.rfc import parse_issuer
from timbres.work import stamp_count

api = Gateway()
parts = Parts()


@api.get("/accounts/<account>/stamps")
def read(account: str) -> Response[str]:
    query = api.query("rfc", "cursor")
    if query["rfc"] is None:
        return answer(200, stamp_count.known(parts.access, parts.issuers, account, query["cursor"]))
    rfc = parse_issuer(query["rfc"])
    return answer(200, stamp_count.live(parts.access, parts.issuers, account, rfc, api.deadline))


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    def one(account: str) -> dict[str, Any]:
        if wanted.get("rfc") is None:
            return stamp_count.count_known(parts.access, parts.issuers, account, api.deadline)
        rfc = parse_issuer(wanted["rfc"])
        return stamp_count.live(parts.access, parts.issuers, account, rfc, api.deadline)

    return schedule.each(parts.access.accounts, wanted, "stamps", one)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
