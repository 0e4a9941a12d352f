"""What each route takes and answers; the routes themselves are template.yaml's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from timbres import errors
from timbres.domain.contract import STATES, new_contract
from timbres.domain.rfc import Rfc
from timbres.errors import ProblemType
from timbres.pacs import errors as codes
from timbres.pacs.registry import PACS
from tools.openapi.examples import CONTRACT, EXAMPLES
from tools.openapi.schemas import (
    ACCOUNT_PATTERN,
    MONTH_PATTERN,
    RFC_SENT,
    Schema,
    one_of,
    ref,
    text,
)


@dataclass(frozen=True)
class Success:
    """An answer that is no error: one of the schemas named, or a page of HTML for none."""

    description: str
    schema: tuple[str, ...]
    headers: tuple[str, ...] = ()
    links: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One route. ``kinds`` are the errors that its function may answer, besides everyone's."""

    id: str
    tag: str
    summary: str
    successes: dict[int, Success]
    kinds: tuple[ProblemType, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None
    description: str = ""
    signed: bool = True


def _parameter(
    name: str, schema: Schema, description: str, *, place: str = "query", required: bool = False
) -> dict[str, Any]:
    example = EXAMPLES.get(name)
    return {
        "name": name,
        "in": place,
        "required": required or place == "path",
        "description": description,
        "schema": schema,
        **({} if example is None else {"example": example}),
    }


def _account(example: str, *, every: bool = False) -> dict[str, Any]:
    description = "An account's name" + (
        ", or `all` for reports over every account." if every else "."
    )
    schema = text(pattern=ACCOUNT_PATTERN)
    return _parameter("account", schema, description, place="path") | {"example": example}


def _json_body(schema: str, example: Any) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": ref(schema), "example": example}},
    }


def not_bought() -> ProblemType:
    """Return what a purchase found not to have happened is answered with."""
    now = datetime.now(UTC)
    rejection = new_contract("acme-sf", "", Rfc(""), 1, "", "", now).abandon(now).rejection
    if rejection is None:
        raise LookupError("a contract withdrawn has no refusal")
    return ProblemType(rejection.code, rejection.title)


SF, RC = _account("acme-sf"), _account("acme-rc")
ANY = _account("acme-rc", every=True)
_RFC_SCHEMA = {key: value for key, value in RFC_SENT.items() if key != "description"}
_RFC_WORDS = "An issuer's RFC, `&` written `%26`; lower case is put right."
RFC = _parameter("rfc", _RFC_SCHEMA, _RFC_WORDS)
RFC_REQUIRED = _parameter("rfc", _RFC_SCHEMA, _RFC_WORDS, required=True)
CURSOR = _parameter(
    "cursor", text(), "Where to go on: the value of `next` in the page before, as it was given."
)
_MONTH_SCHEMA = text(pattern=MONTH_PATTERN)
_MONTH_WORDS = "A calendar month in Mexico City, `YYYY-MM`, the current one at the latest."
MONTH = _parameter("month", _MONTH_SCHEMA, _MONTH_WORDS)
MONTH_REQUIRED = _parameter("month", _MONTH_SCHEMA, _MONTH_WORDS, required=True)
_ID_WORDS = "As the list has it."
CONTRACT_ID = _parameter("id", text(), _ID_WORDS, place="path") | {"example": CONTRACT["id"]}
REPORT_ID = _parameter("id", text(), _ID_WORDS, place="path") | {
    "example": "2026-10-statement-pdf-0001"
}
RUN_ID = _parameter("id", text(), _ID_WORDS, place="path") | {"example": "2026-11-21-050000"}

_ACCOUNT_KINDS = (errors.ACCOUNT_NOT_FOUND, errors.ACCOUNT_MISCONFIGURED)
_BODY_KINDS = (errors.BODY_INVALID, errors.BODY_TOO_LARGE)
_RFC_KINDS = (errors.RFC_INVALID, errors.RFC_GENERIC)
_ASKED_PAC = (
    codes.UNREACHABLE,
    codes.TIMEOUT,
    codes.PROTOCOL_ERROR,
    errors.CREDENTIALS_ON_TRIAL,
    errors.DEADLINE_EXCEEDED,
)


def _pac_kinds(capability: str) -> Iterator[ProblemType]:
    """Yield what the PACs that offer a capability may answer."""
    for pac in PACS.values():
        yield from pac.errors.get(capability, ())


_CONTRACT_KINDS = (*_ACCOUNT_KINDS, errors.OPERATION_UNSUPPORTED)

# Everyone's, of what is signed.
COMMON = (
    errors.PARAMETER_INVALID,
    errors.ANSWER_TOO_LARGE,
    errors.AWS_SERVICE_UNAVAILABLE,
    errors.INTERNAL_ERROR,
)


def _link(operation: str, id_at: str = "$response.body#/id", **parameters: str) -> dict[str, Any]:
    return {operation: {"operationId": operation, "parameters": parameters | {"id": id_at}}}


