"""The summary at the top of the PDF and the page: key figures, chart data, missing figures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from timbres.domain.consumption import Consumption, IssuerLine, MovementLine, Source
from timbres.domain.contract import CONFIRMED, REJECTED
from timbres_reports import formatting_es as fmt

TOP_CONSUMERS_TITLE = "Los diez RFC que más consumen"
NO_CONSUMPTION = "Nadie consumió timbres."
BY_DAYS_LEFT_TITLE = "Se agotan primero"
NO_DAYS_LEFT = "De ningún RFC se sabe en cuántos días se agota."
NO_ISSUERS = "No se conoce ningún RFC con consumo en el mes."
MAX_BARS = 10
# Rows of a table in the PDF and the page; the workbook has all rows.
MAX_ROWS = 200
# An issuer with fewer days left is amber, or red.
SOON_DAYS = 30
URGENT_DAYS = 7

# Styles of a text: CSS classes of the page, colors of the PDF.
SOON, URGENT, MUTED = "soon", "urgent", "none"


@dataclass(frozen=True, slots=True)
class Summary:
    """The key figures of a month; totals are in stamps.

    ``active_issuers`` of ``issuers`` RFCs consumed stamps. ``confirmed_stamps`` is the sum of
    the ``confirmed`` contracts; ``open_contracts`` are neither confirmed nor rejected.
    ``undated`` is the part of the total that no day of the chart has.
    """

    total: int | None
    previous: int | None
    issuers: int
    active_issuers: int
    confirmed: int
    open_contracts: int
    confirmed_stamps: int
    undated: int


def summarize(report: Consumption) -> Summary:
    """Return the key figures of ``report``."""
    confirmed = [line for line in report.contracts if line.status == CONFIRMED]
    rejected = sum(1 for line in report.contracts if line.status == REJECTED)
    named = [issuer for issuer in report.issuers if issuer.rfc is not None]
    return Summary(
        total=report.known_total,
        previous=report.previous_total,
        issuers=len(named),
        active_issuers=sum(1 for issuer in named if issuer.amount),
        confirmed=len(confirmed),
        open_contracts=len(report.contracts) - len(confirmed) - rejected,
        confirmed_stamps=sum(line.stamps for line in confirmed),
        undated=report.total - sum(day or 0 for day in report.days),
    )


def top_consumers(report: Consumption) -> tuple[IssuerLine, ...]:
    """Return the ten issuers with the most consumption, without those that consumed nothing."""
    return tuple(issuer for issuer in report.issuers[:MAX_BARS] if issuer.amount > 0)


def by_days_left(report: Consumption) -> list[IssuerLine]:
    """Return the issuers whose days left are known, the fewest days first.

    An exhausted issuer is included only if it consumed in the month; otherwise inactive issuers
    would fill the top of the list.
    """
    issuers = [
        issuer
        for issuer in report.issuers
        if issuer.days_left is not None or (is_exhausted(issuer) and issuer.amount > 0)
    ]
    return sorted(issuers, key=lambda issuer: (_days(issuer), -issuer.amount, issuer.rfc or ""))


def is_exhausted(issuer: IssuerLine) -> bool:
    """Return whether an issuer has no stamps available; False if that is not known."""
    return issuer.available is not None and issuer.available <= 0


def _days(issuer: IssuerLine) -> float:
    return 0.0 if is_exhausted(issuer) or issuer.days_left is None else issuer.days_left


def severity_class(issuer: IssuerLine) -> str:
    """Return ``urgent``, ``soon``, or an empty text if enough days are left or unknown."""
    if is_exhausted(issuer):
        return URGENT
    if issuer.days_left is None or issuer.days_left >= SOON_DAYS:
        return ""
    return URGENT if issuer.days_left < URGENT_DAYS else SOON


def contract_class(status: str) -> str:
    """Return the style of a contract's state: ``soon`` if open, ``none`` if rejected."""
    classes: dict[str, str] = {CONFIRMED: "", REJECTED: MUTED}
    return classes.get(status, SOON)


def ticks(values: tuple[int | None, ...]) -> list[int]:
    """Return the round numbers of a chart's axis, which include 0 and span all ``values``.

    The steps are 1, 2 or 5 times a power of ten, in stamps, with up to five steps on a side.
    """
    known = [value for value in values if value is not None]
    low, high = min([0, *known]), max([0, *known])
    step = 1
    while max(high, -low) > 5 * step or high - low > 6 * step:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    first, last = low // step, -(-high // step)
    return [step * n for n in range(first, max(last, first + 1) + 1)]


def other_movements(report: Consumption) -> tuple[list[MovementLine], int]:
    """Return the first movements that are not consumption, and the number of all."""
    movements = report.other_movements()
    first = list(islice(movements, MAX_ROWS))
    return first, len(first) + sum(1 for _ in movements)


class KeyFigure(NamedTuple):
    """A number at the top of a report, its label, and a remark that compares it."""

    label: str
    value: str
    remark: str


