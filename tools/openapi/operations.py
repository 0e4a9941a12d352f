"""Parameters, bodies and responses of each route of template.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from timbres import errors
from timbres.domain.contract import STATES, Contract
from timbres.domain.forecast import EXHAUSTED, LOW
from timbres.domain.rfc import Rfc
from timbres.errors import ProblemType
from timbres.pacs import errors as codes
from timbres.pacs.registry import PACS
from timbres.repositories.contracts import MAX_PAGE as CONTRACTS_PAGE
from timbres.repositories.issuers import MAX_PAGE as ISSUERS_PAGE
from timbres.repositories.reports import MAX_PAGE as REPORTS_PAGE
from timbres.repositories.runs import MAX_PAGE as RUNS_PAGE
from timbres.services.issuers import MAX_REMOVED
from tools.openapi.examples import CONTRACT, EXAMPLES
from tools.openapi.schemas import (
    ACCOUNT_PATTERN,
    MONTH_PATTERN,
    PERIOD_PATTERN,
    RFC_SENT,
    Schema,
    array_of,
    one_of,
    ref,
    text,
)


@dataclass(frozen=True)
class Success:
    """A successful response: one of the named schemas, or an HTML page if none is named."""

    description: str
    schemas: str = ""
    headers: str = ""
    links: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One route. ``problem_types`` are the errors of its function, besides the common errors."""

    id: str
    tag: str
    summary: str
    successes: dict[int, Success]
    problem_types: tuple[ProblemType, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None
    description: str = ""
    signed: bool = True


def _parameter(
    name: str,
    schema: Schema,
    description: str,
    *,
    place: str = "query",
    required: bool = False,
    example: Any = None,
) -> dict[str, Any]:
    example = EXAMPLES.get(name) if example is None else example
    return {
        "name": name,
        "in": place,
        "required": required or place == "path",
        "description": description,
        "schema": schema,
        **({} if example is None else {"example": example}),
    }


def _limit(maximum: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": maximum, "default": maximum}
    return _parameter("limit", schema, "The number of items of a page.")


def _account(example: str, *, allow_all: bool = False) -> dict[str, Any]:
    description = "An account's name" + (", or `all` accounts." if allow_all else ".")
    return _parameter("account", _ACCOUNT_SCHEMA, description, place="path", example=example)


def _id(example: str) -> dict[str, Any]:
    return _parameter("id", text(), "An id of the list.", place="path", example=example)


def _body(schema: str, example: Any, **others: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": ref(schema), "example": example}}
    return {"required": True, "content": content | others}


def contract_not_created() -> ProblemType:
    """Return the error of a contract that the PAC did not create."""
    now = datetime.now(UTC)
    rejection = Contract.create("acme-sf", "", Rfc(""), 1, "", "", now).abandon(now).rejection
    if rejection is None:
        raise LookupError("an abandoned contract has no rejection")
    return ProblemType(rejection.code, rejection.title)


def _pac_errors(capability: str) -> Iterator[ProblemType]:
    """Yield the errors of the PACs that offer a capability."""
    for pac in PACS.values():
        yield from pac.errors.get(capability, ())


def _links(*operations: str, at: str = "$response.body#/id", **of_path: str) -> dict[str, Any]:
    return {name: {"operationId": name, "parameters": of_path | {"id": at}} for name in operations}


# fmt: off
_ACCOUNT_SCHEMA = text(pattern=ACCOUNT_PATTERN)
SF, RC = _account("acme-sf"), _account("acme-rc")
ANY, SF_OR_ALL = _account("acme-rc", allow_all=True), _account("acme-sf", allow_all=True)
_RFC_SCHEMA = {key: value for key, value in RFC_SENT.items() if key != "description"}
_RFC = ("rfc", _RFC_SCHEMA, "An issuer's RFC, with `&` as `%26`; lower case is accepted.")
RFC, RFC_REQUIRED = _parameter(*_RFC), _parameter(*_RFC, required=True)
CURSOR = _parameter("cursor", text(), "The value of `next` of the previous page, unchanged.")
_MONTH_SCHEMA = text(pattern=MONTH_PATTERN)
MONTH = _parameter("month", _MONTH_SCHEMA, "A calendar month in Mexico City, `YYYY-MM`, at the "
                   "latest the current month.")
PERIOD = _parameter(
    "month", text(pattern=PERIOD_PATTERN), "A month, `YYYY-MM`, or a year, `YYYY`, of reports.")
_DATE = text(format="date")
CONTRACT_ID, REPORT_ID = _id(CONTRACT["id"]), _id("2026-10-statement-pdf-0001")
RUN_ID = _id("2026-11-21-050000")

_ACCOUNT_ERRORS = (
    errors.ACCOUNT_NOT_FOUND, errors.ACCOUNT_MISCONFIGURED, errors.ACCOUNT_UNREADABLE)
_CONTRACT_ERRORS = (*_ACCOUNT_ERRORS, errors.OPERATION_UNSUPPORTED)
_BODY_ERRORS = (errors.BODY_INVALID, errors.BODY_TOO_LARGE)
_RFC_ERRORS = (errors.RFC_INVALID, errors.RFC_GENERIC)
# Errors of every PAC, because they belong to the connection and not to its own codes.
_PAC_CALL_ERRORS = (
    codes.UNREACHABLE, codes.ENDPOINT_NOT_FOUND, codes.UNAVAILABLE, codes.PAC_FAILED,
    codes.TIMEOUT, codes.PROTOCOL_ERROR, *codes.HTTP_ERRORS.problem_types,
    errors.CREDENTIALS_ON_TRIAL, errors.DEADLINE_EXCEEDED,
)
# Errors of every signed route.
COMMON = (
    errors.PARAMETER_INVALID, errors.RESPONSE_TOO_LARGE, errors.AWS_SERVICE_UNAVAILABLE,
    errors.INTERNAL_ERROR,
)

_OF_ACCOUNT = {"account": "$request.path.account"}
_CREATED = ("Contract", "Idempotent-Replayed",
            _links("getContract", "settleContract", **_OF_ACCOUNT))

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/accounts"): Operation(
        "listAccounts", "accounts", "List the accounts and their capabilities",
        {200: Success("All accounts, without credentials.", "Accounts")},
    ),
    ("GET", "/accounts/{account}/balance"): Operation(
        "getBalance", "stamps",
        "Get the consumption of an account's issuers in a month, or in several",
        {200: Success("The total, totals by RFC and by kind, and the first 5,000 movements. With "
                      "`from` and `to`: the totals of each month.", "Balance Balances")},
        (*_ACCOUNT_ERRORS, errors.MONTH_INVALID, errors.RFC_INVALID, *_pac_errors("balance"),
         *_PAC_CALL_ERRORS),
        (RC, MONTH, RFC,
         _parameter("from", _MONTH_SCHEMA, "The first of up to 13 months; instead of `month`.",
                    example="2026-09"),
         _parameter("to", _MONTH_SCHEMA, "The last month.", example="2026-10")),
        description="Read from the PAC, or calculated from the daily snapshots if the PAC keeps no "
        "balance.",
    ),
    ("GET", "/accounts/{account}/stamps"): Operation(
        "getStamps", "stamps", "Get one issuer's stamps, live, or the known issuers",
        {200: Success("With `rfc`: the issuer's stamps, read from the PAC now. Without: the known "
                      "issuers with their last counts, as stored by Timbres, the most urgent "
                      "first.", "StampCount KnownIssuers")},
        (*_ACCOUNT_ERRORS, *_RFC_ERRORS, errors.OPERATION_UNSUPPORTED, *_pac_errors("stamps"),
         *_PAC_CALL_ERRORS),
        (SF_OR_ALL, RFC,
         _parameter("alert", one_of((LOW, EXHAUSTED)),
                    "Only issuers with this alert; required for `all` accounts."),
         _limit(ISSUERS_PAGE), CURSOR),
    ),
    ("GET", "/accounts/{account}/stamps/account"): Operation(
        "getAccountStamps", "stamps", "Get the stamps of the account itself, live",
        {200: Success("The stamps that all issuers of the account use.", "AccountStamps")},
        (*_ACCOUNT_ERRORS, *_pac_errors("stamps"), *_PAC_CALL_ERRORS),
        (SF,),
        description="All counts are null if the PAC does not return them: it has no such "
        "operation, or it answers with a SOAP fault.",
    ),
    ("GET", "/accounts/{account}/stamps/history"): Operation(
        "getStampHistory", "stamps", "List an issuer's daily snapshots",
        {200: Success("The snapshots, oldest first.", "StampHistory")},
        (*_ACCOUNT_ERRORS, errors.RFC_INVALID),
        (SF, RFC_REQUIRED,
         _parameter("from", _DATE, "The first day; by default 29 days before `to`."),
         _parameter("to", _DATE, "The last day; by default today. At most 400 days.")),
    ),
    ("GET", "/accounts/{account}/issuers"): Operation(
        "listIssuers", "issuers", "List the monitored issuers with their thresholds",
        {200: Success("A page of issuers, by RFC.", "Issuers")},
        _ACCOUNT_ERRORS, (SF, _limit(ISSUERS_PAGE), CURSOR),
    ),
    ("PUT", "/accounts/{account}/issuers"): Operation(
        "importIssuers", "issuers", "Import issuers to monitor",
        {200: Success("The number of imported issuers, and the rejected rows.", "IssuersImported")},
        (*_ACCOUNT_ERRORS, *_BODY_ERRORS, errors.ISSUERS_INVALID),
        (SF,
         _parameter("on_invalid", one_of(("reject", "skip"), default="reject"), "If rows are "
                    "invalid: `reject` the list (422, which lists them) or `skip` them."),
         _parameter("mode", one_of(("add", "replace"), default="add"), "`replace`: remove the "
                    "issuers that are not in the list; not with `on_invalid=skip`.")),
        _body(
            "IssuerList",
            ["ÑAN840101AB1", {"rfc": "A&D061009TY8", "low_stamps": 300, "name": "Aceros, S.A."}],
            **{"text/csv": {
                "schema": text("Column `rfc`, and optionally `low_stamps` and `name`."),
                "example": 'rfc,low_stamps,name\nA&D061009TY8,300,"Aceros, S.A."\n',
            }},
        ),
        "1 to 10,000 rows, at most 2 MiB.",
    ),
    ("DELETE", "/accounts/{account}/issuers"): Operation(
        "removeIssuer", "issuers", "Remove issuers",
        {200: Success("The issuers are not monitored any more; their snapshots stay. With several "
                      "`rfc`: also those that are not in the list.",
                      "IssuerRemoved IssuersRemoved")},
        (*_ACCOUNT_ERRORS, errors.RFC_INVALID, errors.ISSUER_NOT_FOUND),
        (SF,
         _parameter("rfc", array_of(text(), minItems=1, maxItems=MAX_REMOVED),
                    "Issuers' RFCs, or exactly the PAC's texts in the list; with `&` as `%26`. "
                    "Repeat the parameter for several.", required=True, example=["A&D061009TY8"])
         | {"explode": True}),
    ),
    ("GET", "/runs"): Operation(
        "listRuns", "runs", "List the daily runs",
        {200: Success("A page of runs.", "Runs", links=_links(
            "getRun", "listRunFailures", at="$response.body#/runs/0/id"))},
        (), (_limit(RUNS_PAGE), CURSOR),
    ),
    ("GET", "/runs/{id}"): Operation(
        "getRun", "runs", "Get the progress of a daily run",
        {200: Success("The run, with its totals and its accounts.", "Run")},
        (errors.RUN_NOT_FOUND,), (RUN_ID,),
    ),
    ("GET", "/runs/{id}/failures"): Operation(
        "listRunFailures", "runs", "List what a daily run did not count, and why",
        {200: Success("A page of issuers and accounts.", "RunFailures")},
        (errors.RUN_NOT_FOUND, errors.ACCOUNT_NOT_FOUND),
        (RUN_ID,
         _parameter("account", _ACCOUNT_SCHEMA, "Only this account of the run.", example="acme-sf"),
         CURSOR),
    ),
    ("POST", "/accounts/{account}/contracts"): Operation(
        "createContract", "contracts", "Create a contract for an issuer, exactly once",
        {201: Success("Confirmed, now or earlier under this key.", *_CREATED),
         202: Success("Sent, and the PAC's response was lost: the contract may exist. Timbres "
                      "determines the outcome. Do not send a request with another key before this "
                      "one is settled.", *_CREATED)},
        (*_CONTRACT_ERRORS, *_BODY_ERRORS, *_RFC_ERRORS, *_PAC_CALL_ERRORS,
         *_pac_errors("contracts"), errors.STAMPS_INVALID, errors.ISSUER_NEW,
         errors.CONTRACT_LIMIT_EXCEEDED, errors.DAILY_LIMIT_EXCEEDED,
         errors.IDEMPOTENCY_KEY_INVALID, errors.IDEMPOTENCY_KEY_REUSED, errors.CONTRACT_PENDING,
         errors.CONTRACT_IN_FLIGHT, errors.ACCOUNT_LOGIN_CHANGED, contract_not_created()),
        (SF,
         _parameter("Idempotency-Key", text(pattern="^[!-~]([ -~]{0,253}[!-~])?$"),
                    "1 to 255 printable ASCII characters, new for each contract, for example a "
                    "UUID. The same key with the same body always returns the same contract.",
                    place="header", required=True)),
        _body("ContractRequest", {"rfc": "A&D061009TY8", "stamps": 500}),
        "A contract allots stamps of the account to an issuer for 12 months; it does not create "
        "stamps. Any 4xx or 5xx with a `contract` in the status `rejected` means that no stamps "
        "were contracted. After a 5xx without `contract`, repeat the request with the same key.",
    ),
    ("GET", "/accounts/{account}/contracts"): Operation(
        "listContracts", "contracts", "List the journal of contracts",
        {200: Success("A page of contracts.", "Contracts")},
        (*_CONTRACT_ERRORS, errors.RFC_INVALID),
        (SF_OR_ALL, RFC,
         _parameter("status", one_of(STATES), "Only contracts in this state."),
         _parameter("from", _DATE, "Created on this day or later."),
         _parameter("to", _DATE, "Created on this day or earlier."),
         _parameter("reference", text(), "Only contracts with this reference."),
         _parameter("idempotency_key", text(), "Only the contract of this key."),
         _limit(CONTRACTS_PAGE), CURSOR),
        description="`all` accounts: one after the other, by name. A page may be empty although "
        "`next` is not null.",
    ),
    ("GET", "/accounts/{account}/contracts/{id}"): Operation(
        "getContract", "contracts", "Get a contract with its history",
        {200: Success("The contract.", "ContractWithHistory")},
        (*_CONTRACT_ERRORS, errors.CONTRACT_NOT_FOUND), (SF, CONTRACT_ID),
    ),
    ("POST", "/accounts/{account}/contracts/{id}/settlement"): Operation(
        "settleContract", "contracts", "Settle a contract that needs a review",
        {200: Success("The settled contract.", "Contract")},
        (*_CONTRACT_ERRORS, *_BODY_ERRORS, errors.CONTRACT_NOT_FOUND,
         errors.CONTRACT_NOT_UNDER_REVIEW),
        (SF, CONTRACT_ID),
        _body("Settlement",
              {"outcome": "confirmed", "reason": "The PAC's portal shows 1,500 stamps."}),
    ),
    ("POST", "/accounts/{account}/reports"): Operation(
        "requestReport", "reports", "Request the report of a month or a year",
        {202: Success("The report is being generated; `Location` is the address to poll.",
                      "Report", "Location",
                      _links("getReport", "revokeDownloadTokens", **_OF_ACCOUNT))},
        (*_ACCOUNT_ERRORS, *_BODY_ERRORS, errors.MONTH_INVALID, errors.OPERATION_UNSUPPORTED),
        (ANY,),
        _body("ReportRequest", {"month": "2026-10", "kind": "statement", "format": "pdf"}),
    ),
    ("GET", "/accounts/{account}/reports"): Operation(
        "listReports", "reports", "List the reports",
        {200: Success("A page of reports.", "Reports")},
        (*_ACCOUNT_ERRORS, errors.MONTH_INVALID), (ANY, PERIOD, _limit(REPORTS_PAGE), CURSOR),
    ),
    ("GET", "/accounts/{account}/reports/{id}"): Operation(
        "getReport", "reports", "Get a report",
        {200: Success("With `redirect=false`: the report, with a link if it is ready.", "Report"),
         202: Success("Not ready yet.", "Report", "Retry-After"),
         302: Success("To a link that needs no keys and is valid for 15 minutes.", "Report",
                      "Location")},
        (*_ACCOUNT_ERRORS, errors.REPORT_NOT_FOUND, errors.REPORT_FAILED),
        (ANY, REPORT_ID,
         _parameter("redirect", one_of(("true", "false"), default="true"),
                    "`false`: return JSON with the link instead.")),
    ),
    ("DELETE", "/accounts/{account}/reports/{id}/tokens"): Operation(
        "revokeDownloadTokens", "reports", "Revoke all mailed links to a report",
        {200: Success("The number of revoked links.", "DownloadTokensRevoked")},
        (errors.ACCOUNT_NOT_FOUND, errors.REPORT_NOT_FOUND), (ANY, REPORT_ID),
    ),
    ("POST", "/reports/revocation"): Operation(
        "revokeLinks", "reports", "Revoke all links of a mail or of a month",
        {200: Success("The number of revoked links.", "LinksRevoked")},
        (*_BODY_ERRORS, errors.MONTH_INVALID, errors.LINK_NOT_FOUND, errors.DEADLINE_EXCEEDED),
        body=_body("Revocation", {"month": "2026-10"}),
        description="With any link of a mail: all links of that mail.",
    ),
    ("POST", "/reports/mail"): Operation(
        "sendMail", "reports", "Send the mail of a month again, with new links",
        {202: Success("The mail is on its way.", "MailRequested")},
        (*_BODY_ERRORS, errors.MONTH_INVALID, errors.MAIL_NOT_FOUND),
        body=_body("MailRequest", {"month": "2026-10"}),
        description="A repetition within the same minute sends no second mail. Links that were "
        "mailed before stay valid.",
    ),
    ("GET", "/d/{token}"): Operation(
        "openDownloadLink", "download-tokens", "Open a mailed link",
        {302: Success("To a link that needs no keys and is valid for 5 minutes.",
                      headers="Location"),
         404: Success("A page in Spanish: the link is invalid, expired or revoked."),
         429: Success("A page in Spanish: the source sent too many invalid tokens, or the link was "
                      "opened 100 times today.", headers="Retry-After"),
         503: Success("A page in Spanish: try again.", headers="Retry-After")},
        parameters=(_parameter("token", text(), "The download token of a mailed link.",
                               place="path", example="0" * 43),),
        description="For people: without keys and JSON. A download token is valid for one report, "
        "for 30 days or until it is revoked.",
        signed=False,
    ),
}
