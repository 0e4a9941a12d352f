"""The report as one page: nothing is loaded, nothing is sent; it opens from a mail or a disk.

The issuers travel as data, of which the script shows fifty at a time: ten thousand rows of
elements would make every sort and every letter typed wait. The largest of them stand in the
table itself too, for whoever opens the page where scripts do not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from timbres.domain.account import ALL
from timbres.domain.consumption import Consumption, IssuerLine, MovementLine, Source
from timbres.domain.contract import CONFIRMED, REJECTED
from timbres_reports import text
from timbres_reports.figures import (
    ENDING_TITLE,
    MOST_BARS,
    MOST_TITLE,
    NOBODY_ENDS,
    biggest,
    counted,
    daily_remark,
    ending_in,
    ending_remark,
    figures,
    key_figures,
    notices,
    running_out,
    spent,
    urgency,
)
from timbres_reports.html_chart import bar, daily_chart
from timbres_reports.output import Output

# Rows that stand in the page as elements, whatever the script does.
MOST_ROWS = 200
MOST_MOVEMENTS = 500

_Key = tuple[str, str]


def write(report: Consumption, out: Output) -> int:
    """Write ``report`` as one HTML file into ``out``; return how many movements it shows.

    Every issuer is in it, with its stamps of each day; of the movements the first 500, and
    where the others are. The movements are walked once.
    """
    days, shown, count = _walk(report)
    style, script = _part("page.css"), _part("page.js")
    known = figures(report)
    month = report.month.in_spanish
    page = Template(_part("page.html")).substitute(
        policy=_policy(style, script),
        title=_safe(f"{text.TITLE}, {month}. {_whose(report)}"),
        style=style,
        name=text.TITLE,
        subtitle=_safe(f"{month[:1].upper()}{month[1:]}. {_whose(report)}"),
        made_iso=text.local(report.generated_at).isoformat(),
        made=text.moment(report.generated_at),
        notices=_notices(notices(report, known)),
        figures="\n".join(
            f"<div><dt>{_safe(each.label)}</dt>"
            f'<dd class="value">{_safe(each.value)}</dd>'
            f'<dd class="remark">{_safe(each.remark)}</dd></div>'
            for each in key_figures(report, known)
        ),
        days_title=text.DAYS,
        days_remark=_safe(daily_remark(report)),
        chart=daily_chart(report, f"{daily_remark(report)}."),
        days=_days(report),
        most_title=MOST_TITLE,
        most=_biggest(report),
        ending_title=ENDING_TITLE,
        ending_remark=_safe(ending_remark(running_out(report))),
        ending=_ending(report),
        issuers_title=text.ISSUERS,
        issuers=_issuers(report),
        contracts_title=text.CONTRACTS,
        contracts=_contracts(report, known.bought),
        sources_title=text.SOURCES,
        sources=_sources(report),
        movements_title=text.MOVEMENTS,
        movements=_movements(shown, count),
        footer=_safe(f"{text.TITLE}, {month}. {_whose(report)}. Hecho por Timbres."),
        data=_data(report, days),
        script=script,
    )
    out.write(page.encode())
    return len(shown)


def _walk(report: Consumption) -> tuple[dict[_Key, list[int]], list[MovementLine], int]:
    """Return each issuer's stamps by day of the month, the first movements, and their number.

    What is dated outside of the month stands on no day.
    """
    days: dict[_Key, list[int]] = {}
    shown: list[MovementLine] = []
    count = 0
    length = report.month.last_day.day
    year, month = report.month.year, report.month.month
    for movement in report.movements():
        count += 1
        if count <= MOST_MOVEMENTS:
            shown.append(movement)
        if movement.date.month == month and movement.date.year == year:
            key = (movement.account, movement.rfc)
            own = days.get(key)
            if own is None:
                own = days[key] = [0] * length
            own[movement.date.day - 1] += movement.amount
    return days, shown, count


# What the page is made of ----------------------------------------------------------------


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a policy under which this style and this script run, and nothing is fetched."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _safe(words: str) -> str:
    """Return ``words`` for an element or a quoted attribute."""
    return escape(text.clean(words))


# Tables ----------------------------------------------------------------------------------


def _cell(words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f"<td{named}>{_safe(words)}</td>"


def _number(words: str, tone: str = "") -> str:
    return _cell(words, f"n {'none' if words == text.NO_DATA else tone}".rstrip())


def _rfc(words: str, account: str = "") -> str:
    """Return the cell that names a row: its RFC, and the account where several are shown."""
    named = f'<span class="small">{_safe(account)}</span>' if account else ""
    return f'<th scope="row" class="rfc" title="{_safe(words)}">{_safe(words)}{named}</th>'


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _table(
    name: str,
    heads: Sequence[str],
    numbers: Sequence[int],
    rows: Iterable[str],
    *,
    foot: str = "",
    kind: str = "",
) -> str:
    """Return a table; ``name`` says to those who do not see it what it holds."""
    cells = "".join(
        f'<th scope="col"{" class=n" if index in numbers else ""}>{_safe(head)}</th>'
        for index, head in enumerate(heads)
    )
    attributes = f' class="{kind}"' if kind else ""
    return (
        f'<table{attributes} aria-label="{_safe(name)}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>"
        + (f"<tfoot>{foot}</tfoot>" if foot else "")
        + "</table>"
    )


def _wide(name: str, table: str) -> str:
    """Return a table in a frame of its own, which a narrow screen and a keyboard can scroll."""
    return f'<div class="wide" role="region" aria-label="{_safe(name)}" tabindex="0">{table}</div>'


def _note(words: str) -> str:
    return f'<p class="note">{_safe(words)}</p>'


# Sections --------------------------------------------------------------------------------


def _whose(report: Consumption) -> str:
    return "Todas las cuentas" if report.account == ALL else f"Cuenta {report.account}"


def _notices(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{_safe(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notices" aria-label="Lo que falta en las cifras">{items}</ul>'


def _days(report: Consumption) -> str:
    rows = (
        _row((_rfc(text.day(report.month.first_day.replace(day=number))), _number(amount)))
        for number, amount in enumerate(map(text.number, report.days), 1)
    )
    return f'<div class="narrow">{_table(text.DAYS, text.DAY_HEADING, (1,), rows)}</div>'


def _shown_account(report: Consumption, issuer: IssuerLine) -> str:
    return issuer.account if report.account == ALL else ""


def _biggest(report: Consumption) -> str:
    issuers, total = biggest(report), report.total
    if not issuers:
        return _note("Nadie consumió timbres.")
    rows = (
        _row(
            (
                _rfc(issuer.rfc, _shown_account(report, issuer)),
                f'<td class="track">{bar(issuer.amount / issuers[0].amount)}</td>',
                _number(text.number(issuer.amount)),
                _number(text.percent(issuer.amount / total if total else 0.0), "small"),
            )
        )
        for issuer in issuers
    )
    heads = ("RFC", "Consumo", "Timbres", "Participación")
    return _table(MOST_TITLE, heads, (2, 3), rows, kind="plain")


def _ending(report: Consumption) -> str:
    issuers = running_out(report)[:MOST_BARS]
    if not issuers:
        return _note(NOBODY_ENDS)
    rows = (
        _row(
            (
                _rfc(issuer.rfc, _shown_account(report, issuer)),
                _number(text.number(issuer.available)),
                _number(ending_in(issuer), urgency(issuer)),
            )
        )
        for issuer in issuers
    )
    heads = ("RFC", "Disponibles", "Se agota en")
    return _table(ENDING_TITLE, heads, (1, 2), rows, kind="plain")


def _issuers(report: Consumption) -> str:
    if not report.issuers:
        return _note("No se conoce ningún RFC con consumo en el mes.")
    total = report.total
    rows = [_issuer(issuer, total) for issuer in report.issuers[:MOST_ROWS]]
    foot = _row(
        (
            _cell("Total"),
            _cell(f"{len(report.issuers):,} RFC"),
            _number(text.number(total)),
            _number(text.percent(1.0 if total else 0.0)),
            _number(text.number(report.previous_total)),
            _number(text.growth(total, report.previous_total)),
            "<td></td><td></td>",
        )
    )
    table = _table(text.ISSUERS, text.ISSUER_HEADING, range(2, 8), rows, foot=foot)
    table = table.replace("<table", '<table id="emisores"', 1)
    return f"{_CONTROLS}{_wide(text.ISSUERS, table)}{_PAGER}{_left_out(len(report.issuers))}"


_CONTROLS = (
    '<div class="controls" hidden>'
    '<div><label for="buscar">Buscar por RFC o cuenta</label>'
    '<input type="search" id="buscar" autocomplete="off" spellcheck="false"></div>'
    '<p id="estado" class="note" role="status"></p></div>'
)
_PAGER = (
    '<nav class="pager" aria-label="Páginas de la tabla" hidden>'
    '<button type="button">Anterior</button><span id="lugar"></span>'
    '<button type="button">Siguiente</button></nav>'
    '<p class="note" id="impresos" hidden>Se imprimieron los primeros 2,000; todos están en el '
    "CSV y el XLSX de este mes.</p>"
)


def _left_out(count: int) -> str:
    if count <= MOST_ROWS:
        return ""
    return (
        f'<noscript><p class="note">Sin JavaScript se ven los {MOST_ROWS:,} de mayor consumo, de '
        f"{count:,}. Todos están en el CSV y el XLSX de este mes.</p></noscript>"
    )


def _issuer(issuer: IssuerLine, total: int) -> str:
    """Return one issuer's row, as the script makes it too."""
    return _row(
        (
            _cell(issuer.account),
            _rfc(issuer.rfc),
            _number(text.number(issuer.amount)),
            _number(text.percent(issuer.amount / total if total else 0.0)),
            _number(text.number(issuer.previous)),
            _number(text.growth(issuer.amount, issuer.previous)),
            _number(text.number(issuer.available), "urgent" if spent(issuer) else ""),
            _number(text.days_left(issuer.days_left), urgency(issuer)),
        )
    )


