"""Examples of parameters, responses and errors; a test validates each against its schema."""

from __future__ import annotations

from typing import Any

# fmt: off
_SF, _RC, _RFC, _MONTH = "acme-sf", "acme-rc", "A&D061009TY8", "2026-10"
_CALLER = "arn:aws:iam::123456789012:user/contract-manager"
_AT, _LATER = "2026-11-21T10:15:30-06:00", "2026-11-21T10:15:32-06:00"

CONTRACT: dict[str, Any] = {
    "id": "019aa3c70e1d4b5f60718293a4b5c6d7",
    "account": _SF, "rfc": _RFC, "stamps": 500, "status": "confirmed",
    "contracted_before": 1000, "used_before": 250, "available_before": 750,
    "contracted_after": 1500, "used_after": 250, "available_after": 1250,
    "warning": None,
    "requested_by": _CALLER, "idempotency_key": "5f6c1b1e-2f0a-4c39-9b39-0a1f2a3b4c5d",
    "reference": None, "created_at": _AT, "settled_at": "2026-11-21T10:15:31-06:00",
    "attempts": 0, "pac": {"code": "200", "message": "Operación realizada con éxito"},
    "error": None,
}
_UNKNOWN = CONTRACT | {
    "status": "unknown",
    "contracted_after": None, "used_after": None, "available_after": None,
    "settled_at": None, "pac": None,
    "error": {"code": "pac-timeout", "detail": "solucion-factible did not answer in time."},
}
_STEPS = [
    {"step": step, "at": f"2026-11-21T10:15:{second}-06:00", "by": _CALLER, "status": status}
    for step, second, status in (
        ("create", 30, "pending"), ("send", 30, "pending"), ("confirm", 31, "confirmed"))
]
_PENDING: dict[str, Any] = {
    "id": "2026-10-statement-pdf-0001",
    "account": _RC, "month": _MONTH, "kind": "statement", "format": "pdf", "status": "pending",
    "bytes": None, "sha256": None, "rows": None, "seconds": None, "differences": None,
    "requested_by": "arn:aws:iam::123456789012:user/reporter",
    "created_at": _AT, "settled_at": None, "url": None, "expires_at": None, "error": None,
}
_READY = _PENDING | {
    "status": "ready", "bytes": 48211,
    "sha256": "29b05f4ef67d12b2b7c5a4247d01ab169bba84346c804106169ee73f285cdd4a",
    "seconds": 0.8, "settled_at": _LATER,
}
_LINKED = _READY | {
    "url": "https://example-bucket.s3.mx-central-1.amazonaws.com/reports/acme-rc/2026-10/"
    "statement.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "expires_at": "2026-11-21T10:30:32-06:00",
}
_OWN_STAMPS = {"contracted": 10000, "used": 1050, "available": 8950}
_RUN = {
    "id": "2026-11-21-050000", "status": "finished", "day": "2026-11-21",
    "started_at": "2026-11-21T05:00:01-06:00", "finished_at": "2026-11-21T05:00:09-06:00",
    "low": 1, "exhausted": 0,
}
_SIX = {"expected": 6, "done": 6, "failed": {}}

# Examples of parameters, by name.
EXAMPLES: dict[str, Any] = {
    "rfc": _RFC,
    "month": _MONTH,
    "from": "2026-10-01",
    "to": "2026-10-31",
    "Idempotency-Key": CONTRACT["idempotency_key"],
}

