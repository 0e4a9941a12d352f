"""The API's request and response schemas, as JSON Schema 2020-12."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from timbres.domain.contract import MAX_REFERENCE, SETTLED, STATES, TRANSITIONS
from timbres.domain.forecast import EXHAUSTED, LOW, OK, Alert
from timbres.domain.issuer_import import MAX_LOW_STAMPS, MAX_NAME_CHARACTERS
from timbres.domain.report import FAILED, FORMATS, PENDING, READY, YEAR_FORMATS
from timbres.domain.run import FINISHED, RUNNING
from timbres.domain.stamps import MAX_STAMPS
from timbres.handlers.issuer_import_parser import MAX_ROWS
from timbres.pacs.registry import PACS

Schema = dict[str, Any]

ACCOUNT_PATTERN = "^[a-z0-9][a-z0-9-]{1,40}$"
MONTH_PATTERN = "^[0-9]{4}-(0[1-9]|1[012])$"
PERIOD_PATTERN = "^[0-9]{4}(-(0[1-9]|1[012]))?$"
_DATE_AND_HOMOCLAVE = "[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])"


def ref(name: str) -> Schema:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def _typed(type_name: str, description: str = "", **keywords: Any) -> Schema:
    return {"type": type_name} | ({"description": description} if description else {}) | keywords


# A PAC's number, which may be negative.
_count = partial(_typed, "integer")
flag = partial(_typed, "boolean")
text = partial(_typed, "string")


def integer(description: str = "", minimum: int = 0, **keywords: Any) -> Schema:
    """Return the schema of an integer."""
    return _count(description, minimum=minimum, **keywords)


def number(description: str) -> Schema:
    """Return the schema of a number that is not negative."""
    return _typed("number", description, minimum=0)


def date_time(description: str = "") -> Schema:
    """Return the schema of a time with its offset."""
    return text(description, format="date-time")


def array_of(items: Schema, description: str = "", **keywords: Any) -> Schema:
    """Return the schema of a list."""
    return _typed("array", description, items=items, **keywords)


def one_of(values: Iterable[str], description: str = "", **keywords: Any) -> Schema:
    """Return the schema of an enumeration of texts."""
    return text(description, enum=sorted(values), **keywords)


def nullable(schema: Schema) -> Schema:
    """Return ``schema``, with null for a value that is unknown or was not returned."""
    if "type" not in schema or "enum" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def record(members: dict[str, Schema], description: str = "", optional: str = "") -> Schema:
    """Return the schema of an object; all members are required except the named ``optional``."""
    required = [name for name in members if name not in optional.split()]
    return _typed("object", description, properties=members, required=required)


def _sent(members: dict[str, Schema], optional: str = "") -> Schema:
    """Return the schema of an object in a request, which has no other members."""
    return record(members, optional=optional) | {"additionalProperties": False}


def _page(name: str, item: Schema, description: str = "", **account: Schema) -> Schema:
    return record({**account, name: array_of(item, description), "next": _NEXT})


# fmt: off
_ACCOUNT = text("An account's name.", pattern=ACCOUNT_PATTERN)
_ANY_ACCOUNT = text("An account's name, or `all`.", pattern=ACCOUNT_PATTERN)
_REPORT_ACCOUNT = text(
    "An account's name, or `all` for a report of all accounts.", pattern=ACCOUNT_PATTERN)
_MONTH = text("A calendar month in Mexico City.", pattern=MONTH_PATTERN)
_YEAR = text("A calendar year in Mexico City.", pattern="^[0-9]{4}$")
_PERIOD = text("A calendar month or year in Mexico City.", pattern=PERIOD_PATTERN)
_DAY = text(format="date")
_CONTRACT_ID = text("An opaque id that sorts by time.", pattern="^[0-9a-f]{32}$")
_NEXT = nullable(text("The `cursor` of the next page; null on the last page."))
_CODE = text("A stable error code.", pattern="^[a-z0-9-]+$")
_KEPT_MESSAGE = nullable(text("The PAC's own message, at most 300 characters."))
_PAC_CODE = nullable(text("The PAC's own code."))
_KIND = text("The PAC's own type, for example `Consumo de timbre` or `Compra de timbres`.")
# A PAC may return a text that is not an RFC.
_ISSUER = text("An RFC, or the PAC's own text if that is not an RFC.")
_PAC_RFC = nullable(_ISSUER | {"description": f"{_ISSUER['description']} Null for the account."})
_COUNTS = {
    "contracted": nullable(_count("Stamps contracted so far.")),
    "used": nullable(_count("Stamps used so far.")),
    "available": nullable(_count("Stamps left; a PAC may return a negative number.")),
}
_STAMPS = _COUNTS | {
    "unlimited": flag("The issuer draws from the account without a limit; `available` is null."),
}
_DAYS_LEFT = nullable(
    number("Days until the stamps left are used, at the higher of the two rates."))
_ISSUER_LINE = {
    "rfc": _ISSUER,
    "name": nullable(text("Its razón social, as imported; null if it is not known.")),
    **_STAMPS,
    "as_of": nullable(
        date_time("Time of the count at the PAC; null if the issuer was never counted.")),
    "burn_7": nullable(number("Stamps per day over the last 7 days.")),
    "burn_30": nullable(number("Stamps per day over the last 30 days.")),
    "days_left": _DAYS_LEFT,
    "alert": nullable(one_of(Alert, "`no-contract`: nothing is contracted and nothing is left; the "
                             "issuer uses the account's stamps. Null if nothing is known.")),
    "low_stamps": nullable(
        integer("The issuer's own threshold; null if its account's threshold applies.")),
}
_BAD_ROW = record({
    "line": integer("The line (CSV) or position in the list (JSON), from 1.", minimum=1),
    "field": one_of(("rfc", "low_stamps", "name", "row")),
    "detail": text("Why the row is invalid."),
})
_BALANCE = {
    "account": _ACCOUNT,
    "pac": ref("Pac"),
    "month": _MONTH,
    "source": one_of(("pac", "snapshots"), "The PAC, or Timbres' daily snapshots of the issuers."),
    "plan": nullable(text("`prepaid`, `postpaid`, or the PAC's own text; null if unknown.")),
    "as_of": nullable(date_time("Time of the newest data.")),
    "issuers": record(
        dict.fromkeys(("registered", "authorized", "stamping"), nullable(_count())),
        "The account's numbers of issuers."),
    "transactions": nullable(_count("The month's total as the source states it; null if unknown.")),
    "movements_total": nullable(_count("The sum of the consumption: all movements of type `Consumo "
        "de timbre`. Other movements are in `by_kind` and `movements` only.")),
    "consistent": nullable(flag("Whether `transactions` equals `movements_total`. False: the PAC's "
        "response contradicts itself; use neither figure. Null: not compared, or not decidable, "
        "for example for one `rfc` whose movements add up to less than `transactions`.")),
    "missing_days": array_of(record({
        "date": _DAY,
        "issuers": nullable(
            integer("The number of issuers without a snapshot; null for all of them.")),
    }), "With `snapshots` only: the days without a snapshot."),
    "by_issuer": array_of(
        record({"rfc": _PAC_RFC, "amount": _count()}), "Consumption only, in stamps."),
    "by_kind": array_of(record({"kind": _KIND, "amount": _count()}),
                        "The sum of the movements of each type, in stamps."),
    "movements": array_of(
        record({"rfc": _PAC_RFC, "date": _DAY, "kind": _KIND, "amount": _count("Stamps.")}),
        "The first 5,000 movements.", maxItems=5000),
    "truncated": flag("True if there are more movements: request the report that `report` names."),
    "report": record(
        {"month": _PERIOD, "kind": one_of(FORMATS), "format": ref("Format")},
        "With `truncated` only: the body of `POST /accounts/{account}/reports`."),
}
_REFERENCE = text("The caller's own note.", minLength=1, maxLength=MAX_REFERENCE)
_TOTALS = (
    *("month", "source", "as_of", "transactions", "movements_total", "consistent"),
    *("missing_days", "by_issuer"),
)
_CONTRACT = {
    "id": _CONTRACT_ID,
    "account": _ACCOUNT,
    "rfc": ref("Rfc"),
    "stamps": integer("The number of contracted stamps.", minimum=1),
    "status": ref("ContractStatus"),
    **{
        f"{name}_{suffix}": nullable(_count(f"The stamps {name} {when}."))
        for suffix, when in (("before", "immediately before the request"),
                             ("after", "in the first count that includes the contract"))
        for name in _COUNTS
    },
    "warning": nullable(text("How the PAC's count contradicts its response.")),
    "requested_by": text("The IAM ARN of the caller."),
    "idempotency_key": text("The Idempotency-Key of the request."),
    "reference": nullable(_REFERENCE),
    "created_at": date_time(),
    "settled_at": nullable(date_time("Time of the confirmation or rejection.")),
    "attempts": integer("The number of checks of the outcome; the request is sent once."),
    "pac": nullable(record({"code": _PAC_CODE, "message": _KEPT_MESSAGE})),
    "error": nullable(record({"code": _CODE, "detail": text()})),
}
_STEP = record({
    "step": one_of(TRANSITIONS),
    "at": date_time(),
    "by": text("The IAM ARN of the caller, or `reconciler`."),
    "status": ref("ContractStatus"),
    "note": text("The reason."),
    "pac_code": text("The PAC's own code."),
    "pac_message": text("The PAC's own message."),
}, optional="note pac_code pac_message")
_FAILURES = _typed(
    "object", "Issuers that were not counted, by code.", additionalProperties=integer())
_RUN = {
    "id": text("The time at which the run was due, in Mexico City.",
               pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}$"),
    "status": one_of((RUNNING, FINISHED)),
    "day": text("The day of the run's snapshots.", format="date"),
    "started_at": date_time(),
    "finished_at": nullable(date_time()),
    "low": integer("Issuers that became low."),
    "exhausted": integer("Issuers that became exhausted."),
}
_RUN_ACCOUNT = record({
    "account": _ACCOUNT,
    "expected": integer(),
    "done": integer(),
    "failed": _FAILURES,
    "problem": nullable(text("Why the account was not counted, completely or for more than 5 % of "
        "its issuers: the code of the error that excluded it from the run, or of most issuers.")),
    "account_stamps": nullable(record({
        **_COUNTS,
        "as_of": nullable(date_time("Time of the count.")),
        "days_left": _DAYS_LEFT,
        "alert": nullable(one_of((OK, LOW, EXHAUSTED))),
        "problem": nullable(text("Why the account's stamps could not be read.")),
        "issuers_available": integer(
            "The contracted but unused stamps of the issuers that were counted."),
        "issuers_unknown": integer("Issuers whose unused stamps are not known."),
        "over_allotted": nullable(flag("Whether the issuers have more unused stamps than the "
            "account; null if a count is missing that could change this.")),
    }, "The account's own stamps; null until they are counted, and if the PAC does not return "
       "them.")),
})
_PAC_REPLY = record({"name": ref("Pac"), "code": _PAC_CODE, "message": _KEPT_MESSAGE},
                    "The PAC's own code and message.")
_ERROR = {"code": _CODE, "detail": text(), "pac": _PAC_REPLY}

# An RFC in responses, and in requests.
RFC = text(
    "The tax identifier of an issuer, as defined by SAT's `t_RFC`; upper case.",
    pattern=f"^([A-Z&]|Ñ){{3,4}}{_DATE_AND_HOMOCLAVE}[A-Z0-9]{{2}}[0-9A]$")
RFC_SENT = text(
    "12 or 13 characters; lower case and surrounding blanks are accepted. "
    "In a query, write `&` as `%26`.",
    pattern=rf"^\s*([A-Za-z&]|Ñ|ñ){{3,4}}{_DATE_AND_HOMOCLAVE}[A-Za-z0-9]{{2}}[0-9Aa]\s*$")

SCHEMAS: dict[str, Schema] = {
    "Rfc": RFC,
    "Pac": one_of(PACS),
    "Format": one_of({form for forms in FORMATS.values() for form in forms}),
    "ContractStatus": one_of(STATES,
        "`pending`: in progress. `confirmed`: created. `rejected`: not created. `unknown`: sent, "
        "the outcome is not known yet. `needs-review`: a person decides."),
    "Accounts": record({"accounts": array_of(record({
        "name": _ACCOUNT,
        "pac": nullable(ref("Pac")),
        "environment": nullable(text()),
        "can": array_of(text(), "The capabilities of the account's PAC."),
        "error": record(_ERROR, "Why the account cannot be used: its secret is unreadable or "
                        "invalid, or its PAC rejected the credentials.", optional="pac"),
    }, optional="error"))}),
    "Balance": record(_BALANCE, optional="missing_days report"),
    "StampCount": record({
        "account": _ACCOUNT,
        **_ISSUER_LINE,
        "expires_on": nullable(text("The day on which the next of the issuer's contracts expires; "
            "null if Timbres created none of them.", format="date")),
        "expiring_stamps": nullable(
            integer("The stamps of the contracts that expire on that day.")),
    }),
    "KnownIssuers": record({
        "account": _ANY_ACCOUNT,
        "issuers": array_of(record({"account": _ACCOUNT, **_ISSUER_LINE})),
        "next": _NEXT,
    }, "The most urgent first; of `all` accounts, one account after the other."),
    "Issuers": _page("issuers", record(
        {name: _ISSUER_LINE[name] for name in ("rfc", "name", "low_stamps")}), account=_ACCOUNT),
    "AccountStamps": record({
        "account": _ACCOUNT,
        **_COUNTS,
        "as_of": nullable(date_time("Time of the count; null if the PAC does not return it.")),
    }, "The stamps of the account itself, which all of its issuers use."),
    "StampHistory": record({
        "account": _ACCOUNT,
        "rfc": ref("Rfc"),
        "from": _DAY,
        "to": _DAY,
        "snapshots": array_of(record({
            "date": _DAY,
            "as_of": date_time(),
            **_STAMPS,
            "consumed": nullable(integer("Stamps used since the previous snapshot.")),
        })),
    }),
    "IssuersImported": record({
        "account": _ACCOUNT,
        "kept": integer(),
        "removed": integer("With `mode=replace`: the issuers that were not in the list."),
        "rejected": array_of(
            _BAD_ROW, "With `on_invalid=skip`: the rows that were not imported."),
    }),
    "IssuerRemoved": record({"account": _ACCOUNT, "rfc": _ISSUER, "removed": flag(enum=[True])}),
    "IssuersRemoved": record({
        "account": _ACCOUNT,
        "rfcs": array_of(_ISSUER, "The removed issuers."),
        "unknown": array_of(text(), "The texts that are not in the list."),
    }),
    "Balances": record({
        "account": _ACCOUNT,
        "from": _MONTH,
        "to": _MONTH,
        "months": array_of(
            record({name: _BALANCE[name] for name in _TOTALS}, optional="missing_days"),
            "The oldest first."),
    }),
    "Contract": record(_CONTRACT),
    "ContractWithHistory": record(
        {**_CONTRACT, "history": array_of(_STEP, "Every step of the contract, oldest first.")}),
    "Contracts": _page("contracts", ref("Contract"), "Newest first."),
    "Report": record({
        "id": text("Month, kind, format and version.", pattern=r"^[0-9]{4}-([0-9]{2}-)?[a-z]+-"),
        "account": _REPORT_ACCOUNT,
        "month": _PERIOD,
        "kind": one_of(FORMATS),
        "format": ref("Format"),
        "status": one_of((PENDING, READY, FAILED)),
        "bytes": nullable(integer("The size of the file.")),
        "sha256": nullable(text(pattern="^[0-9a-f]{64}$")),
        "rows": nullable(integer("Movements in the file: HTML at most 700, PDF at most 200; null "
                                 "for the PAC's own file.")),
        "seconds": nullable(number("Duration of the generation.")),
        "differences": nullable(_typed("object", "Totals in which a statement and the balance "
            "differ, each as [statement's, balance's]; null if they were not compared.",
            additionalProperties=array_of(_count(), minItems=2, maxItems=2))),
        "requested_by": text("The IAM ARN of the caller, or the schedule."),
        "created_at": date_time(),
        "settled_at": nullable(date_time()),
        "url": nullable(
            text("A link that needs no keys and is valid for 15 minutes.", format="uri")),
        "expires_at": nullable(date_time("When the link expires.")),
        "error": nullable(record(_ERROR, optional="pac")),
    }),
    "Reports": _page("reports", ref("Report"), "Newest month first."),
    "DownloadTokensRevoked": record({
        "account": _REPORT_ACCOUNT,
        "id": text(),
        "revoked": integer("The number of revoked links."),
    }),
    "Runs": _page("runs", record(_RUN), "Newest first."),
    "Run": record({
        **_RUN,
        "expected": integer("Issuers to count."),
        "done": integer("Issuers counted."),
        "failed": _FAILURES,
        "per_minute": nullable(number("Issuers per minute so far; null in the first second.")),
        "expected_end": nullable(
            date_time("When the run ends at this rate; null if it is finished.")),
        "accounts": array_of(_RUN_ACCOUNT),
    }),
    "RunFailures": _page("failures", record({
        "account": _ACCOUNT,
        "rfc": nullable(text("The issuer; null for the account itself.")),
        "code": text("The code of the error."),
        "detail": nullable(text("A sentence, with the PAC's own text.")),
        "pac_code": nullable(text("The PAC's own code.")),
    }), "Accounts first."),
    "ContractRequest": _sent({
        "rfc": RFC_SENT,
        "stamps": integer("The number of stamps to contract, within the account's limits.",
                          minimum=1, maximum=MAX_STAMPS),
        "reference": _REFERENCE,
        "new_issuer": flag("Required to be true if neither the PAC, the list of issuers nor a "
                           "snapshot knows the RFC."),
    }, optional="reference new_issuer"),
    "Settlement": _sent({
        "outcome": one_of(SETTLED, "The outcome of the contract."),
        "reason": text("Stored in the journal.", minLength=10, maxLength=500),
    }),
    "LinksRevoked": record({"revoked": integer("The number of revoked links.")}),
    "Revocation": {
        "oneOf": [_sent({"link": text("Any link of the mail.")}), _sent({"month": _MONTH})],
    },
    "MailRequested": record({
        "month": _MONTH,
        "run": text("The monthly run whose mail is sent."),
        "reports": integer("The reports in the mail."),
    }),
    "MailRequest": _sent({"month": _MONTH}),
    "ReportRequest": {"oneOf": [
        _sent({"month": period, "kind": one_of((kind,)), "format": one_of(formats)})
        for period, kind, formats in (
            *((_MONTH, kind, formats) for kind, formats in FORMATS.items()),
            (_YEAR, "consumption", YEAR_FORMATS),
        )
    ]},
    "IssuerList": array_of({"anyOf": [RFC_SENT, _sent({
        "rfc": RFC_SENT,
        "low_stamps": nullable(integer("The threshold below which the issuer's stamps are low; "
            "null for the account's threshold.", maximum=MAX_LOW_STAMPS)),
        "name": nullable(text(
            "Its razón social, for reports; null for none.", maxLength=MAX_NAME_CHARACTERS)),
    }, optional="low_stamps name")]}, minItems=1, maxItems=MAX_ROWS),
    "Problem": record({
        "type": text("`urn:timbres:problem:` and the code."),
        "title": text("The name of the problem type."),
        "status": integer("The HTTP status; some of the gateway's own errors have none."),
        "detail": text("A description for people."),
        "instance": text("The request's id in the log."),
        "code": _CODE,
        "field": text("The invalid input, if any."),
        "pac": _PAC_REPLY,
        "contract": {
            "description": "The contract that the error concerns, complete or as its id.",
            "anyOf": [
                ref("Contract"), record({"id": _CONTRACT_ID, "status": ref("ContractStatus")})],
        },
        "report": ref("Report"),
        "rejected": array_of(_BAD_ROW, "Every invalid row."),
    }, "An error as defined by RFC 9457. `code` is stable.",
       optional="status field pac contract report rejected"),
}