def _contracts(report: Consumption, bought: int) -> str:
    if not report.contracts:
        return _note(text.NO_CONTRACTS)
    tones = {CONFIRMED: "", REJECTED: "none"}
    rows = (
        _row(
            (
                _cell(line.account),
                _rfc(line.rfc),
                _number(text.number(line.stamps)),
                _cell(text.status(line.status), f"w {tones.get(line.status, 'soon')}".rstrip()),
                _person(line.requested_by),
                _cell(text.moment(line.created_at), "w"),
                _cell(line.id, "id"),
            )
        )
        for line in report.contracts
    )
    heads = text.CONTRACT_HEADING[:-1]
    foot = _row(("<td>Confirmados</td><td></td>", _number(text.number(bought)), "<td></td>" * 4))
    return _wide(text.CONTRACTS, _table(text.CONTRACTS, heads, (2,), rows, foot=foot))


def _person(arn: str) -> str:
    """Return the cell that says who, and the whole identity for whoever has to look it up."""
    return (
        f'<td class="long">{_safe(text.person(arn))}'
        f'<br><span class="small">{_safe(arn)}</span></td>'
    )


def _sources(report: Consumption) -> str:
    rows = (
        _row(
            (
                f'<th scope="row">{_safe(source.account)}</th>',
                _cell(text.pac(source.pac)),
                _cell(text.plan(source.plan)),
                _cell(text.source_name(source)),
                _cell(text.moment(source.as_of), "w"),
                _cell(_missing(source), "soon" if source.missing_days else ""),
                _cell(source.problem or "ninguno", "long urgent" if source.problem else ""),
            )
        )
        for source in report.sources
    )
    return _wide(text.SOURCES, _table(text.SOURCES, text.SOURCE_HEADING, (), rows))


