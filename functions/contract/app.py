"""/accounts/{account}/contracts: stamps bought for an issuer, once, and the journal of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain.contract import CONFIRMED, parse_outcome, parse_reason, parse_state
from timbres.domain.rfc import parse_issuer
from timbres.domain.stamps import parse_stamps
from timbres.handlers.container import Parts
from timbres.handlers.http import Gateway, answer, parse_query_rfc
from timbres.services.contracts import Contracts, Order, shown

api = Gateway()
parts = Parts()


@cache
def contracts() -> Contracts:
    return Contracts(
        parts.access,
        parts.journal,
        parts.issuers,
        parts.bus,
    )


@api.post("/accounts/<account>/contracts")
def buy(account: str) -> Response[str]:
    api.query()
    key = api.idempotency_key()
    body = api.body("rfc", "stamps")
    order = Order(parse_issuer(body["rfc"]), parse_stamps(body["stamps"]), key, api.caller())
    contract, again = contracts().buy(account, order, api.deadline)
    headers = {"Idempotent-Replayed": "true"} if again else {}
    return answer(201 if contract.status == CONFIRMED else 202, shown(contract), headers)


@api.get("/accounts/<account>/contracts")
def page(account: str) -> Response[str]:
    query = api.query("rfc", "status", "cursor")
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    status = None if query["status"] is None else parse_state(query["status"])
    return answer(200, contracts().page(account, rfc, status, query["cursor"], api.deadline))


@api.get("/accounts/<account>/contracts/<contract_id>")
def read(account: str, contract_id: str) -> Response[str]:
    api.query()
    contract, history = contracts().told(account, contract_id)
    return answer(200, shown(contract) | {"history": history})


@api.post("/accounts/<account>/contracts/<contract_id>/settlement")
def settle(account: str, contract_id: str) -> Response[str]:
    api.query()
    body = api.body("outcome", "reason")
    outcome, reason = parse_outcome(body["outcome"]), parse_reason(body["reason"])
    settled = contracts().settle(account, contract_id, outcome, reason, api.caller())
    return answer(200, shown(settled))


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