_ACCOUNT_OF_PATH = {"account": "$request.path.account"}
_THE_CONTRACT = _link("getContract", **_ACCOUNT_OF_PATH) | _link(
    "settleContract", **_ACCOUNT_OF_PATH
)
_THE_REPORT = _link("getReport", **_ACCOUNT_OF_PATH) | _link(
    "revokeDownloadTokens", **_ACCOUNT_OF_PATH
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/accounts"): Operation(
        "listAccounts",
        "accounts",
        "The accounts there are, and what each can do",
        {200: Success("Every account; never a credential.", ("Accounts",))},
    ),
    ("GET", "/accounts/{account}/balance"): Operation(
        "getBalance",
        "stamps",
        "What an account's issuers consumed in a month",
        {
            200: Success(
                "Totals, totals by RFC and by kind, and the first 5,000 movements.", ("Balance",)
            )
        },
        (
            *_ACCOUNT_KINDS,
            errors.MONTH_INVALID,
            errors.RFC_INVALID,
            *_pac_kinds("balance"),
            *_ASKED_PAC,
        ),
        (RC, MONTH_REQUIRED, RFC),
        description="The PAC tells it, or Timbres' daily snapshots where the PAC keeps none.",
    ),
    ("GET", "/accounts/{account}/stamps"): Operation(
        "getStamps",
        "stamps",
        "One issuer's stamps, live; or the known issuers",
        {
            200: Success(
                "With `rfc`: its stamps as the PAC counts them now. Without: the known issuers "
                "with their last counts, from Timbres' own memory, the most urgent first.",
                ("StampCount", "KnownIssuers"),
            )
        },
        (
            *_ACCOUNT_KINDS,
            *_RFC_KINDS,
            errors.OPERATION_UNSUPPORTED,
            *_pac_kinds("stamps"),
            *_ASKED_PAC,
        ),
        (SF, RFC, CURSOR),
    ),
    ("GET", "/accounts/{account}/stamps/history"): Operation(
        "getStampHistory",
        "stamps",
        "An issuer's daily snapshots",
        {200: Success("The snapshots there are, oldest first.", ("StampHistory",))},
        (*_ACCOUNT_KINDS, errors.RFC_INVALID),
        (
            SF,
            RFC_REQUIRED,
            _parameter(
                "from", text(format="date"), "The first day; 29 days before `to` if absent."
            ),
            _parameter(
                "to", text(format="date"), "The last day; today if absent. 400 days at most."
            ),
        ),
    ),
    ("PUT", "/accounts/{account}/issuers"): Operation(
        "importIssuers",
        "issuers",
        "Import issuers to be watched",
        {200: Success("What was kept.", ("IssuersKept",))},
        (*_ACCOUNT_KINDS, *_BODY_KINDS, errors.ISSUERS_INVALID),
        (
            SF,
            _parameter(
                "keep",
                one_of(("none", "good"), default="none"),
                "With bad rows: keep `none` (422, which names each) or the `good` ones.",
            ),
        ),
        {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("IssuerList"),
                    "example": ["ÑAN840101AB1", {"rfc": "A&D061009TY8", "low_stamps": 300}],
                },
                "text/csv": {
                    "schema": text("Columns `rfc` and, if wanted, `low_stamps`."),
                    "example": "rfc,low_stamps\nA&D061009TY8,300\nÑAN840101AB1,\n",
                },
            },
        },
        "1 to 10,000 rows, 2 MiB at most. Issuers known before and not in the list stay.",
    ),
    ("DELETE", "/accounts/{account}/issuers"): Operation(
        "removeIssuer",
        "issuers",
        "Stop watching an issuer",
        {200: Success("It is no longer watched; its snapshots stay.", ("IssuerRemoved",))},
        (*_ACCOUNT_KINDS, errors.RFC_INVALID, errors.ISSUER_NOT_FOUND),
        (SF, RFC_REQUIRED),
    ),
    ("GET", "/runs"): Operation(
        "listRuns",
        "runs",
        "The daily runs",
        {
            200: Success(
                "A page of runs.", ("Runs",), links=_link("getRun", "$response.body#/runs/0/id")
            )
        },
        (),
        (CURSOR,),
    ),
    ("GET", "/runs/{id}"): Operation(
        "getRun",
        "runs",
        "How far a daily run is",
        {200: Success("The run, with its sums and its accounts.", ("Run",))},
        (errors.RUN_NOT_FOUND,),
        (RUN_ID,),
    ),
    ("POST", "/accounts/{account}/contracts"): Operation(
        "createContract",
        "contracts",
        "Buy stamps for an issuer, exactly once",
        {
            201: Success(
                "Bought, now or under this key before.",
                ("Contract",),
                ("Idempotent-Replayed",),
                _THE_CONTRACT,
            ),
            202: Success(
                "Sent, but the PAC's answer was lost: whether it was bought is found out by "
                "itself. Never order again under another key before this one is settled.",
                ("Contract",),
                ("Idempotent-Replayed",),
                _THE_CONTRACT,
            ),
        },
        (
            *_CONTRACT_KINDS,
            *_BODY_KINDS,
            *_RFC_KINDS,
            *_ASKED_PAC,
            *_pac_kinds("contracts"),
            errors.STAMPS_INVALID,
            errors.CONTRACT_LIMIT_EXCEEDED,
            errors.DAILY_LIMIT_EXCEEDED,
            errors.IDEMPOTENCY_KEY_INVALID,
            errors.IDEMPOTENCY_KEY_REUSED,
            errors.CONTRACT_PENDING,
            errors.CONTRACT_IN_FLIGHT,
            errors.ACCOUNT_LOGIN_CHANGED,
            not_bought(),
        ),
        (
            SF,
            _parameter(
                "Idempotency-Key",
                text(pattern="^[!-~]([ -~]{0,253}[!-~])?$"),
                "1 to 255 printable ASCII characters, new for each purchase, such as a UUID. The "
                "same key with the same body gives the same contract for ever.",
                place="header",
                required=True,
            ),
        ),
        _json_body("Order", {"rfc": "A&D061009TY8", "stamps": 500}),
        "Any 4xx or 5xx that carries `contract` with the status `rejected` means that nothing was "
        "bought. After a 5xx without one, repeat the request with the same key.",
    ),
    ("GET", "/accounts/{account}/contracts"): Operation(
        "listContracts",
        "contracts",
        "The journal of contracts",
        {200: Success("A page of contracts.", ("Contracts",))},
        (*_CONTRACT_KINDS, errors.RFC_INVALID),
        (SF, RFC, _parameter("status", one_of(STATES), "Only those in this state."), CURSOR),
    ),
    ("GET", "/accounts/{account}/contracts/{id}"): Operation(
        "getContract",
        "contracts",
        "A contract and its history",
        {200: Success("The contract.", ("ContractWithHistory",))},
        (*_CONTRACT_KINDS, errors.CONTRACT_NOT_FOUND),
        (SF, CONTRACT_ID),
    ),
    ("POST", "/accounts/{account}/contracts/{id}/settlement"): Operation(
        "settleContract",
        "contracts",
        "Settle a contract that needs a review",
        {200: Success("The contract, settled.", ("Contract",))},
        (
            *_CONTRACT_KINDS,
            *_BODY_KINDS,
            errors.CONTRACT_NOT_FOUND,
            errors.CONTRACT_NOT_UNDER_REVIEW,
        ),
        (SF, CONTRACT_ID),
        _json_body(
            "Settlement",
            {"outcome": "confirmed", "reason": "The PAC's portal shows 1,500 stamps."},
        ),
    ),
    ("POST", "/accounts/{account}/reports"): Operation(
        "requestReport",
        "reports",
        "Ask for a month's report",
        {
            202: Success(
                "It is being made; `Location` says where to look.",
                ("Report",),
                ("Location",),
                _THE_REPORT,
            )
        },
        (
            *_ACCOUNT_KINDS,
            *_BODY_KINDS,
            errors.MONTH_INVALID,
            errors.OPERATION_UNSUPPORTED,
        ),
        (ANY,),
        _json_body("ReportWanted", {"month": "2026-10", "kind": "statement", "format": "pdf"}),
    ),
    ("GET", "/accounts/{account}/reports"): Operation(
        "listReports",
        "reports",
        "What reports there are",
        {200: Success("A page of reports.", ("Reports",))},
        (*_ACCOUNT_KINDS, errors.MONTH_INVALID),
        (ANY, MONTH, CURSOR),
    ),
    ("GET", "/accounts/{account}/reports/{id}"): Operation(
        "getReport",
        "reports",
        "Fetch a report",
        {
            200: Success(
                "With `redirect=false`: the report, with a link once it is ready.", ("Report",)
            ),
            202: Success("Not ready yet.", ("Report",), ("Retry-After",)),
            302: Success("To a link that needs no key for 15 minutes.", ("Report",), ("Location",)),
        },
        (*_ACCOUNT_KINDS, errors.REPORT_NOT_FOUND, errors.REPORT_FAILED),
        (
            ANY,
            REPORT_ID,
            _parameter(
                "redirect",
                one_of(("true", "false"), default="true"),
                "`false`: answer JSON with the link instead.",
            ),
        ),
    ),
    ("DELETE", "/accounts/{account}/reports/{id}/tokens"): Operation(
        "revokeDownloadTokens",
        "reports",
        "Make every mailed link to a report no good",
        {200: Success("How many links there were.", ("TicketsRevoked",))},
        (errors.ACCOUNT_NOT_FOUND, errors.REPORT_NOT_FOUND),
        (ANY, REPORT_ID),
    ),
    ("GET", "/d/{token}"): Operation(
        "openDownloadLink",
        "tickets",
        "What a mailed link leads to",
        {
            302: Success("To a link that needs no key for 5 minutes.", (), ("Location",)),
            404: Success("A page in Spanish: the link is no good, or no longer.", ()),
            503: Success("A page in Spanish: try again.", (), ("Retry-After",)),
        },
        parameters=(
            _parameter("ticket", text(), "The secret in a mailed link.", place="path")
            | {"example": "0" * 43},
        ),
        description="For people: no key, no JSON. A ticket is good for one report, for 30 days, "
        "until it is revoked.",
        signed=False,
    ),
}
