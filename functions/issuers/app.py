"""/accounts/{account}/issuers: the issuers to be watched, imported as a list and removed."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response

from timbres.domain.issuer_import import read_csv, read_json
from timbres.domain.rfc import parse_rfc, shown
from timbres.errors import BODY_INVALID, PARAMETER_INVALID, TimbresError
from timbres.handlers.container import Container
from timbres.handlers.http import Gateway, answer, log
from timbres.services import issuers

# 10,000 rows, with room for blanks and names of members.
MOST_BYTES = 2 * 1024 * 1024
READERS = {"application/json": read_json, "text/csv": read_csv}

api = Gateway()
container = Container("SECRET_PREFIX", "ISSUERS_TABLE")


@api.put("/accounts/<account>/issuers")
def keep(account: str) -> Response[str]:
    wanted = api.query("keep")["keep"] or "none"
    if wanted not in ("none", "good"):
        raise TimbresError(
            PARAMETER_INVALID,
            f"{shown(wanted)}: expected none (keep nothing if a row is bad) or good (keep the "
            "good rows).",
            field="keep",
        )
    media_type, text = api.text(MOST_BYTES)
    reader = READERS.get(media_type)
    if reader is None:
        raise TimbresError(
            BODY_INVALID,
            f"{shown(media_type)} is no type of this route: expected {' or '.join(READERS)}.",
            field="Content-Type",
        )
    kept = issuers.keep(
        container.accounts, container.issuers, account, reader(text), wanted == "good"
    )
    return answer(200, kept)


@api.delete("/accounts/<account>/issuers")
def remove(account: str) -> Response[str]:
    rfc = parse_rfc(api.query("rfc")["rfc"])
    return answer(200, issuers.remove(container.accounts, container.issuers, account, rfc))


@log.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of the gateway."""
    return api.run(event, context)
