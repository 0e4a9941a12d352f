"""The content that the workbook, the PDF and the page share: key figures, tables, notices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from timbres.domain.account import ALL_ACCOUNTS
from timbres.domain.consumption import (
    AccountStampsLine,
    Consumption,
    IssuerLine,
    MovementLine,
    RfcLine,
    Source,
    YearConsumption,
    percent,
)
from timbres.domain.contract import CONFIRMED, REJECTED
from timbres.domain.highlights import (
    SOON_DAYS,
    Highlights,
    Severity,
    highlights_of,
    severity,
)
from timbres_reports import formatting_es as fmt

TOP_CONSUMERS_TITLE = "Los diez RFC que más consumen"
NO_CONSUMPTION = "Ningún RFC consumió timbres."
BY_DAYS_LEFT_TITLE = "Se agotan primero"
NO_DAYS_LEFT = "De ningún RFC se sabe en cuántos días se agota."
NO_ISSUERS = "No se conoce ningún RFC con consumo en el mes."
MAX_BARS = 10
# Rows of a table in the PDF and the page; the workbook has all rows.
MAX_ROWS = 200
# Styles of a text: CSS classes of the page, colors of the PDF and the workbook.
SOON, URGENT, MUTED = Severity.SOON, Severity.URGENT, "none"

# Contracts in other states are open.
_CONTRACT_STYLES: dict[str, str] = {CONFIRMED: "", REJECTED: MUTED}

Value = str | int | Decimal | date | None


class Cell(NamedTuple):
    """A cell of a table: its text and style, and its value for the workbook if it has one."""

    text: str
    style: str = ""
    value: Value = None


class Column(NamedTuple):
    """A column: the key of its cells, its heading, and the type of its values."""

    key: str
    heading: str
    type: str = "text"

    @property
    def is_number(self) -> bool:
        """Whether the column is aligned to the right."""
        return self.type not in ("text", "time", "date")


class KeyFigure(NamedTuple):
    """A figure at the top of a report: its label, text, remark, style, and value of a type."""

    label: str
    text: str
    remark: str
    style: str = ""
    value: Value = None
    type: str = "count"


# Key figures -------------------------------------------------------------------------------


def key_figures(report: Consumption) -> list[KeyFigure]:
    """Return the key figures: total, change, alerts, stamps of accounts, issuers, cost."""
    facts = highlights_of(report)
    named = [line for line in report.rfcs if line.rfc is not None]
    active = None if facts.stamps is None else sum(1 for line in named if line.amount)
    change = fmt.growth(facts.change, is_new=facts.is_new)
    mean = _mean(report.days)
    per_day = "sin cifras por día" if mean is None else f"{mean:,} por día en promedio"
    figures = [
        KeyFigure("Timbres consumidos", fmt.number(facts.stamps), per_day, "", facts.stamps),
        KeyFigure(
            f"Contra {report.month.previous().name_es}",
            *(change, _base(report, facts), "", facts.change, "growth"),
        ),
        _alert_figure(facts),
    ]
    if (line := facts.account) is not None:
        others = facts.accounts - 1
        more = f"; hay {fmt.pluralize(others, 'cuenta', 'cuentas')} más" if others else ""
        remark = f"{line.account}: {fmt.stock(line.available, line.as_of)}{more}"
        style = severity(line) or (SOON if line.is_over_allotted else "")
        days = None if line.is_exhausted else line.days_left
        text = time_left(line, "agotados")
        figures.append(KeyFigure(fmt.ACCOUNT_STAMPS, text, remark, style, days, "days_text"))
    remark = "sin cifras por RFC" if active is None else f"de {len(named):,} en el reporte"
    figures.append(KeyFigure("RFC que timbraron", fmt.number(active), remark, "", active))
    return [*figures, *_cost_figure(report)]


def _base(report: Consumption, facts: Highlights) -> str:
    """Return the previous month, and which accounts are not compared."""
    base = f"{report.month.previous().label_es}: {fmt.number(facts.previous)}"
    if facts.not_compared is None:
        return base
    return (
        f"sin contar cuentas {'nuevas' if facts.not_compared == 'new' else 'sin ese mes'}; {base}"
    )


def _alert_figure(facts: Highlights) -> KeyFigure:
    label = "RFC agotados o por agotarse"
    if facts.exhausted is None or facts.soon is None:
        return KeyFigure(label, fmt.NO_DATA, "el PAC no informa los disponibles por RFC")
    remark = f"{fmt.pluralize(facts.exhausted, 'agotado', 'agotados')}, "
    remark += f"{facts.soon:,} con menos de {SOON_DAYS} días"
    count = facts.exhausted + facts.soon
    return KeyFigure(label, f"{count:,}", remark, facts.worst, count)


def _cost_figure(report: Consumption | YearConsumption) -> Iterator[KeyFigure]:
    if report.cost is not None:
        remark = cost_remark(report.without_price)
        yield KeyFigure("Costo", fmt.money(report.cost), remark, "", report.cost, "money")


def cost_remark(without_price: Sequence[str]) -> str:
    """Return ``MXN``, and the accounts that have no price."""
    return f"MXN, sin contar {fmt.join([*without_price])}" if without_price else "MXN"


def _mean(amounts: Iterable[int | None]) -> int | None:
    """Return the mean of the known amounts, half up; None if none is known."""
    known = [amount for amount in amounts if amount is not None]
    return (2 * sum(known) + len(known)) // (2 * len(known)) if known else None


# Charts and rankings -----------------------------------------------------------------------


def top_consumers(report: Consumption) -> list[RfcLine]:
    """Return the ten RFCs with the most consumption, without those that consumed nothing."""
    return [line for line in report.rfcs[:MAX_BARS] if line.amount > 0]


def by_days_left(report: Consumption) -> list[RfcLine]:
    """Return the RFCs whose days left are known, the fewest days first.

    An exhausted RFC is included only if it consumed in the month; otherwise inactive issuers
    would fill the top of the list.
    """
    lines = [
        (0 if line.is_exhausted else line.days_left or 0, -line.amount, line.rfc or "", line)
        for line in report.rfcs
        if line.days_left is not None or (line.is_exhausted and line.amount > 0)
    ]
    return [line for *_, line in sorted(lines, key=lambda item: item[:3])]


def time_left(line: IssuerLine | AccountStampsLine, exhausted: str = "agotado") -> str:
    """Return how long stamps last: ``3.4 días``, ``exhausted``, ``sin dato``."""
    if line.is_exhausted:
        return exhausted
    return fmt.NO_DATA if line.days_left is None else fmt.days_text(line.days_left)


def running_out_remark(lines: list[RfcLine]) -> str:
    """Return the number of RFCs that run out soon; empty if none does."""
    soon = sum(1 for line in lines if severity(line))
    return f"{soon:,} en menos de {SOON_DAYS} días" if soon else ""


def ticks(values: Iterable[int | None]) -> list[int]:
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


def daily_remark(report: Consumption) -> str:
    """Return the day with the most stamps, and the number of days without a figure."""
    days = [(amount, -n) for n, amount in enumerate(report.days, 1) if amount is not None]
    sentences = []
    if days and max(days)[0] > 0:
        amount, number = max(days)
        day = report.month.first_day.replace(day=-number)
        sentences.append(f"Máximo: {amount:,} el {fmt.day(day)}")
    if unknown := len(report.days) - len(days):
        sentences.append(f"{fmt.pluralize(unknown, 'día', 'días')} sin dato (?)")
    return ". ".join(sentences)


# Tables ------------------------------------------------------------------------------------


def rfc_columns(report: Consumption) -> list[Column]:
    """Return the columns of the table of RFCs; those without any value are left out."""
    return [
        Column("rfc", "RFC"),
        *([Column("name", "Razón social")] if report.names else []),
        *([Column("account", "Cuenta")] if report.account == ALL_ACCOUNTS else []),
        Column("amount", fmt.STAMPS, "count"),
        Column("share", "% del total", "percent"),
        Column("previous", "Mes anterior", "count"),
        Column("change", "Cambio", "growth"),
        Column("available", "Disponibles", "count"),
        Column("as_of", "Disponibles al", "time"),
        Column("days_left", "Días restantes", "days"),
        *([Column("cost", "Costo (MXN)", "money")] if report.cost is not None else []),
    ]


def rfc_cells(report: Consumption, line: IssuerLine) -> dict[str, Cell]:
    """Return the cells of an RFC, or of its part in one account, by the key of their column."""
    share = percent(line.amount, report.total)
    available = fmt.NO_CONTRACT if line.has_no_contract else fmt.number(line.available)
    days = fmt.NO_CONTRACT if line.has_no_contract else fmt.number(line.days_left)
    change = fmt.growth(line.change, is_new=line.is_new)
    return {
        "rfc": Cell(fmt.rfc(line.rfc)),
        "name": Cell(line.name or ""),
        "account": Cell(fmt.account_names(line)),
        "amount": _number(line.amount),
        "share": figure(fmt.percent(share), share),
        "previous": _number(line.previous),
        "change": figure(change, None if line.is_new else line.change),
        "available": figure(available, line.available, URGENT if line.is_exhausted else ""),
        "as_of": figure(fmt.moment(line.as_of), line.as_of),
        "days_left": figure(days, line.days_left, severity(line)),
        "cost": figure(fmt.money(line.cost), line.cost),
    }


def rfc_totals(report: Consumption) -> dict[str, Cell]:
    """Return the cells of the last row of the table of RFCs, by the key of their column."""
    facts = highlights_of(report)
    share = None if facts.stamps is None else percent(facts.stamps, facts.stamps)
    return {
        **dict.fromkeys(("name", "account", "available", "as_of", "days_left"), Cell("")),
        "rfc": Cell(f"Total: {sum(line.rfc is not None for line in report.rfcs):,} RFC"),
        "amount": _number(facts.stamps),
        "share": figure(fmt.percent(share), share),
        "previous": _number(facts.previous),
        "change": figure(fmt.growth(facts.change, is_new=facts.is_new), facts.change),
        "cost": figure(fmt.money(report.cost), report.cost),
    }


def figure(text: str, value: Value = None, style: str = "") -> Cell:
    """Return the cell of a figure, muted if the figure is not known or does not exist."""
    return Cell(text, MUTED, None) if text in fmt.EMPTY else Cell(text, style, value)


class Section(NamedTuple):
    """A section of a report that is one table of ``length`` rows.

    A table of the PDF or the page may have the first rows only; ``others`` names those that it
    leaves out. ``remark`` explains the title, ``note`` is below the table, and ``empty`` is in
    place of a table without rows; without it, the section is left out.
    """

    id: str
    title: str
    others: str
    columns: Sequence[Column]
    rows: Iterable[list[Cell]]
    length: int
    totals: Sequence[Cell] = ()
    remark: str = ""
    note: str = ""
    empty: str = ""


def _columns(*columns: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column("", heading, kind) for heading, kind in columns)


def _text(*texts: str) -> list[Cell]:
    return [Cell(text) for text in texts]


def _number(value: int | Decimal | None, style: str = "") -> Cell:
    return figure(fmt.number(value), value, style)


_ACCOUNT, _RFC, _STAMPS = ("Cuenta", "text"), ("RFC", "text"), (fmt.STAMPS, "count")
_KIND = ("Tipo de movimiento", "text")
MOVEMENT_COLUMNS = _columns(_ACCOUNT, _RFC, ("Fecha", "date"), _KIND, _STAMPS)
_CONTRACT_COLUMNS = _columns(
    *(_ACCOUNT, _RFC, _STAMPS, ("Estado", "text"), ("Solicitado por", "text")),
    *(("Fecha y hora", "time"), ("Contrato", "text")),
)
_ACCOUNT_STAMPS_COLUMNS = (
    Column("account", "Cuenta"),
    Column("contracted", "Contratados", "count"),
    Column("used", "Usados", "count"),
    Column("available", "Disponibles", "count"),
    Column("as_of", "Disponibles al", "time"),
    Column("days_left", "Días restantes", "days"),
)
_ACCOUNT_STAMPS_NOTE = (
    "Todos los emisores de la cuenta usan estos timbres; sin ellos, ninguno puede facturar."
)
_SOURCE_COLUMNS = (
    Column("account", "Cuenta"),
    Column("pac", "PAC"),
    Column("amount", fmt.STAMPS, "count"),
    Column("previous", "Mes anterior", "count"),
    Column("source", "Fuente"),
    Column("as_of", "Datos al", "time"),
    Column("missing", "Días sin dato"),
)


def movement_cells(movements: Iterable[MovementLine]) -> Iterator[list[Cell]]:
    """Yield the cells of each movement."""
    for line in movements:
        day = Cell(fmt.day(line.date), "", line.date)
        yield [*_text(line.account, fmt.rfc(line.rfc)), day, Cell(line.kind), _number(line.amount)]


def account_stamps(report: Consumption) -> Section:
    """Return the stamps of the accounts themselves."""
    lines, others = report.account_stamps, "Las demás cuentas"
    rows = (
        [
            Cell(line.account),
            *map(_number, (line.contracted, line.used)),
            _number(line.available, URGENT if line.is_exhausted else ""),
            figure(fmt.moment(line.as_of), line.as_of),
            _number(line.days_left, severity(line)),
        ]
        for line in lines
    )
    columns, note = _ACCOUNT_STAMPS_COLUMNS, _ACCOUNT_STAMPS_NOTE
    return Section("cuenta", fmt.ACCOUNT_STAMPS, others, columns, rows, len(lines), note=note)


def contracts(report: Consumption) -> Section:
    """Return the contracts of the month; the totals are those of the confirmed ones."""
    lines, others = report.contracts, "Los demás contratos"
    rows = (
        [
            *_text(line.account, line.rfc),
            _number(line.stamps),
            Cell(fmt.status(line.status), _CONTRACT_STYLES.get(line.status, SOON)),
            Cell(fmt.caller_name(line.requested_by)),
            Cell(fmt.date_time(line.created_at), "", line.created_at),
            Cell(line.id, MUTED),
        ]
        for line in lines
    )
    stamps = [line.stamps for line in lines if line.status == CONFIRMED]
    totals = _text("Confirmados", f"{len(stamps):,}", f"{sum(stamps):,}", "", "", "", "")
    title, empty = "Contratos del mes", "No se contrataron timbres en el mes."
    table = others, _CONTRACT_COLUMNS, rows, len(lines), totals
    return Section("contratos", title, *table, empty=empty)


def expiries(report: Consumption) -> Section:
    """Return the next expiries."""
    columns = _columns(_ACCOUNT, _RFC, _STAMPS, ("Vence el", "date"))
    rows = (
        [
            *_text(line.account, line.rfc),
            _number(line.stamps),
            Cell(fmt.day(line.expires_on), "", line.expires_on),
        ]
        for line in report.expiries
    )
    table = "Los demás vencimientos", columns, rows, len(report.expiries)
    remark = "De cada RFC, el contrato de Timbres que vence primero."
    return Section("vencimientos", "Próximos vencimientos", *table, remark=remark)


def other_movements(report: Consumption) -> Section:
    """Return the movements that are not consumption; it has the first rows only."""
    movements = report.other_movements()
    first = list(islice(movements, MAX_ROWS))
    length = len(first) + sum(1 for _ in movements)
    table = "Los demás movimientos", MOVEMENT_COLUMNS, movement_cells(first), length
    remark = "No son consumo y no cuentan en los totales."
    return Section("otros", fmt.OTHER_MOVEMENTS, *table, remark=remark)


def sources(report: Consumption) -> Section:
    """Return the accounts and the sources of their figures."""
    rows = (source_cells(report, source) for source in report.sources)
    table = "Las demás cuentas", _SOURCE_COLUMNS, rows, len(report.sources)
    return Section("fuentes", fmt.SOURCES, *table)


def source_cells(report: Consumption, source: Source) -> list[Cell]:
    """Return the cells of an account."""
    missing = fmt.missing_days(source.missing_days)
    return [
        *_text(source.account, fmt.pac(source)),
        _number(None if source.problem else report.amounts[source.account]),
        _number(source.previous),
        Cell(fmt.source_name(source)),
        figure(fmt.moment(source.as_of), source.as_of),
        Cell(missing, SOON) if missing else Cell("ninguno"),
    ]


# Notices -----------------------------------------------------------------------------------


def _over_allotment(line: AccountStampsLine, names_account: bool) -> str:
    unknown = line.allotment.unknown
    account = f"la cuenta {line.account}" if names_account else "la cuenta"
    at_least = "al menos " if unknown else ""
    missing = f" Falta el conteo de {fmt.pluralize(unknown, 'emisor', 'emisores')}."
    return (
        f"Los emisores tienen {at_least}{line.allotment.unused:,} timbres contratados sin usar; "
        f"{account} tiene {fmt.stock(line.available, line.as_of)}.{missing if unknown else ''}"
    )


def gap(source: Source) -> str:
    """Return the missing days of an account, and the day that includes their stamps."""
    numbers, day = fmt.missing_days(source.missing_days), "en el último día anterior"
    days, stamps = f"faltan los días {numbers}", "el consumo de esos días"
    if len(source.missing_days) == 1:
        days, stamps = f"falta el día {numbers}", "su consumo"
    return f"{days}; {stamps} está {day} que tiene cifra, si lo hay."


def _uncounted(count: int) -> str:
    if count == 1:
        return "no aparece 1 emisor, que no tiene ningún conteo en el mes."
    return f"no aparecen {count:,} emisores, que no tienen ningún conteo en el mes."


def notices(report: Consumption) -> list[str]:
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
    sentences += [
        f"Cuenta {source.account}: {_uncounted(source.uncounted)}"
        for source in report.sources
        if source.uncounted and source.problem is None
    ]
    sentences += [
        _over_allotment(line, report.account == ALL_ACCOUNTS)
        for line in report.account_stamps
        if line.is_over_allotted
    ]
    dated = sum(day or 0 for day in report.days)
    if dated != report.total:
        sentences.append(
            f"Los días de la gráfica suman {dated:,} timbres, el total es "
            f"{report.total:,}: hay consumo con fecha fuera del mes o en días sin dato."
        )
    decided = (CONFIRMED, REJECTED)
    if open_count := sum(1 for line in report.contracts if line.status not in decided):
        contracts = fmt.pluralize(open_count, "contrato", "contratos")
        sentences.append(f"{contracts} sin resolver: aún no se conoce el resultado.")
    return sentences


# A year ------------------------------------------------------------------------------------


def year_columns(report: YearConsumption) -> list[Column]:
    """Return the columns of the table of a year's RFCs."""
    return [
        Column("rfc", "RFC"),
        *([Column("name", "Razón social")] if any(line.name for line in report.lines) else []),
        *(
            Column(str(n), month.name_es[:3], "count")
            for n, month in enumerate(report.year.months(report.generated_at.date()))
        ),
        Column("total", "Total", "count"),
        *([Column("cost", "Costo (MXN)", "money")] if report.cost is not None else []),
    ]


