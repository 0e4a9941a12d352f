"""/accounts/{account}/contracts: stamps bought for an issuer, once, and the journal of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain.contract import CONFIRMED, parse_outcome, parse_reason, parse_state
from timbres.domain.rfc import parse_issuer
from timbres.domain.stamps import parse_stamps
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log, parse_query_rfc
from timbres.schemas.contracts import contract_to_dict
from timbres.services.contracts import Contracts, Order

api = Gateway()
container = Container(
    "SECRET_PREFIX", "JOURNAL_TABLE", "ISSUERS_TABLE", "REJECTIONS_TABLE", "EVENT_BUS"
)


@cache
def contracts() -> Contracts:
    return Contracts(
        container.access,
        container.journal,
        container.issuers,
        container.bus,
    )


@api.post("/accounts/<account>/contracts")
def buy(account: str) -> Response[str]:
    api.query()
    key = api.idempotency_key()
    body = api.body("rfc", "stamps")
    order = Order(parse_issuer(body["rfc"]), parse_stamps(body["stamps"]), key, api.caller())
    contract, again = contracts().buy(account, order, api.deadline)
    headers = {"Idempotent-Replayed": "true"} if again else {}
    return answer(201 if contract.status == CONFIRMED else 202, contract_to_dict(contract), headers)


@api.get("/accounts/<account>/contracts")
def page(account: str) -> Response[str]:
    query = api.query("rfc", "status", "cursor")
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    status = None if query["status"] is None else parse_state(query["status"])
    found, rest = contracts().page(account, rfc, status, query["cursor"], api.deadline)
    return answer(200, {"contracts": [contract_to_dict(one) for one in found], "next": rest})


@api.get("/accounts/<account>/contracts/<contract_id>")
def read(account: str, contract_id: str) -> Response[str]:
    api.query()
    contract, history = contracts().told(account, contract_id)
    return answer(200, contract_to_dict(contract) | {"history": history})


@api.post("/accounts/<account>/contracts/<contract_id>/settlement")
def settle(account: str, contract_id: str) -> Response[str]:
    api.query()
    body = api.body("outcome", "reason")
    outcome, reason = parse_outcome(body["outcome"]), parse_reason(body["reason"])
    settled = contracts().settle(account, contract_id, outcome, reason, api.caller())
    return answer(200, contract_to_dict(settled))


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