def key_figures(report: Consumption, summary: Summary) -> list[KeyFigure]:
    """Return the four key figures: total, change, issuers, contracts."""
    base = f"{report.month.previous().label_es}: {fmt.number(summary.previous)}"
    return [
        KeyFigure("Timbres consumidos", fmt.number(summary.total), _mean(report)),
        KeyFigure("Contra el mes anterior", fmt.growth(summary.total, summary.previous), base),
        KeyFigure(
            "RFC que timbraron",
            f"{summary.active_issuers:,}",
            f"de {summary.issuers:,} en el reporte",
        ),
        KeyFigure("Timbres contratados", fmt.number(summary.confirmed_stamps), _contracts(summary)),
    ]


def _mean(report: Consumption) -> str:
    days = [day for day in report.days if day is not None]
    return f"{sum(days) / len(days):,.0f} por día en promedio" if days else "sin cifras por día"


def _contracts(summary: Summary) -> str:
    confirmed = pluralize(summary.confirmed, "contrato", "contratos")
    open_count = summary.open_contracts
    return f"{confirmed}, {open_count:,} más sin resolver" if open_count else confirmed


def pluralize(count: int, singular: str, plural: str) -> str:
    """Return ``1 día``, ``1,234 días``."""
    return f"{count:,} {singular if count == 1 else plural}"


def daily_remark(report: Consumption) -> str:
    """Return the day with the most stamps, and the number of days without a figure."""
    days = [(amount, -n) for n, amount in enumerate(report.days, 1) if amount is not None]
    sentences = []
    if days and max(days)[0] > 0:
        amount, number = max(days)
        day = report.month.first_day.replace(day=-number)
        sentences.append(f"Máximo: {amount:,} el {fmt.day(day)}")
    if unknown := len(report.days) - len(days):
        sentences.append(f"{pluralize(unknown, 'día', 'días')} sin dato (?)")
    return ". ".join(sentences)


def time_left(issuer: IssuerLine) -> str:
    """Return how long an issuer's stamps last: ``3.4 días``, ``agotado``, ``sin dato``."""
    if is_exhausted(issuer):
        return "agotado"
    days = fmt.days_left(issuer.days_left)
    return days if issuer.days_left is None else f"{days} {'día' if days == '1.0' else 'días'}"


def running_out_remark(issuers: list[IssuerLine]) -> str:
    """Return the number of issuers that run out soon; empty if none does."""
    soon = sum(1 for issuer in issuers if severity_class(issuer))
    return f"{soon:,} en menos de {SOON_DAYS} días" if soon else ""


class Cell(NamedTuple):
    """A text of a table and its style."""

    text: str
    style: str = ""


def issuer_figures(issuer: IssuerLine, total: int) -> list[Cell]:
    """Return an issuer's cells from its stamps to its days left; ``total`` is the report's."""
    return [
        figure_cell(fmt.number(issuer.amount)),
        figure_cell(fmt.share(issuer.amount, total)),
        figure_cell(fmt.number(issuer.previous)),
        figure_cell(fmt.growth(issuer.amount, issuer.previous)),
        figure_cell(fmt.number(issuer.available), URGENT if is_exhausted(issuer) else ""),
        figure_cell(fmt.days_left(issuer.days_left), severity_class(issuer)),
    ]


def figure_cell(text: str, style: str = "") -> Cell:
    """Return the cell of a figure, muted if the figure is not known."""
    return Cell(text, MUTED if text == fmt.NO_DATA else style)


def issuer_totals(report: Consumption) -> list[str]:
    """Return the last row of the issuers' table, one text per column."""
    total, previous = report.total, report.previous_total
    return [
        "Total",
        f"{sum(issuer.rfc is not None for issuer in report.issuers):,} RFC",
        fmt.number(total),
        fmt.share(total, total),
        fmt.number(previous),
        fmt.growth(total, previous),
        "",
        "",
    ]


def gap(source: Source) -> str:
    """Return the missing days of an account, and the day that includes their stamps."""
    day = "en el último día anterior que tiene cifra, si lo hay"
    stamps = "su consumo" if len(source.missing_days) == 1 else "el consumo de esos días"
    return f"{fmt.gap(source)}; {stamps} está {day}."


def notices(report: Consumption, summary: Summary) -> list[str]:
    """Return the notices about missing figures, the worst first; empty if there are none."""
    sentences = [
        f"Faltan las cifras de la cuenta {source.account}: "
        f"{fmt.replace_unprintable(source.problem)}"
        for source in report.sources
        if source.problem is not None
    ]
    sentences += [
        f"Cuenta {source.account}: {gap(source)}"
        for source in report.sources
        if source.missing_days and source.problem is None
    ]
    if summary.undated:
        dated = report.total - summary.undated
        sentences.append(
            f"Los días de la gráfica suman {dated:,} timbres, el total es "
            f"{report.total:,}: hay consumo con fecha fuera del mes o en días sin dato."
        )
    if summary.open_contracts:
        contracts = pluralize(summary.open_contracts, "contrato", "contratos")
        sentences.append(f"{contracts} sin resolver: aún no se conoce el resultado.")
    return sentences
