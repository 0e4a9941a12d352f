"""GET /accounts/{account}/stamps: stamps of issuers and of the account; the known issuers.

A schedule may also start it, with ``{"account": name, "rfc": issuer}``: it stores the count.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.domain import clock
from timbres.domain.date_range import parse_date_range
from timbres.domain.forecast import parse_alert
from timbres.domain.rfc import parse_issuer
from timbres.handlers.dependencies import create_account_repository, create_pac_access
from timbres.handlers.http import HttpHandler, json_response, parse_query_rfc
from timbres.handlers.invocation import logger
from timbres.handlers.settings import get_env
from timbres.repositories.contracts import ContractRepository
from timbres.repositories.daily_counts import SnapshotRepository
from timbres.repositories.issuers import MAX_PAGE, IssuerRepository
from timbres.schemas.issuers import (
    account_stamps_to_dict,
    expiry_to_dict,
    issuer_to_dict,
    snapshot_to_dict,
)
from timbres.services import stamps

api = HttpHandler()
account_repository = create_account_repository()
pac_access = create_pac_access(account_repository, "stamps")
issuer_repository = IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE"))
snapshot_repository = SnapshotRepository(client("dynamodb"), get_env("SNAPSHOTS_TABLE"))
contract_repository = ContractRepository(client("dynamodb"), get_env("CONTRACTS_TABLE"))


@api.get("/accounts/<account>/stamps")
def get_stamps(account: str) -> Response[str]:
    query = api.query_params("rfc", "alert", "limit", "cursor")
    if query["rfc"] is None:
        issuers, next_cursor = stamps.list_issuers(
            account_repository,
            issuer_repository,
            account,
            None if query["alert"] is None else parse_alert(query["alert"]),
            query["cursor"],
            api.page_limit(query["limit"], MAX_PAGE),
            api.deadline,
        )
        items = [{"account": issuer.account} | issuer_to_dict(issuer) for issuer in issuers]
        return json_response(200, {"account": account, "issuers": items, "next": next_cursor})
    return json_response(200, get_current_stamps(account, query["rfc"]))


@api.get("/accounts/<account>/stamps/account")
def get_account_stamps(account: str) -> Response[str]:
    api.query_params()
    current, as_of = stamps.get_current_account_stamps(pac_access, account, api.deadline)
    return json_response(200, account_stamps_to_dict(account, current, as_of))


@api.get("/accounts/<account>/stamps/history")
def get_history(account: str) -> Response[str]:
    query = api.query_params("rfc", "from", "to")
    rfc = parse_query_rfc(query["rfc"])
    first, last = parse_date_range(query["from"], query["to"], clock.now().date())
    days = stamps.list_history(account_repository, snapshot_repository, account, rfc, first, last)
    body = {
        "account": account,
        "rfc": rfc,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "snapshots": [snapshot_to_dict(*day) for day in days],
    }
    return json_response(200, body)


def get_current_stamps(account: str, rfc: object) -> dict[str, Any]:
    repositories = issuer_repository, contract_repository
    issuer, expiry = stamps.get_current(
        pac_access, *repositories, account, parse_issuer(rfc), api.deadline
    )
    return {"account": issuer.account} | issuer_to_dict(issuer) | expiry_to_dict(expiry)


def handle_schedule(payload: dict[str, Any]) -> dict[str, Any]:
    return get_current_stamps(payload["account"], payload.get("rfc"))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway, or a schedule."""
    return api.handle(event, context, handle_schedule)
