"""Mails: the complete Spanish text of each event, as in docs/samples/mails."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.mail_samples import (
    ALL_READY,
    GOLDEN,
    RFC,
    RFC_N,
    RUN,
    RUN_MONTHLY,
    SUMMARY,
    Detail,
    contract,
    issuer,
    large_run_event,
    make_report,
    month,
    not_counted,
    rejection_event,
    report,
    report_error,
    run_event,
)
from tests.support.template import template

from timbres import errors
from timbres.domain.report import FORMATS, READY
from timbres.domain.run import NOT_REACHED
from timbres.errors import ProblemType
from timbres.notifications.failure_causes import REASONS
from timbres.notifications.mails import (
    TEMPLATES,
    Mail,
    compose,
    dedup_key,
    should_notify,
)
from timbres.pacs import errors as codes
from timbres.pacs.reachcore import error_codes as reachcore
from timbres.pacs.solucion_factible import error_codes as solucion_factible
from timbres.schemas import reports

MAILS = Path(__file__).parents[2] / "docs" / "samples" / "mails"
DOWNLOAD = "https://a1b2c3d4e5.execute-api.mx-central-1.amazonaws.com/prod/d/"


def link(item: Mapping[str, Any]) -> str:
    assert item["status"] == READY
    assert item["object_version"]
    return f"{DOWNLOAD}ticket-{item['account']}-{item['id']}"


def mail(kind: str, detail: Detail, days: int = 30) -> Mail:
    # As the bus delivers it.
    return compose(kind, json.loads(json.dumps(detail)), link, days)


@pytest.mark.parametrize("name", GOLDEN)
def test_each_mail_matches_its_sample(name: str) -> None:
    rendered = mail(*GOLDEN[name])

    expected = (MAILS / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{rendered.subject}\n\n{rendered.text}" == expected
    # Each link has its own line.
    urls = [line for line in expected.splitlines() if "://" in line]
    assert [line for line in urls if not re.fullmatch(r" *https://[^ ]+", line)] == []


def test_every_event_and_every_sample_is_covered() -> None:
    (rule,) = (trigger for trigger in template().triggers() if trigger.kind == "EventBridgeRule")

    assert rule.properties["Pattern"]["source"] == ["timbres"]
    assert set(rule.properties["Pattern"]["detail-type"]) == set(TEMPLATES)
    assert {kind for kind, _ in GOLDEN.values()} == set(TEMPLATES)
    assert {path.stem for path in MAILS.glob("*.txt")} == set(GOLDEN)


STATEMENT = report("statement", "pdf")


@pytest.mark.parametrize(
    ("kind", "detail", "mailed"),
    [
        *((kind, detail, True) for kind, detail in GOLDEN.values()),
        # A run without news.
        (RUN, run_event(), False),
        (RUN, run_event(failures=[not_counted(counted=True)]), False),
        # Reports of a monthly run have no mail of their own.
        *((kind, STATEMENT | {"run": "x"}, False) for kind in ("Report Ready", "Report Failed")),
        ("Statement Mismatch Detected", STATEMENT | {"run": "x"}, True),
    ],
)
def test_events_with_news_are_mailed(kind: str, detail: Detail, mailed: bool) -> None:
    assert should_notify(kind, detail) is mailed


# The samples have the others.
@pytest.mark.parametrize(
    ("exhausted", "low", "subject"),
    [(1, 0, "AAA000000AAA sin timbres, cuenta acme-sf"), (0, 2, "2 emisores con pocos timbres")],
)
def test_the_subject_says_how_many(exhausted: int, low: int, subject: str) -> None:
    assert mail(RUN, large_run_event(exhausted, low)).subject == f"Timbres: {subject}"


@pytest.mark.parametrize(
    ("available", "days_left", "burn", "line"),
    [
        (1, 0.99, None, "1 timbre, alcanza para menos de un día"),
        (2, 1.99, 1.0, "2 timbres, alcanzan para 1 día (usa cerca de 1 al día)"),
        (2, 2.0, 0.99, "2 timbres, alcanzan para 2 días (usa menos de 1 al día)"),
        (7, None, 0.0, "7 timbres"),
    ],
)
def test_stamps_and_days_left(
    available: int, days_left: float | None, burn: float | None, line: str
) -> None:
    text = mail(RUN, run_event(issuer(RFC, "low", available, days_left, burn))).text

    assert f"  - {RFC} (cuenta acme-sf): {line}\n" in text


def test_the_mail_gives_the_validity_of_its_links() -> None:
    assert "sirve 1 día y" in mail("Report Ready", STATEMENT, days=1).text


COMMON_PROBLEMS: list[ProblemType] = [
    *(codes.UNREACHABLE, codes.TIMEOUT, codes.PROTOCOL_ERROR),
    *(errors.ACCOUNT_NOT_FOUND, errors.ACCOUNT_MISCONFIGURED, errors.ACCOUNT_UNREADABLE),
    *(errors.CREDENTIALS_ON_TRIAL, errors.OPERATION_UNSUPPORTED, errors.DEADLINE_EXCEEDED),
    *(errors.AWS_SERVICE_UNAVAILABLE, errors.INTERNAL_ERROR, *reachcore.ERRORS.by_code.values()),
]
RUN_PROBLEMS = [*solucion_factible.ERRORS.by_code.values(), *COMMON_PROBLEMS]
REPORT_PROBLEMS = [*reachcore.STATEMENT_ERRORS.by_code.values(), *COMMON_PROBLEMS]
CODES = sorted({problem.code for problem in RUN_PROBLEMS} | {NOT_REACHED})
RETRIED = {problem.code for problem in RUN_PROBLEMS if problem.retryable}
RETRIED |= {NOT_REACHED, "internal-error", "out-of-time", "storage-unavailable"}


@pytest.mark.parametrize("code", ["new-code", *sorted({*REASONS, *CODES})])
def test_every_failure_of_a_run_has_a_text(code: str) -> None:
    failures = [
        not_counted(expected=1, failed={code: 1}),
        *(not_counted(expected=1300, failed={code: count}) for count in (1, 1234)),
        not_counted(problem=code),
        not_counted(account_stamps_problem=code),
    ]

    low = issuer(RFC, "low", 1)
    text = mail(RUN, run_event(low, failures=failures)).text.partition("quedó incompleto")[2]
    text, _, details = text.partition("Para quien administra Timbres")
    lines = [line.partition(": ") for line in text.splitlines() if line.startswith("  - ")]
    causes = [cause for _, _, cause in lines]

    subjects = ("completa", "1 de 1,300 emisores", "1,234 de 1,300 emisores", "completa")
    subjects += ("los timbres de la cuenta misma",)
    assert [head for head, _, _ in lines] == [f"  - cuenta acme-sf, {each}" for each in subjects]
    assert details.count(code) == len(failures)
    for cause in causes:
        assert ("mañana se intenta de nuevo" in cause) is (code in RETRIED)
        assert not set(cause) & set("{}_")
        # A code without a text is shown itself.
        assert (cause == f"error {code}") is (code in cause) is (code not in CODES)


@pytest.mark.parametrize("code", sorted({problem.code for problem in REPORT_PROBLEMS}))
def test_every_failure_of_a_report_has_a_text(code: str) -> None:
    failed = make_report("statement", "pdf", error=report_error(code))

    texts = [
        mail("Report Failed", reports.report_to_event(failed)).text,
        mail(RUN_MONTHLY, month(failed)).text,
        mail(RUN_MONTHLY, month(**{"acme-rc": code})).text,
    ]

    for text in texts:
        (cause,) = (line.strip() for line in text.splitlines() if "La causa: " in line)
        assert cause == texts[0].splitlines()[2]
        # A report has no list, and Timbres does not retry it.
        assert not [word for word in (code, "lista", "{", "}", "_") if word in cause]
        assert "mañana" not in text


@pytest.mark.parametrize(
    ("pac_code", "message", "text"),
    [
        (None, None, "."),
        ("500", None, " (código 500)."),
        (None, "No hay.", ". El PAC dijo: «No hay»."),
        ("500", "No hay", ". El PAC dijo: «No hay» (código 500)."),
    ],
)
def test_the_mail_quotes_the_pacs_message(
    pac_code: str | None, message: str | None, text: str
) -> None:
    failed = make_report("statement", "pdf", error=report_error("pac-error", pac_code, message))

    assert f"La causa: el PAC falló{text}\n" in mail(RUN_MONTHLY, month(failed)).text


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["2,283 timbres (-1.1 % contra septiembre), $2,451.45 MXN.", "RFC sin timbres: 1;",
              "cuenta acme-sf: 8,950 disponibles al 01/11 05:00, alcanzan para 34.6 días."]),
        ({"change": "3.8", "not_compared": "new", "cost": None},
         ["2,283 timbres (sin contar cuentas nuevas: +3.8 % contra septiembre)."]),
        ({"change": "3.8", "not_compared": "unknown"}, ["(sin contar cuentas sin ese mes: +3.8 %"]),
        ({"change": None, "previous": None}, ["2,283 timbres (septiembre: sin dato), $"]),
        ({"change": None, "previous": 0}, ["2,283 timbres (septiembre: 0), $"]),
        ({"stamps": None}, ["No se conoce el consumo de octubre de 2026."]),
        ({"account_stamps": SUMMARY["account_stamps"] | {"available": 0}},
         ["cuenta acme-sf: agotados al 01/11 05:00."]),
        ({"account_stamps": {"account": "a", "available": None, "days_left": None, "as_of": None}},
         ["Timbres de la cuenta a: sin dato."]),
    ],
)  # fmt: skip
def test_a_mail_begins_with_the_key_figures(changes: Detail, lines: list[str]) -> None:
    event = month(*ALL_READY)
    event["summary"] = SUMMARY | changes

    first = mail(RUN_MONTHLY, event).text.partition("\n\n")[0]

    assert [line for line in lines if line not in first] == []


@pytest.mark.parametrize("name", GOLDEN)
def test_only_the_last_section_has_technical_names(name: str) -> None:
    text = mail(*GOLDEN[name]).text

    finance = text.removesuffix("\n-- \nTimbres\n").partition("Para quien administra Timbres")[0]
    names = re.findall(r"Timbres\b(?! de la cuenta)|GET|POST|DELETE|arn:|AWS|/accounts", finance)
    assert names == []


PARSED = ("month", "day", "status", "alert", "expires_on", "object_version", "summary")


def with_texts(value: Any, text: str) -> Any:
    """Return an event with ``text`` in place of every text that a mail only shows."""
    if isinstance(value, dict):
        return {
            name: item if name in PARSED else with_texts(item, text) for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_texts(item, text) for item in value]
    return text if isinstance(value, str) else value


texts = st.text(max_size=80) | st.characters().map(lambda character: character * 400)


@settings(max_examples=50)
@given(st.sampled_from(sorted(GOLDEN)), texts)
def test_any_mail_has_a_subject_that_sns_accepts(name: str, text: str) -> None:
    kind, detail = GOLDEN[name]

    rendered = mail(kind, with_texts(detail, text))

    assert rendered.subject.startswith("Timbres: ")
    assert rendered.subject.isascii()
    assert rendered.subject.isprintable()
    assert len(rendered.subject) < 100
    assert rendered.text.endswith("\n\n-- \nTimbres\n")


def test_a_mail_that_is_too_long_for_sns_is_shortened() -> None:
    kind, detail = GOLDEN["stamps-counted-hundreds"]

    text = mail(kind, with_texts(detail, "ñ" * 2_000)).text

    assert 200_000 < len(text.encode()) < 256 * 1024
    assert text.endswith("\n\nEl resto no cabe en este correo.\n\n-- \nTimbres\n")


def test_the_longest_subjects_are_complete() -> None:
    account = "a" * 41
    failed = report("statement", "pdf", account=account, error=report_error("pac-error"))
    failures = not_counted(account, expected=10**6, failed={"x": 999_999})
    for kind, detail in (
        (RUN, run_event(issuer("ABCD010101AAA", "low", 1, account=account))),
        (RUN, run_event(failures=[not_counted(account)])),
        (RUN, run_event(failures=[failures])),
        ("Report Failed", failed),
        ("Statement Mismatch Detected", failed | {"differences": {"amount": [1, 2]}}),
        *(("Report Ready", report(each, "csv", account=account)) for each in FORMATS),
        ("Credentials Rejected", rejection_event("reachcore", "401") | {"account": account}),
    ):
        assert mail(kind, detail).subject.endswith(account)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_subject_names_an_issuer_with_enye_by_its_account(name: str) -> None:
    """With N instead of Ñ, its RFC would be another company's."""
    kind, detail = GOLDEN[name]
    with_enye = json.loads(json.dumps(detail, ensure_ascii=False).replace(RFC, RFC_N))

    subject = mail(kind, with_enye).subject

    assert "AD061009TY8" not in subject
    assert (RFC not in mail(kind, detail).subject) or ("acme-sf" in subject)


