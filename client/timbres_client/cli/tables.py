"""Values as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

_COLOURS = {
    "ok": "green",
    "confirmed": "green",
    "ready": "green",
    "finished": "green",
    "low": "yellow",
    "pending": "yellow",
    "running": "yellow",
    "unknown": "yellow",
    "needs-review": "bold magenta",
    "exhausted": "bold red",
    "rejected": "red",
    "failed": "red",
}


def number(value: float | None) -> str:
    """Return a number with separators, or a dash if it is unknown."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def state(value: str | None) -> str:
    """Return a state in its colour, or a dash if it is unknown."""
    if value is None:
        return "–"
    colour = _COLOURS.get(value)
    return f"[{colour}]{value}[/]" if colour else value


def plain(value: object) -> str:
    """Return a text, or a dash if there is none."""
    return "–" if value in (None, "") else escape(str(value))


def minute(value: str | None) -> str:
    """Return a time without seconds and offset, as the API has it: that of Mexico City."""
    return "–" if value is None else value[:16].replace("T", " ")


def available(issuer: Mapping[str, Any]) -> str:
    """Return an issuer's available stamps."""
    return "no limit" if issuer["unlimited"] else number(issuer["available"])


def change(contract: dict[str, Any]) -> str:
    """Return the contracted stamps before and after a contract."""
    before, after = contract["contracted_before"], contract["contracted_after"]
    return f"{number(before)} → {number(after)}"