# Examples of successful responses, by operation and status.
RESPONSES: dict[tuple[str, int], Any] = {
    ("listAccounts", 200): {"accounts": [{
        "name": _SF, "pac": "solucion-factible", "environment": "testing",
        "can": ["stamps", "contracts", "consumption"],
    }]},
    ("getBalance", 200): {
        "account": _RC, "pac": "reachcore", "month": _MONTH, "source": "pac", "plan": "postpaid",
        "as_of": "2026-11-19T13:53:41-06:00",
        "issuers": {"registered": 4, "authorized": 3, "stamping": 1},
        "transactions": 3, "movements_total": 3, "consistent": True,
        "by_issuer": [{"rfc": _RFC, "amount": 3}],
        "by_kind": [{"kind": "Consumo de timbre", "amount": 3}],
        "movements": [
            {"rfc": _RFC, "date": "2026-10-02", "kind": "Consumo de timbre", "amount": 3}],
        "truncated": False,
    },
    ("getStamps", 200): {
        "account": _SF, "rfc": _RFC, "name": "Aceros y Derivados, S.A. de C.V.",
        "contracted": 1000, "used": 250, "available": 750, "unlimited": False, "as_of": _AT,
        "burn_7": 14.3, "burn_30": 12.1, "days_left": 52.4, "alert": "ok", "low_stamps": None,
        "expires_on": "2026-12-12", "expiring_stamps": 500,
    },
    ("getAccountStamps", 200): {"account": _SF, **_OWN_STAMPS, "as_of": _AT},
    ("getStampHistory", 200): {
        "account": _SF, "rfc": _RFC, "from": "2026-11-20", "to": "2026-11-21",
        "snapshots": [
            {"date": f"2026-11-{day}", "as_of": f"2026-11-{day}T05:00:03-06:00",
             "contracted": 1000, "used": used, "available": 1000 - used, "unlimited": False,
             "consumed": consumed}
            for day, used, consumed in ((20, 238, None), (21, 250, 12))
        ],
    },
    ("listIssuers", 200): {
        "account": _SF, "issuers": [{"rfc": _RFC, "name": None, "low_stamps": 300}], "next": None},
    ("importIssuers", 200): {"account": _SF, "kept": 2, "removed": 0, "rejected": []},
    ("removeIssuer", 200): {"account": _SF, "rfc": _RFC, "removed": True},
    ("listRuns", 200): {"runs": [_RUN], "next": None},
    ("getRun", 200): {
        **_RUN, **_SIX, "per_minute": 45.0, "expected_end": None,
        "accounts": [{"account": _SF, **_SIX, "problem": None, "account_stamps": {
            **_OWN_STAMPS, "as_of": "2026-11-21T05:00:02-06:00", "days_left": 447.5, "alert": "ok",
            "problem": None, "issuers_available": 1000, "issuers_unknown": 0,
            "over_allotted": False,
        }}],
    },
    ("listRunFailures", 200): {
        "failures": [{"account": _SF, "rfc": _RFC, **_UNKNOWN["error"], "pac_code": None}],
        "next": None,
    },
    ("createContract", 201): CONTRACT,
    ("createContract", 202): _UNKNOWN,
    ("listContracts", 200): {"contracts": [CONTRACT], "next": None},
    ("getContract", 200): CONTRACT | {"history": _STEPS},
    ("settleContract", 200): CONTRACT,
    ("requestReport", 202): _PENDING,
    ("listReports", 200): {"reports": [_READY], "next": None},
    ("getReport", 200): _LINKED,
    ("getReport", 202): _PENDING,
    ("getReport", 302): _LINKED,
    ("revokeLinks", 200): {"revoked": 14},
    ("sendMail", 202): {"month": _MONTH, "run": "2026-11-01 for 2026-10", "reports": 14},
    ("revokeDownloadTokens", 200): {"account": _RC, "id": _READY["id"], "revoked": 1},
}


def _problem(detail: str, field: str | None = None, **members: Any) -> dict[str, Any]:
    return {"detail": detail, **({"field": field} if field else {}), **members}


def _rejection(code: str, message: str) -> dict[str, Any]:
    pac = {"name": "solucion-factible", "code": code, "message": message}
    return _problem(f"solucion-factible answered {code}: {message}.", pac=pac)


# Examples of errors, by code: the members besides the title.
PROBLEMS: dict[str, dict[str, Any]] = {
    "parameter-invalid": _problem(
        "Unknown parameter: 'region'; expected month, rfc. Encode & in a value as %26.", "region"),
    "body-invalid": _problem("stamps is missing: expected a JSON object.", "stamps"),
    "body-too-large": _problem("The body has 20,000 bytes; expected 16,384 at most.", "body"),
    "rfc-invalid": _problem(
        "'A' is not a valid RFC: expected 3 or 4 letters (A-Z, Ñ, &), a date as YYMMDD and 3 "
        "characters; for example A&D061009TY8. Encode & in a query as %26.", "rfc"),
    "month-invalid": _problem(
        "'2026-13' is not a valid month: expected YYYY-MM, for example 2026-11.", "month"),
    "account-unknown": _problem(
        "Account acme does not exist: secret timbres/accounts/acme was not found.", "account"),
    "operation-unsupported": _problem(
        "Account acme-rc is at reachcore, which supports balance, statement, consumption; not "
        "contracts.", "account"),
    "issuer-new": _problem(
        "AAA010101AAA is not known at the PAC, in the list of issuers, or in a snapshot of account "
        "acme-sf. If the RFC is right, send new_issuer: true.", "rfc"),
    "contract-in-flight": _problem(
        f"Contract {CONTRACT['id']} of A&D061009TY8 is unknown: its 500 stamps may still be "
        "allotted. Until it is settled, the issuer cannot have another contract.",
        contract=_UNKNOWN),
    "stamps-over-limit": _problem(
        "50,000 stamps exceed the limit of account acme-sf for one contract: 10,000 "
        "(max_stamps_per_contract).", "stamps"),
    "issuers-invalid": _problem(
        "1 rows are invalid, and nothing was imported; rejected lists them. on_invalid=skip "
        "imports the others.", "body",
        rejected=[{"line": 2, "field": "rfc", "detail": "'AAA' is not a valid RFC."}]),
    "report-failed": _problem(
        "Report 2026-10-statement-pdf-0001 failed: reachcore answered 404. Request it again to "
        "retry.",
        report=_PENDING | {
            "status": "failed", "settled_at": _LATER,
            "error": {"code": "pac-endpoint-not-found", "detail": "reachcore answered 404."},
        }),
    "pac-credentials-rejected": _rejection("601", "Usuario o contraseña incorrectos"),
    "pac-unavailable": _rejection("503", "Servicio no disponible"),
}
