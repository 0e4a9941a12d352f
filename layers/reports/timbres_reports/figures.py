"""What the PDF and the page show before any table: the key figures, the charts' scale, the gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from timbres.domain.consumption import Consumption, IssuerLine, Source
from timbres.domain.contract import CONFIRMED, REJECTED
from timbres_reports import text

MOST_TITLE = "Los diez RFC que más consumen"
ENDING_TITLE = "Se agotan primero"
NOBODY_ENDS = "De ningún RFC se sabe en cuántos días se agota."
MOST_BARS = 10
# Days left below which an issuer is marked, and marked in red.
SOON = 30
VERY_SOON = 7


@dataclass(frozen=True, slots=True)
class Figures:
    """The key figures of a month, in stamps where no other unit is named.

    ``stamping`` of ``issuers`` RFCs consumed.
    ``bought`` is what the ``confirmed`` contracts add up to; ``open_contracts`` are neither
    confirmed nor rejected. ``undated`` is what of the total stands on no day of the chart.
    """

    total: int | None
    previous: int | None
    issuers: int
    stamping: int
    contracts: int
    confirmed: int
    open_contracts: int
    bought: int
    undated: int


def figures(report: Consumption) -> Figures:
    """Return the key figures of ``report``."""
    confirmed = [line for line in report.contracts if line.status == CONFIRMED]
    rejected = sum(1 for line in report.contracts if line.status == REJECTED)
    return Figures(
        total=report.known_total,
        previous=report.previous_total,
        issuers=len(report.issuers),
        stamping=sum(1 for issuer in report.issuers if issuer.amount),
        contracts=len(report.contracts),
        confirmed=len(confirmed),
        open_contracts=len(report.contracts) - len(confirmed) - rejected,
        bought=sum(line.stamps for line in confirmed),
        undated=report.total - sum(day or 0 for day in report.days),
    )


def biggest(report: Consumption) -> tuple[IssuerLine, ...]:
    """Return the issuers that consumed most, ten at most, none without consumption."""
    return tuple(issuer for issuer in report.issuers[:MOST_BARS] if issuer.amount > 0)


def running_out(report: Consumption) -> list[IssuerLine]:
    """Return the issuers whose end is known, the first to run out first.

    One that has no stamps left counts only if it consumed in the month: else every issuer
    long out of use would head the list.
    """
    ending = [
        issuer
        for issuer in report.issuers
        if issuer.days_left is not None or (spent(issuer) and issuer.amount > 0)
    ]
    return sorted(ending, key=lambda issuer: (_days(issuer), -issuer.amount, issuer.rfc))


def spent(issuer: IssuerLine) -> bool:
    """Tell whether an issuer is known to have no stamps left."""
    return issuer.available is not None and issuer.available <= 0


def _days(issuer: IssuerLine) -> float:
    return 0.0 if spent(issuer) or issuer.days_left is None else issuer.days_left


def urgency(issuer: IssuerLine) -> str:
    """Return ``urgent``, ``soon`` or, with time enough or nothing known, an empty text."""
    if spent(issuer):
        return "urgent"
    if issuer.days_left is None or issuer.days_left >= SOON:
        return ""
    return "urgent" if issuer.days_left < VERY_SOON else "soon"


def ticks(values: tuple[int | None, ...]) -> list[int]:
    """Return the round numbers of a chart's axis: 0 among them, all ``values`` within.

    Whole stamps, in steps of 1, 2 or 5 times a power of ten, five steps at most on one side.
    """
    known = [value for value in values if value is not None]
    low, high = min([0, *known]), max([0, *known])
    step = 1
    while max(high, -low) > 5 * step or high - low > 6 * step:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    first, last = low // step, -(-high // step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]


class KeyFigure(NamedTuple):
    """One number to be seen first, what it is and what it is compared with."""

    label: str
    value: str
    remark: str


def key_figures(report: Consumption, known: Figures) -> list[KeyFigure]:
    """Return the four key figures: total, change, issuers, contracts."""
    before = report.month.previous().in_spanish
    base = f"{before}: {text.number(known.previous)}"
    return [
        KeyFigure("Timbres consumidos", text.number(known.total), _mean(report)),
        KeyFigure("Contra el mes anterior", text.growth(known.total, known.previous), base),
        KeyFigure(
            "RFC que timbraron", f"{known.stamping:,}", f"de {known.issuers:,} en el reporte"
        ),
        KeyFigure("Timbres contratados", text.number(known.bought), _contracts(known)),
    ]


def _mean(report: Consumption) -> str:
    days = [day for day in report.days if day is not None]
    return f"{sum(days) / len(days):,.0f} por día en promedio" if days else "sin cifras por día"


def _contracts(known: Figures) -> str:
    words = counted(known.confirmed, "contrato", "contratos")
    return f"{words}, {known.open_contracts:,} más sin resolver" if known.open_contracts else words


def counted(count: int, one: str, many: str) -> str:
    """Return ``1 día``, ``1,234 días``."""
    return f"{count:,} {one if count == 1 else many}"


def daily_remark(report: Consumption) -> str:
    """Return the day with most stamps, and how many days have no figure."""
    days = [(amount, -n) for n, amount in enumerate(report.days, 1) if amount is not None]
    words = []
    if days and max(days)[0] > 0:
        amount, number = max(days)
        day = report.month.first_day.replace(day=-number)
        words.append(f"Máximo: {amount:,} el {text.day(day)}")
    if unknown := len(report.days) - len(days):
        words.append(f"{counted(unknown, 'día', 'días')} sin dato (?)")
    return ". ".join(words)


def ending_in(issuer: IssuerLine) -> str:
    """Return in how many days an issuer's stamps end: ``3.4 días``, ``agotado``."""
    if spent(issuer):
        return "agotado"
    days = text.days_left(issuer.days_left)
    return days if issuer.days_left is None else f"{days} {'día' if days == '1.0' else 'días'}"


def ending_remark(ending: list[IssuerLine]) -> str:
    """Return how many issuers run out soon."""
    soon = sum(1 for issuer in ending if urgency(issuer))
    return f"{soon:,} en menos de {SOON} días" if soon else ""


def gap(source: Source) -> str:
    """Return which days an account lacks, and where what was stamped on them stands."""
    where = "en el último día anterior que tiene cifra, si lo hay"
    whose = "su consumo" if len(source.missing_days) == 1 else "el consumo de esos días"
    return f"{text.gap(source)}; {whose} está {where}."


def notices(report: Consumption, known: Figures) -> list[str]:
    """Return what the figures lack, the worst first; empty where they are whole."""
    failed = [source for source in report.sources if source.problem is not None]
    found = [
        f"Faltan las cifras de la cuenta {source.account}: {text.clean(source.problem or '')}"
        for source in failed
    ]
    found += [
        f"Cuenta {source.account}: {gap(source)}"
        for source in report.sources
        if source.missing_days and source.problem is None
    ]
    if known.undated:
        found.append(
            f"Los días de la gráfica suman {report.total - known.undated:,} timbres, el total es "
            f"{report.total:,}: hay consumo con fecha fuera del mes o en días sin dato."
        )
    if known.open_contracts:
        found.append(
            f"{counted(known.open_contracts, 'contrato', 'contratos')} sin resolver: no se sabe "
            "aún si la compra se hizo."
        )
    return found