def _missing(source: Source) -> str:
    return text.missing_days(source.missing_days) or "ninguno"


def _movements(shown: Sequence[MovementLine], count: int) -> str:
    if not count:
        return _note("No hay movimientos en el mes.")
    rows = (
        _row(
            (
                _cell(movement.account),
                _rfc(movement.rfc),
                _cell(text.day(movement.date), "w"),
                _cell(movement.kind, "long"),
                _number(f"{movement.amount:,}"),
            )
        )
        for movement in shown
    )
    all_of_them = counted(count, "movimiento", "movimientos")
    words, rest = f"Ver {'el' if count == 1 else 'los'} {all_of_them}", ""
    if count > len(shown):
        words = f"Ver los primeros {len(shown):,} de {all_of_them}"
        rest = _note(
            f"Los otros {count - len(shown):,} movimientos están en el CSV y el XLSX de este mes. "
            "Los timbres de cada día se ven al abrir un RFC en la tabla."
        )
    table = _table(text.MOVEMENTS, text.MOVEMENT_HEADING, (4,), rows)
    return (
        f"<details><summary>{_safe(words)}</summary>{_wide(text.MOVEMENTS, table)}</details>{rest}"
    )


# Data ------------------------------------------------------------------------------------


def _data(report: Consumption, days: dict[_Key, list[int]]) -> str:
    """Return the issuers as JSON that no element can end; the order is the script's.

    Numbers that were rounded come as texts, so that the page and the other formats say the
    same.
    """
    accounts = list(dict.fromkeys(issuer.account for issuer in report.issuers))
    places = {account: index for index, account in enumerate(accounts)}
    total = report.total
    rows = [
        [
            places[issuer.account],
            text.clean(issuer.rfc),
            issuer.amount,
            issuer.previous,
            issuer.available,
            issuer.days_left,
            text.percent(issuer.amount / total if total else 0.0),
            text.growth(issuer.amount, issuer.previous),
            text.days_left(issuer.days_left),
            urgency(issuer),
            days.get((issuer.account, issuer.rfc), []),
        ]
        for issuer in report.issuers
    ]
    value = {
        "accounts": [text.clean(account) for account in accounts],
        "month": f"{report.month.month:02d}",
        "none": text.NO_DATA,
        "rows": rows,
    }
    # ASCII only; without these three nothing in it is markup.
    data = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
