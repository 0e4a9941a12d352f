"""Sample events that are mailed, by the name of their mail in docs/samples/mails."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from tests.support.report_samples import small_month, with_prices
from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.contract import Contract
from timbres.domain.highlights import highlights_of
from timbres.domain.month import Month
from timbres.domain.report import FAILED, FORMATS, PENDING, READY, MonthlyRun, Report, ReportSpec
from timbres.domain.rfc import Rfc
from timbres.domain.run import AlertChange
from timbres.domain.stamps import Stamps
from timbres.errors import PacError
from timbres.pacs.errors import TIMEOUT
from timbres.pacs.registry import PACS
from timbres.schemas import contracts, reports
from timbres.schemas.runs import MAX_LISTED, alert_change_to_dict

NOW = datetime(2026, 11, 21, 5, 31, 7, tzinfo=UTC)
RUN_OF_OCTOBER, OCTOBER = "2026-11-01 for 2026-10", Month(2026, 10)
CALLER = "arn:aws:iam::123456789012:user/compras"
RFC, RFC_N = "A&D061009TY8", "ÑAD061009TY8"
PLATFORM_ERROR = "Error de la plataforma."
STORAGE_ERROR = {"code": "storage-unavailable", "detail": "An AWS service is unavailable."}
DIFFERENCES = {"transactions": [3412, 3413], "movements": [97, 98]}

Detail = dict[str, Any]
SUMMARY = reports.highlights_to_dict(
    highlights_of(with_prices(small_month(), rc="1.15", sf="0.95"))
)


def issuer(
    rfc: str | None,
    alert: str,
    available: int,
    days_left: float | None = None,
    burn: float | None = None,
    account: str = "acme-sf",
) -> Detail:
    """Return an issuer of a run's event; without RFC, the account itself."""
    return alert_change_to_dict(AlertChange(account, rfc, alert, available, days_left, burn))


account_change = partial(issuer, None)


