"""Texts, numbers and dates in Spanish for every format of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.clock import MEXICO_CITY
from timbres.domain.consumption import (
    FROM_PAC,
    FROM_SNAPSHOTS,
    Consumption,
    IssuerLine,
    Source,
    change,
)

TITLE = "Consumo de timbres"
GENERATED = "Generado el"
TOTAL = "Total (timbres)"
PREVIOUS = "Mes anterior (timbres)"
CHANGE = "Cambio"
NO_DATA = "sin dato"
NO_BASE = "no aplica"
NO_CONTRACTS = "No se contrataron timbres en el mes."
NO_RFC = "sin RFC"
FIRST_EXPIRIES = "De cada RFC, el contrato de Timbres que vence primero."
NO_CONSUMPTION = "No son consumo y no cuentan en los totales."

SOURCES = "Fuentes"
ISSUERS = "Consumo por RFC"
DAYS = "Consumo por día"
CONTRACTS = "Contratos del mes"
EXPIRIES = "Próximos vencimientos"
MOVEMENTS = "Movimientos"
OTHER_MOVEMENTS = "Otros movimientos"

SOURCE_HEADING = ("Cuenta", "PAC", "Plan", "Fuente", "Datos al", "Días sin dato", "Problema")
ISSUER_HEADING = (
    "Cuenta",
    "RFC",
    "Timbres",
    "Participación",
    "Mes anterior",
    CHANGE,
    "Disponibles",
    "Días restantes",
)
DAY_HEADING = ("Día", "Timbres")
CONTRACT_HEADING = (
    "Cuenta",
    "RFC",
    "Timbres",
    "Estado",
    "Solicitado por",
    "Fecha y hora",
    "Contrato",
    "Identidad en AWS",
)
EXPIRY_HEADING = ("Cuenta", "RFC", "Timbres", "Vence el")
MOVEMENT_HEADING = ("Cuenta", "RFC", "Fecha", "Tipo de movimiento", "Timbres")

_PLANS = {"prepaid": "Prepago", "postpaid": "Postpago"}
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


def number(value: int | None) -> str:
    """Return ``1,234``, or ``sin dato``."""
    return NO_DATA if value is None else f"{value:,}"


def share(amount: int, total: int) -> str:
    """Return ``amount`` as a percentage of ``total``, ``12.5%``; ``0.0%`` if ``total`` is 0."""
    return f"{amount / total if total else 0.0:.1%}"


def growth(current: int | None, previous: int | None) -> str:
    """Return the change from ``previous`` to ``current``, ``+12.5%``, or ``sin dato``.

    Return ``no aplica`` if ``previous`` is 0.
    """
    if previous == 0:
        return NO_BASE
    value = change(current, previous)
    return NO_DATA if value is None else f"{value:+.1%}"


def days_left(value: float | None) -> str:
    """Return a number of days with one decimal, or ``sin dato``."""
    return NO_DATA if value is None else f"{value:,.1f}"


# A report has many movements and few days.
@lru_cache(maxsize=1024)
def day(value: date) -> str:
    """Return ``31/10/2026``."""
    return f"{value:%d/%m/%Y}"


def to_local(value: datetime) -> datetime:
    """Return a time in Mexico City's time zone."""
    return value.astimezone(MEXICO_CITY)


def date_time(value: datetime | None) -> str:
    """Return ``31/10/2026 18:05``, in Mexico City's time zone, or ``nunca``."""
    return "nunca" if value is None else f"{to_local(value):%d/%m/%Y %H:%M}"


def plan(code: str | None) -> str:
    """Return ``Prepago`` or ``Postpago``, another code unchanged, or ``sin dato``."""
    return NO_DATA if code is None else _PLANS.get(code, replace_unprintable(code))


def rfc(value: str | None) -> str:
    """Return an RFC unchanged, or ``sin RFC``."""
    return NO_RFC if value is None else value


def pac(name: str) -> str:
    """Return a PAC's display name, printable."""
    return replace_unprintable(name)


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
    return _join_es(parts)


def gap(source: Source) -> str:
    """Return ``faltan los días 3, 4 y 9``; empty if no day is missing."""
    numbers = missing_days(source.missing_days)
    if not numbers:
        return ""
    return f"falta el día {numbers}" if numbers.isdigit() else f"faltan los días {numbers}"


def accounts(report: Consumption) -> str:
    """Return the account's name; for ``all``, ``todas:`` and the names of the accounts."""
    if report.account != ALL_ACCOUNTS:
        return report.account
    return f"todas: {_join_es([source.account for source in report.sources])}"


def scope_label(report: Consumption) -> str:
    """Return ``Todas las cuentas``, or ``Cuenta acme-sf``."""
    return "Todas las cuentas" if report.account == ALL_ACCOUNTS else f"Cuenta {report.account}"


def subtitle(report: Consumption) -> str:
    """Return the month and the accounts: ``Octubre de 2026. Todas las cuentas``."""
    month = report.month.label_es
    return f"{month[:1].upper()}{month[1:]}. {scope_label(report)}"


def pacs(report: Consumption) -> str:
    """Return the names of the report's PACs, each once."""
    return _join_es(list(dict.fromkeys(pac(source.pac) for source in report.sources)))


def missing_facts(issuer: IssuerLine) -> str:
    """Return ``sin dato: disponibles y días restantes``; empty if every value is known."""
    values = {
        "mes anterior": issuer.previous,
        "disponibles": issuer.available,
        "días restantes": issuer.days_left,
    }
    names = [name for name, value in values.items() if value is None]
    return f"{NO_DATA}: {_join_es(names)}" if names else ""


def heading(report: Consumption) -> list[tuple[str, str]]:
    """Return the heading of a report as pairs of a label and a text."""
    return [
        ("Cuenta", accounts(report)),
        ("PAC", pacs(report)),
        ("Mes", report.month.label_es),
        (GENERATED, f"{date_time(report.generated_at)} (hora de la Ciudad de México)"),
        (TOTAL, number(report.known_total)),
        (PREVIOUS, number(report.previous_total)),
        (CHANGE, growth(report.known_total, report.previous_total)),
    ]


def _join_es(items: list[str]) -> str:
    """Return ``a, b y c``."""
    return " y ".join(filter(None, (", ".join(items[:-1]), *items[-1:])))
