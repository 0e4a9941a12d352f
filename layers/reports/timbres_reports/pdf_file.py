"""The report as a PDF: a first page to look at, then tables; Letter, the paper of Mexico."""

from __future__ import annotations

from reportlab.pdfbase.pdfmetrics import stringWidth

from timbres.domain.account import ALL
from timbres.domain.consumption import Consumption, IssuerLine, Source
from timbres.domain.contract import CONFIRMED, REJECTED
from timbres_reports import text
from timbres_reports.figures import (
    ENDING_TITLE,
    MOST_BARS,
    MOST_TITLE,
    NOBODY_ENDS,
    Figures,
    biggest,
    counted,
    daily_remark,
    ending_in,
    ending_remark,
    figures,
    gap,
    key_figures,
    notices,
    running_out,
    spent,
    ticks,
    urgency,
)
from timbres_reports.output import Output
from timbres_reports.pdf_paper import (
    ACCENT,
    BOLD,
    BOTTOM,
    INNER,
    LEFT,
    LINE,
    MOST_LINES,
    MUTED,
    NOTE_SIZE,
    PANEL,
    PLAIN,
    RIGHT,
    TOP,
    WARM,
    WARNING,
    Pages,
    Table,
    columns,
    wrapped,
)

# More than this nobody reads on paper: some 360 pages.
MOST_ROWS = 20_000

_MOVEMENTS_NOTE = "nota-de-movimientos"
_TALLEST_CHART = 290.0


def write(report: Consumption, out: Output, *, most_rows: int = MOST_ROWS) -> int:
    """Write ``report`` as a PDF into ``out``; return the number of movements in the file.

    Past ``most_rows`` movements it says how many it leaves out and where they are. What
    Windows' Latin alphabet does not have shows as ``?``. The same report gives the same bytes.
    """
    pages = Pages(
        out,
        title=f"{text.TITLE}, {report.month.in_spanish}",
        subject=f"Cuenta {text.accounts(report)}",
        footer=_footer(report),
        made_at=text.local(report.generated_at),
    )
    _summary(pages, report)
    _issuers(pages, report)
    _contracts(pages, report)
    _sources(pages, report)
    rows = _movements(pages, report, most_rows)
    pages.save()
    return rows


def _footer(report: Consumption) -> str:
    whose = "todas las cuentas" if report.account == ALL else f"cuenta {report.account}"
    sources = sorted({text.source_name(source) for source in report.sources})
    month = report.month.in_spanish
    return f"{text.TITLE}, {month}, {whose}. Fuente: {' y '.join(sources) or text.NO_DATA}."


# The first page ---------------------------------------------------------------------------


def _summary(pages: Pages, report: Consumption) -> None:
    """Draw what is to be seen first: key figures, days, who consumes, who runs out."""
    pages.begin()
    pages.bookmark("Resumen")
    known = figures(report)
    _title(pages, report)
    _notice(pages, report, known)
    _cards(pages, report, known)
    ending = running_out(report)
    lists = 24 + 20 * max(4, len(biggest(report)), min(len(ending), MOST_BARS))
    _daily(pages, report, min(pages.y - BOTTOM - lists - 12, _TALLEST_CHART))
    _lists(pages, report, ending)
    # What follows begins on a page of its own.
    pages.y = BOTTOM


def _title(pages: Pages, report: Consumption) -> None:
    month = report.month.in_spanish
    whose = "Todas las cuentas" if report.account == ALL else f"Cuenta {report.account}"
    pages.say(LEFT, TOP - 16, text.TITLE, 22, font=BOLD)
    pages.say(LEFT, TOP - 34, f"{month[:1].upper()}{month[1:]}. {whose}", 12, width=330)
    pages.say(RIGHT, TOP - 10, "Cifras en timbres", 8, tone="muted", right=True)
    made = f"Generado el {text.moment(report.generated_at)},"
    pages.say(RIGHT, TOP - 22, made, 8, tone="muted", right=True)
    pages.say(RIGHT, TOP - 34, "hora de la Ciudad de México", 8, tone="muted", right=True)
    pages.y = TOP - 46


def _notice(pages: Pages, report: Consumption, known: Figures) -> None:
    """Say at the top what the figures lack; nothing where they are whole."""
    lines: list[str] = []
    for sentence in notices(report, known):
        lines += wrapped(sentence, INNER - 20, 8.5, most=2)
    if not lines:
        return
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"Hay más: véase «{text.SOURCES}»."]
    height = 12 * len(lines) + 10
    pages.y -= height
    pages.box(LEFT, pages.y, INNER, height, WARM)
    pages.box(LEFT, pages.y, 3, height, WARNING)
    for index, line in enumerate(lines):
        pages.say(LEFT + 12, pages.y + height - 14 - 12 * index, line, 8.5)
    pages.y -= 10


