"""/accounts/{account}/issuers: import issuers from a list, and remove one."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain.text import quote_input
from timbres.errors import BODY_INVALID, TimbresError
from timbres.handlers.container import Container
from timbres.handlers.http import HttpHandler, json_response, logger, parse_query_rfc
from timbres.handlers.issuer_import_parser import PARSERS
from timbres.services import issuers

# Enough for 10,000 rows with whitespace and member names.
MAX_BYTES = 2 * 1024 * 1024

api = HttpHandler()
container = Container("SECRET_PREFIX", "ISSUERS_TABLE")


@api.put("/accounts/<account>/issuers")
def import_issuers(account: str) -> Response[str]:
    mode = issuers.parse_import_mode(api.query_params("on_invalid")["on_invalid"])
    media_type, text = api.text_body(MAX_BYTES)
    parse = PARSERS.get(media_type)
    if parse is None:
        raise TimbresError(
            BODY_INVALID,
            f"Unsupported media type: {quote_input(media_type)}; expected {' or '.join(PARSERS)}.",
            field="Content-Type",
        )
    result = issuers.import_issuers(
        container.account_repository, container.issuer_repository, account, parse(text), mode
    )
    return json_response(200, result)


@api.delete("/accounts/<account>/issuers")
def remove_issuer(account: str) -> Response[str]:
    rfc = api.query_params("rfc")["rfc"]
    result = issuers.remove(
        container.account_repository, container.issuer_repository, account, rfc, parse_query_rfc
    )
    return json_response(200, result)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a request of API Gateway."""
    return api.handle(event, context)
