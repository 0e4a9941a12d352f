"""Mails in Spanish: which events have one, and its subject and text from a template.

A template gets the members of the event's detail, ``link`` (returns a new download link for a
report), ``link_days``, and the variables of :func:`_variables`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from timbres.notifications import failure_causes, spanish

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# SNS accepts a subject of less than 100 ASCII characters, and 256 KB of text.
_MAX_SUBJECT = 99
_MAX_TEXT_BYTES = 250_000
_MAX_LISTED_ISSUERS = 60

Detail = Mapping[str, Any]

TEMPLATES = {
    "Daily Run Completed": "stamps_counted",
    "Credentials Rejected": "credentials_rejected",
    "Report Ready": "report_ready",
    "Report Failed": "report_failed",
    "Monthly Reports Completed": "monthly_reports",
    "Statement Mismatch Detected": "statement_differs",
    "Contract Confirmed": "contract_confirmed",
    "Contract Count Mismatch Detected": "contract_count_mismatch",
    "Contract Outcome Unknown": "contract_unknown",
    "Contract Needs Review": "contract_needs_review",
    "Contract Rejected": "contract_rejected",
    "Contracts Expiring": "contracts_expiring",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail. ``subject`` is ASCII, as SNS requires, 99 characters at most."""

    subject: str
    text: str


def should_notify(event_type: str, detail: Detail) -> bool:
    """Return whether a mail is sent for an event."""
    if event_type == "Daily Run Completed":
        news = ("issuers", "account_stamps", "accounts_not_counted")
        return any(detail.get(name) for name in news)
    if event_type in ("Report Ready", "Report Failed"):
        # The mail of the monthly run lists its reports.
        return detail.get("run") is None
    return True


def compose(
    event_type: str, detail: Detail, create_link: Callable[[Detail], str], link_days: int
) -> Mail:
    """Return the mail for an event; ``create_link`` is called once for each ready report.

    A link is valid for ``link_days``. Raises KeyError for an event type that has no mail.
    """
    name = TEMPLATES[event_type]
    has_alerts = detail.get("issuers") or detail.get("account_stamps")
    if event_type == "Daily Run Completed" and not has_alerts:
        name = "not_counted"
    variables = {**detail, **_variables(event_type, detail)}
    variables |= {"link": create_link, "link_days": link_days}
    mail: Any = _environment().get_template(f"{name}.txt.j2").make_module(variables)
    text = _shorten(str(mail).removesuffix("\n"))
    return Mail(f"Timbres: {_ascii(mail.subject)}"[:_MAX_SUBJECT], f"{text}\n\n-- \nTimbres\n")


def _shorten(text: str) -> str:
    """Return ``text`` in UTF-8, without its last lines if it is too long for SNS."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= _MAX_TEXT_BYTES:
        return encoded.decode()
    kept = encoded[:_MAX_TEXT_BYTES].decode(errors="ignore").rpartition("\n")[0]
    return f"{kept}\n\nEl resto no cabe en este correo."


def dedup_key(event_type: str, detail: Detail) -> str:
    """Return the idempotency key of an event, the same each time that it is published."""
    entity_id = detail["at"] if event_type == "Credentials Rejected" else detail["id"]
    if _is_supplement(detail):
        # The run has published another event before.
        entity_id = f"{entity_id}#{detail['number']}"
    if "resend" in detail:
        # Somebody requested the mail again.
        entity_id = f"{entity_id}@{detail['resend']}"
    return f"{event_type}#{detail.get('account', '')}#{entity_id}"


def _variables(event_type: str, detail: Detail) -> dict[str, Any]:
    if event_type == "Daily Run Completed":
        lists = _group(detail["issuers"], lambda issuer: issuer["alert"])
        failed = detail.get("failed_issuers", ())
        return {
            "account_stamps": detail.get("account_stamps", []),
            "failures": [one | {"codes": _codes(one)} for one in detail.get("failures", ())],
            "accounts_not_counted": detail.get("accounts_not_counted", 0),
            "failed_rfcs": _group(failed, lambda issuer: (issuer["account"], issuer["code"])),
            "others_exhausted": max(0, detail.get("exhausted_total", 0) - detail["exhausted"]),
            "max_listed": _MAX_LISTED_ISSUERS,
            "listed": {
                alert: lists.get(alert, [])[:_MAX_LISTED_ISSUERS] for alert in ("exhausted", "low")
            },
        }
    if event_type == "Monthly Reports Completed":
        return _monthly_variables(detail)
    return {"report": {"summary": None, **detail}}


def _codes(account: Detail) -> list[str]:
    """Return the codes of an account's failures, those of issuers with their number."""
    codes = [f"{code} ({count:,})" for code, count in account["failed"].items()]
    problems = (account["problem"], account["account_stamps_problem"])
    return codes + [code for code in problems if code]


def _monthly_variables(detail: Detail) -> dict[str, Any]:
    ready = [report for report in detail["reports"] if report["status"] == "ready"]
    missing = [report for report in detail["reports"] if report["status"] != "ready"]
    by_report = _group(ready, lambda report: (report["account"], report["kind"]))
    # The format that opens in a browser is first.
    rank = {"html": 0, "pdf": 1}
    main = [
        min(reports, key=lambda report: rank.get(report["format"], 2))
        for reports in by_report.values()
    ]
    causes = _group(
        missing,
        lambda report: (report["account"], failure_causes.report_failure(report["error"])),
    )
    return {
        "supplement": _is_supplement(detail),
        "complete": not detail["failed"] and not detail["accounts_failed"],
        "summary": detail.get("summary"),
        "main_reports": main,
        "other_formats": [report for report in ready if report not in main],
        "has_statement_csv": any(
            (report["kind"], report["format"]) == ("statement", "csv") for report in ready
        ),
        "missing_by_cause": {
            key: {
                kind: [spanish.report_format(report) for report in same_kind]
                for kind, same_kind in _group(reports, spanish.report_kind).items()
            }
            for key, reports in causes.items()
        },
        "accounts_by_cause": _group(
            sorted(detail["accounts_failed"]),
            lambda name: failure_causes.report_failure({"code": detail["accounts_failed"][name]}),
        ),
        "differing": [report for report in ready if report["differences"]],
        "unlisted_ready": detail["ready"] - len(ready),
        "unlisted_failed": detail["failed"] - len(missing),
    }


def _is_supplement(detail: Detail) -> bool:
    """Return whether a run's event has the reports that were missing in an earlier event."""
    return int(detail.get("number", 1)) > 1


def _group(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    groups: dict[K, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _ascii(text: str) -> str:
    unaccented = text.translate(str.maketrans("áéíóúüñÁÉÍÓÚÜÑ", "aeiouunAEIOUUN"))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in unaccented)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("timbres.notifications"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(spanish.FILTERS | failure_causes.FILTERS)
    return environment
