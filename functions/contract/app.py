"""/accounts/{account}/contracts: contract stamps for an issuer once, and read the journal."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain.contract import CONFIRMED, parse_outcome, parse_reason, parse_state
from timbres.domain.rfc import parse_issuer
from timbres.domain.stamps import parse_stamps
from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, json_response, logger, parse_query_rfc
from timbres.schemas.contracts import contract_to_dict
from timbres.services.contracts import ContractRequest, ContractService

api = HttpHandler()
container = Container(
    "SECRET_PREFIX",
    "CONTRACTS_TABLE",
    "ISSUERS_TABLE",
    "CREDENTIAL_REJECTIONS_TABLE",
    "EVENT_BUS",
    calls=("contracts",),
)


@cache
def contract_service() -> ContractService:
    return ContractService(
        container.pac_access,
        container.contract_repository,
        container.issuer_repository,
        container.event_publisher,
    )


@api.post("/accounts/<account>/contracts")
def create_contract(account: str) -> Response[str]:
    api.query_params()
    key = api.idempotency_key()
    body = api.json_body("rfc", "stamps")
    request = ContractRequest(
        parse_issuer(body["rfc"]), parse_stamps(body["stamps"]), key, api.caller_arn()
    )
    contract, is_replay = contract_service().create(account, request, api.deadline)
    headers = {"Idempotent-Replayed": "true"} if is_replay else {}
    return json_response(
        201 if contract.status == CONFIRMED else 202, contract_to_dict(contract), headers
    )


@api.get("/accounts/<account>/contracts")
def list_contracts(account: str) -> Response[str]:
    query = api.query_params("rfc", "status", "cursor")
    rfc = None if query["rfc"] is None else parse_query_rfc(query["rfc"])
    status = None if query["status"] is None else parse_state(query["status"])
    contracts, next_cursor = contract_service().list_page(
        account, rfc, status, query["cursor"], api.deadline
    )
    items = [contract_to_dict(contract) for contract in contracts]
    return json_response(200, {"contracts": items, "next": next_cursor})


@api.get("/accounts/<account>/contracts/<contract_id>")
def get_contract(account: str, contract_id: str) -> Response[str]:
    api.query_params()
    contract, history = contract_service().get_with_history(account, contract_id)
    return json_response(200, contract_to_dict(contract) | {"history": history})


@api.post("/accounts/<account>/contracts/<contract_id>/settlement")
def settle_contract(account: str, contract_id: str) -> Response[str]:
    api.query_params()
    body = api.json_body("outcome", "reason")
    outcome, reason = parse_outcome(body["outcome"]), parse_reason(body["reason"])
    contract = contract_service().settle(account, contract_id, outcome, reason, api.caller_arn())
    return json_response(200, contract_to_dict(contract))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway."""
    return api.handle(event, context)