def _cards(pages: Pages, report: Consumption, known: Figures) -> None:
    """Draw the four key figures."""
    gap, height = 10.0, 62.0
    width = (INNER - 3 * gap) / 4
    pages.y -= height
    for index, card in enumerate(key_figures(report, known)):
        x = LEFT + index * (width + gap)
        pages.box(x, pages.y, width, height, PANEL)
        pages.say(x + 10, pages.y + height - 15, card.label, 8, tone="muted", width=width - 16)
        pages.say(x + 10, pages.y + 23, card.value, 18, font=BOLD, width=width - 16, whole=True)
        pages.say(x + 10, pages.y + 9, card.remark, 7.5, tone="muted", width=width - 16, whole=True)
    pages.y -= 24


def _daily(pages: Pages, report: Consumption, height: float) -> None:
    """Draw a bar for each day of the month, within ``height`` points."""
    pages.say(LEFT, pages.y, text.DAYS, 11, font=BOLD)
    pages.say(RIGHT, pages.y, daily_remark(report), 8, tone="muted", right=True, width=360)
    top, bottom = pages.y - 18, pages.y - height + 16
    marks = ticks(report.days)
    scale = (top - bottom) / (marks[-1] - marks[0])
    zero = bottom - marks[0] * scale
    left = LEFT + 10 + max(stringWidth(f"{mark:,}", PLAIN, 7.5) for mark in marks)
    for mark in marks:
        y = zero + mark * scale
        pages.rule(y, left, color=MUTED if mark == 0 else LINE)
        pages.say(left - 6, y - 2.5, f"{mark:,}", 7.5, tone="muted", right=True)
    step = (RIGHT - left) / len(report.days)
    for index, amount in enumerate(report.days):
        x = left + index * step
        if amount is None:
            pages.box(x + 1, bottom, step - 2, top - bottom, PANEL)
            pages.say(x + step / 2 + 1.2, zero + 3, "?", 7.5, tone="muted", right=True)
        elif amount:
            y = min(zero, zero + amount * scale)
            pages.box(x + step * 0.16, y, step * 0.68, max(abs(amount) * scale, 0.6), ACCENT)
        label = str(index + 1)
        shift = stringWidth(label, PLAIN, 7) / 2
        pages.say(x + step / 2 - shift, bottom - 10, label, 7, tone="muted")
    pages.y = bottom - 36


def _lists(pages: Pages, report: Consumption, ending: list[IssuerLine]) -> None:
    """Draw, side by side, who consumes most and who runs out first."""
    gap = 28.0
    width = (INNER - gap) / 2
    _bars(pages, report, LEFT, width)
    _ending(pages, report, ending, LEFT + width + gap, width)


def _bars(pages: Pages, report: Consumption, x: float, width: float) -> None:
    top = pages.y
    pages.say(x, top, MOST_TITLE, 11, font=BOLD)
    issuers, total = biggest(report), report.total
    if not issuers:
        pages.say(x, top - 20, "Nadie consumió timbres.", 9, tone="muted")
    widest = max((stringWidth(f"{issuer.amount:,}", PLAIN, 8) for issuer in issuers), default=0.0)
    room = width - 98 - 38 - 8 - widest
    for index, issuer in enumerate(issuers):
        y = top - 24 - 20 * index
        _name(pages, report, issuer, x, y)
        pages.box(x + 98, y - 3, max(room * issuer.amount / issuers[0].amount, 0.8), 9, ACCENT)
        pages.say(x + width - 38, y, f"{issuer.amount:,}", 8, right=True)
        share = text.percent(issuer.amount / total if total else 0.0)
        pages.say(x + width, y, share, 8, tone="muted", right=True)


def _ending(
    pages: Pages, report: Consumption, ending: list[IssuerLine], x: float, width: float
) -> None:
    top = pages.y
    pages.say(x, top, ENDING_TITLE, 11, font=BOLD)
    pages.say(x + width, top, ending_remark(ending), 8, tone="muted", right=True, width=130)
    if not ending:
        pages.say(x, top - 20, NOBODY_ENDS, 9, tone="muted", width=width)
    for index, issuer in enumerate(ending[:MOST_BARS]):
        y = top - 24 - 20 * index
        _name(pages, report, issuer, x, y)
        left = f"{text.number(issuer.available)} disponibles"
        pages.say(
            x + width - 62, y, left, 8, tone="muted", right=True, width=width - 160, whole=True
        )
        words, tone = ending_in(issuer), urgency(issuer)
        pages.say(x + width, y, words, 8.5, font=BOLD, tone=tone, right=True, width=58, whole=True)


