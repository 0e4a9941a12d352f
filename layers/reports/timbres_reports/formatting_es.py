"""Texts, numbers and dates in Spanish for every format of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    Consumption,
    IssuerLine,
    Source,
    YearConsumption,
)

TITLE = "Consumo de timbres"
NO_DATA = "sin dato"
NEW = "nuevo"
NO_CONTRACT = "sin contrato"
NO_RFC = "sin RFC"
# Their cells are muted.
EMPTY = (NO_DATA, NO_CONTRACT)

SOURCES = "Cuentas y fuentes"
ISSUERS = "Consumo por RFC"
ISSUERS_BY_ACCOUNT = "Consumo por RFC y cuenta"
DAYS = "Consumo por día"
MONTHS = "Consumo por mes"
ACCOUNT_STAMPS = "Timbres de la cuenta"
MOVEMENTS = "Movimientos"
OTHER_MOVEMENTS = "Otros movimientos"
STAMPS = "Timbres"

_PLANS = {"prepaid": "prepago", "postpaid": "pospago"}
_SOURCES = {FROM_PAC: "el PAC", FROM_SNAPSHOTS: "conteos diarios de Timbres"}
_STATUSES = {
    "pending": "Pendiente",
    "confirmed": "Confirmado",
    "rejected": "Rechazado",
    "unknown": "En duda",
    "needs-review": "Por revisar",
}
# A spreadsheet runs a cell that starts with one of these; some also accept the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Control characters, single surrogates and noncharacters, which no format supports.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    # Bidirectional controls change the order of the characters that follow.
    "\u202a-\u202e\u2066-\u2069]"
)


def replace_unprintable(text: str) -> str:
    """Return ``text`` with U+FFFD for unsupported characters; tabs and line ends stay."""
    return _UNPRINTABLE.sub("\ufffd", text)


def escape_formula(text: str) -> str:
    """Return ``text``, printable, as a CSV cell that no spreadsheet runs as a formula."""
    text = replace_unprintable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def number(value: int | Decimal | None) -> str:
    """Return ``1,234`` or ``34.6``, or ``sin dato``."""
    return NO_DATA if value is None else f"{value:,}"


def percent(value: Decimal | None) -> str:
    """Return ``12.5 %``, or ``sin dato``."""
    return NO_DATA if value is None else f"{value:,} %"


def growth(change: Decimal | None, *, is_new: bool = False) -> str:
    """Return a change as ``+12.5 %``, ``nuevo`` or ``sin dato``."""
    if is_new:
        return NEW
    return NO_DATA if change is None else f"{change:+,} %"


def money(value: Decimal | None) -> str:
    """Return an amount in MXN as ``$1,234.50``, or ``sin dato``."""
    return NO_DATA if value is None else f"${value:,}"


def days_text(value: Decimal) -> str:
    """Return ``1.0 día``, ``3.4 días``."""
    return f"{value:,} {'día' if value == 1 else 'días'}"


def day(value: date) -> str:
    """Return ``31/10/2026``."""
    return f"{value:%d/%m/%Y}"


def to_local(value: datetime) -> datetime:
    """Return a time in Mexico City's time zone."""
    return value.astimezone(MEXICO_CITY)


def date_time(value: datetime | None) -> str:
    """Return ``31/10/2026 18:05``, in Mexico City's time zone, or ``sin dato``."""
    return NO_DATA if value is None else f"{to_local(value):%d/%m/%Y %H:%M}"


def moment(value: datetime | None) -> str:
    """Return ``31/10 18:05``, in Mexico City's time zone, or ``sin dato``."""
    return NO_DATA if value is None else f"{to_local(value):%d/%m %H:%M}"


def stock(available: int | None, as_of: datetime | None) -> str:
    """Return ``1,214 disponibles al 01/11 05:00``."""
    return f"{number(available)} disponibles al {moment(as_of)}" if as_of else number(available)


def rfc(value: str | None) -> str:
    """Return an RFC unchanged, or ``sin RFC``."""
    return NO_RFC if value is None else value


def pac(source: Source) -> str:
    """Return a PAC's display name with the plan if it is known: ``name, prepago``."""
    name = replace_unprintable(source.pac)
    plan = source.plan and _PLANS.get(source.plan, replace_unprintable(source.plan))
    return f"{name}, {plan}" if plan else name


def status(code: str) -> str:
    """Return a contract's state in Spanish; another code unchanged."""
    return _STATUSES.get(code, replace_unprintable(code))


def caller_name(arn: str) -> str:
    """Return the user of an IAM ARN: ``finanzas``, or ``ana (Tesoreria)``: session and role."""
    resource_type, _, name = replace_unprintable(arn).rpartition(":")[2].partition("/")
    if resource_type == "assumed-role":
        role, _, session = name.partition("/")
        return f"{session} ({role})"
    return name.rpartition("/")[2] or replace_unprintable(arn)


def source_name(source: Source) -> str:
    """Return the source of figures: ``el PAC`` or ``conteos diarios de Timbres``."""
    return _SOURCES.get(source.source, replace_unprintable(source.source))


def missing_days(days: Iterable[date]) -> str:
    """Return the days' numbers, ``3, 4 y 9 a 12``; empty if no day is missing."""
    ranges: list[list[int]] = []
    for day_number in sorted({missing_day.day for missing_day in days}):
        if ranges and ranges[-1][-1] == day_number - 1:
            ranges[-1].append(day_number)
        else:
            ranges.append([day_number])
    parts: list[str] = []
    for numbers in ranges:
        parts += [f"{numbers[0]} a {numbers[-1]}"] if len(numbers) > 2 else map(str, numbers)
    return join(parts)


def account_names(line: IssuerLine) -> str:
    """Return the accounts of an RFC: their names, or from four on ``4 cuentas``."""
    count = line.account.count(", ") + 1
    return line.account if count < 4 else f"{count:,} cuentas"


def scope_label(report: Consumption | YearConsumption) -> str:
    """Return ``Todas las cuentas``, or ``Cuenta acme-sf``."""
    return "Todas las cuentas" if report.account == ALL_ACCOUNTS else f"Cuenta {report.account}"


def period_label(report: Consumption | YearConsumption) -> str:
    """Return ``octubre de 2026``, or ``2026``."""
    return (report.month if isinstance(report, Consumption) else report.year).label_es


def subtitle(report: Consumption | YearConsumption) -> str:
    """Return the period and the accounts: ``Octubre de 2026. Todas las cuentas``."""
    return f"{upper_first(period_label(report))}. {scope_label(report)}"


def full_title(report: Consumption | YearConsumption) -> str:
    """Return ``Consumo de timbres, octubre de 2026. Todas las cuentas``."""
    return f"{TITLE}, {period_label(report)}. {scope_label(report)}"


def upper_first(text: str) -> str:
    """Return ``text`` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def pluralize(count: int, singular: str, plural: str) -> str:
    """Return ``1 día``, ``1,234 días``."""
    return f"{count:,} {singular if count == 1 else plural}"


def join(items: list[str]) -> str:
    """Return ``a, b y c``."""
    return " y ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
