"""Mails: what a person reads in Spanish of each event, whole, under ``mails/``."""

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
from timbres.domain.contract import Refusal, opened
from timbres.domain.mail import MAILED, REASONS, Mail, compose, key
from timbres.domain.month import Month
from timbres.domain.report import FAILED, READY, Report, Wanted
from timbres.domain.rfc import Rfc
from timbres.domain.run import NOT_REACHED, Crossing
from timbres.errors import Kind
from timbres.pacs import codes
from timbres.work import contract as contracts
from timbres.work import report as reports
from timbres.work.run import crossing_line

MAILS = Path(__file__).parent / "mails"
NOW = datetime(2026, 11, 21, 5, 31, 7, tzinfo=UTC)
BUYER = "arn:aws:iam::123456789012:user/compras"
RFC = "A&D061009TY8"

Detail = dict[str, Any]


def issuer(
    rfc: str,
    alert: str,
    available: int,
    days_left: float | None = None,
    burn: float | None = None,
    account: str = "acme-sf",
) -> Detail:
    return crossing_line(Crossing(account, rfc, alert, available, days_left, burn))


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
        "pac": {"name": pac, "code": code, "message": message},
    }


def contract(stamps: int = 500, rfc: str = RFC) -> Detail:
    one = opened("acme-sf", Rfc(rfc), stamps, BUYER, "pedido-1", NOW).send(NOW, 1000)
    refusal = Refusal("pac-timeout", 504, "The PAC did not answer in time", "nothing came")
    one = replace(one.doubt(NOW, BUYER, refusal), id="0193a1b2c3d47e5f8a9b0c1d2e3f4a5b")
    return contracts.shown(one)


def report(kind: str, form: str, error: dict[str, str] | None = None) -> Detail:
    wanted = Wanted("acme-rc", Month(2026, 10), kind, form)
    one = Report(f"{wanted.stem}-0001", wanted, FAILED if error else READY, BUYER, NOW, error=error)
    return reports.shown(one) | {"why": (error or {}).get("detail", "")}


