"""The page's charts as SVG: widths in per cent, so that they fill what there is of a screen."""

from __future__ import annotations

from html import escape

from timbres.domain.consumption import Consumption
from timbres_reports import text
from timbres_reports.figures import ticks

_HEIGHT = 260
_ABOVE, _BELOW = 10, 26
# Of these days a narrow screen has room for the number.
_MAJOR = (1, 5, 10, 15, 20, 25)


def daily_chart(report: Consumption, summary: str) -> str:
    """Return a bar for each day of the month; ``summary`` says it in words."""
    marks = ticks(report.days)
    scale = (_HEIGHT - _ABOVE - _BELOW) / (marks[-1] - marks[0])
    zero = _ABOVE + marks[-1] * scale
    heights = [(mark, zero - mark * scale) for mark in marks]
    title = f"{text.DAYS}, {report.month.in_spanish}"
    lines = "".join(
        f'<line class="{"grid" if mark else "zero"}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        for mark, y in heights
    )
    days = "".join(
        _day(report, index, amount, zero, scale) for index, amount in enumerate(report.days)
    )
    return (
        f'<div class="chart">{_axis(heights)}'
        f'<svg width="100%" height="{_HEIGHT}" role="img" aria-labelledby="grafica grafica-texto">'
        f'<title id="grafica">{escape(title)}</title>'
        f'<desc id="grafica-texto">{escape(text.clean(summary))}</desc>{lines}{days}</svg></div>'
    )


def _axis(heights: list[tuple[int, float]]) -> str:
    width = 10 + 7 * max(len(f"{mark:,}") for mark, _ in heights)
    labels = "".join(
        f'<text x="{width - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:,}</text>'
        for mark, y in heights
    )
    return f'<svg width="{width}" height="{_HEIGHT}" aria-hidden="true">{labels}</svg>'


def _day(report: Consumption, index: int, amount: int | None, zero: float, scale: float) -> str:
    step = 100 / len(report.days)
    x, number = index * step, index + 1
    when = text.day(report.month.first_day.replace(day=number))
    minor = "" if number in _MAJOR else ' class="minor"'
    middle = f'x="{x + step / 2:.3f}%" text-anchor="middle"'
    shape = ""
    if amount is None:
        shape = (
            f'<rect class="unknown" x="{x + step * 0.06:.3f}%" width="{step * 0.88:.3f}%" '
            f'y="{_ABOVE}" height="{_HEIGHT - _ABOVE - _BELOW}"/>'
            f'<text {middle} y="{zero - 6:.1f}">?</text>'
        )
    elif amount:
        height = max(abs(amount) * scale, 1.0)
        shape = (
            f'<rect class="bar" x="{x + step * 0.14:.3f}%" width="{step * 0.72:.3f}%" '
            f'y="{zero - height if amount > 0 else zero:.1f}" height="{height:.1f}"/>'
        )
    said = f"{when}: {text.number(amount)}"
    label = f'<text{minor} {middle} y="{_HEIGHT - 8}">{number}</text>'
    return f"<g><title>{said}</title>{shape}{label}</g>"


def bar(part: float) -> str:
    """Return a bar over ``part`` of its cell, 0 to 1; the cell beside it has the number."""
    return (
        '<svg width="100%" height="12" aria-hidden="true" focusable="false">'
        f'<rect class="bar" width="{max(part * 100, 0.5):.2f}%" height="12" rx="2"/></svg>'
    )
