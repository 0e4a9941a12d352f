"""GET /accounts/{account}/stamps: one issuer's stamps live, the known issuers, their history.

A schedule may start it too, with ``{"account": name, "rfc": issuer}``: the count is remembered.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain import clock
from timbres.domain.date_range import parse_period
from timbres.domain.rfc import parse_issuer
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log, parse_query_rfc
from timbres.schemas.issuers import issuer_to_dict, snapshot_to_dict
from timbres.services import stamps

api = Gateway()
container = Container(
    "SECRET_PREFIX", "ISSUERS_TABLE", "SNAPSHOTS_TABLE", "REJECTIONS_TABLE", "EVENT_BUS"
)


@api.get("/accounts/<account>/stamps")
def read(account: str) -> Response[str]:
    query = api.query("rfc", "cursor")
    if query["rfc"] is None:
        found, rest = stamps.known(container.accounts, container.issuers, account, query["cursor"])
        listed = [issuer_to_dict(issuer) for issuer in found]
        return answer(200, {"account": account, "issuers": listed, "next": rest})
    return answer(200, live(account, query["rfc"]))


@api.get("/accounts/<account>/stamps/history")
def history(account: str) -> Response[str]:
    query = api.query("rfc", "from", "to")
    rfc = parse_query_rfc(query["rfc"])
    first, last = parse_period(query["from"], query["to"], clock.now().date())
    days = stamps.history(container.accounts, container.snapshots, account, rfc, first, last)
    body = {
        "account": account,
        "rfc": rfc,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "snapshots": [snapshot_to_dict(*day) for day in days],
    }
    return answer(200, body)


def live(account: str, rfc: object) -> dict[str, Any]:
    issuer = stamps.live(
        container.access, container.issuers, account, parse_issuer(rfc), api.deadline
    )
    return {"account": issuer.account} | issuer_to_dict(issuer)


def scheduled(wanted: dict[str, Any]) -> dict[str, Any]:
    return live(wanted["account"], wanted.get("rfc"))


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway, or a start by a schedule."""
    return api.run(event, context, scheduled)
