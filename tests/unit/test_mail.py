"""Mails: the complete Spanish text of each event, as in docs/samples/mails."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timbres import errors
from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.contract import Contract, Rejection
from timbres.domain.month import Month
from timbres.domain.report import FAILED, FORMATS, PENDING, READY, MonthlyRun, Report, ReportSpec
from timbres.domain.rfc import Rfc
from timbres.domain.run import NOT_REACHED, AlertChange
from timbres.domain.stamps import Stamps
from timbres.errors import ProblemType
from timbres.notifications.failure_causes import REASONS
from timbres.notifications.mails import (
    TEMPLATES,
    LinkFactory,
    Mail,
    compose,
    dedup_key,
    should_notify,
)
from timbres.pacs import errors as codes
from timbres.pacs.reachcore import error_codes as reachcore_codes
from timbres.pacs.registry import PACS
from timbres.pacs.solucion_factible import error_codes as solucion_factible_codes
from timbres.schemas import contracts, reports
from timbres.schemas.runs import alert_change_to_dict

MAILS = Path(__file__).parents[2] / "docs" / "samples" / "mails"
NOW = datetime(2026, 11, 21, 5, 31, 7, tzinfo=UTC)
CALLER = "arn:aws:iam::123456789012:user/compras"
RFC = "A&D061009TY8"

DOWNLOAD = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/prod/d/"
PAC_WITHOUT_MESSAGE = {"name": "reachcore", "code": None, "message": None}

Detail = dict[str, Any]


def link(item: Mapping[str, Any]) -> str:
    assert item["status"] == READY
    assert item["object_version"]
    return f"{DOWNLOAD}ticket-{item['account']}-{item['id']}"


def issuer(
    rfc: str,
    alert: str,
    available: int,
    days_left: float | None = None,
    burn: float | None = None,
    account: str = "acme-sf",
) -> Detail:
    return alert_change_to_dict(AlertChange(account, rfc, alert, available, days_left, burn))


def run_event(*issuers: Detail, **changes: Any) -> Detail:
    """Return the event of a completed run."""
    alerts = [change["alert"] for change in issuers]
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
        "issuers": list(issuers),
    } | changes


def large_run_event(exhausted: int, low: int, named: int = 200) -> Detail:
    """Return the event of a run with many alerts; it names the first 200."""
    lines = [issuer(f"AAA{n:06d}AAA", "exhausted", 0, 0.0, 12.0) for n in range(exhausted)]
    lines += [issuer(f"BBB{n:06d}AAA", "low", 1 + n, 0.5 + n / 12, 12.0) for n in range(low)]
    return run_event(*lines) | {"issuers": lines[:named]}


def rejection_event(pac: str, code: str | None, message: str | None) -> Detail:
    return {
        "account": "acme-sf" if pac == "solucion-factible" else "acme-rc",
        "at": "2026-11-21T05:00:03-06:00",
        "pac": {
            "name": pac,
            "display_name": PACS[pac].display_name,
            "code": code,
            "message": message,
        },
    }


def contract(stamps: int = 500, rfc: str = RFC) -> Detail:
    before = Stamps(1000, 250, 750)
    result = Contract.create("acme-sf", "", Rfc(rfc), stamps, CALLER, "pedido-1", NOW).mark_sent(
        NOW, before
    )
    rejection = Rejection("pac-timeout", "The PAC did not answer in time", "nothing came")
    result = replace(
        result.mark_unknown(NOW, CALLER, rejection), id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"
    )
    return contracts.contract_to_dict(result)


def expiring(*stamps: int) -> Detail:
    rfcs = (RFC, "ÑAD061009TY8", "EKU9003173C9")
    items = [
        Contract.create(
            "acme-sf", "", Rfc(rfc), count, CALLER, "pedido-1", NOW - timedelta(days=340 - n)
        )
        for n, (rfc, count) in enumerate(zip(rfcs, stamps, strict=False))
    ]
    first = replace(items[0], id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b")
    return contracts.expiring_contracts_to_event("acme-sf", [first, *items[1:]])


def make_report(
    kind: str,
    file_format: str,
    account: str = "acme-rc",
    error: Detail | None = None,
    differences: dict[str, list[int]] | None = None,
) -> Report:
    spec = ReportSpec(account, Month(2026, 10), kind, file_format)
    result = Report(f"{spec.id_prefix}-0001", spec, FAILED, CALLER, NOW, error=error)
    if error is None:
        result = replace(result, status=READY, object_version="v1", differences=differences)
    return result


def report(kind: str, file_format: str, **options: Any) -> Detail:
    return reports.report_to_event(make_report(kind, file_format, **options))


def month(*items: Report, number: int = 1, **failed: str) -> Detail:
    """Return the event of a monthly run; ``failed`` has error codes by account."""
    run = MonthlyRun("2026-11-01 for 2026-10", "2026-10", NOW, [], failed=failed, number=number)
    return reports.monthly_reports_to_event(run, items)


def report_error(code: str, **fields: Any) -> Detail:
    return {"code": code, "detail": "For the log.", "pac": PAC_WITHOUT_MESSAGE, **fields}


def reports_of(account: str, *kinds: str) -> list[Report]:
    return [
        make_report(kind, file_format, account) for kind in kinds for file_format in FORMATS[kind]
    ]


ALL_READY = [
    *reports_of("acme-sf", "consumption"),
    *reports_of("acme-rc", "consumption", "statement"),
    *reports_of(ALL_ACCOUNTS, "consumption"),
]
WITH_FAILURES = [
    *reports_of(ALL_ACCOUNTS, "consumption"),
    make_report(
        "statement", "csv", differences={"transactions": [3412, 3413], "movements": [97, 98]}
    ),
    make_report("statement", "pdf", error=report_error("pac-timeout")),
    make_report("consumption", "csv", error=report_error("pac-unreachable")),
    make_report("consumption", "xlsx", error=report_error("pac-unreachable")),
    make_report("consumption", "pdf", error=report_error("pac-timeout")),
    replace(make_report("consumption", "html"), status=PENDING, object_version=None),
    make_report("statement", "csv", "acme-norte", differences={"registered": [1, 2]}),
]
INCOMPLETE = month(
    *WITH_FAILURES, **{"acme-sur": "account-misconfigured", "acme-este": "internal-error"}
)
# More reports than the event lists.
INCOMPLETE |= {"ready": INCOMPLETE["ready"] + 1118, "failed": INCOMPLETE["failed"] + 2}


GOLDEN: dict[str, tuple[str, Detail]] = {
    "stamps-counted-one-low": ("Daily Run Completed", run_event(issuer(RFC, "low", 40, 3.4, 11.8))),
    "stamps-counted-one-exhausted": (
        "Daily Run Completed",
        run_event(issuer("ÑAD061009TY8", "exhausted", -2, 0.0, 0.4)),
    ),
    "stamps-counted-several": (
        "Daily Run Completed",
        run_event(
            issuer(RFC, "exhausted", 0, 0.0, 1234.5),
            issuer("ÑAD061009TY8", "exhausted", 0, 0.0, None),
            issuer("BBB010101AAA", "low", 1, 0.3, 3.3),
            issuer("CCC010101AAA", "low", 15, 1.9, 7.9, account="acme-norte"),
            issuer("DDD010101AAA", "low", 12_500, 6.9, 1811.6),
            issuer("EEE010101AAA", "low", 90, None, 0.0),
            issuer("FFF010101AAA", "low", 99, 1450.2, 0.07),
        ),
    ),
    "stamps-counted-not-all": (
        "Daily Run Completed",
        run_event(
            issuer(RFC, "exhausted", 0, 0.0, 10.0),
            issuer("BBB010101AAA", "low", 12, 1.2, 10.0),
            failed={
                "not-reached": 1200,
                "pac-permission-denied": 1,
                "pac-rejected-request": 2,
                "pac-timeout": 1,
            },
            problems={"acme-norte": "account-misconfigured", "acme-sur": "internal-error"},
        ),
    ),
    "stamps-counted-hundreds": ("Daily Run Completed", large_run_event(61, 1300)),
    "stamps-counted-nobody": (
        "Daily Run Completed",
        run_event(
            done=0,
            failed={"pac-unreachable": 199, "pac-permission-denied": 1},
            problems={"acme-norte": "account-misconfigured"},
        ),
    ),
    "credentials-rejected-solucion-factible": (
        "Credentials Rejected",
        rejection_event("solucion-factible", "602", "La contraseña ha expirado."),
    ),
    "credentials-rejected-reachcore": (
        "Credentials Rejected",
        rejection_event("reachcore", "401", None),
    ),
    "report-ready-statement": ("Report Ready", report("statement", "pdf")),
    "report-ready-consumption": ("Report Ready", report("consumption", "csv")),
    "report-ready-all": ("Report Ready", report("consumption", "html", account=ALL_ACCOUNTS)),
    "report-failed": (
        "Report Failed",
        report(
            "statement",
            "csv",
            error={
                "code": "pac-error",
                "detail": "reachcore answered 500: Error de la plataforma.",
                "pac": {"name": "reachcore", "code": "500", "message": "Error de la plataforma."},
            },
        ),
    ),
    "report-failed-without-the-pac": (
        "Report Failed",
        report(
            "consumption",
            "xlsx",
            error={
                "code": "storage-unavailable",
                "detail": "An AWS service is unavailable.",
            },
        ),
    ),
    "monthly-complete": ("Monthly Reports Completed", month(*ALL_READY)),
    "monthly-incomplete": ("Monthly Reports Completed", INCOMPLETE),
    # The run failed before it requested all reports.
    "monthly-none": ("Monthly Reports Completed", month(**{ALL_ACCOUNTS: "internal-error"})),
    "monthly-supplement": ("Monthly Reports Completed", month(*ALL_READY, number=2)),
    "monthly-supplement-incomplete": (
        "Monthly Reports Completed",
        month(
            make_report("statement", "csv"),
            make_report("statement", "pdf", error=report_error("pac-timeout")),
            number=3,
            **{"acme-sur": "account-misconfigured"},
        ),
    ),
    "statement-differs": (
        "Statement Mismatch Detected",
        report(
            "statement", "csv", differences={"transactions": [3412, 3413], "movements": [97, 98]}
        ),
    ),
    "contract-confirmed": ("Contract Confirmed", contract(1500)),
    "contract-confirmed-of-one": ("Contract Confirmed", contract(1, "ÑAD061009TY8")),
    "contract-count-mismatch": (
        "Contract Count Mismatch Detected",
        contract() | {"contracted_before": 1000, "contracted_after": 2000},
    ),
    "contract-unknown": ("Contract Outcome Unknown", contract()),
    "contract-needs-review": ("Contract Needs Review", contract()),
    "contract-rejected": ("Contract Rejected", contract()),
    "contracts-expiring-one": ("Contracts Expiring", expiring(500)),
    "contracts-expiring-several": ("Contracts Expiring", expiring(500, 1, 12_000)),
}


def mail(kind: str, detail: Mapping[str, Any]) -> Mail:
    # As the bus delivers it.
    return compose(kind, json.loads(json.dumps(detail)), LinkFactory(link, 30))


@pytest.mark.parametrize("name", GOLDEN)
def test_each_mail_matches_its_sample(name: str) -> None:
    rendered = mail(*GOLDEN[name])
    expected = (MAILS / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{rendered.subject}\n\n{rendered.text}" == expected


def test_every_event_and_every_sample_is_covered() -> None:
    assert {kind for kind, _ in GOLDEN.values()} == set(TEMPLATES)
    assert {path.stem for path in MAILS.glob("*.txt")} == set(GOLDEN)


def test_every_sample_event_is_mailed() -> None:
    assert all(should_notify(kind, detail) for kind, detail in GOLDEN.values())


def test_a_run_without_news_is_not_mailed() -> None:
    assert not should_notify("Daily Run Completed", run_event())
    assert not should_notify("Daily Run Completed", run_event(done=0, expected=0))
    assert not should_notify("Daily Run Completed", run_event(done=193, failed={"pac-timeout": 7}))
    assert not should_notify(
        "Daily Run Completed", run_event(problems={"acme-norte": "account-misconfigured"})
    )


def test_a_run_without_counts_is_mailed() -> None:
    assert should_notify("Daily Run Completed", run_event(done=0, failed={"pac-timeout": 200}))
    assert should_notify(
        "Daily Run Completed", run_event(done=0, problems={"acme-sf": "account-misconfigured"})
    )


@pytest.mark.parametrize("kind", ["Report Ready", "Report Failed"])
def test_reports_of_a_monthly_run_have_no_own_mail(kind: str) -> None:
    assert should_notify(kind, report("statement", "pdf") | {"run": None})
    assert not should_notify(kind, report("statement", "pdf") | {"run": "2026-11-01 for 2026-10"})


@pytest.mark.parametrize("kind", ["Stamps Low", "Stamps Exhausted", "stamps counted", ""])
def test_other_events_have_no_mail(kind: str) -> None:
    with pytest.raises(KeyError):
        mail(kind, run_event(issuer(RFC, "low", 1)))


# ------------------------------------------------------------------- numbers and days


@pytest.mark.parametrize(
    ("exhausted", "low", "subject"),
    [
        (0, 1, "AAA010101AAA con pocos timbres, cuenta acme-sf"),
        (1, 0, "AAA010101AAA sin timbres, cuenta acme-sf"),
        (0, 2, "2 emisores con pocos timbres"),
        (2, 0, "2 emisores sin timbres"),
        (1, 1, "1 emisor sin timbres y 1 con pocos"),
        (2, 1234, "2 emisores sin timbres y 1,234 con pocos"),
        (1234, 1, "1,234 emisores sin timbres y 1 con pocos"),
    ],
)
def test_the_subject_says_how_many(exhausted: int, low: int, subject: str) -> None:
    lines = [issuer("AAA010101AAA", "exhausted", 0)] * exhausted
    lines += [issuer("AAA010101AAA", "low", 1)] * low
    rendered = mail("Daily Run Completed", run_event(*lines) | {"issuers": lines[:200]})
    assert rendered.subject == f"Timbres: {subject}"


@pytest.mark.parametrize(
    ("available", "days_left", "burn", "line"),
    [
        (1, 0.99, None, "1 timbre, alcanza para menos de un día"),
        (2, 0.0, None, "2 timbres, alcanzan para menos de un día"),
        (2, 1.0, None, "2 timbres, alcanzan para 1 día"),
        (2, 1.99, 1.0, "2 timbres, alcanzan para 1 día (usa cerca de 1 al día)"),
        (2, 2.0, 0.99, "2 timbres, alcanzan para 2 días (usa menos de 1 al día)"),
        (999, 6.99, 143.0, "999 timbres, alcanzan para 6 días (usa cerca de 143 al día)"),
        (1000, 6.5, 1538.0, "1,000 timbres, alcanzan para 6 días (usa cerca de 1,538 al día)"),
        (1, 5000, 0.01, "1 timbre, alcanza para 5,000 días (usa menos de 1 al día)"),
        (7, None, None, "7 timbres"),
        (7, None, 0.0, "7 timbres"),
    ],
)
def test_stamps_and_days_left(
    available: int, days_left: float | None, burn: float | None, line: str
) -> None:
    text = mail(
        "Daily Run Completed", run_event(issuer(RFC, "low", available, days_left, burn))
    ).text
    assert f"  - {RFC} (cuenta acme-sf): {line}\n" in text


@pytest.mark.parametrize(
    ("exhausted", "low"),
    [(60, 0), (61, 0), (0, 61), (200, 1), (150, 150), (5000, 20_000), (1, 900)],
)
def test_long_lists_are_cut_and_the_remainder_is_counted(exhausted: int, low: int) -> None:
    text = mail("Daily Run Completed", large_run_event(exhausted, low)).text
    groups = dict.fromkeys(("SIN TIMBRES", "POCOS TIMBRES"), 0)
    group = ""
    for line in text.splitlines():
        if heading := re.match(r"([A-Z ]+) \([0-9,]+\):", line):
            group = heading[1]
        elif line.startswith("  - "):
            remainder = re.match(r"  - (?:y )?([0-9,]+) (?:más|emisor(?:es)?): la lista", line)
            groups[group] += int(remainder[1].replace(",", "")) if remainder else 1
    assert groups == {"SIN TIMBRES": exhausted, "POCOS TIMBRES": low}
    assert text.count("\n") < 150


# ---------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", GOLDEN)
def test_every_url_has_its_own_line(name: str) -> None:
    for line in mail(*GOLDEN[name]).text.splitlines():
        if "://" in line:
            assert re.fullmatch(r" *https://[^ ]+", line)


def test_the_monthly_mail_has_one_link_for_each_report_under_its_account() -> None:
    blocks = mail("Monthly Reports Completed", month(*ALL_READY)).text.split("\n\n")[1:4]
    assert [block.partition("\n")[0] for block in blocks] == [
        "Todas las cuentas:",
        "Cuenta acme-rc:",
        "Cuenta acme-sf:",
    ]
    for block, account in zip(blocks, (ALL_ACCOUNTS, "acme-rc", "acme-sf"), strict=True):
        links = [line.strip() for line in block.splitlines() if DOWNLOAD in line]
        expected = [
            link(reports.report_to_event(item))
            for item in ALL_READY
            if item.spec.account == account
        ]
        assert sorted(links) == sorted(expected)


@pytest.mark.parametrize("kind", ["Report Ready", "Monthly Reports Completed"])
def test_a_link_is_created_for_each_ready_report_only(kind: str) -> None:
    created: list[str] = []

    def record(item: Mapping[str, Any]) -> str:
        created.append(f"{item['account']}/{item['id']}")
        return link(item)

    detail = INCOMPLETE if kind == "Monthly Reports Completed" else report("statement", "pdf")
    compose(kind, detail, LinkFactory(record, 30))

    ready = [item for item in detail.get("reports", [detail]) if item["status"] == READY]
    assert created == [f"{item['account']}/{item['id']}" for item in ready]


@pytest.mark.parametrize(("days", "text"), [(1, "sirve 1 día y"), (30, "sirve 30 días y")])
def test_the_mail_gives_the_validity_of_its_links(days: int, text: str) -> None:
    for kind, detail in (
        ("Report Ready", report("statement", "pdf")),
        ("Monthly Reports Completed", month(*ALL_READY)),
    ):
        assert text in compose(kind, detail, LinkFactory(link, days)).text


def test_account_names_are_unchanged() -> None:
    item = make_report("statement", "pdf", "Ñandú-SF")
    assert "\nCuenta Ñandú-SF:\n" in mail("Monthly Reports Completed", month(item)).text


# -------------------------------------------------------------------------------- reasons

COMMON_PROBLEMS: list[ProblemType] = [
    codes.UNREACHABLE,
    codes.TIMEOUT,
    codes.PROTOCOL_ERROR,
    errors.ACCOUNT_NOT_FOUND,
    errors.ACCOUNT_MISCONFIGURED,
    errors.CREDENTIALS_ON_TRIAL,
    errors.OPERATION_UNSUPPORTED,
    errors.DEADLINE_EXCEEDED,
    errors.AWS_SERVICE_UNAVAILABLE,
    errors.INTERNAL_ERROR,
    errors.ACCOUNT_UNREADABLE,
]
RUN_PROBLEMS: list[ProblemType] = [
    *solucion_factible_codes.ERRORS.by_code.values(),
    *reachcore_codes.ERRORS.by_code.values(),
    *COMMON_PROBLEMS,
]
CODES = sorted({problem.code for problem in RUN_PROBLEMS} | {NOT_REACHED})


@pytest.mark.parametrize("code", CODES)
def test_every_failure_of_a_run_has_a_text(code: str) -> None:
    low = issuer(RFC, "low", 1)
    lines = []
    for count in (1, 2, 1234):
        text = mail("Daily Run Completed", run_event(low, failed={code: count})).text
        lines += [line for line in text.splitlines() if "emisor" in line and "  - " in line]
    text = mail("Daily Run Completed", run_event(low, problems={"acme-norte": code})).text
    lines += [line for line in text.splitlines() if "toda la cuenta" in line]
    heads = [line.partition(": ")[0].strip() for line in lines]
    assert heads == [
        "- 1 emisor",
        "- 2 emisores",
        "- 1,234 emisores",
        "- toda la cuenta acme-norte",
    ]
    for line in lines:
        assert code not in line
        assert not set(line) & set("{}_")


def test_only_failures_of_a_run_have_texts() -> None:
    assert sorted(REASONS) == CODES


def test_a_failure_without_a_text_is_named_by_its_code() -> None:
    low = issuer(RFC, "low", 1)
    assert "  - 3 emisores: error new-code\n" in (
        mail("Daily Run Completed", run_event(low, failed={"new-code": 3})).text
    )


def test_only_retryable_failures_announce_a_retry() -> None:
    promised = set()
    for code in CODES:
        text = mail("Daily Run Completed", run_event(issuer(RFC, "low", 1), failed={code: 1})).text
        if "mañana se intenta de nuevo" in text:
            promised.add(code)
    retried = {problem.code for problem in RUN_PROBLEMS if problem.retryable}
    assert promised == retried | {
        NOT_REACHED,
        "internal-error",
        "out-of-time",
        "storage-unavailable",
    }


REPORT_PROBLEMS: list[ProblemType] = [
    *reachcore_codes.ERRORS.by_code.values(),
    *reachcore_codes.STATEMENT_ERRORS.by_code.values(),
    *COMMON_PROBLEMS,
]


@pytest.mark.parametrize("code", sorted({problem.code for problem in REPORT_PROBLEMS}))
def test_every_failure_of_a_report_has_a_text(code: str) -> None:
    failed = make_report("statement", "pdf", error=report_error(code))
    texts = [
        mail("Report Failed", reports.report_to_event(failed)).text,
        mail("Monthly Reports Completed", month(failed)).text,
        mail("Monthly Reports Completed", month(**{"acme-rc": code})).text,
    ]
    for text in texts:
        (cause,) = (line.strip() for line in text.splitlines() if "La causa: " in line)
        assert cause == texts[0].splitlines()[2]
        assert not set(cause) & set("{}_")
        assert code not in cause
        # A report has no list, and Timbres does not retry it.
        assert "lista" not in cause
        assert "mañana" not in text


@pytest.mark.parametrize(
    ("pac", "text"),
    [
        (PAC_WITHOUT_MESSAGE, "el PAC falló."),
        (PAC_WITHOUT_MESSAGE | {"code": "500"}, "el PAC falló (código 500)."),
        (PAC_WITHOUT_MESSAGE | {"message": "No hay."}, "el PAC falló. El PAC dijo: «No hay»."),
        (
            PAC_WITHOUT_MESSAGE | {"code": "500", "message": "No hay"},
            "el PAC falló. El PAC dijo: «No hay» (código 500).",
        ),
    ],
)
def test_the_mail_quotes_the_pacs_message(pac: Detail, text: str) -> None:
    failed = make_report("statement", "pdf", error=report_error("pac-error", pac=pac))
    of_month = month(failed)
    of_month["reports"][0]["error"] = failed.error
    for event in (
        ("Report Failed", reports.report_to_event(failed)),
        ("Monthly Reports Completed", of_month),
    ):
        assert f"La causa: {text}\n" in mail(*event).text


def test_reports_with_the_same_failure_are_grouped() -> None:
    failed = [
        make_report(kind, form, error=report_error("pac-unreachable"))
        for kind in FORMATS
        for form in ("csv", "pdf")
    ]
    assert (
        "  - cuenta acme-rc: estado de cuenta (CSV, PDF) y reporte de consumo (CSV, PDF)\n"
        "    La causa: no hubo conexión con el PAC.\n"
    ) in mail("Monthly Reports Completed", month(*failed)).text


# ------------------------------------------------------------------------------- subjects

texts = st.text(max_size=400)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{1,40}", fullmatch=True) | texts
pacs = st.fixed_dictionaries(
    {"name": texts, "code": st.none() | texts, "message": st.none() | texts}
)
failures = st.fixed_dictionaries({"code": texts, "detail": texts}, optional={"pac": pacs})
differences = st.dictionaries(
    texts, st.lists(st.integers(0, 10**9), min_size=2, max_size=2), max_size=3
)
details = st.fixed_dictionaries(
    {
        "id": texts,
        "at": texts,
        "account": names,
        "rfc": texts,
        "stamps": st.integers(1, 10**6),
        "requested_by": texts,
        "month": st.just("2026-10"),
        "kind": texts,
        "format": texts,
        "status": st.just(READY),
        "object_version": st.just("v1"),
        "differences": differences,
        "error": failures,
        "ready": st.integers(0, 10**4),
        "accounts_failed": st.dictionaries(names, texts, max_size=3),
        "reports": st.lists(
            st.fixed_dictionaries(
                {
                    "account": names,
                    "id": texts,
                    "kind": texts,
                    "format": texts,
                    "status": st.sampled_from([READY, FAILED, PENDING]),
                    "object_version": st.just("v1"),
                    "differences": st.none() | differences,
                    "error": st.none() | failures,
                }
            ),
            max_size=5,
        ),
        "pac": pacs,
        "day": st.dates().map(str),
        "failed": st.dictionaries(texts, st.integers(1, 10**9), max_size=3),
        "problems": st.dictionaries(texts, texts, max_size=3),
        "contracted_before": st.integers(0, 10**9),
        "contracted_after": st.integers(0, 10**9),
        "contracts": st.lists(
            st.fixed_dictionaries(
                {
                    "id": texts,
                    "rfc": texts,
                    "stamps": st.integers(1, 10**6),
                    "expires_on": st.dates().map(str),
                }
            ),
            min_size=1,
            max_size=3,
        ),
        "issuers": st.lists(
            st.fixed_dictionaries(
                {
                    "account": names,
                    "rfc": texts,
                    "alert": st.sampled_from(["low", "exhausted"]),
                    "available": st.integers(-(10**9), 10**15),
                    "days_left": st.none() | st.floats(0, 1e12),
                    "burn": st.none() | st.floats(0, 1e12),
                }
            ),
            max_size=3,
        ),
    }
).map(
    lambda detail: (
        detail
        | {
            alert: sum(change["alert"] == alert for change in detail["issuers"])
            for alert in ("low", "exhausted")
        }
    )
)


@given(st.sampled_from(sorted(TEMPLATES)), details)
def test_any_mail_has_a_subject_that_sns_accepts(kind: str, detail: Detail) -> None:
    if kind == "Monthly Reports Completed":
        # A run has numbers of issuers here, a month a number of reports.
        detail |= {"failed": len(detail["failed"])}
    rendered = mail(kind, detail)
    assert rendered.subject.startswith("Timbres: ")
    assert rendered.subject.isascii()
    assert rendered.subject.isprintable()
    assert len(rendered.subject) < 100
    assert rendered.text.endswith("\n\n-- \nTimbres\n")


def test_the_longest_subjects_are_complete() -> None:
    account, rfc = "a" * 41, "ABCD010101AAA"
    event = run_event(issuer(rfc, "low", 1, account=account))
    assert mail("Daily Run Completed", event).subject.endswith(
        f"{rfc} con pocos timbres, cuenta {account}"
    )
    failed = report("statement", "pdf", account=account, error=report_error("pac-error"))
    assert mail("Report Failed", failed).subject.endswith(account)
    mismatch = report("statement", "csv", account=account, differences={"amount": [1, 2]})
    assert mail("Statement Mismatch Detected", mismatch).subject.endswith(account)
    for kind in FORMATS:
        ready = report(kind, "csv", account=account)
        assert mail("Report Ready", ready).subject.endswith(account)
    rejection = rejection_event("reachcore", "401", None) | {"account": account}
    assert mail("Credentials Rejected", rejection).subject.endswith(account)


def test_subjects_have_no_accents() -> None:
    rendered = mail(*GOLDEN["stamps-counted-one-exhausted"])
    assert rendered.subject == "Timbres: 1 emisor sin timbres, cuenta acme-sf"
    assert "ÑAD061009TY8" in rendered.text


# ----------------------------------------------------------------------------------- keys


def test_a_repeated_event_has_the_same_key() -> None:
    for kind, detail in GOLDEN.values():
        repeated = json.loads(json.dumps(detail)) | {
            "status": "x",
            "finished_at": "later",
            "low": 9,
        }
        assert dedup_key(kind, repeated) == dedup_key(kind, detail)


def test_the_first_event_of_a_run_has_the_key_of_an_event_without_a_number() -> None:
    numbered = month(*ALL_READY)
    before = {name: value for name, value in numbered.items() if name != "number"}
    assert dedup_key("Monthly Reports Completed", before) == dedup_key(
        "Monthly Reports Completed", numbered
    )
    assert mail("Monthly Reports Completed", before) == mail("Monthly Reports Completed", numbered)


def test_different_events_have_different_keys() -> None:
    event = contract()
    different = [
        ("Daily Run Completed", run_event()),
        ("Daily Run Completed", run_event(id="2026-11-22-050000")),
        ("Credentials Rejected", rejection_event("reachcore", "401", None)),
        ("Credentials Rejected", rejection_event("solucion-factible", "601", None)),
        ("Credentials Rejected", rejection_event("reachcore", "401", None) | {"at": "2026-11-22"}),
        ("Report Ready", report("statement", "pdf")),
        ("Report Ready", report("statement", "csv")),
        ("Report Ready", report("statement", "pdf") | {"account": "other"}),
        ("Report Failed", report("statement", "pdf")),
        ("Statement Mismatch Detected", report("statement", "pdf")),
        ("Monthly Reports Completed", month(*ALL_READY)),
        ("Monthly Reports Completed", month(*ALL_READY) | {"id": "2026-12-01 for 2026-11"}),
        # A supplement must not have the key of the mail before it.
        ("Monthly Reports Completed", month(*ALL_READY, number=2)),
        ("Monthly Reports Completed", month(*ALL_READY, number=3)),
        *((kind, event) for kind in TEMPLATES if kind.startswith("Contract")),
        ("Contract Confirmed", event | {"id": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5c"}),
        ("Contract Confirmed", event | {"account": "other"}),
    ]
    assert len({dedup_key(*event_and_detail) for event_and_detail in different}) == len(different)
