"""/accounts/{account}/issuers: list, import and remove issuers."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.aws.clients import client
from timbres.domain.text import quote_input
from timbres.errors import BODY_INVALID, TimbresError
from timbres.handlers.dependencies import create_account_repository
from timbres.handlers.http import HttpHandler, json_response, parse_query_rfc
from timbres.handlers.invocation import logger
from timbres.handlers.issuer_import_parser import PARSERS
from timbres.handlers.settings import get_env
from timbres.repositories.issuers import MAX_PAGE, IssuerRepository
from timbres.schemas.issuers import listed_issuer_to_dict
from timbres.services import issuers

# Enough for 10,000 rows with whitespace and member names.
MAX_BYTES = 2 * 1024 * 1024

api = HttpHandler()
account_repository = create_account_repository()
issuer_repository = IssuerRepository(client("dynamodb"), get_env("ISSUERS_TABLE"))


@api.get("/accounts/<account>/issuers")
def list_issuers(account: str) -> Response[str]:
    query = api.query_params("limit", "cursor")
    limit, name = api.page_limit(query["limit"], MAX_PAGE), account_repository.get(account).name
    listed, next_cursor = issuer_repository.list_known(name, query["cursor"], limit)
    items = [listed_issuer_to_dict(issuer) for issuer in listed]
    return json_response(200, {"account": account, "issuers": items, "next": next_cursor})


@api.put("/accounts/<account>/issuers")
def import_issuers(account: str) -> Response[str]:
    query = api.query_params("mode", "on_invalid")
    mode = issuers.parse_import_mode(query["on_invalid"], query["mode"])
    media_type, text = api.text_body(MAX_BYTES)
    parse = PARSERS.get(media_type)
    if parse is None:
        raise TimbresError(
            BODY_INVALID,
            f"Unsupported media type: {quote_input(media_type)}; expected {' or '.join(PARSERS)}.",
            field="Content-Type",
        )
    result = issuers.import_issuers(
        account_repository, issuer_repository, account, parse(text), mode
    )
    return json_response(200, result)


@api.delete("/accounts/<account>/issuers")
def remove_issuers(account: str) -> Response[str]:
    rfcs = api.query_values("rfc")
    repositories = account_repository, issuer_repository
    result = (
        issuers.remove_many(*repositories, account, rfcs)
        if len(rfcs) > 1
        else issuers.remove(*repositories, account, next(iter(rfcs), None), parse_query_rfc)
    )
    return json_response(200, result)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway."""
    return api.handle(event, context)
