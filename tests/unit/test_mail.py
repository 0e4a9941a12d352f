"""Mails: what a person reads in Spanish of each event, whole, as docs/samples/mails shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
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
BUYER = "arn:aws:iam::123456789012:user/compras"
RFC = "A&D061009TY8"

DOWNLOAD = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/prod/d/"
SILENT = {"name": "reachcore", "code": None, "message": None}

Detail = dict[str, Any]


def link(one: Mapping[str, Any]) -> str:
    assert one["status"] == READY
    assert one["object_version"]
    return f"{DOWNLOAD}ticket-{one['account']}-{one['id']}"


def issuer(
    rfc: str,
    alert: str,
    available: int,
    days_left: float | None = None,
    burn: float | None = None,
    account: str = "acme-sf",
) -> Detail:
    return alert_change_to_dict(AlertChange(account, rfc, alert, available, days_left, burn))


def counted(*issuers: Detail, **changes: Any) -> Detail:
    """A run's event, as it is published at its end."""
    alerts = [one["alert"] for one in issuers]
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


def hundreds(exhausted: int, low: int, named: int = 200) -> Detail:
    """A run after a bad night; its event names the first 200."""
    lines = [issuer(f"AAA{n:06d}AAA", "exhausted", 0, 0.0, 12.0) for n in range(exhausted)]
    lines += [issuer(f"BBB{n:06d}AAA", "low", 1 + n, 0.5 + n / 12, 12.0) for n in range(low)]
    return counted(*lines) | {"issuers": lines[:named]}