GOLDEN: dict[str, tuple[str, Detail]] = {
    "stamps-counted-one-low": ("Stamps Counted", counted(issuer(RFC, "low", 40, 3.4, 11.8))),
    "stamps-counted-one-exhausted": (
        "Stamps Counted",
        counted(issuer("ÑAD061009TY8", "exhausted", -2, 0.0, 0.4)),
    ),
    "stamps-counted-several": (
        "Stamps Counted",
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
        "Stamps Counted",
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
    "stamps-counted-hundreds": ("Stamps Counted", hundreds(61, 1300)),
    "credentials-rejected-solucion-factible": (
        "Credentials Rejected",
        rejected("solucion-factible", "602", "La contraseña ha expirado."),
    ),
    "credentials-rejected-reachcore": ("Credentials Rejected", rejected("reachcore", "401", None)),
    "report-ready-statement": ("Report Ready", report("statement", "pdf")),
    "report-ready-consumption": ("Report Ready", report("consumption", "csv")),
    "report-failed": (
        "Report Failed",
        report(
            "statement",
            "csv",
            {"code": "pac-timeout", "detail": "reachcore did not answer within 25 seconds."},
        ),
    ),
    "contract-confirmed": ("Contract Confirmed", contract(1500)),
    "contract-confirmed-of-one": ("Contract Confirmed", contract(1, "ÑAD061009TY8")),
    "contract-unknown": ("Contract Unknown", contract()),
    "contract-needs-review": ("Contract Needs Review", contract()),
    "contract-rejected": ("Contract Rejected", contract()),
}


def mail(kind: str, detail: Mapping[str, Any]) -> Mail:
    # As it comes over the bus.
    written = compose(kind, json.loads(json.dumps(detail)))
    assert written is not None
    return written


@pytest.mark.parametrize("name", GOLDEN)
def test_each_mail_word_by_word(name: str) -> None:
    written = mail(*GOLDEN[name])
    wanted = (MAILS / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{written.subject}\n\n{written.text}" == wanted


def test_every_event_and_every_text_has_its_mail() -> None:
    assert {kind for kind, _ in GOLDEN.values()} == set(MAILED)
    assert {path.stem for path in MAILS.glob("*.txt")} == set(GOLDEN)


def test_a_run_that_found_nothing_new_sends_none() -> None:
    assert compose("Stamps Counted", counted()) is None
    assert compose("Stamps Counted", counted(failed={"pac-timeout": 7})) is None


@pytest.mark.parametrize("kind", ["Stamps Low", "Stamps Exhausted", "stamps counted", ""])
def test_other_events_are_no_mails(kind: str) -> None:
    with pytest.raises(KeyError):
        compose(kind, counted(issuer(RFC, "low", 1)))


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
    written = mail("Stamps Counted", counted(*lines) | {"issuers": lines[:200]})
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
    text = mail("Stamps Counted", counted(issuer(RFC, "low", available, days_left, burn))).text
    assert f"  - {RFC} (cuenta acme-sf): {line}\n" in text


@pytest.mark.parametrize(
    ("exhausted", "low"),
    [(60, 0), (61, 0), (0, 61), (200, 1), (150, 150), (5000, 20_000), (1, 900)],
)
def test_hundreds_are_cut_and_the_rest_is_counted(exhausted: int, low: int) -> None:
    text = mail("Stamps Counted", hundreds(exhausted, low)).text
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


# -------------------------------------------------------------------------------- reasons

OF_A_RUN: list[Kind] = [
    *codes.SOLUCION_FACTIBLE.values(),
    *codes.REACHCORE.values(),
    codes.UNREACHABLE,
    codes.TIMEOUT,
    codes.PROTOCOL,
    errors.ACCOUNT_UNKNOWN,
    errors.ACCOUNT_MISCONFIGURED,
    errors.OPERATION_UNSUPPORTED,
    errors.OUT_OF_TIME,
    errors.STORAGE_UNAVAILABLE,
    errors.INTERNAL_ERROR,
]
CODES = sorted({kind.code for kind in OF_A_RUN} | {NOT_REACHED})


@pytest.mark.parametrize("code", CODES)
def test_every_failure_of_a_run_is_told_in_words(code: str) -> None:
    low = issuer(RFC, "low", 1)
    lines = []
    for count in (1, 2, 1234):
        text = mail("Stamps Counted", counted(low, failed={code: count})).text
        lines += [line for line in text.splitlines() if "emisor" in line and "  - " in line]
    text = mail("Stamps Counted", counted(low, problems={"acme-norte": code})).text
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
        mail("Stamps Counted", counted(low, failed={"new-code": 3})).text
    )


def test_only_what_may_pass_by_itself_is_promised_for_tomorrow() -> None:
    promised = set()
    for code in CODES:
        text = mail("Stamps Counted", counted(issuer(RFC, "low", 1), failed={code: 1})).text
        if "mañana se intenta de nuevo" in text:
            promised.add(code)
    retried = {kind.code for kind in OF_A_RUN if kind.retry}
    assert promised == retried | {
        NOT_REACHED,
        "internal-error",
        "out-of-time",
        "storage-unavailable",
    }


# ------------------------------------------------------------------------------- subjects

words = st.text(max_size=400)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{1,40}", fullmatch=True) | words
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
        "error": st.fixed_dictionaries({"code": words, "detail": words}),
        "pac": st.fixed_dictionaries(
            {"name": words, "code": st.none() | words, "message": st.none() | words}
        ),
        "day": st.dates().map(str),
        "failed": st.dictionaries(words, st.integers(1, 10**9), max_size=3),
        "problems": st.dictionaries(words, words, max_size=3),
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
            min_size=1,
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


@given(st.sampled_from(MAILED), details)
def test_any_mail_has_a_subject_that_sns_takes(kind: str, detail: Detail) -> None:
    written = mail(kind, detail)
    assert written.subject.startswith("Timbres: ")
    assert written.subject.isascii()
    assert written.subject.isprintable()
    assert len(written.subject) < 100
    assert written.text.endswith("\n\n-- \nTimbres\n")


def test_the_longest_subjects_are_whole() -> None:
    account, rfc = "a" * 41, "ABCD010101AAA"
    one = counted(issuer(rfc, "low", 1, account=account))
    assert mail("Stamps Counted", one).subject.endswith(
        f"{rfc} con pocos timbres, cuenta {account}"
    )
    failed = report("statement", "pdf", {"code": "x", "detail": "y"}) | {"account": account}
    assert mail("Report Failed", failed).subject.endswith(account)
    assert mail("Report Ready", failed).subject.endswith(account)
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
        assert key(kind, again) == key(kind, detail)


def test_what_differs_has_keys_that_differ() -> None:
    one = contract()
    different = [
        ("Stamps Counted", counted()),
        ("Stamps Counted", counted(id="2026-11-22-050000")),
        ("Credentials Rejected", rejected("reachcore", "401", None)),
        ("Credentials Rejected", rejected("solucion-factible", "601", None)),
        ("Credentials Rejected", rejected("reachcore", "401", None) | {"at": "2026-11-22"}),
        ("Report Ready", report("statement", "pdf")),
        ("Report Ready", report("statement", "csv")),
        ("Report Ready", report("statement", "pdf") | {"account": "other"}),
        ("Report Failed", report("statement", "pdf")),
        *((kind, one) for kind in MAILED if kind.startswith("Contract")),
        ("Contract Confirmed", one | {"id": "0193a1b2c3d47e5f8a9b0c1d2e3f4a5c"}),
        ("Contract Confirmed", one | {"account": "other"}),
    ]
    assert len({key(*told) for told in different}) == len(different)