def year_rows(report: YearConsumption) -> Iterator[dict[str, Cell]]:
    """Yield the cells of each RFC by the key of their column; the totals are last."""
    named = sum(line.rfc is not None for line in report.lines)
    total = Cell(f"Total: {named:,} RFC"), Cell("")
    for rfc, name, months, amount, cost in (
        *((Cell(fmt.rfc(line.rfc)), Cell(line.name or ""), line.months, line.total, line.cost)
          for line in report.lines),
        (*total, report.months, report.total, report.cost),
    ):  # fmt: skip
        yield {
            "rfc": rfc,
            "name": name,
            **{str(n): _number(month) for n, month in enumerate(months)},
            "total": _number(amount),
            "cost": figure(fmt.money(cost), cost),
        }


def year_figures(report: YearConsumption) -> list[KeyFigure]:
    """Return the key figures of a year: total, mean, issuers, cost."""
    unknown, mean = report.months.count(None), _mean(report.months)
    remark = f"{fmt.pluralize(unknown, 'mes', 'meses')} {fmt.NO_DATA}" if unknown else ""
    named = sum(line.rfc is not None for line in report.lines)
    months = fmt.pluralize(len(report.months) - unknown, "mes", "meses")
    figures = [
        KeyFigure("Timbres consumidos", fmt.number(report.total), remark, "", report.total),
        KeyFigure("Promedio por mes", fmt.number(mean), months, "", mean),
        KeyFigure("RFC", f"{named:,}", "en el reporte", "", named),
    ]
    return [*figures, *_cost_figure(report)]


def year_notices(report: YearConsumption) -> list[str]:
    """Return a sentence for each account and reason of missing months."""
    months: dict[tuple[str, str], list[str]] = {}
    for account, month, reason in report.gaps:
        months.setdefault((account, reason), []).append(month.name_es)
    return [
        f"Faltan las cifras de la cuenta {account} de {fmt.join(names)}: "
        f"{fmt.replace_unprintable(reason)}"
        for (account, reason), names in months.items()
    ]
