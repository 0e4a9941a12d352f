"""/accounts/{account}/contracts: contract stamps for an issuer once, and read the journal."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.domain.contract import (
    CONFIRMED,
    ContractFilter,
    parse_outcome,
    parse_reason,
    parse_reference,
    parse_state,
)
from timbres.domain.date_range import parse_open_range
from timbres.domain.rfc import parse_issuer
from timbres.domain.stamps import parse_stamps
from timbres.errors import BODY_INVALID, TimbresError
from timbres.handlers.dependencies import (
    create_account_repository,
    create_event_publisher,
    create_pac_access,
)
from timbres.handlers.http import HttpHandler, json_response, parse_query_rfc
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.repositories.contracts import MAX_PAGE, ContractRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import IssuerRepository
from timbres.schemas.contracts import contract_to_dict
from timbres.services.contracts import ContractRequest, ContractService

api = HttpHandler()
# Every contract publishes an event.
client("events")
contract_service = ContractService(
    create_pac_access(create_account_repository(), "contracts"),
    ContractRepository(client("dynamodb"), get_env("CONTRACTS_TABLE")),
    IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE")),
    SnapshotRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE")),
    create_event_publisher(),
)


@api.post("/accounts/<account>/contracts")
def create_contract(account: str) -> Response[str]:
    api.query_params()
    key = api.idempotency_key()
    body = api.json_body("rfc", "stamps", optional=("reference", "new_issuer"))
    request = ContractRequest(
        parse_issuer(body["rfc"]),
        parse_stamps(body["stamps"]),
        key,
        api.caller_arn(),
        parse_reference(body.get("reference")),
        _parse_flag(body, "new_issuer"),
    )
    contract, is_replay = contract_service.create(account, request, api.deadline)
    headers = {"Idempotent-Replayed": "true"} if is_replay else {}
    return json_response(
        201 if contract.status == CONFIRMED else 202, contract_to_dict(contract), headers
    )


@api.get("/accounts/<account>/contracts")
def list_contracts(account: str) -> Response[str]:
    query = api.query_params(
        "rfc", "status", "from", "to", "reference", "idempotency_key", "limit", "cursor"
    )
    first, last = parse_open_range(query["from"], query["to"])
    criteria = ContractFilter(
        None if query["rfc"] is None else parse_query_rfc(query["rfc"]),
        None if query["status"] is None else parse_state(query["status"]),
        parse_reference(query["reference"]),
        query["idempotency_key"],
        first,
        last,
    )
    limit = api.page_limit(query["limit"], MAX_PAGE)
    contracts, next_cursor = contract_service.list_page(
        account, criteria, query["cursor"], api.deadline, limit
    )
    items = [contract_to_dict(contract) for contract in contracts]
    return json_response(200, {"contracts": items, "next": next_cursor})


@api.get("/accounts/<account>/contracts/<contract_id>")
def get_contract(account: str, contract_id: str) -> Response[str]:
    api.query_params()
    contract, history = contract_service.get_with_history(account, contract_id)
    return json_response(200, contract_to_dict(contract) | {"history": history})


@api.post("/accounts/<account>/contracts/<contract_id>/settlement")
def settle_contract(account: str, contract_id: str) -> Response[str]:
    api.query_params()
    body = api.json_body("outcome", "reason")
    outcome, reason = parse_outcome(body["outcome"]), parse_reason(body["reason"])
    contract = contract_service.settle(account, contract_id, outcome, reason, api.caller_arn())
    return json_response(200, contract_to_dict(contract))


def _parse_flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise TimbresError(BODY_INVALID, f"{name}: expected true or false.", field=name)
    return value


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway."""
    return api.handle(event, context)
