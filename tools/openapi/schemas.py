"""The shapes of what the API takes and answers, as JSON Schema 2020-12, each written once."""

from __future__ import annotations

from typing import Any

from timbres.domain.contract import SETTLED, STATES, TRANSITIONS
from timbres.domain.forecast import EXHAUSTED, LOW, OK
from timbres.domain.issuer_import import MAX_LOW_STAMPS
from timbres.domain.report import FAILED, FORMATS, PENDING, READY
from timbres.domain.run import FINISHED, RUNNING
from timbres.domain.stamps import MAX_STAMPS
from timbres.handlers.issuer_import_parser import MAX_ROWS
from timbres.pacs.registry import PACS

Schema = dict[str, Any]

ACCOUNT_PATTERN = "^[a-z0-9][a-z0-9-]{1,40}$"
MONTH_PATTERN = "^[0-9]{4}-(0[1-9]|1[012])$"
_DATE_AND_HOMOCLAVE = "[0-9]{2}(0[1-9]|1[012])(0[1-9]|[12][0-9]|3[01])"


def ref(name: str) -> Schema:
    """Return a reference to a schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return _typed("string", description, more)


def integer(description: str = "", **more: Any) -> Schema:
    """Return the schema of a whole number, 0 or more unless said otherwise."""
    return _typed("integer", description, {"minimum": 0} | more)


def number(description: str = "", **more: Any) -> Schema:
    """Return the schema of a number, 0 or more unless said otherwise."""
    return _typed("number", description, {"minimum": 0} | more)


def date_time(description: str = "") -> Schema:
    """Return the schema of a point in time, written with its offset."""
    return text(description, format="date-time")


def array_of(items: Schema, description: str = "", **more: Any) -> Schema:
    """Return the schema of a list."""
    return _typed("array", description, {"items": items} | more)


def one_of(values: Any, description: str = "", **more: Any) -> Schema:
    """Return the schema of a text out of a few."""
    return text(description, enum=sorted(values), **more)


def nullable(schema: Schema) -> Schema:
    """Return ``schema``, or null: what is not known, or was not said."""
    if "type" not in schema or "enum" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def record(
    members: dict[str, Schema], *, optional: tuple[str, ...] = (), description: str = ""
) -> Schema:
    """Return the schema of an object whose members are all there, but for ``optional``."""
    required = [name for name in members if name not in optional]
    return _typed("object", description, {"properties": members, "required": required})


def counts(description: str) -> Schema:
    """Return the schema of an object of numbers by code."""
    return _typed("object", description, {"additionalProperties": integer()})


def _typed(kind: str, description: str, more: Schema) -> Schema:
    return {"type": kind} | ({"description": description} if description else {}) | more


_ACCOUNT = text("An account's name.", pattern=ACCOUNT_PATTERN)
_REPORT_ACCOUNT = text(
    "An account's name, or `all` for a report over every account.", pattern=ACCOUNT_PATTERN
)
_MONTH = text("A calendar month in Mexico City.", pattern=MONTH_PATTERN)
_DAY = text(format="date")
_CONTRACT_ID = text("An opaque id that sorts by time.", pattern="^[0-9a-f]{32}$")
_RUN_ID = text(
    "When the run was due in Mexico City.", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{6}$"
)
_NEXT = nullable(text("The `cursor` of the next page; null on the last."))
_CALLER = text("The IAM ARN of who asked.")
_CODE = text("A stable code, one of those of the errors.", pattern="^[a-z0-9-]+$")
_KEPT_MESSAGE = nullable(text("The PAC's own words, 300 characters at most."))
_PAC_CODE = nullable(text("The PAC's own code."))

_STAMPS = {
    "contracted": nullable(integer("Stamps contracted so far.")),
    "used": nullable(integer("Stamps used so far.")),
    "available": nullable(
        {"type": "integer", "description": "Stamps left; the PAC may say less than 0."}
    ),
    "unlimited": {
        "type": "boolean",
        "description": "The issuer draws from the account without a limit; `available` is null.",
    },
}
_OUTLOOK = {
    "burn_7": nullable(number("Stamps a day, over the last 7 days.")),
    "burn_30": nullable(number("Stamps a day, over the last 30 days.")),
    "days_left": nullable(number("For how many days the stamps left will do at that rate.")),
    "alert": one_of((OK, LOW, EXHAUSTED)),
    "low_stamps": nullable(integer("The issuer's own threshold; null for its account's.")),
}
_ISSUER_LINE = {
    "rfc": ref("Rfc"),
    **_STAMPS,
    "as_of": nullable(date_time("When the PAC was asked; null when it never was.")),
    **_OUTLOOK,
}
_BAD_ROW = record(
    {
        "line": integer("The line (CSV) or place in the list (JSON), from 1.", minimum=1),
        "field": one_of(("rfc", "low_stamps", "row")),
        "detail": text("What is wrong with it."),
    }
)
_BALANCE = {
    "account": _ACCOUNT,
    "pac": ref("Pac"),
    "month": _MONTH,
    "source": one_of(
        ("pac", "snapshots"), "Who tells it: the PAC, or Timbres' own daily counts of its issuers."
    ),
    "plan": nullable(text("`prepaid`, `postpaid`, or the PAC's own word; null in `snapshots`.")),
    "as_of": nullable(date_time("The newest that is known.")),
    "issuers": record(
        {
            "registered": nullable(integer()),
            "authorized": nullable(integer()),
            "stamping": nullable(integer()),
        },
        description="How many issuers the account has.",
    ),
    "transactions": nullable(
        {
            "type": "integer",
            "description": "The month's total as the source tells it; null where unknown.",
        }
    ),
    "movements_total": nullable(
        {
            "type": "integer",
            "description": "The sum of the movements of type `Consumo de timbre`, all of them.",
        }
    ),
    "consistent": nullable(
        {
            "type": "boolean",
            "description": "Whether `transactions` is `movements_total`. False: the PAC's answer "
            "contradicts itself, use neither figure. Null: not compared, or not decidable, as for "
            "one `rfc` whose movements add up to less than `transactions`.",
        }
    ),
    "missing_days": array_of(
        record(
            {
                "date": _DAY,
                "issuers": nullable(integer("Of how many issuers; null for all of them.")),
            }
        ),
        "In `snapshots` only: the days without a count.",
    ),
    "by_issuer": array_of(record({"rfc": text("An RFC."), "amount": {"type": "integer"}})),
    "by_kind": array_of(record({"kind": text(), "amount": {"type": "integer"}})),
    "movements": array_of(
        record(
            {
                "rfc": text("An RFC."),
                "date": _DAY,
                "kind": text("The PAC's word, such as `Consumo de timbre`."),
                "amount": {"type": "integer", "description": "Stamps."},
            }
        ),
        "The first 5,000.",
        maxItems=5000,
    ),
    "truncated": {
        "type": "boolean",
        "description": "True when there are more movements: ask for the report named by `report`.",
    },
    "report": record(
        {"month": _MONTH, "kind": one_of(FORMATS), "format": ref("Format")},
        description="With `truncated` only: the body for `POST /accounts/{account}/reports`.",
    ),
}
_CONTRACT = {
    "id": _CONTRACT_ID,
    "account": _ACCOUNT,
    "rfc": ref("Rfc"),
    "stamps": integer("How many are bought.", minimum=1),
    "status": ref("ContractStatus"),
    **{
        f"{name}_before": nullable(integer(f"The stamps {name} just before the request."))
        for name in ("contracted", "used", "available")
    },
    **{
        f"{name}_after": nullable(
            integer(f"The stamps {name} by the first count that includes the contract.")
        )
        for name in ("contracted", "used", "available")
    },
    "warning": nullable(text("How the PAC's count contradicts its confirmation.")),
    "requested_by": _CALLER,
    "idempotency_key": text("The Idempotency-Key it stands for."),
    "created_at": date_time(),
    "settled_at": nullable(date_time("When it was confirmed or rejected.")),
    "attempts": integer("How often its outcome was looked for; the purchase is sent once."),
    "pac": nullable(record({"code": _PAC_CODE, "message": _KEPT_MESSAGE})),
    "error": nullable(record({"code": _CODE, "detail": text()})),
}
_STEP = record(
    {
        "step": one_of(TRANSITIONS),
        "at": date_time(),
        "by": text("The IAM ARN of who took the step, or `reconciler`."),
        "status": ref("ContractStatus"),
        "note": text("Why."),
        "pac_code": text("The PAC's own code."),
        "pac_message": text("The PAC's own words."),
    },
    optional=("note", "pac_code", "pac_message"),
)
_RUN = {
    "id": _RUN_ID,
    "status": one_of((RUNNING, FINISHED)),
    "day": text("The day whose snapshots it writes.", format="date"),
    "started_at": date_time(),
    "finished_at": nullable(date_time()),
    "low": integer("Issuers that have newly become low."),
    "exhausted": integer("Issuers that have newly become exhausted."),
}
_RUN_ACCOUNT = record(
    {
        "account": _ACCOUNT,
        "expected": integer(),
        "done": integer(),
        "failed": counts("Issuers that were not counted, by code."),
        "problem": nullable(text("The code that kept the account out of the run.")),
    }
)
_PAC_WORDS = record(
    {"name": ref("Pac"), "code": _PAC_CODE, "message": _KEPT_MESSAGE},
    description="What the PAC said, in its own words.",
)

# An RFC as answers write it, and as requests may.
RFC = text(
    "The tax identifier of an issuer, as SAT's `t_RFC` defines it; upper case.",
    pattern=f"^[A-Z&Ñ]{{3,4}}{_DATE_AND_HOMOCLAVE}[A-Z0-9]{{2}}[0-9A]$",
)
RFC_SENT = text(
    "12 or 13 characters; lower case and blanks around it are put right. "
    "In a query, `&` is written `%26`.",
    pattern=rf"^\s*[A-Za-z&Ññ]{{3,4}}{_DATE_AND_HOMOCLAVE}[A-Za-z0-9]{{2}}[0-9Aa]\s*$",
)
_LOW_STAMPS = nullable(
    integer("The threshold below which its stamps are low; null for the account's.")
    | {"maximum": MAX_LOW_STAMPS}
)

SCHEMAS: dict[str, Schema] = {
    "Rfc": RFC,
    "Pac": one_of(PACS),
    "Format": one_of({form for forms in FORMATS.values() for form in forms}),
    "ContractStatus": one_of(
        STATES,
        "`pending`: on its way. `confirmed`: bought. `rejected`: not bought. `unknown`: sent, its "
        "outcome not known yet. `needs-review`: a person decides.",
    ),
    "Accounts": record(
        {
            "accounts": array_of(
                record(
                    {
                        "name": _ACCOUNT,
                        "pac": nullable(ref("Pac")),
                        "environment": nullable(text()),
                        "can": array_of(text(), "What the account's PAC offers."),
                        "error": record(
                            {"code": _CODE, "detail": text()},
                            description="What is wrong with the account's secret, if anything.",
                        ),
                    },
                    optional=("error",),
                )
            )
        }
    ),
    "Balance": record(_BALANCE, optional=("missing_days", "report")),
    "StampCount": record({"account": _ACCOUNT, **_ISSUER_LINE}),
    "KnownIssuers": record(
        {"account": _ACCOUNT, "issuers": array_of(record(_ISSUER_LINE)), "next": _NEXT},
        description="The most urgent first.",
    ),
    "StampHistory": record(
        {
            "account": _ACCOUNT,
            "rfc": ref("Rfc"),
            "from": _DAY,
            "to": _DAY,
            "snapshots": array_of(
                record(
                    {
                        "date": _DAY,
                        "as_of": date_time(),
                        **_STAMPS,
                        "consumed": nullable(integer("Stamped since the snapshot before.")),
                    }
                )
            ),
        }
    ),
    "IssuersKept": record(
        {
            "account": _ACCOUNT,
            "kept": integer(),
            "rejected": array_of(_BAD_ROW, "With `on_invalid=skip`: the rows that were left out."),
        }
    ),
    "IssuerRemoved": record({"account": _ACCOUNT, "rfc": ref("Rfc"), "removed": {"const": True}}),
    "Contract": record(_CONTRACT),
    "ContractWithHistory": record(
        {**_CONTRACT, "history": array_of(_STEP, "Every step it has taken, oldest first.")}
    ),
    "Contracts": record({"contracts": array_of(ref("Contract"), "Newest first."), "next": _NEXT}),
    "Report": record(
        {
            "id": text("Month, kind, format and version.", pattern=r"^[0-9]{4}-[0-9]{2}-[a-z]+-"),
            "account": _REPORT_ACCOUNT,
            "month": _MONTH,
            "kind": one_of(FORMATS),
            "format": ref("Format"),
            "status": one_of((PENDING, READY, FAILED)),
            "bytes": nullable(integer("The size of the file.")),
            "sha256": nullable(text(pattern="^[0-9a-f]{64}$")),
            "rows": nullable(
                integer("Movements in it: HTML 500 at most, PDF 0; null for the PAC's own.")
            ),
            "seconds": nullable(number("How long its making took.")),
            "differences": nullable(
                {
                    "type": "object",
                    "description": "Totals in which a statement and the balance disagree, each as "
                    "[statement's, balance's]; null where they were not compared.",
                    "additionalProperties": array_of({"type": "integer"}, minItems=2, maxItems=2),
                }
            ),
            "requested_by": text("The IAM ARN of who asked, or the schedule."),
            "created_at": date_time(),
            "settled_at": nullable(date_time()),
            "url": nullable(text("A link that needs no key for 15 minutes.", format="uri")),
            "expires_at": nullable(date_time("When the link ends.")),
            "error": nullable(
                record({"code": _CODE, "detail": text(), "pac": _PAC_WORDS}, optional=("pac",))
            ),
        }
    ),
    "Reports": record({"reports": array_of(ref("Report"), "Newest month first."), "next": _NEXT}),
    "DownloadTokensRevoked": record(
        {"account": _REPORT_ACCOUNT, "id": text(), "revoked": integer("Links made no good.")}
    ),
    "Runs": record({"runs": array_of(record(_RUN), "Newest first."), "next": _NEXT}),
    "Run": record(
        {
            **_RUN,
            "expected": integer("Issuers to be counted."),
            "done": integer("Issuers counted."),
            "failed": counts("Issuers that were not counted, by code."),
            "accounts": array_of(_RUN_ACCOUNT),
        }
    ),
    "Order": record(
        {
            "rfc": RFC_SENT,
            "stamps": integer(
                "How many to buy, within the account's limits.", minimum=1, maximum=MAX_STAMPS
            ),
        }
    )
    | {"additionalProperties": False},
    "Settlement": record(
        {
            "outcome": one_of(SETTLED, "What became of the purchase."),
            "reason": text("Kept in the journal.", minLength=10, maxLength=500),
        }
    )
    | {"additionalProperties": False},
    "ReportWanted": {
        "oneOf": [
            record({"month": _MONTH, "kind": {"const": kind}, "format": one_of(formats)})
            | {"additionalProperties": False}
            for kind, formats in FORMATS.items()
        ]
    },
    "IssuerList": array_of(
        {
            "anyOf": [
                RFC_SENT,
                record({"rfc": RFC_SENT, "low_stamps": _LOW_STAMPS}, optional=("low_stamps",))
                | {"additionalProperties": False},
            ]
        },
        minItems=1,
        maxItems=MAX_ROWS,
    ),
    "Problem": record(
        {
            "type": text("`urn:timbres:problem:` and the code."),
            "title": text("The code in words."),
            "status": integer("As in the answer; some of the gateway's own lack it."),
            "detail": text("What happened, for a person to read."),
            "instance": text("The request's id, under which the log has it."),
            "code": _CODE,
            "field": text("The input at fault, where one is."),
            "pac": _PAC_WORDS,
            "contract": {
                "description": "The contract that this is about, whole or by its id.",
                "anyOf": [
                    ref("Contract"),
                    record({"id": _CONTRACT_ID, "status": ref("ContractStatus")}),
                ],
            },
            "report": ref("Report"),
            "rejected": array_of(_BAD_ROW, "Every row that is not right."),
        },
        optional=("status", "field", "pac", "contract", "report", "rejected"),
        description="An error, as RFC 9457 has them. `code` is stable.",
    ),
}