def expiring(*stamps: int) -> Detail:
    """Return the event of contracts that expire, of these stamps."""
    rfcs = (RFC, RFC_N, "EKU9003173C9")
    items = [
        Contract.create(
            "acme-sf", "", Rfc(rfc), count, CALLER, "pedido-1", NOW - timedelta(days=340 - n)
        )
        for n, (rfc, count) in enumerate(zip(rfcs, stamps, strict=False))
    ]
    first = replace(items[0], id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b")
    return contracts.expiring_contracts_to_event("acme-sf", [first, *items[1:]])


def run_event(*issuers: Detail, failures: Sequence[Detail] = (), **changes: Any) -> Detail:
    """Return the event of a completed run; it lists the first 200 issuers."""
    alerts = [change["alert"] for change in issuers]
    incomplete = sum(not account["counted"] for account in failures)
    return {
        "id": "2026-11-21-050000",
        "status": "finished",
        "day": "2026-11-21",
        "started_at": "2026-11-21T05:00:02-06:00",
        "finished_at": "2026-11-21T05:31:07-06:00",
        "expected": 200,
        "done": 200,
        "failed": {},
        "low": alerts.count("low"),
        "exhausted": alerts.count("exhausted"),
        "accounts": ["acme-sf"],
        "problems": {},
        "issuers": list(issuers[:MAX_LISTED]),
        # Events of earlier versions do not have these members.
        **({"failures": failures, "accounts_not_counted": incomplete} if failures else {}),
    } | changes


def not_counted(account: str = "acme-sf", *, counted: bool = False, **changes: Any) -> Detail:
    """Return an account with failures of a run's event."""
    nothing = {"expected": 0, "failed": {}, "problem": None, "account_stamps_problem": None}
    return {"account": account, "counted": counted} | nothing | changes


def _failed(account: str, rfc: str, code: str) -> Detail:
    return {"account": account, "rfc": rfc, "code": code}


def large_run_event(exhausted: int, low: int) -> Detail:
    """Return the event of a run with many alerts."""
    return run_event(
        *(issuer(f"AAA{n:06d}AAA", "exhausted", 0, 0.0, 12.0) for n in range(exhausted)),
        *(issuer(f"BBB{n:06d}AAA", "low", 1 + n, 0.5 + n / 12, 12.0) for n in range(low)),
    )


def rejection_event(pac: str, code: str | None, message: str | None = None) -> Detail:
    """Return the event of rejected credentials."""
    display_name = PACS[pac].display_name
    return {
        "account": "acme-sf" if pac == "solucion-factible" else "acme-rc",
        "at": "2026-11-21T05:00:03-06:00",
        "pac": {"name": pac, "display_name": display_name, "code": code, "message": message},
    }


def contract(stamps: int = 500, rfc: str = RFC) -> Detail:
    """Return the event of a contract whose outcome is not known."""
    pending = Contract.create("acme-sf", "", Rfc(rfc), stamps, CALLER, "pedido-1", NOW)
    sent = pending.mark_sent(NOW, Stamps(1000, 250, 750))
    lost = PacError(TIMEOUT, "nothing came", pac="solucion-factible")
    unknown = sent.mark_unknown(NOW, lost)
    return contracts.contract_to_dict(replace(unknown, id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"))


def make_report(
    kind: str,
    form: str,
    account: str = "acme-rc",
    error: Detail | None = None,
    differences: dict[str, list[int]] | None = None,
) -> Report:
    """Return a ready report; with ``error``, a failed report."""
    spec = ReportSpec(account, OCTOBER, kind, form)
    failed = Report(f"{spec.id_prefix}-0001", spec, FAILED, CALLER, NOW, error=error)
    if error is not None:
        return failed
    summary = SUMMARY if kind == "consumption" else None
    ready = replace(failed, status=READY, object_version="v1", summary=summary)
    return replace(ready, differences=differences)


def report(kind: str, form: str, **options: Any) -> Detail:
    """Return the event of a report; the options are those of :func:`make_report`."""
    return reports.report_to_event(make_report(kind, form, **options))


def report_error(code: str, pac_code: str | None = None, message: str | None = None) -> Detail:
    """Return the error of a failed report."""
    pac = {"name": "reachcore", "code": pac_code, "message": message}
    return {"code": code, "detail": f"reachcore answered {pac_code}: {message}", "pac": pac}


def month(*items: Report, number: int = 1, **failed: str) -> Detail:
    """Return the event of a monthly run; ``failed`` has error codes by account."""
    run = MonthlyRun(RUN_OF_OCTOBER, str(OCTOBER), NOW, [], failed=failed, number=number)
    return reports.monthly_reports_to_event(run, items)


def reports_of(account: str, *kinds: str) -> list[Report]:
    """Return the ready reports of an account in every format."""
    return [make_report(kind, form, account) for kind in kinds for form in FORMATS[kind]]


ALL_READY = [
    *reports_of("acme-sf", "consumption"),
    *reports_of("acme-rc", "consumption", "statement"),
    *reports_of(ALL_ACCOUNTS, "consumption"),
]
INCOMPLETE = month(
    *reports_of(ALL_ACCOUNTS, "consumption"),
    make_report("statement", "csv", differences=DIFFERENCES),
    make_report("statement", "pdf", error=report_error("pac-timeout")),
    make_report("consumption", "csv", error=report_error("pac-unreachable")),
    make_report("consumption", "xlsx", error=report_error("pac-unreachable")),
    make_report("consumption", "pdf", error=report_error("pac-timeout")),
    replace(make_report("consumption", "html"), status=PENDING, object_version=None),
    make_report("statement", "csv", "acme-norte", differences={"registered": [1, 2]}),
    **{"acme-sur": "account-misconfigured", "acme-este": "internal-error"},
)
# More reports than the event lists.
INCOMPLETE |= {"ready": INCOMPLETE["ready"] + 1118, "failed": INCOMPLETE["failed"] + 2}
SUPPLEMENT = month(
    make_report("statement", "csv"),
    make_report("statement", "pdf", error=report_error("pac-timeout")),
    number=3,
    **{"acme-sur": "account-misconfigured"},
)

FIRST = datetime(2026, 11, 1, 6, tzinfo=MEXICO_CITY)
# The longest names, and those that compress worst.
_CHARACTERS = string.ascii_lowercase + string.digits + "-"
_NAMES = random.Random(0)
_ACCOUNTS = sorted("a" + "".join(_NAMES.choices(_CHARACTERS, k=40)) for _ in range(2000))
ALL_FAILED = dict.fromkeys(_ACCOUNTS, "account-credentials-on-trial")
_KINDS = [(kind, form) for kind, forms in FORMATS.items() for form in forms]


def reports_of_2000_accounts(status: Any) -> list[Report]:
    """Return the reports of all accounts, each with every kind and format."""
    pac = {"name": "reachcore", "code": "500", "message": "Error de la plataforma " + "x" * 200}
    error = {"code": "pac-error", "detail": "x", "pac": pac} if status == FAILED else None
    specs = [ReportSpec(name, OCTOBER, *kind) for name in _ACCOUNTS for kind in _KINDS]
    values: dict[str, Any] = {"run": RUN_OF_OCTOBER, "object_version": "v" * 32, "error": error}
    return [
        Report(f"{spec.id_prefix}-0001", spec, status, "schedule", FIRST, **values)
        for spec in specs
    ]


RUN, RUN_MONTHLY = "Daily Run Completed", "Monthly Reports Completed"
_SAMPLES: dict[str, dict[str, Detail]] = {
    RUN: {
        "stamps-counted-one-low": run_event(issuer(RFC, "low", 40, 3.4, 11.8)),
        "stamps-counted-one-exhausted": run_event(issuer(RFC_N, "exhausted", -2, 0.0, 0.4)),
        "stamps-counted-several": run_event(
            issuer(RFC, "exhausted", 0, 0.0, 1234.5),
            issuer(RFC_N, "exhausted", 0, 0.0, None),
            issuer("BBB010101AAA", "low", 1, 0.3, 3.3),
            issuer("CCC010101AAA", "low", 15, 1.9, 7.9, account="acme-norte"),
            issuer("DDD010101AAA", "low", 12_500, 6.9, 1811.6),
            issuer("EEE010101AAA", "low", 90, None, 0.0),
            issuer("FFF010101AAA", "low", 99, 1450.2, 0.07),
        ),
        "stamps-counted-not-all": run_event(
            issuer(RFC, "exhausted", 0, 0.0, 10.0),
            issuer("BBB010101AAA", "low", 12, 1.2, 10.0),
            exhausted_total=32,
            failed_issuers=[
                *(_failed("x", rfc, "pac-rejected-request") for rfc in ("CCC010101AAA", RFC_N)),
                *(_failed("acme-sf", f"DDD{n:06d}AAA", "not-reached") for n in range(58)),
            ],
            failures=[
                not_counted(expected=1210, failed={"not-reached": 1200, "pac-timeout": 1}),
                not_counted("acme-norte", problem="account-misconfigured"),
                not_counted("acme-sur", account_stamps_problem="pac-permission-denied"),
                not_counted("x", counted=True, expected=200, failed={"pac-rejected-request": 2}),
            ],
        ),
        "stamps-counted-account-low": run_event(
            issuer(RFC, "low", 40, 3.4, 11.8),
            account_stamps=[account_change("low", 1234, 5.9, 208.4)],
        ),
        "stamps-counted-accounts": run_event(
            account_stamps=[
                account_change("exhausted", 0, 0.0, 208.4),
                account_change("low", 90, account="acme-norte"),
                account_change("low", 1, 0.4, 3.0, "acme-sur"),
            ],
            failures=[not_counted("x", counted=True, expected=40, failed={"pac-timeout": 1})],
        ),
        "stamps-counted-hundreds": large_run_event(61, 1300),
        "not-counted-issuers": run_event(
            failures=[not_counted(expected=605, failed={"pac-rejected-request": 600})]
        ),
        "not-counted-account": run_event(
            failures=[not_counted("acme-norte", problem="account-misconfigured")]
        ),
        "not-counted-accounts": run_event(
            failures=[
                not_counted("acme-rc", expected=1, failed={"pac-unreachable": 1}),
                not_counted("acme-sf", problem="account-unreadable"),
            ]
        ),
    },
    RUN_MONTHLY: {
        "monthly-complete": month(*ALL_READY),
        "monthly-incomplete": INCOMPLETE,
        # The run failed before it requested all reports.
        "monthly-none": month(**{ALL_ACCOUNTS: "internal-error"}),
        "monthly-supplement": month(*ALL_READY, number=2),
        "monthly-supplement-incomplete": SUPPLEMENT,
    },
    "Report Ready": {
        "report-ready-statement": report("statement", "csv"),
        "report-ready-consumption": report("consumption", "csv"),
        "report-ready-all": report("consumption", "html", account=ALL_ACCOUNTS),
    },
    "Report Failed": {
        "report-failed": report(
            "statement", "csv", error=report_error("pac-error", "500", PLATFORM_ERROR)
        ),
        "report-failed-without-the-pac": report("consumption", "xlsx", error=STORAGE_ERROR),
    },
    "Statement Mismatch Detected": {
        "statement-differs": report("statement", "csv", differences=DIFFERENCES)
    },
    "Credentials Rejected": {
        "credentials-rejected-solucion-factible": rejection_event(
            "solucion-factible", "602", "La contraseña ha expirado."
        ),
        "credentials-rejected-reachcore": rejection_event("reachcore", "401"),
    },
    "Contracts Expiring": {
        "contracts-expiring-one": expiring(500),
        "contracts-expiring-several": expiring(500, 1, 12_000),
    },
    "Contract Confirmed": {
        "contract-confirmed": contract(1500),
        "contract-confirmed-of-one": contract(1, RFC_N),
    },
    "Contract Count Mismatch Detected": {
        "contract-count-mismatch": contract()
        | {"contracted_before": 1000, "contracted_after": 2000}
    },
    "Contract Outcome Unknown": {"contract-unknown": contract()},
    "Contract Needs Review": {"contract-needs-review": contract()},
    "Contract Rejected": {"contract-rejected": contract()},
}
GOLDEN: dict[str, tuple[str, Detail]] = {
    name: (kind, detail) for kind, samples in _SAMPLES.items() for name, detail in samples.items()
}