def test_a_repeated_event_has_the_same_key() -> None:
    for kind, detail in GOLDEN.values():
        repeated = detail | {"status": "x", "finished_at": "later", "low": 9}
        # An event of an earlier version has no number.
        if detail.get("number") == 1:
            del repeated["number"]
        assert dedup_key(kind, repeated) == dedup_key(kind, detail)


def test_different_events_have_different_keys() -> None:
    rejected, confirmed = rejection_event("reachcore", "401"), contract()
    different = [
        (RUN, run_event()),
        (RUN, run_event(id="2026-11-22-050000")),
        ("Credentials Rejected", rejected),
        ("Credentials Rejected", rejected | {"account": "acme-sf"}),
        ("Credentials Rejected", rejected | {"at": "2026-11-22"}),
        ("Report Ready", STATEMENT),
        ("Report Ready", report("statement", "csv")),
        ("Report Ready", STATEMENT | {"account": "other"}),
        ("Report Failed", STATEMENT),
        ("Statement Mismatch Detected", STATEMENT),
        (RUN_MONTHLY, month(*ALL_READY) | {"id": "2026-12-01 for 2026-11"}),
        # A supplement must not have the key of the mail before it.
        *((RUN_MONTHLY, month(*ALL_READY, number=number)) for number in (1, 2, 3)),
        *((kind, confirmed) for kind in TEMPLATES if kind.startswith("Contract")),
        ("Contract Confirmed", confirmed | {"id": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5c"}),
        ("Contract Confirmed", confirmed | {"account": "other"}),
    ]

    assert len({dedup_key(*event) for event in different}) == len(different)