def _name(pages: Pages, report: Consumption, issuer: IssuerLine, x: float, y: float) -> None:
    """Say an issuer's RFC, and beneath it its account where the report is about several."""
    pages.say(x, y, issuer.rfc, 8, width=94)
    if report.account == ALL:
        pages.say(x, y - 8, issuer.account, 6.5, tone="muted", width=94)


def _issuers(pages: Pages, report: Consumption) -> None:
    pages.section(text.ISSUERS, 60)
    if not report.issuers:
        pages.remark("No se conoce ningún RFC con consumo en el mes.")
        return
    headings = (*text.ISSUER_HEADING[:-1], "Días rest.")
    table = Table(pages, columns(headings, (122, 82, 54, 60, 60, 46, 56, 44), range(2, 8)))
    total = report.total
    for issuer in report.issuers:
        cells = (
            issuer.account,
            issuer.rfc,
            text.number(issuer.amount),
            text.percent(issuer.amount / total if total else 0.0),
            text.number(issuer.previous),
            text.growth(issuer.amount, issuer.previous),
            text.number(issuer.available),
            text.days_left(issuer.days_left),
        )
        tones = ["muted" if cell == text.NO_DATA else "" for cell in cells]
        tones[6] = "urgent" if spent(issuer) else tones[6]
        tones[7] = tones[7] or urgency(issuer)
        table.row(cells, tones)
    table.end(
        (
            "Total",
            f"{len(report.issuers):,} RFC",
            text.number(total),
            text.percent(1.0 if total else 0.0),
            text.number(report.previous_total),
            text.growth(total, report.previous_total),
            "",
            "",
        )
    )


def _contracts(pages: Pages, report: Consumption) -> None:
    pages.section(text.CONTRACTS, 60)
    if not report.contracts:
        pages.remark(text.NO_CONTRACTS)
        return
    table = Table(
        pages, columns(text.CONTRACT_HEADING[:-1], (70, 74, 40, 54, 76, 68, 142), (2,)), size=7.0
    )
    tones = {CONFIRMED: "", REJECTED: "muted"}
    for line in report.contracts:
        cells = (
            line.account,
            line.rfc,
            text.number(line.stamps),
            text.status(line.status),
            text.person(line.requested_by),
            text.moment(line.created_at),
            line.id,
        )
        table.row(cells, ("", "", "", tones.get(line.status, "soon"), "", "", "muted"))
    known = figures(report)
    table.end(("Confirmados", f"{known.confirmed:,}", text.number(known.bought), *[""] * 4))


def _sources(pages: Pages, report: Consumption) -> None:
    pages.section(text.SOURCES, 60)
    table = Table(pages, columns(text.SOURCE_HEADING[:-1], (122, 92, 54, 120, 78, 58), (5,)))
    for source in report.sources:
        cells = (
            source.account,
            text.pac(source.pac),
            text.plan(source.plan),
            text.source_name(source),
            text.moment(source.as_of),
            str(len(source.missing_days)),
        )
        table.row(cells)
        for words, tone in _gaps(source):
            table.remark(words, tone)
    table.end()


def _gaps(source: Source) -> list[tuple[str, str]]:
    """Return what an account's figures lack, each with its tone."""
    gaps = []
    if source.problem is not None:
        gaps.append((f"Sin cifras: {source.problem}", "urgent"))
    if source.missing_days:
        gaps.append((gap(source).capitalize(), "soon"))
    return gaps


def _movements(pages: Pages, report: Consumption, most_rows: int) -> int:
    """Write the movements, ``most_rows`` at most; return how many."""
    pages.section(text.MOVEMENTS, 80)
    pages.open(_MOVEMENTS_NOTE)
    table = Table(pages, columns(text.MOVEMENT_HEADING, (132, 96, 70, 164, 62), (4,)))
    count = amount = 0
    for movement in report.movements():
        count += 1
        amount += movement.amount
        if count <= most_rows:
            table.row(
                (
                    movement.account,
                    movement.rfc,
                    text.day(movement.date),
                    movement.kind,
                    f"{movement.amount:,}",
                )
            )
    words = counted(count, "movimiento", "movimientos")
    table.end(("Total", words, "", "", text.number(amount)))
    shown = min(count, most_rows)
    note = f"{words}, {amount:,} timbres."
    if shown < count:
        others = f"Los otros {count - shown:,} están en el CSV y el XLSX de este mes."
        note = f"Se muestran {shown:,} de {note} {others}"
        pages.remark(note)
    pages.later(_MOVEMENTS_NOTE, note, NOTE_SIZE)
    return shown