def rejected(pac: str, code: str | None, message: str | None) -> Detail:
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
    one = Contract.create("acme-sf", "", Rfc(rfc), stamps, BUYER, "pedido-1", NOW).mark_sent(
        NOW, before
    )
    rejection = Rejection("pac-timeout", "The PAC did not answer in time", "nothing came")
    one = replace(one.mark_unknown(NOW, BUYER, rejection), id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b")
    return contracts.contract_to_dict(one)


def made(
    kind: str,
    form: str,
    account: str = "acme-rc",
    error: Detail | None = None,
    differences: dict[str, list[int]] | None = None,
) -> Report:
    wanted = ReportSpec(account, Month(2026, 10), kind, form)
    one = Report(f"{wanted.id_prefix}-0001", wanted, FAILED, BUYER, NOW, error=error)
    if error is None:
        one = replace(one, status=READY, object_version="v1", differences=differences)
    return one


def report(kind: str, form: str, **more: Any) -> Detail:
    return reports.report_to_event(made(kind, form, **more))


def month(*found: Report, number: int = 1, **failed: str) -> Detail:
    """The event of a monthly run; ``failed`` are accounts and codes."""
    run = MonthlyRun("2026-11-01 for 2026-10", "2026-10", NOW, [], failed=failed, number=number)
    return reports.monthly_reports_to_event(run, found)


def unmade(code: str, **more: Any) -> Detail:
    return {"code": code, "detail": "For whoever reads logs.", "pac": SILENT, **more}


def all_of(account: str, *kinds: str) -> list[Report]:
    return [made(kind, form, account) for kind in kinds for form in FORMATS[kind]]


EVERY = [
    *all_of("acme-sf", "consumption"),
    *all_of("acme-rc", "consumption", "statement"),
    *all_of(ALL_ACCOUNTS, "consumption"),
]
BROKEN = [
    *all_of(ALL_ACCOUNTS, "consumption"),
    made("statement", "csv", differences={"transactions": [3412, 3413], "movements": [97, 98]}),
    made("statement", "pdf", error=unmade("pac-timeout")),
    made("consumption", "csv", error=unmade("pac-unreachable")),
    made("consumption", "xlsx", error=unmade("pac-unreachable")),
    made("consumption", "pdf", error=unmade("pac-timeout")),
    replace(made("consumption", "html"), status=PENDING, object_version=None),
    made("statement", "csv", "acme-norte", differences={"registered": [1, 2]}),
]
INCOMPLETE = month(*BROKEN, **{"acme-sur": "account-misconfigured", "acme-este": "internal-error"})
# More than the event names.
INCOMPLETE |= {"ready": INCOMPLETE["ready"] + 1118, "failed": INCOMPLETE["failed"] + 2}


GOLDEN: dict[str, tuple[str, Detail]] = {
    "stamps-counted-one-low": ("Daily Run Completed", counted(issuer(RFC, "low", 40, 3.4, 11.8))),
    "stamps-counted-one-exhausted": (
        "Daily Run Completed",
        counted(issuer("ÑAD061009TY8", "exhausted", -2, 0.0, 0.4)),
    ),
    "stamps-counted-several": (
        "Daily Run Completed",
        counted(
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
        counted(
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
    "stamps-counted-hundreds": ("Daily Run Completed", hundreds(61, 1300)),
    "stamps-counted-nobody": (
        "Daily Run Completed",
        counted(
            done=0,
            failed={"pac-unreachable": 199, "pac-permission-denied": 1},
            problems={"acme-norte": "account-misconfigured"},
        ),
    ),
    "credentials-rejected-solucion-factible": (
        "Credentials Rejected",
        rejected("solucion-factible", "602", "La contraseña ha expirado."),
    ),
    "credentials-rejected-reachcore": ("Credentials Rejected", rejected("reachcore", "401", None)),
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
    "monthly-complete": ("Monthly Reports Completed", month(*EVERY)),
    "monthly-incomplete": ("Monthly Reports Completed", INCOMPLETE),
    # Broken off before all was asked for.
    "monthly-none": ("Monthly Reports Completed", month(**{ALL_ACCOUNTS: "internal-error"})),
    "monthly-supplement": ("Monthly Reports Completed", month(*EVERY, number=2)),
    "monthly-supplement-incomplete": (
        "Monthly Reports Completed",
        month(
            made("statement", "csv"),
            made("statement", "pdf", error=unmade("pac-timeout")),
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
}


def mail(kind: str, detail: Mapping[str, Any]) -> Mail:
    # As it comes over the bus.
    return compose(kind, json.loads(json.dumps(detail)), LinkFactory(link, 30))


@pytest.mark.parametrize("name", GOLDEN)
def test_each_mail_word_by_word(name: str) -> None:
    written = mail(*GOLDEN[name])
    wanted = (MAILS / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{written.subject}\n\n{written.text}" == wanted


def test_every_event_and_every_text_has_its_mail() -> None:
    assert {kind for kind, _ in GOLDEN.values()} == set(TEMPLATES)
    assert {path.stem for path in MAILS.glob("*.txt")} == set(GOLDEN)


def test_what_is_told_has_a_mail() -> None:
    assert all(should_notify(kind, detail) for kind, detail in GOLDEN.values())


def test_a_run_that_found_nothing_new_is_not_told() -> None:
    assert not should_notify("Daily Run Completed", counted())
    assert not should_notify("Daily Run Completed", counted(done=0, expected=0))
    assert not should_notify("Daily Run Completed", counted(done=193, failed={"pac-timeout": 7}))
    assert not should_notify(
        "Daily Run Completed", counted(problems={"acme-norte": "account-misconfigured"})
    )


def test_a_run_that_counted_nobody_is_told() -> None:
    assert should_notify("Daily Run Completed", counted(done=0, failed={"pac-timeout": 200}))
    assert should_notify(
        "Daily Run Completed", counted(done=0, problems={"acme-sf": "account-misconfigured"})
    )


@pytest.mark.parametrize("kind", ["Report Ready", "Report Failed"])
def test_a_report_of_the_monthly_run_is_told_by_the_run(kind: str) -> None:
    assert should_notify(kind, report("statement", "pdf") | {"run": None})
    assert not should_notify(kind, report("statement", "pdf") | {"run": "2026-11-01 for 2026-10"})


@pytest.mark.parametrize("kind", ["Stamps Low", "Stamps Exhausted", "stamps counted", ""])
def test_other_events_are_no_mails(kind: str) -> None:
    with pytest.raises(KeyError):
        mail(kind, counted(issuer(RFC, "low", 1)))


# ------------------------------------------------------------------- how many, how long


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
    written = mail("Daily Run Completed", counted(*lines) | {"issuers": lines[:200]})
    assert written.subject == f"Timbres: {subject}"


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
def test_how_many_are_left_and_for_how_long(
    available: int, days_left: float | None, burn: float | None, line: str
) -> None:
    text = mail("Daily Run Completed", counted(issuer(RFC, "low", available, days_left, burn))).text
    assert f"  - {RFC} (cuenta acme-sf): {line}\n" in text


@pytest.mark.parametrize(
    ("exhausted", "low"),
    [(60, 0), (61, 0), (0, 61), (200, 1), (150, 150), (5000, 20_000), (1, 900)],
)
def test_hundreds_are_cut_and_the_rest_is_counted(exhausted: int, low: int) -> None:
    text = mail("Daily Run Completed", hundreds(exhausted, low)).text
    groups = dict.fromkeys(("SIN TIMBRES", "POCOS TIMBRES"), 0)
    group = ""
    for line in text.splitlines():
        if found := re.match(r"([A-Z ]+) \([0-9,]+\):", line):
            group = found[1]
        elif line.startswith("  - "):
            rest = re.match(r"  - (?:y )?([0-9,]+) (?:más|emisor(?:es)?): la lista", line)
            groups[group] += int(rest[1].replace(",", "")) if rest else 1
    assert groups == {"SIN TIMBRES": exhausted, "POCOS TIMBRES": low}
    assert text.count("\n") < 150


# ---------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", GOLDEN)
def test_every_address_stands_alone_on_its_line(name: str) -> None:
    for line in mail(*GOLDEN[name]).text.splitlines():
        if "://" in line:
            assert re.fullmatch(r" *https://[^ ]+", line)


def test_the_monthly_mail_has_one_link_for_each_report_under_its_account() -> None:
    blocks = mail("Monthly Reports Completed", month(*EVERY)).text.split("\n\n")[1:4]
    assert [block.partition("\n")[0] for block in blocks] == [
        "Todas las cuentas:",
        "Cuenta acme-rc:",
        "Cuenta acme-sf:",
    ]
    for block, account in zip(blocks, (ALL_ACCOUNTS, "acme-rc", "acme-sf"), strict=True):
        found = [line.strip() for line in block.splitlines() if DOWNLOAD in line]
        wanted = [
            link(reports.report_to_event(one)) for one in EVERY if one.spec.account == account
        ]
        assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("kind", ["Report Ready", "Monthly Reports Completed"])
def test_one_link_is_asked_for_each_ready_report_and_none_for_another(kind: str) -> None:
    asked: list[str] = []

    def count(one: Mapping[str, Any]) -> str:
        asked.append(f"{one['account']}/{one['id']}")
        return link(one)

    detail = INCOMPLETE if kind == "Monthly Reports Completed" else report("statement", "pdf")
    compose(kind, detail, LinkFactory(count, 30))

    ready = [one for one in detail.get("reports", [detail]) if one["status"] == READY]
    assert asked == [f"{one['account']}/{one['id']}" for one in ready]


@pytest.mark.parametrize(("days", "words"), [(1, "sirve 1 día y"), (30, "sirve 30 días y")])
def test_for_how_long_a_link_is_good(days: int, words: str) -> None:
    for kind, detail in (
        ("Report Ready", report("statement", "pdf")),
        ("Monthly Reports Completed", month(*EVERY)),
    ):
        assert words in compose(kind, detail, LinkFactory(link, days)).text


def test_names_are_written_as_they_are() -> None:
    one = made("statement", "pdf", "Ñandú-SF")
    assert "\nCuenta Ñandú-SF:\n" in mail("Monthly Reports Completed", month(one)).text


# -------------------------------------------------------------------------------- reasons

OF_ANY_PAC: list[ProblemType] = [
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
]
OF_A_RUN: list[ProblemType] = [
    *solucion_factible_codes.ERRORS.by_code.values(),
    *reachcore_codes.ERRORS.by_code.values(),
    *OF_ANY_PAC,
]
CODES = sorted({kind.code for kind in OF_A_RUN} | {NOT_REACHED})


@pytest.mark.parametrize("code", CODES)
def test_every_failure_of_a_run_is_told_in_words(code: str) -> None:
    low = issuer(RFC, "low", 1)
    lines = []
    for count in (1, 2, 1234):
        text = mail("Daily Run Completed", counted(low, failed={code: count})).text
        lines += [line for line in text.splitlines() if "emisor" in line and "  - " in line]
    text = mail("Daily Run Completed", counted(low, problems={"acme-norte": code})).text
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


def test_words_are_kept_for_what_a_run_can_give_only() -> None:
    assert sorted(REASONS) == CODES


def test_a_failure_without_words_is_told_by_its_code() -> None:
    low = issuer(RFC, "low", 1)
    assert "  - 3 emisores: error new-code\n" in (
        mail("Daily Run Completed", counted(low, failed={"new-code": 3})).text
    )


def test_only_what_may_pass_by_itself_is_promised_for_tomorrow() -> None:
    promised = set()
    for code in CODES:
        text = mail("Daily Run Completed", counted(issuer(RFC, "low", 1), failed={code: 1})).text
        if "mañana se intenta de nuevo" in text:
            promised.add(code)
    retried = {kind.code for kind in OF_A_RUN if kind.retryable}
    assert promised == retried | {
        NOT_REACHED,
        "internal-error",
        "out-of-time",
        "storage-unavailable",
    }


OF_A_REPORT: list[ProblemType] = [
    *reachcore_codes.ERRORS.by_code.values(),
    *reachcore_codes.STATEMENT_ERRORS.by_code.values(),
    *OF_ANY_PAC,
]


@pytest.mark.parametrize("code", sorted({kind.code for kind in OF_A_REPORT}))
def test_every_failure_of_a_report_is_told_in_words(code: str) -> None:
    failed = made("statement", "pdf", error=unmade(code))
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
        # Neither is there a list nor does Timbres try again by itself.
        assert "lista" not in cause
        assert "mañana" not in text


@pytest.mark.parametrize(
    ("pac", "words"),
    [
        (SILENT, "el PAC falló."),
        (SILENT | {"code": "500"}, "el PAC falló (código 500)."),
        (SILENT | {"message": "No hay."}, "el PAC falló. El PAC dijo: «No hay»."),
        (
            SILENT | {"code": "500", "message": "No hay"},
            "el PAC falló. El PAC dijo: «No hay» (código 500).",
        ),
    ],
)
def test_what_the_pac_said_is_told_in_its_words(pac: Detail, words: str) -> None:
    failed = made("statement", "pdf", error=unmade("pac-error", pac=pac))
    of_month = month(failed)
    of_month["reports"][0]["error"] = failed.error
    for told in (
        ("Report Failed", reports.report_to_event(failed)),
        ("Monthly Reports Completed", of_month),
    ):
        assert f"La causa: {words}\n" in mail(*told).text


def test_reports_that_fail_alike_are_told_together() -> None:
    failed = [
        made(kind, form, error=unmade("pac-unreachable"))
        for kind in FORMATS
        for form in ("csv", "pdf")
    ]
    assert (
        "  - cuenta acme-rc: estado de cuenta (CSV, PDF) y reporte de consumo (CSV, PDF)\n"
        "    La causa: no hubo conexión con el PAC.\n"
    ) in mail("Monthly Reports Completed", month(*failed)).text


# ------------------------------------------------------------------------------- subjects

words = st.text(max_size=400)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{1,40}", fullmatch=True) | words
pacs = st.fixed_dictionaries(
    {"name": words, "code": st.none() | words, "message": st.none() | words}
)
failures = st.fixed_dictionaries({"code": words, "detail": words}, optional={"pac": pacs})
differences = st.dictionaries(
    words, st.lists(st.integers(0, 10**9), min_size=2, max_size=2), max_size=3
)
details = st.fixed_dictionaries(
    {
        "id": words,
        "at": words,
        "account": names,
        "rfc": words,
        "stamps": st.integers(1, 10**6),
        "requested_by": words,
        "month": st.just("2026-10"),
        "kind": words,
        "format": words,
        "status": st.just(READY),
        "object_version": st.just("v1"),
        "differences": differences,
        "error": failures,
        "ready": st.integers(0, 10**4),
        "accounts_failed": st.dictionaries(names, words, max_size=3),
        "reports": st.lists(
            st.fixed_dictionaries(
                {
                    "account": names,
                    "id": words,
                    "kind": words,
                    "format": words,
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
        "failed": st.dictionaries(words, st.integers(1, 10**9), max_size=3),
        "problems": st.dictionaries(words, words, max_size=3),
        "contracted_before": st.integers(0, 10**9),
        "contracted_after": st.integers(0, 10**9),
        "issuers": st.lists(
            st.fixed_dictionaries(
                {
                    "account": names,
                    "rfc": words,
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
            alert: sum(one["alert"] == alert for one in detail["issuers"])
            for alert in ("low", "exhausted")
        }
    )
)


@given(st.sampled_from(sorted(TEMPLATES)), details)
def test_any_mail_has_a_subject_that_sns_takes(kind: str, detail: Detail) -> None:
    if kind == "Monthly Reports Completed":
        # Of a run these are numbers of issuers, of a month a number of reports.
        detail |= {"failed": len(detail["failed"])}
    written = mail(kind, detail)
    assert written.subject.startswith("Timbres: ")
    assert written.subject.isascii()
    assert written.subject.isprintable()
    assert len(written.subject) < 100
    assert written.text.endswith("\n\n-- \nTimbres\n")


def test_the_longest_subjects_are_whole() -> None:
    account, rfc = "a" * 41, "ABCD010101AAA"
    one = counted(issuer(rfc, "low", 1, account=account))
    assert mail("Daily Run Completed", one).subject.endswith(
        f"{rfc} con pocos timbres, cuenta {account}"
    )
    failed = report("statement", "pdf", account=account, error=unmade("pac-error"))
    assert mail("Report Failed", failed).subject.endswith(account)
    differing = report("statement", "csv", account=account, differences={"amount": [1, 2]})
    assert mail("Statement Mismatch Detected", differing).subject.endswith(account)
    for kind in FORMATS:
        ready = report(kind, "csv", account=account)
        assert mail("Report Ready", ready).subject.endswith(account)
    key_of = rejected("reachcore", "401", None) | {"account": account}
    assert mail("Credentials Rejected", key_of).subject.endswith(account)


def test_accents_of_a_subject_are_written_without() -> None:
    written = mail(*GOLDEN["stamps-counted-one-exhausted"])
    assert written.subject == "Timbres: NAD061009TY8 sin timbres, cuenta acme-sf"
    assert "ÑAD061009TY8" in written.text


# ----------------------------------------------------------------------------------- keys


def test_what_is_told_twice_has_the_same_key() -> None:
    for kind, detail in GOLDEN.values():
        again = json.loads(json.dumps(detail)) | {"status": "x", "finished_at": "later", "low": 9}
        assert dedup_key(kind, again) == dedup_key(kind, detail)


def test_the_first_event_of_a_run_has_the_key_it_had_before_it_was_numbered() -> None:
    numbered = month(*EVERY)
    before = {name: value for name, value in numbered.items() if name != "number"}
    assert dedup_key("Monthly Reports Completed", before) == dedup_key(
        "Monthly Reports Completed", numbered
    )
    assert mail("Monthly Reports Completed", before) == mail("Monthly Reports Completed", numbered)


def test_what_differs_has_keys_that_differ() -> None:
    one = contract()
    different = [
        ("Daily Run Completed", counted()),
        ("Daily Run Completed", counted(id="2026-11-22-050000")),
        ("Credentials Rejected", rejected("reachcore", "401", None)),
        ("Credentials Rejected", rejected("solucion-factible", "601", None)),
        ("Credentials Rejected", rejected("reachcore", "401", None) | {"at": "2026-11-22"}),
        ("Report Ready", report("statement", "pdf")),
        ("Report Ready", report("statement", "csv")),
        ("Report Ready", report("statement", "pdf") | {"account": "other"}),
        ("Report Failed", report("statement", "pdf")),
        ("Statement Mismatch Detected", report("statement", "pdf")),
        ("Monthly Reports Completed", month(*EVERY)),
        ("Monthly Reports Completed", month(*EVERY) | {"id": "2026-12-01 for 2026-11"}),
        # A supplement of the same run must not be taken for the mail before it.
        ("Monthly Reports Completed", month(*EVERY, number=2)),
        ("Monthly Reports Completed", month(*EVERY, number=3)),
        *((kind, one) for kind in TEMPLATES if kind.startswith("Contract")),
        ("Contract Confirmed", one | {"id": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5c"}),
        ("Contract Confirmed", one | {"account": "other"}),
    ]
    assert len({dedup_key(*told) for told in different}) == len(different)
