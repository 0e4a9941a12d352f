"""Numbers, dates, accounts and reports in Spanish, as filters of the mail templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.month import Month, period_from_text

_REPORTS = {"statement": "estado de cuenta", "consumption": "reporte de consumo"}
_FORMATS = {"csv": "CSV", "xlsx": "Excel", "pdf": "PDF", "html": "página web"}
# The PAC's names of the totals in its file.
_TOTALS = {
    "registered": "RFC registrados",
    "authorized": "RFC autorizados",
    "stamping": "RFC que generaron timbres",
    "transactions": "consumo de todos los RFC",
    "amount": "suma del consumo",
    "movements": "número de movimientos",
}


def thousands(number: int) -> str:
    """Return a number with thousands separators: ``1,234``."""
    return f"{number:,}"


def percent_change(summary: Mapping[str, Any], month: str) -> str:
    """Return the change of a month's summary, and what it leaves out; empty if it is not known.

    ``sin contar cuentas nuevas: +3.8 % contra septiembre``.
    """
    before = Month.from_text(month).previous().name_es
    if summary["change"] is None:
        previous = summary["previous"]
        return f"{before}: {'sin dato' if previous is None else thousands(previous)}"
    change = f"{Decimal(summary['change']):+,} % contra {before}"
    if summary["not_compared"] is None:
        return change
    accounts = "cuentas nuevas" if summary["not_compared"] == "new" else "cuentas sin ese mes"
    return f"sin contar {accounts}: {change}"


def mexican_pesos(amount: str) -> str:
    """Return an amount as ``$1,234.50``."""
    return f"${Decimal(amount):,}"


def moment(iso: str) -> str:
    """Return an ISO time as ``21/11 05:00`` in Mexico City."""
    return f"{datetime.fromisoformat(iso).astimezone(MEXICO_CITY):%d/%m %H:%M}"


def count_issuers(count: int) -> str:
    """Return ``1 emisor``, ``2 emisores``."""
    return f"{count:,} {'emisor' if count == 1 else 'emisores'}"


def count_stamps(count: int) -> str:
    """Return ``1 timbre``, ``2 timbres``."""
    return f"{count:,} {'timbre' if count == 1 else 'timbres'}"


def count_days(days: float) -> str:
    """Return a number of whole days: ``menos de un día``, ``1 día``, ``2 días``."""
    if days < 1:
        return "menos de un día"
    return f"{int(days):,} {'día' if days < 2 else 'días'}"


def daily_use(burn: float) -> str:
    """Return a burn rate in stamps per day: ``menos de 1``, ``cerca de 12``."""
    return "menos de 1" if burn < 1 else f"cerca de {burn:,.0f}"


def date_es(iso: str) -> str:
    """Return an ISO date as ``21/11/2026``. Raises ValueError for anything else."""
    return date.fromisoformat(iso).strftime("%d/%m/%Y")


def month_es(month: str) -> str:
    """Return ``2026-10`` as ``octubre de 2026``; ``2026`` as it is. Raises ValueError."""
    return period_from_text(month).label_es


def account_label(name: str) -> str:
    """Return ``cuenta acme``, or ``todas las cuentas`` for a report of all accounts."""
    return "todas las cuentas" if name == ALL_ACCOUNTS else f"cuenta {name}"


def subject_issuer(rfc: str, account: str) -> str:
    """Return an issuer for a subject: `` para A&D061009TY8``, or its account.

    A subject has ASCII characters only. An RFC with Ñ is left out, because with N it is another
    company's.
    """
    return f" para {rfc}" if rfc.isascii() else f", {account_label(account)}"


def report_kind(report: Mapping[str, Any]) -> str:
    """Return the kind of an event's report: ``estado de cuenta``."""
    return _REPORTS.get(report["kind"], f"reporte {report['kind']}")


def report_format(report: Mapping[str, Any]) -> str:
    """Return the file format of an event's report: ``Excel``."""
    return _FORMATS.get(report["format"], f"formato {report['format']}")


def report_name(report: Mapping[str, Any]) -> str:
    """Return kind and format of a report: ``estado de cuenta (CSV)``."""
    return f"{report_kind(report)} ({report_format(report)})"


def report_title(report: Mapping[str, Any]) -> str:
    """Return name, month and account of a report, for use after an article."""
    article = "" if report["account"] == ALL_ACCOUNTS else "la "
    account = article + account_label(report["account"])
    return f"{report_name(report)} de {month_es(report['month'])}, de {account}"


def total_name(name: str) -> str:
    """Return the name of a total that the statement and the balance have."""
    return _TOTALS.get(name, name)


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        *(thousands, percent_change, mexican_pesos, moment, count_issuers, count_stamps),
        *(count_days, daily_use, date_es, month_es, account_label, subject_issuer),
        *(report_kind, report_format, report_name, report_title, total_name),
    )
}
